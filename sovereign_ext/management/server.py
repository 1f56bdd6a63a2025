"""Puts the management services on a grpc.aio server.

The server is not ours: it is the processor's, and whoever made it starts and stops it. Nothing here is
global; what the services work on comes in as ``Deps``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc.aio

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext._gen.sovereign.log.v1 import log_pb2
from sovereign_ext._gen.sovereign.management.v1 import config_pb2, policies_pb2, providers_pb2
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import ConfigError
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.management.auth import Authenticator
from sovereign_ext.management.config import Configuration
from sovereign_ext.management.health import Health
from sovereign_ext.management.log import AnchorStatus, LogReads, OpenLog
from sovereign_ext.management.policies import Policies
from sovereign_ext.management.providers import EvidenceStatus, Providers
from sovereign_ext.management.receipts import Receipts, ReceiptSource
from sovereign_ext.management.rpc import bind
from sovereign_ext.routing.health import Health as DeploymentHealths
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tlog.service import LogPaths


class Log(OpenLog, ReceiptSource, Protocol):
    """All that the services want of the log; ``tlog.service.TransparencyLog`` is one."""


@dataclass(frozen=True, slots=True)
class Deps:
    """What the services work on.

    ``snapshot`` gives the configuration in use, ``faults`` what is wrong with a newer file;
    ``now`` is Unix seconds, ``monotonic`` the clock of
    ``health``, in seconds. ``paths`` is where ``log`` keeps its files. ``draining`` is true once the process
    is shutting down, so that health says NOT_SERVING while calls in flight are finished. ``evidence`` is how it stands
    with each provider that has any, ``anchors`` with each external log; it raises ``LogError``.
    """

    snapshot: Callable[[], Snapshot]
    directory: Directory
    now: Callable[[], float]
    monotonic: Callable[[], float]
    faults: Callable[[], tuple[ConfigError, ...]]
    health: DeploymentHealths
    log: Log
    paths: LogPaths
    draining: Callable[[], bool]
    evidence: Callable[[], Sequence[EvidenceStatus]]
    anchors: Callable[[], Awaitable[Sequence[AnchorStatus]]]


def management_server(deps: Deps, address: str) -> grpc.aio.Server:
    """A server of its own for these services, bound to ``address`` (gRPC's syntax) and not yet started."""
    server = grpc.aio.server()
    add_services(server, deps)
    server.add_insecure_port(address)
    return server


def add_services(server: grpc.aio.Server, deps: Deps) -> None:
    """Registers all services; call it before ``server.start()``."""
    authenticator = Authenticator(deps.snapshot, deps.directory, deps.now)
    log, management = log_pb2.DESCRIPTOR.services_by_name, providers_pb2.DESCRIPTOR.services_by_name
    config = config_pb2.DESCRIPTOR.services_by_name["ConfigService"]
    policy_service = policies_pb2.DESCRIPTOR.services_by_name["PolicyService"]
    providers = Providers(authenticator, deps.health, deps.monotonic, deps.now, deps.evidence)
    policies = Policies(
        authenticator, deps.directory, deps.health, lambda: Moment(deps.monotonic(), int(deps.now() * 1000))
    )

    def ready() -> bool:
        # A configuration is in use as soon as there is a snapshot, and a faulty edit never takes effect.
        return deps.log.status().healthy and not deps.draining()

    server.add_generic_rpc_handlers(
        (
            bind(log["ReceiptService"], Receipts(authenticator, deps.log).methods()),
            bind(log["LogService"], LogReads(authenticator, deps.log, deps.paths, deps.anchors).methods()),
            bind(config, Configuration(authenticator, deps.snapshot, deps.faults).methods()),
            bind(management["ProviderService"], providers.methods()),
            bind(policy_service, policies.methods()),
            bind(health_pb2.DESCRIPTOR.services_by_name["Health"], Health(ready).methods()),
        )
    )

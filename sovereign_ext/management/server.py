"""Puts the management services on a grpc.aio server.

The server is not ours: it is the processor's, and whoever made it starts and stops it. Nothing here is
global; what the services work on comes in as ``Deps``.
"""

from __future__ import annotations

from typing import Any, Final

import grpc.aio

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.management import bodies, descriptor, listening
from sovereign_ext.management.auth import Authenticator
from sovereign_ext.management.deps import Deps, Log
from sovereign_ext.management.health import Health, is_ready
from sovereign_ext.management.rpc import bind
from sovereign_ext.management.services import REGISTRY

__all__ = ["Deps", "Log", "add_services", "health_server", "management_server"]

_BEHIND_ENVOY: Final = (
    ("grpc.max_metadata_size", 1024 * 1024),
    ("grpc.absolute_max_metadata_size", 1024 * 1024),
    ("grpc.max_receive_message_length", -1),
)
"""The only peer is Envoy, which has refused what is too large, as the caller's mistake. gRPC would take 8 KiB of
headers, less than some identity providers' tokens, and say that the caller asks too often."""


def management_server(deps: Deps, address: str) -> grpc.aio.Server:
    """A server of its own for these services, bound to ``address`` (gRPC's syntax) and not yet started."""
    server = grpc.aio.server(options=_BEHIND_ENVOY)
    add_services(server, deps)
    server.add_insecure_port(address)
    return server


def health_server(deps: Deps, host: str, port: int) -> grpc.aio.Server:
    """A server of ``grpc.health.v1.Health`` alone, without TLS, and not yet started.

    For probes that cannot reach a Unix socket, such as Kubernetes'. Raises ``StartError``.
    """
    server = grpc.aio.server(options=listening.ALONE)
    server.add_generic_rpc_handlers((_health(deps, _gate(deps)),))
    listening.listen(server, host, port)
    return server


def add_services(server: grpc.aio.Server, deps: Deps) -> None:
    """Registers all services; call it before ``server.start()``."""
    gate = _gate(deps)
    server.add_generic_rpc_handlers(
        (
            *(bind(served.contract, served.methods(deps), gate) for served in REGISTRY),
            _health(deps, gate),
            bodies.handler(_with_bodies()),
        )
    )


def _gate(deps: Deps) -> Authenticator:
    return Authenticator(deps.snapshot, deps.directory, deps.tokens, deps.now, deps.key_use)


def _health(deps: Deps, gate: Authenticator) -> grpc.GenericRpcHandler[Any, Any]:
    def ready() -> bool:
        return is_ready(deps.log.status(), draining=deps.draining())

    def limits() -> bool:
        shared = deps.shared()
        return shared is None or (shared.reachable and not shared.rebuilding_s)

    contract = health_pb2.DESCRIPTOR.services_by_name["Health"]
    return bind(contract, Health(ready, limits=limits).methods(), gate)


def _with_bodies() -> bodies.Find:
    methods = {method.full_name: method for served in REGISTRY for method in served.contract.methods}
    return bodies.finder(
        [
            (route.http_method, route.regex, methods[route.grpc_method])
            for route in descriptor.routes()
            if route.http_method in ("POST", "PATCH")
        ]
    )

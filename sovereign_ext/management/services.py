"""Every service of the management API: its contract, and what serves it. A new service is one line here.

The order is that of the routes in Envoy. What has no HTTP path (``grpc.health.v1.Health``) is in ``server``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor

from sovereign_ext._gen.sovereign.log.v1 import log_pb2
from sovereign_ext._gen.sovereign.management.v1 import config_pb2
from sovereign_ext.management import (
    audit,
    configured,
    findings,
    keykinds,
    keys,
    limits,
    metrics,
    models,
    openapi,
    operators,
    policies,
    provider_keys,
    providers,
    statements,
    tenants,
    trust,
    usage,
    watchers,
)
from sovereign_ext.management.config import Configuration
from sovereign_ext.management.deps import Deps
from sovereign_ext.management.kinds import Kind
from sovereign_ext.management.log import LogReads
from sovereign_ext.management.receipts import Receipts
from sovereign_ext.management.resources import ResourceService
from sovereign_ext.management.rpc import Methods
from sovereign_ext.metering.audit import AuditRows
from sovereign_ext.metering.findings import Findings


@dataclass(frozen=True, slots=True)
class Served:
    """A contract and what makes its methods."""

    contract: ServiceDescriptor
    methods: Callable[[Deps], Methods]


def _people(kind: Kind[Any], contract: ServiceDescriptor, deps: Deps) -> Methods:
    return ResourceService(kind, contract, deps.log.resources, deps.changes(), deps.applied).methods()


def _keys(kind: type[keykinds.AnyKeyKind], contract: ServiceDescriptor, deps: Deps) -> Methods:
    issuing = keykinds.Issuing(deps.key_hashes, deps.directory, deps.now_ms, deps.random, deps.applied)
    return keys.KeyService(kind(issuing), contract, deps.log.resources, deps.changes()).methods()


_LOG: Final = log_pb2.DESCRIPTOR.services_by_name
_CONFIG: Final = config_pb2.DESCRIPTOR.services_by_name["ConfigService"]

REGISTRY: Final[tuple[Served, ...]] = (
    Served(_LOG["ReceiptService"], lambda deps: Receipts(deps.log).methods()),
    Served(
        _LOG["LogService"], lambda deps: LogReads(deps.log, deps.paths, deps.anchors, deps.webhooks).methods()
    ),
    Served(providers.SERVICES["DeploymentService"], providers.deployments),
    Served(providers.SERVICES["ProviderService"], providers.providers),
    Served(policies.SERVICE, policies.methods),
    Served(models.SERVICE, configured.standard(models.ModelKind, models.SERVICE)),
    *(
        Served(trust.SERVICES[name], configured.standard(kind, trust.SERVICES[name]))
        for name, kind in trust.KINDS.items()
    ),
    Served(statements.SERVICE, statements.methods),
    Served(watchers.SERVICES["MirrorService"], watchers.mirrors),
    Served(provider_keys.SERVICE, provider_keys.methods),
    Served(watchers.SERVICES["AnchorService"], watchers.anchors),
    Served(
        _CONFIG, lambda deps: Configuration(deps.snapshot, deps.faults, deps.effective, deps.shared).methods()
    ),
    Served(tenants.SERVICE, lambda deps: _people(tenants.TenantKind(deps.directory), tenants.SERVICE, deps)),
    Served(keys.SERVICE, lambda deps: _keys(keykinds.TenantKeyKind, keys.SERVICE, deps)),
    Served(
        operators.SERVICE,
        lambda deps: _people(operators.OperatorKind(deps.directory), operators.SERVICE, deps),
    ),
    Served(keys.OPERATOR_KEYS, lambda deps: _keys(keykinds.OperatorKeyKind, keys.OPERATOR_KEYS, deps)),
    Served(openapi.SERVICE, lambda _: openapi.OpenApi.packaged().methods()),
    Served(
        usage.SERVICE,
        lambda deps: usage.UsageReports(
            deps.log.usage, deps.directory, deps.log.published, deps.now_ms
        ).methods(),
    ),
    Served(limits.SERVICE, lambda deps: limits.Limits(deps).methods()),
    Served(metrics.SERVICE, lambda deps: metrics.MetricsReads(deps.exposition).methods()),
    Served(audit.SERVICE, lambda deps: audit.Audit(AuditRows(deps.log.audit)).methods()),
    Served(
        findings.SERVICE,
        lambda deps: findings.FindingReads(Findings(deps.log.findings, deps.log.audit)).methods(),
    ),
)

"""Providers and how they are doing: ``sovereign.management.v1.ProviderService``.

Joins the configuration in use with the routing's health; owns neither. A tenant sees the deployments that
one of its policies could route to, by the configuration alone (``Snapshot.reachable``), and never an
endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from google.protobuf import timestamp_pb2

from sovereign_ext._gen.sovereign.management.v1 import providers_pb2
from sovereign_ext.config.model import Deployment, Provider
from sovereign_ext.config.standing import Standing
from sovereign_ext.config.trust import EvidenceKind
from sovereign_ext.errors import CallerError
from sovereign_ext.management import names
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.routing.health import DeploymentHealth, State

STATES: Final = {
    State.CLOSED: providers_pb2.Health.State.CLOSED,
    State.COOLING: providers_pb2.Health.State.COOLING,
    State.HALF_OPEN: providers_pb2.Health.State.HALF_OPEN,
}

_FRESH: Final = (("cache-control", "private, no-store"),)


class EvidenceStatus(Protocol):
    """Evidence of one provider (``evidence.service.EvidenceStatus``). Times are Unix seconds."""

    @property
    def provider(self) -> str: ...
    @property
    def kind(self) -> EvidenceKind: ...
    @property
    def reason(self) -> str: ...
    @property
    def measurement(self) -> str: ...
    @property
    def document(self) -> str: ...
    @property
    def issued_at_s(self) -> int | None: ...
    @property
    def expires_at_s(self) -> int | None: ...
    @property
    def error(self) -> str: ...


class HealthSource(Protocol):
    """The routing's health (``routing.health.Health``)."""

    def snapshot_view(self, now: float) -> tuple[DeploymentHealth, ...]:
        """Every deployment's health. ``now`` is monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Providers:
    """The service. ``monotonic`` is the clock that the health was kept by, in seconds, ``now`` Unix seconds."""

    health: HealthSource
    monotonic: Callable[[], float]
    now: Callable[[], float]
    evidence: Callable[[], Sequence[EvidenceStatus]]

    async def list_providers(self, request: providers_pb2.ListProvidersRequest, call: Call) -> Reply:
        """One page, ordered by id."""
        caller = call.caller
        size, after = names.page_size(request.page_size), names.after(request.page_token)
        visible = _visible(caller)
        ids = sorted(name for name in visible if name > after)
        page, more = ids[:size], len(ids) > size
        known = self._known()
        found = [_provider(caller, name, visible[name], known) for name in page]
        token = names.page_token(page[-1]) if more else ""
        return Reply(providers_pb2.ListProvidersResponse(providers=found, next_page_token=token), _FRESH)

    async def get_provider(self, request: providers_pb2.GetProviderRequest, call: Call) -> Reply:
        """One provider. What is not there and what the caller may not see are told apart by nothing."""
        caller = call.caller
        name = names.provider_id(request.name)
        visible = _visible(caller)
        if name not in visible:
            raise CallerError(404, "there is no such provider", code="provider_not_found")
        return Reply(_provider(caller, name, visible[name], self._known()), _FRESH)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {"ListProviders": self.list_providers, "GetProvider": self.get_provider}

    def _known(self) -> _Known:
        return _Known(
            {each.deployment: each for each in self.health.snapshot_view(self.monotonic())},
            {each.provider: each for each in self.evidence()},
            self.now(),
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known at one moment: health by deployment, evidence by provider."""

    health: Mapping[str, DeploymentHealth]
    evidence: Mapping[str, EvidenceStatus]
    now_s: float


def _visible(caller: Caller) -> dict[str, list[Deployment]]:
    """Provider ids with the deployments that the caller may see, in file order."""
    snapshot, tenant = caller.snapshot, caller.tenant
    if tenant is None:
        visible: dict[str, list[Deployment]] = {name: [] for name in snapshot.providers}
        wanted: Iterable[Deployment] = snapshot.config.deployments
    else:
        visible = {}
        reachable = frozenset().union(*(snapshot.reachable[name] for name in tenant.policies))
        wanted = (each for each in snapshot.config.deployments if each.id in reachable)
    for deployment in wanted:
        visible.setdefault(deployment.provider, []).append(deployment)
    return visible


def _provider(
    caller: Caller, name: str, deployments: Iterable[Deployment], known: _Known
) -> providers_pb2.Provider:
    provider: Provider = caller.snapshot.providers[name]
    return providers_pb2.Provider(
        name=f"providers/{name}",
        kind=provider.kind.value,
        endpoint=provider.endpoint if caller.is_admin else "",
        deployments=[
            providers_pb2.Deployment(
                name=f"providers/{name}/deployments/{deployment.id}",
                model=deployment.model,
                upstream_model=deployment.upstream_model,
                capabilities=[capability.value for capability in deployment.capabilities],
                # Absent for a moment after a reload, until the routing follows the new configuration.
                health=_health(known.health[deployment.id]) if deployment.id in known.health else None,
                standing=_standing(caller.snapshot.trust.assess(deployment, known.now_s)),
            )
            for deployment in deployments
        ],
        evidence=_evidence(known.evidence.get(name), show_error=caller.is_admin),
    )


def _standing(standing: Standing) -> providers_pb2.Standing:
    return providers_pb2.Standing(
        tier=standing.tier.value,
        reasons=standing.reasons,
        scopes=sorted(standing.scopes),
        drift=standing.drift.value,
        model_hash=standing.model_hash,
        model_hash_basis=standing.model_hash_basis.value,
    )


def _evidence(status: EvidenceStatus | None, *, show_error: bool) -> providers_pb2.Evidence | None:
    if status is None:
        return None
    return providers_pb2.Evidence(
        kind=status.kind.value,
        reason=status.reason,
        measurement=status.measurement,
        document=status.document,
        issue_time=_time(status.issued_at_s),
        expire_time=_time(status.expires_at_s),
        error=status.error if show_error else None,
    )


def _time(seconds: int | None) -> timestamp_pb2.Timestamp | None:
    return None if seconds is None else timestamp_pb2.Timestamp(seconds=seconds)


def _health(health: DeploymentHealth) -> providers_pb2.Health:
    return providers_pb2.Health(
        state=STATES[health.state],
        reason=health.why or "",
        score=health.score,
        consecutive_failures=health.consecutive_failures,
        retry_in_s=health.retry_in_s,
        window=providers_pb2.Window(
            successes=health.successes,
            failures=health.failures,
            success_rate=health.success_rate,
            p50_ms=_tenths(health.p50_ms),
            p95_ms=_tenths(health.p95_ms),
        ),
    )


def _tenths(milliseconds: float | None) -> float | None:
    """The window knows latencies to 5 %; more digits would claim more."""
    return None if milliseconds is None else round(milliseconds, 1)

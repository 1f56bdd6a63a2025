"""Providers and deployments as resources, and how they are doing: ``ProviderService`` and ``DeploymentService``.

Joins the configuration with the routing's health; owns neither. A tenant sees the deployments that one of its policies
could route to, by the configuration alone (``Snapshot.reachable``), and never an endpoint. Credentials are nobody's to
see.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message

from sovereign_ext._gen.sovereign.management.v1 import providers_pb2
from sovereign_ext.config.model import Deployment, Provider
from sovereign_ext.config.snapshot import Visible
from sovereign_ext.config.standing import Standing
from sovereign_ext.config.trust import EvidenceKind
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.configured import ConfigKind, ConfigService
from sovereign_ext.management.reads import Found
from sovereign_ext.management.rpc import Methods
from sovereign_ext.routing.health import DeploymentHealth, State
from sovereign_ext.storage.resources import Resource

if TYPE_CHECKING:
    from sovereign_ext.management.deps import Deps

SERVICES: Final = providers_pb2.DESCRIPTOR.services_by_name
STATES: Final = {
    State.CLOSED: providers_pb2.Health.State.CLOSED,
    State.COOLING: providers_pb2.Health.State.COOLING,
    State.HALF_OPEN: providers_pb2.Health.State.HALF_OPEN,
}


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


class ProviderKind(ConfigKind[Provider]):
    """``providers/{provider}``."""

    noun = "provider"
    plural = "providers"
    pattern = "providers/{provider}"
    message = providers_pb2.Provider
    model = Provider
    hidden: ClassVar[frozenset[str]] = frozenset({"credential"})

    def only(self, caller: Caller) -> Collection[str] | None:
        """Whoever is bound to a tenant sees those of the deployments it sees."""
        return None if caller.tenant is None else {f"providers/{each}" for each in _visible(caller).providers}

    def visible(self, caller: Caller, name: str) -> bool:
        """As ``only`` says."""
        own = self.ids(name)[0]
        return caller.tenant is None or own in _visible(caller).providers


class DeploymentKind(ConfigKind[Deployment]):
    """``providers/{provider}/deployments/{deployment}``. The provider is in the name."""

    noun = "deployment"
    plural = "deployments"
    pattern = "providers/{provider}/deployments/{deployment}"
    message = providers_pb2.Deployment
    model = Deployment
    parent = ProviderKind
    hidden: ClassVar[frozenset[str]] = frozenset({"provider"})

    def only(self, caller: Caller) -> Collection[str] | None:
        """Whoever is bound to a tenant sees what its policies could route to."""
        if caller.tenant is None:
            return None
        return {f"providers/{each.provider}/deployments/{each.id}" for each in _visible(caller).deployments}

    def visible(self, caller: Caller, name: str) -> bool:
        """As ``only`` says."""
        own = self.ids(name)[1]
        return caller.tenant is None or own in _visible(caller).deployment_ids

    def from_name(self, name: str) -> dict[str, str]:
        """Its own id and its provider's."""
        provider, deployment = self.ids(name)
        return {"provider": provider, "id": deployment}


class ProviderService(ConfigService[Provider]):
    """Shows deployments and their health with a provider."""

    def all_shown(self, caller: Caller, found: Sequence[Found[Provider]]) -> Sequence[Message]:
        """Providers, with what is known of them now."""
        known, seen = _Known.of(self.deps), _by_provider(caller)
        return [self._shown(caller, each, known, seen.get(each[1].id, ())) for each in found]

    def shown(self, caller: Caller, name: str, model: Provider, row: Resource | None) -> Message:
        """One of them."""
        (message,) = self.all_shown(caller, [(name, model, row)])
        return message

    def _shown(
        self, caller: Caller, found: Found[Provider], known: _Known, deployments: Iterable[Deployment]
    ) -> Message:
        """Little of it to those who are no admins."""
        name, model, row = found
        message: Any = super().shown(caller, name, model, row)
        if not caller.is_admin:
            message = providers_pb2.Provider(name=name, kind=message.kind, declared=message.declared)
        elif model.evidence is None:
            message.ClearField("evidence")
        status = known.evidence.get(model.id)
        if status is not None:
            message.evidence.MergeFrom(_evidence(status, show_error=caller.is_admin))
        for deployment in deployments:
            shown = _bare(deployment)
            _now(shown, deployment, caller, known)
            message.deployments.append(shown)
        return message  # type: ignore[no-any-return]


class DeploymentService(ConfigService[Deployment]):
    """Shows its health with a deployment."""

    def all_shown(self, caller: Caller, found: Sequence[Found[Deployment]]) -> Sequence[Message]:
        """Deployments, with what is known of them now; no prices to those who are no admins."""
        known, messages = _Known.of(self.deps), []
        for name, model, row in found:
            message: Any = super().shown(caller, name, model, row)
            if not caller.is_admin:
                message.ClearField("price")
            _now(message, model, caller, known)
            messages.append(message)
        return messages

    def shown(self, caller: Caller, name: str, model: Deployment, row: Resource | None) -> Message:
        """One of them."""
        (message,) = self.all_shown(caller, [(name, model, row)])
        return message


def providers(deps: Deps) -> Methods:
    """The methods of ``ProviderService``."""
    return ProviderService(ProviderKind, SERVICES["ProviderService"], deps).methods()


def deployments(deps: Deps) -> Methods:
    """The methods of ``DeploymentService``."""
    return DeploymentService(DeploymentKind, SERVICES["DeploymentService"], deps).methods()


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known at one moment: health by deployment, evidence by provider."""

    health: Mapping[str, DeploymentHealth]
    evidence: Mapping[str, EvidenceStatus]
    now_s: float

    @classmethod
    def of(cls, deps: Deps) -> _Known:
        return cls(
            {each.deployment: each for each in deps.health.snapshot_view(deps.monotonic())},
            {each.provider: each for each in deps.evidence()},
            deps.now(),
        )


def _by_provider(caller: Caller) -> Mapping[str, list[Deployment]]:
    """The deployments in use that the caller may see, in their order, by their provider."""
    found: defaultdict[str, list[Deployment]] = defaultdict(list)
    seen = caller.snapshot.config.deployments if caller.tenant is None else _visible(caller).deployments
    for deployment in seen:
        found[deployment.provider].append(deployment)
    return found


def _visible(caller: Caller) -> Visible:
    """What the policies of the caller's tenant could route to."""
    assert caller.tenant is not None
    return caller.snapshot.visible(caller.tenant.policies)


def _bare(deployment: Deployment) -> providers_pb2.Deployment:
    """A deployment inside its provider: what it is, without its price."""
    return providers_pb2.Deployment(
        name=f"providers/{deployment.provider}/deployments/{deployment.id}",
        model=deployment.model,
        upstream_model=deployment.upstream_model,
        capabilities=[capability.value for capability in deployment.capabilities],
    )


def _now(message: providers_pb2.Deployment, deployment: Deployment, caller: Caller, known: _Known) -> None:
    """Adds how it is doing. Nothing for one that is not in use yet, or not followed by the routing yet."""
    if deployment.id in known.health:
        message.health.CopyFrom(_health(known.health[deployment.id]))
    in_use = caller.snapshot.deployments.get(deployment.id)
    if in_use is not None:
        message.standing.CopyFrom(_standing(caller.snapshot.trust.assess(in_use, known.now_s)))


def _standing(standing: Standing) -> providers_pb2.Standing:
    return providers_pb2.Standing(
        tier=standing.tier.value,
        reasons=standing.reasons,
        scopes=sorted(standing.scopes),
        drift=standing.drift.value,
        model_hash=standing.model_hash,
        model_hash_basis=standing.model_hash_basis.value,
    )


def _evidence(status: EvidenceStatus, *, show_error: bool) -> providers_pb2.Evidence:
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

"""One configuration, indexed for use: everything a call looks up while it runs.

Made once per (re)load and never changed, so a call that took one sees a single configuration from its first
byte to its last. Holds no clock and no file; ``live`` makes snapshots, this module only says what they are.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Generic, Protocol, TypeVar

from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.model import Admin, Config, Deployment, Key, Model, Policy, Provider, Tenant
from sovereign_ext.config.standing import Assessor, Unassessed

Routable = Callable[[Policy, Deployment, Provider, Model], bool]
"""Whether a policy could ever route to a deployment of that provider and model, by what the file says alone
(``policy.evaluate.routable``).
"""

_UNASSESSED: Final = Unassessed()

OwnerT = TypeVar("OwnerT", Tenant, Admin)


@dataclass(frozen=True, slots=True)
class Grant(Generic[OwnerT]):
    """What a key opens. The two times are Unix seconds, infinite where the file sets none."""

    owner: OwnerT
    key: Key
    expires_at: float
    revoked_at: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable view of one ``Config``. Every mapping is read-only."""

    version: int  # counts the configurations this process has used, from 1
    digest: str  # "sha256:…" of the file's bytes
    config: Config
    tenants: Mapping[str, Tenant]
    policies: Mapping[str, Policy]
    models: Mapping[str, Model]
    providers: Mapping[str, Provider]
    deployments: Mapping[str, Deployment]
    tenant_keys: Mapping[str, Grant[Tenant]]  # by key hash
    admin_keys: Mapping[str, Grant[Admin]]  # by key hash
    deployments_by_model: Mapping[str, tuple[Deployment, ...]]  # in file order
    visible_models: Mapping[str, tuple[Model, ...]]  # by tenant id, in file order
    visible_model_ids: Mapping[str, frozenset[str]]  # by tenant id
    reachable: Mapping[str, frozenset[str]]  # deployment ids by policy id: those it could ever route to
    policy_digests: Mapping[str, bytes]  # by policy id, see policy_digest()
    trust: Assessor  # what is known of each deployment at a moment

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        version: int,
        digest: str,
        routable: Routable,
        trust: Assessor = _UNASSESSED,
    ) -> Snapshot:
        """Index ``config``, which ``parse`` has checked: its references are taken to hold."""
        by_model: defaultdict[str, list[Deployment]] = defaultdict(list)
        for deployment in config.deployments:
            by_model[deployment.model].append(deployment)
        policies = {policy.id: policy for policy in config.policies}
        models, providers = _by_id(config.models), _by_id(config.providers)
        deployments = _by_id(config.deployments)
        reachable = {
            policy.id: frozenset(
                each.id
                for each in config.deployments
                if routable(policy, each, providers[each.provider], models[each.model])
            )
            for policy in config.policies
        }
        visible_ids = {
            tenant.id: frozenset(
                deployments[each].model for policy in tenant.policies for each in reachable[policy]
            )
            for tenant in config.tenants
        }
        visible = {
            tenant: tuple(model for model in config.models if model.id in ids)
            for tenant, ids in visible_ids.items()
        }
        return cls(
            version=version,
            digest=digest,
            config=config,
            tenants=_by_id(config.tenants),
            policies=MappingProxyType(policies),
            models=models,
            providers=providers,
            deployments=deployments,
            tenant_keys=_grants(config.tenants),
            admin_keys=_grants(config.admins),
            deployments_by_model=MappingProxyType({model: tuple(found) for model, found in by_model.items()}),
            visible_models=MappingProxyType(visible),
            visible_model_ids=MappingProxyType(visible_ids),
            reachable=MappingProxyType(reachable),
            policy_digests=MappingProxyType({policy.id: policy_digest(policy) for policy in config.policies}),
            trust=trust,
        )


def policy_document(policy: Policy) -> dict[str, object]:
    """The policy as the JSON document that is hashed and re-evaluated: every field, defaults too."""
    return policy.model_dump(mode="json")


def policy_digest(policy: Policy) -> bytes:
    """SHA-256 (32 bytes) over the RFC 8785 canonical JSON of the policy document."""
    return hashlib.sha256(canonical_json(policy_document(policy))).digest()


class _Named(Protocol):
    @property
    def id(self) -> str: ...


NamedT = TypeVar("NamedT", bound=_Named)


def _by_id(items: Iterable[NamedT]) -> Mapping[str, NamedT]:
    return MappingProxyType({item.id: item for item in items})


def _grants(owners: Iterable[OwnerT]) -> Mapping[str, Grant[OwnerT]]:
    return MappingProxyType(
        {
            key.hash: Grant(owner, key, _seconds(key.expires_at), _seconds(key.revoked_at))
            for owner in owners
            for key in owner.keys
        }
    )


def _seconds(moment: datetime | None) -> float:
    return math.inf if moment is None else moment.timestamp()

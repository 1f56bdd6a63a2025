"""One configuration, indexed for use: everything a call looks up while it runs.

Made once per (re)load and never changed, so a call that took one sees a single configuration from its first
byte to its last. Holds no clock and no file; ``live`` makes snapshots, this module only says what they are. Tenants
and keys, who are many and change often, are in ``tenants.directory``.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.model import Config, Deployment, Model, Policy, Provider
from sovereign_ext.config.standing import Assessor, Unassessed

Routable = Callable[[Policy, Deployment, Provider, Model], bool]
"""Whether a policy could ever route to a deployment of that provider and model, by what the file says alone
(``policy.evaluate.routable``).
"""

_UNASSESSED: Final = Unassessed()

_MOST_VIEWS: Final = 4096


@dataclass(frozen=True, slots=True)
class Visible:
    """What a set of policies could ever route to: models and deployments in file order, and ids.

    ``ids`` are those of the models.
    """

    models: tuple[Model, ...]
    ids: frozenset[str]
    deployments: tuple[Deployment, ...]
    deployment_ids: frozenset[str]
    providers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable view of one ``Config``. Every mapping is read-only."""

    version: int  # counts the configurations this process has used, from 1
    digest: str  # "sha256:…" of file, documents and resources (``load.Loaded``)
    config: Config
    policies: Mapping[str, Policy]
    models: Mapping[str, Model]
    providers: Mapping[str, Provider]
    deployments: Mapping[str, Deployment]
    deployments_by_model: Mapping[str, tuple[Deployment, ...]]  # in file order
    reachable: Mapping[str, frozenset[str]]  # deployment ids by policy id: those it could ever route to
    policy_digests: Mapping[str, bytes]  # by policy id, see policy_digest()
    trust: Assessor  # what is known of each deployment at a moment
    stored: frozenset[str] = frozenset()  # the API's names of what is not the file's but the database's
    _views: dict[tuple[str, ...], Visible] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        version: int,
        digest: str,
        routable: Routable,
        trust: Assessor = _UNASSESSED,
        stored: frozenset[str] = frozenset(),
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
        return cls(
            version=version,
            digest=digest,
            config=config,
            policies=MappingProxyType(policies),
            models=models,
            providers=providers,
            deployments=deployments,
            deployments_by_model=MappingProxyType({model: tuple(found) for model, found in by_model.items()}),
            reachable=MappingProxyType(reachable),
            policy_digests=MappingProxyType({policy.id: policy_digest(policy) for policy in config.policies}),
            trust=trust,
            stored=stored,
        )

    def visible(self, policies: tuple[str, ...]) -> Visible:
        """What who may use ``policies`` sees. Policies that do not exist show nothing.

        Worked out once for each set of policies that somebody has, not for each tenant.
        """
        found = self._views.get(policies)
        if found is None:
            found = self._seen_by(policies)
            if len(self._views) >= _MOST_VIEWS:  # more different sets than anybody has: begin anew
                self._views.clear()
            self._views[policies] = found
        return found

    def _seen_by(self, policies: tuple[str, ...]) -> Visible:
        none: frozenset[str] = frozenset()
        reached = frozenset().union(*(self.reachable.get(policy, none) for policy in policies))
        deployments = tuple(each for each in self.config.deployments if each.id in reached)
        ids = frozenset(each.model for each in deployments)
        return Visible(
            models=tuple(model for model in self.config.models if model.id in ids),
            ids=ids,
            deployments=deployments,
            deployment_ids=reached,
            providers=frozenset(each.provider for each in deployments),
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

"""Policies that nothing in a registry could ever satisfy, so that an operator learns it before a caller does.

Looks at now and at every later moment at which something may get better, and takes evidence for granted where it is
configured.
Only tier, scopes, drift and origins are looked at: what depends on a call or on prices is ``policy``'s alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sovereign_ext.config.model import Config, Deployment, Policy
from sovereign_ext.config.trust import Drift, Origin, Tier
from sovereign_ext.registry import tiers
from sovereign_ext.registry.dossier import Dossier
from sovereign_ext.registry.parties import Findings

_MOMENTS: Final = 32
"""So many changes ahead are looked at, the next ones first."""

_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a deployment can reach at one moment, and what keeps it from more."""

    tier: Tier
    missing: tiers.Codes
    scopes: frozenset[str]
    drift: Drift


def warn_of_policies(
    config: Config, dossiers: Mapping[str, Dossier], now_s: float, findings: Findings
) -> None:
    """A warning for each policy that no deployment of its providers can satisfy at any moment.

    A configuration without deployments is one in the making; everybody sees what it lacks.
    """
    if not config.deployments:
        return
    ahead = {name: _Ahead(dossier, now_s) for name, dossier in dossiers.items()}
    origins = {
        item.id: (
            next(provider.origin for provider in config.providers if provider.id == item.provider),
            next(model.origin for model in config.models if model.id == item.model),
        )
        for item in config.deployments
    }
    for index, policy in enumerate(config.policies):
        named = policy.named_providers
        candidates = [item for item in config.deployments if named is None or item.provider in named]
        if not candidates:
            findings.warn_config(("policies", index), "can never be satisfied: its providers serve nothing")
            continue
        lacks = [(item, _lacks(policy, ahead[item.id], origins[item.id])) for item in candidates]
        if all(lack is not None for _, lack in lacks):
            findings.warn_config(("policies", index), f"can never be satisfied: {_in_words(lacks)}")


class _Ahead:
    """What a deployment can reach now and later; each moment is looked at once, and only if it is asked for."""

    def __init__(self, dossier: Dossier, now_s: float) -> None:
        # Nothing gets better by an end, but for drift: a bad report may be over, and a good one count alone.
        turns = {word.since for word in dossier.provider_words}
        turns.update(word.held.since for word in dossier.witness_words)
        turns.update(turn for word in dossier.drift_words for turn in word.turns if turn != math.inf)
        self._dossier = dossier
        self._at = [now_s, *sorted(turn for turn in turns if turn > now_s)[:_MOMENTS]]
        self._seen: list[_Moment] = []

    def __iter__(self) -> Iterator[_Moment]:
        for index, at in enumerate(self._at):
            if index == len(self._seen):
                self._seen.append(_moment(self._dossier, at))
            yield self._seen[index]


def _moment(dossier: Dossier, at: float) -> _Moment:
    drift, _ = tiers.drift_of(dossier, at)
    attested, _ = tiers.attested(dossier, at)
    witnessed = tiers.witnessed(dossier, at, drift)
    unsealed = () if dossier.evidence is not None else (tiers.NO_EVIDENCE,)
    tier = Tier.SEALED
    for level, codes in ((Tier.WITNESSED, unsealed), (Tier.ATTESTED, witnessed), (Tier.OPEN, attested)):
        if codes:
            tier = level
    scopes = frozenset(vouch.scope for vouch in tiers.vouches(dossier, at))
    return _Moment(tier, attested + witnessed + unsealed, scopes, drift)


def _lacks(policy: Policy, ahead: Iterable[_Moment], origins: tuple[Origin, Origin]) -> str | None:
    """What is always missing; ``None`` if there is a moment at which nothing is."""
    allowed = frozenset(policy.allowed_origins)
    if allowed and not all(allowed.intersection(origin.names) for origin in origins):
        return "its origin or its model's is not allowed"
    lack = None
    for moment in ahead:
        if moment.tier.rank < policy.required_tier.rank:
            lack = lack or f"reaches '{moment.tier}' only ({', '.join(moment.missing)})"
        elif not moment.scopes.issuperset(policy.required_scopes):
            missing = [scope for scope in policy.required_scopes if scope not in moment.scopes]
            lack = lack or f"nobody vouches for {', '.join(missing)}"
        elif policy.max_drift is not None and not _drift_passes(moment.drift, policy.max_drift):
            lack = lack or f"its drift is {moment.drift}"
        else:
            return None
    return lack


def _drift_passes(drift: Drift, most: Drift) -> bool:
    return drift is not Drift.UNKNOWN and drift.rank <= most.rank


def _in_words(lacks: list[tuple[Deployment, str | None]]) -> str:
    words = [f"'{item.id}': {lack}" for item, lack in lacks[:_SHOWN]]
    if len(lacks) > _SHOWN:
        words.append(f"and {len(lacks) - _SHOWN} more")
    return "; ".join(words)

"""Which candidates may answer a request under a policy, and for the others every rule they fail.

Pure: what is known of a candidate is an argument, so the same call re-evaluates a past decision. Runs before
anything is sent and before anything costs money. It does not choose among the eligible; ``routing.plan``
orders them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from sovereign_ext.config.model import Capability, Deployment, Model, Policy, Provider
from sovereign_ext.policy.registry import RULES
from sovereign_ext.policy.rules.base import Candidate, DependsOn, RequestFacts, Rule, RuleFailure


@dataclass(frozen=True, slots=True)
class Rejection:
    """A candidate that is ruled out, with every rule it fails (at least one)."""

    candidate: Candidate
    failures: tuple[RuleFailure, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the failed rules, in the order of the registry."""
        return tuple(failure.rule for failure in self.failures)


class Evaluation(msgspec.Struct, frozen=True):
    """Both halves keep the order the candidates were given in."""

    eligible: tuple[Candidate, ...] = ()
    rejections: tuple[Rejection, ...] = ()


def evaluate(policy: Policy, candidates: Iterable[Candidate], request: RequestFacts) -> Evaluation:
    """Ask every rule that applies under ``policy`` about every candidate."""
    rules = _rules_of(policy)
    eligible: list[Candidate] = []
    rejections: list[Rejection] = []
    for candidate in candidates:
        failures: list[RuleFailure] = []
        for rule in rules:
            failure = rule.check(policy, candidate, request)
            if failure is not None:
                failures.append(failure)
        if failures:
            rejections.append(Rejection(candidate, tuple(failures)))
        else:
            eligible.append(candidate)
    return Evaluation(tuple(eligible), tuple(rejections))


def _rules_of(policy: Policy) -> tuple[Rule, ...]:
    """The rules that apply under ``policy``; asked for with every call, so they are kept."""
    kept = _kept.get(id(policy))
    if kept is None:
        if len(_kept) >= _KEPT_MOST:
            _kept.clear()
        kept = _kept[id(policy)] = policy, tuple(rule for rule in RULES if rule.applies(policy))
    return kept[1]


_KEPT_MOST: Final = 1024
_kept: Final[dict[int, tuple[Policy, tuple[Rule, ...]]]] = {}
"""By identity; the policy is kept with it, so that no other can come to have its identity."""

_CONFIG_RULES: Final = tuple(rule for rule in RULES if rule.depends_on is DependsOn.CONFIG)
_ANY_REQUEST: Final = RequestFacts(Capability.CHAT)  # such rules do not look at it


def routable(policy: Policy, deployment: Deployment, provider: Provider, model: Model) -> bool:
    """Whether the policy could ever route to the deployment: the rules that depend on the file alone pass.

    Evidence is left out on purpose. A model whose tier has lapsed stays visible and a call for it is denied
    with the reason (403), instead of the model seeming not to exist (404).
    """
    candidate = Candidate(deployment, provider, model)
    return all(
        rule.check(policy, candidate, _ANY_REQUEST) is None for rule in _CONFIG_RULES if rule.applies(policy)
    )

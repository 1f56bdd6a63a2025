"""Which deployments may answer a request under a policy, and for the others every rule they fail.

Pure: the tiers are an argument, so the same call re-evaluates a past decision. Runs before anything is sent
and before anything costs money. It does not choose among the eligible; ``routing.plan`` orders them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from sovereign_ext.config.model import Capability, Deployment, Policy
from sovereign_ext.config.trust import Tier
from sovereign_ext.policy.registry import RULES
from sovereign_ext.policy.rules.base import DependsOn, RequestFacts, RuleFailure

ExpectedTier = Callable[[Deployment], Tier]
"""The tier a deployment is expected to reach, by the evidence at hand."""


def without_evidence(deployment: Deployment) -> Tier:
    """The tier of everything about which nothing is proven: unknown never passes, so ``open``."""
    return Tier.OPEN


@dataclass(frozen=True, slots=True)
class Rejection:
    """A deployment that is ruled out, with every rule it fails (at least one)."""

    deployment: Deployment
    failures: tuple[RuleFailure, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Both halves keep the order the deployments were given in."""

    eligible: tuple[Deployment, ...]
    rejections: tuple[Rejection, ...]


def evaluate(
    policy: Policy,
    deployments: Iterable[Deployment],
    request: RequestFacts,
    expected_tier: ExpectedTier = without_evidence,
) -> Evaluation:
    """Ask every rule about every deployment."""
    eligible: list[Deployment] = []
    rejections: list[Rejection] = []
    for deployment in deployments:
        tier = expected_tier(deployment)
        failures: list[RuleFailure] = []
        for rule in RULES:
            failure = rule.check(policy, deployment, tier, request)
            if failure is not None:
                failures.append(failure)
        if failures:
            rejections.append(Rejection(deployment, tuple(failures)))
        else:
            eligible.append(deployment)
    return Evaluation(tuple(eligible), tuple(rejections))


_CONFIG_RULES: Final = tuple(rule for rule in RULES if rule.depends_on is DependsOn.CONFIG)
_ANY_REQUEST: Final = RequestFacts(Capability.CHAT)  # such rules look at neither request nor tier


def routable(policy: Policy, deployment: Deployment) -> bool:
    """Whether the policy could ever route to the deployment: the rules that depend on the file alone pass.

    Evidence is left out on purpose. A model whose tier has lapsed stays visible and a call for it is denied
    with the reason (403), instead of the model seeming not to exist (404).
    """
    return all(rule.check(policy, deployment, Tier.OPEN, _ANY_REQUEST) is None for rule in _CONFIG_RULES)

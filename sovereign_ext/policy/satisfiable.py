"""Policies that some deployments of a configuration, or all of them, can never satisfy, as far as the file alone tells.

Looks at data handling and prices. Tiers, scopes, drift and origins are ``registry.reach``'s, which knows the
statements; what a call may cost, how fast a provider is and conditions are only known when there is a call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sovereign_ext.config.model import Capability, Config, Policy
from sovereign_ext.config.yamltree import dotted
from sovereign_ext.errors import ConfigError
from sovereign_ext.policy.cost import estimate_nano_usd, window_of
from sovereign_ext.policy.registry import RULES
from sovereign_ext.policy.rules.base import Candidate, RequestFacts, Rule, RuleFailure

_BEFORE: Final = [rule for rule in RULES if rule.name in ("provider", "origin")]
_ASKED: Final = [rule for rule in RULES if rule.name in ("data_handling", "cost")]
_SMALLEST: Final = RequestFacts(Capability.CHAT, 0, 0)  # costs nothing wherever there is a price
_SHOWN: Final = 4


def warnings(config: Config, file: str = "sovereign.yaml") -> Iterator[ConfigError]:
    """A warning for each policy under which every call will be refused, whatever it asks for, and for each with a cost
    cap that rules out deployments only because they have no price.

    They name ``file`` and are not raised: such a file can be used.
    """
    models = {model.id: model for model in config.models}
    providers = {provider.id: provider for provider in config.providers}
    candidates = [
        Candidate(
            deployment,
            providers[deployment.provider],
            models[deployment.model],
            cost_nano_usd=estimate_nano_usd(
                deployment.price, window_of(deployment, models[deployment.model]), _SMALLEST
            ),
        )
        for deployment in config.deployments
    ]
    for index, policy in enumerate(config.policies):
        left = [each for each in candidates if not _failures(_BEFORE, policy, each)]
        failed = [(each, _failures(_ASKED, policy, each)) for each in left]
        if failed and all(failures for _, failures in failed):
            reason = f"can never be satisfied: {_in_words(failed)}"
            yield ConfigError(reason, file=file, field=dotted(("policies", index)))
            continue
        unpriced = [f"'{each.deployment.id}'" for each in left if each.deployment.price is None]
        if unpriced and policy.cost_cap_usd is not None:
            reason = f"never lets {_listed(unpriced, ', ')} answer, since the price is not known"
            yield ConfigError(reason, file=file, field=dotted(("policies", index, "cost_cap_usd")))


def _failures(rules: list[Rule], policy: Policy, candidate: Candidate) -> list[RuleFailure]:
    found = (rule.check(policy, candidate, _SMALLEST) for rule in rules if rule.applies(policy))
    return [failure for failure in found if failure is not None]


def _in_words(failed: list[tuple[Candidate, list[RuleFailure]]]) -> str:
    words = [
        f"'{each.deployment.id}' fails {', '.join(f'{one.rule} ({one.actual})' for one in failures)}"
        for each, failures in failed
    ]
    return _listed(words, "; ")


def _listed(words: list[str], separator: str) -> str:
    more = [f"and {len(words) - _SHOWN} more"] if len(words) > _SHOWN else []
    return separator.join(words[:_SHOWN] + more)

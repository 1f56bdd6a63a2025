"""Candidates in the making."""

from __future__ import annotations

from typing import Any

from sovereign_ext.config.model import Capability, Deployment, Model, Policy, Provider, ProviderKind
from sovereign_ext.config.standing import Standing, Vouch
from sovereign_ext.config.trust import DataHandling, Drift, Origin, Price, Tier
from sovereign_ext.policy.rules.base import Candidate, RequestFacts, Rule, RuleFailure

CHAT = RequestFacts(Capability.CHAT)


def candidate(
    provider: str = "a",
    *named: Capability,
    capabilities: tuple[Capability, ...] = (),
    tier: Tier = Tier.OPEN,
    reasons: tuple[str, ...] = (),
    scopes: tuple[str, ...] = (),
    drift: Drift = Drift.UNKNOWN,
    provider_origin: dict[str, str] | None = None,
    model_origin: dict[str, str] | None = None,
    handling: DataHandling | None = None,
    region: str | None = None,
    price: Price | None = None,
    number: int = 0,
    **more: Any,
) -> Candidate:
    """``m`` as ``provider`` serves it; what is left out is not known."""
    return Candidate(
        Deployment(
            id=f"m-{provider}-{number}" if number else f"m-{provider}",
            model="m",
            provider=provider,
            upstream_model="u",
            capabilities=named or capabilities or (Capability.CHAT,),
            price=price,
        ),
        Provider(
            id=provider,
            kind=ProviderKind.MOCK,
            endpoint="http://secret-endpoint.example:1",
            origin=Origin(**provider_origin or {}),
            region=region,
            data_handling=handling or DataHandling(),
        ),
        Model(id="m", origin=Origin(**model_origin or {})),
        Standing(
            tier=tier,
            reasons=reasons,
            vouches=tuple(Vouch(f"w-{scope}", scope, "sha256:" + "0" * 64) for scope in scopes),
            drift=drift,
        ),
        **more,
    )


def check(rule: Rule, policy: Policy, each: Candidate, request: RequestFacts = CHAT) -> RuleFailure | None:
    """As ``evaluate`` asks: only if the rule applies."""
    return rule.check(policy, each, request) if rule.applies(policy) else None

"""Evaluates a policy document again over the facts that an entry recorded, without the gateway's policy engine.

Written from the documented meaning of the rules (docs/reference/policy.md), not from ``sovereign_ext.policy``, so
that the two do not share a mistake; a property test lets them agree. Reads the policy document (the JSON whose
SHA-256 is the policy digest) and the recorded facts of request and candidates. A member that is not known here is
refused: half a policy must not pass for a whole one. The ``condition`` is judged by a function that the caller may
bring (CEL needs a library, and an auditor need not have it); without one its recorded result is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

import msgspec

from sovereign_ext.errors import VerificationError

TIERS: Final = ("none", "open", "attested", "witnessed", "sealed")
"""Lowest first; ``none`` stands for no connection."""

_DRIFT: Final = ("stable", "watch", "drifted")
CONDITION: Final = "condition"

Tier = Literal["open", "attested", "witnessed", "sealed"]


class _Known(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A member that this verifier does not know is refused."""


class DataHandling(_Known, frozen=True):
    """What the policy wants of the provider's contract."""

    no_training: bool = False
    max_retention_days: int | None = None


class Fallback(_Known, frozen=True):
    """How far a call may walk."""

    enabled: bool = True
    max_attempts: int = 4


class Redaction(_Known, frozen=True):
    """What is done about credentials in a request, and which are looked for."""

    action: Literal["redact", "block", "observe"] = "redact"
    detect: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class PolicyDocument(_Known, frozen=True):
    """A policy as it was hashed. What is left out requires nothing."""

    id: str
    required_tier: Tier = "open"
    required_scopes: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_drift: Literal["stable", "watch", "drifted"] | None = None
    latency_cap_ms: int | None = None
    cost_cap_usd: str | None = None  # dollars, decimal
    data_handling: DataHandling = DataHandling()
    condition: str | None = None
    providers: tuple[str | tuple[str, ...], ...] = ()
    fallback: Fallback = Fallback()
    audit: Literal["standard", "strict"] = "standard"
    shadows: tuple[str, ...] = ()
    redaction: Redaction | None = None  # documents of before there was any have none

    @property
    def most_attempts(self) -> int:
        """How many deployments may be asked."""
        return self.fallback.max_attempts if self.fallback.enabled else 1


class Request(_Known, frozen=True):
    """What was known of the request."""

    capability: str
    prompt_tokens: int
    max_tokens: int | None = None


class Candidate(_Known, frozen=True):
    """A deployment as it was recorded; ``None`` where nothing was known."""

    deployment: str
    provider: str
    capabilities: tuple[str, ...]
    tier: Tier
    failed: tuple[str, ...]
    tier_reasons: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    provider_origin: tuple[str, ...] = ()
    model_origin: tuple[str, ...] = ()
    drift: str = "unknown"
    p95_ms: int | None = None
    cost_nano_usd: int | None = None
    trains: Literal[0, 1] | None = None
    retention_days: int | None = None
    region: str | None = None
    model_hash: str | None = None
    model_hash_basis: str = "none"
    documents: tuple[str, ...] = ()


_NO_REQUEST: Final = Request("", 0)

Rule = Callable[[PolicyDocument, Request, Candidate], bool]
"""Whether the candidate passes."""

Condition = Callable[[str, Mapping[str, Any], Mapping[str, Any]], bool]
"""Whether a condition (its text) holds, by an entry's predicate, for one of its candidates."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All candidates agree with what was recorded. ``taken`` says that a condition was taken as recorded."""

    eligible: frozenset[str]
    rejected: frozenset[str]
    taken: bool


def read_policy(document: bytes) -> PolicyDocument:
    """Read a policy document. Raises ``VerificationError``."""
    try:
        policy = msgspec.json.decode(document, type=PolicyDocument)
        _nano(policy.cost_cap_usd)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise VerificationError(f"the policy document is not one this verifier knows: {error}") from None
    return policy


def reevaluate(
    policy: PolicyDocument, predicate: Mapping[str, Any], condition: Condition | None = None
) -> Evaluated:
    """Judge every candidate of a decision's or outcome's predicate again.

    Raises ``VerificationError`` naming the first candidate that is malformed, comes twice, or fails other rules
    than its entry says.
    """
    candidates = predicate.get("candidates", [])
    if not isinstance(candidates, list):
        raise VerificationError("the entry's candidates are not a list")
    request = _read(predicate.get("request"), Request, "request") if candidates else _NO_REQUEST
    verdicts: dict[str, bool] = {}
    for facts in candidates:
        candidate = _read(facts, Candidate, "candidate")
        if candidate.deployment in verdicts:
            raise VerificationError(f"deployment {candidate.deployment} was judged twice")
        failed = failed_rules(policy, request, candidate)
        if policy.condition is not None:
            recorded = CONDITION not in candidate.failed
            holds = recorded if condition is None else condition(policy.condition, predicate, facts)
            failed = failed if holds else (*failed, CONDITION)
        if sorted(failed) != sorted(candidate.failed):
            raise VerificationError(
                f"under policy {policy.id} deployment {candidate.deployment} fails {_words(failed)}, "
                f"the entry says {_words(candidate.failed)}"
            )
        verdicts[candidate.deployment] = not failed
    return Evaluated(
        frozenset(name for name, passed in verdicts.items() if passed),
        frozenset(name for name, passed in verdicts.items() if not passed),
        taken=policy.condition is not None and condition is None and bool(verdicts),
    )


def failed_rules(policy: PolicyDocument, request: Request, candidate: Candidate) -> tuple[str, ...]:
    """The rules that the candidate fails, ``condition`` left out."""
    return tuple(name for name, passes in RULES.items() if not passes(policy, request, candidate))


def at_least(tier: str, required: str) -> bool:
    """Whether ``tier`` satisfies ``required``; what is no tier satisfies nothing."""
    return tier in TIERS and required in TIERS and TIERS.index(tier) >= TIERS.index(required)


def _provider(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    named = {name for link in policy.providers for name in ((link,) if isinstance(link, str) else link)}
    return not policy.providers or candidate.provider in named


def _capability(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    return request.capability in candidate.capabilities


def _tier(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    return at_least(candidate.tier, policy.required_tier)


def _scopes(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    return all(scope in candidate.scopes for scope in policy.required_scopes)


def _origin(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    both = (candidate.provider_origin, candidate.model_origin)
    return not policy.allowed_origins or all(
        any(name in policy.allowed_origins for name in origin) for origin in both
    )


def _drift(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    if policy.max_drift is None:
        return True
    return candidate.drift in _DRIFT[: _DRIFT.index(policy.max_drift) + 1]


def _latency(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    cap, p95 = policy.latency_cap_ms, candidate.p95_ms
    return cap is None or p95 is None or p95 <= cap  # a deployment that was never measured may be tried


def _cost(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    cap, estimate = _nano(policy.cost_cap_usd), candidate.cost_nano_usd
    return cap is None or (estimate is not None and estimate <= cap)


def _data_handling(policy: PolicyDocument, request: Request, candidate: Candidate) -> bool:
    wanted, days = policy.data_handling, candidate.retention_days
    if wanted.no_training and candidate.trains != 0:
        return False
    return wanted.max_retention_days is None or (days is not None and days <= wanted.max_retention_days)


RULES: Final[Mapping[str, Rule]] = {
    "provider": _provider,
    "capability": _capability,
    "tier": _tier,
    "scopes": _scopes,
    "origin": _origin,
    "drift": _drift,
    "latency": _latency,
    "cost": _cost,
    "data_handling": _data_handling,
}
"""Every rule but ``condition``, by the name that entries use."""


def _nano(dollars: str | None) -> Decimal | None:
    """Billionths of a dollar, exact. Raises ``ValueError``."""
    try:
        return None if dollars is None else Decimal(dollars).scaleb(9)
    except InvalidOperation:
        raise ValueError(f"{dollars!r} is not an amount") from None


def _read(value: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise VerificationError(f"the recorded {what} is not one this verifier knows: {error}") from None


def _words(rules: Iterable[str]) -> str:
    return ", ".join(rules) or "no rule"

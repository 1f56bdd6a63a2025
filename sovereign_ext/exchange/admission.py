"""Limits and a call: what it draws on once its plan is made, and what its caller is told of them.

Between the decision and anything that leaves: a call that its limits refuse has an entry like any other denial, but no
provider has heard of it. Counting is the ledger's (``tenants.ledger``). The headers and the error of a refused call are
OpenAI's: https://platform.openai.com/docs/guides/rate-limits, and what openai-python and openai-node do with them: they
wait as long as ``Retry-After`` says up to a minute, then ask again, unless ``x-should-retry`` is ``false``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from sovereign_ext.config.model import Audit
from sovereign_ext.errors import ApiError, CallerError
from sovereign_ext.exchange.exchange import Decision, Exchange
from sovereign_ext.exchange.lost import LostCall, encode
from sovereign_ext.policy.cost import billed_nano_usd, usd_text
from sovereign_ext.policy.rules.base import Candidate
from sovereign_ext.tenants.demand import Ask, demand_of, has_cap
from sovereign_ext.tenants.ledger import Demand, Draw, Measure, Refused, Remaining, Reserve, Slot
from sovereign_ext.tenants.resolve import Identity

LONGEST_WAIT_S: Final = 60.0
"""What the SDKs wait at most. For longer waits they would ask again at once, in vain."""

GRACE_MS: Final = 60_000
"""How much later than Envoy's own limit a call is taken to be lost."""

_WINDOWS: Final = {1: "second", 60: "minute", 3_600: "hour", 86_400: "day"}
_WORDS: Final = {
    Measure.REQUESTS: "requests",
    Measure.TOKENS_IN: "input tokens",
    Measure.TOKENS_OUT: "output tokens",
}
_SHOWN: Final = (
    ("requests", (Measure.REQUESTS,)),
    ("tokens", (Measure.TOKENS_IN, Measure.TOKENS_OUT)),
)


def affordable(identity: Identity, eligible: tuple[Candidate, ...], model: str) -> tuple[Candidate, ...]:
    """The candidates that a spend cap can be held over: those with a price, where there is a cap.

    Raises 403 ``price_unknown`` if none is left.
    """
    if not has_cap((identity.tenant, identity.allowance)):
        return eligible
    priced = tuple(each for each in eligible if each.cost_nano_usd is not None)
    if not priced:
        raise CallerError(
            403,
            f"There is a spend cap, and the price of the model `{model}` is not known where it may be used.",
            code="price_unknown",
            param="model",
        )
    return priced


def demanded(exchange: Exchange, decision: Decision, limit_ms: int) -> Demand | None:
    """What the decided call draws on; ``None`` if nothing limits it. ``limit_ms`` is how long it may take."""
    identity = exchange.identity
    considered = exchange.considered
    assert considered is not None, "nothing is decided unconsidered"
    dearest = max(decision.plan, key=lambda planned: planned.candidate.cost_nano_usd or 0)
    cost = dearest.candidate.cost_nano_usd
    estimate = None if cost is None else billed_nano_usd(cost, identity.tenant.margin_percent)
    facts, started_ms = considered.request, exchange.started.wall_ms
    ask = Ask(
        call=exchange.decision_id,
        model=exchange.model,
        tokens_in=facts.prompt_tokens,
        tokens_out=facts.max_tokens,
        choices=facts.choices,
        estimate_nano=estimate,
        started_ms=started_ms,
        expires_ms=started_ms + limit_ms + GRACE_MS,
        strict=decision.policy.audit is Audit.STRICT,
    )
    demand = demand_of(identity.tenant.id, identity.key_id, (identity.tenant, identity.allowance), ask)
    if demand is None or not demand.reserves or estimate is None:
        return demand
    return replace(demand, lost=encode(LostCall(exchange.as_lost(dearest, estimate), exchange.key)))


def refusal(found: Refused, now_ms: int) -> ApiError:
    """What the caller of a refused call is told."""
    by, wait_s = found.by, found.retry_after_s
    if isinstance(by, Reserve):
        return _spent(by, now_ms)
    if isinstance(by, Slot):
        message = f"{_whose(by)} may have {by.capacity} calls under way at once{_of_model(by)}. Please try again later."
        return CallerError(
            429, message, type="requests", code="concurrency_limit_exceeded", retry_after_s=wait_s, retry=True
        )
    return CallerError(
        429,
        _too_many(by, found.buckets, wait_s),
        type="requests" if by.measure is Measure.REQUESTS else "tokens",
        code="rate_limit_exceeded",
        retry_after_s=wait_s,
        retry=wait_s is not None and wait_s <= LONGEST_WAIT_S,
    )


def stood_against(found: Refused) -> tuple[str, str]:
    """Which limit a call met: its measure, and whose it is (``tenant``, ``key``, either with ``_model``)."""
    by = found.by
    measure = (
        by.measure if isinstance(by, Draw) else Measure.CONCURRENT if isinstance(by, Slot) else Measure.SPEND
    )
    return measure.value, ("key" if by.scope.key else "tenant") + ("_model" if by.scope.model else "")


def limit_headers(buckets: Sequence[Remaining]) -> tuple[tuple[str, str], ...]:
    """``x-ratelimit-*`` of requests and of tokens, of the bucket each that has least left."""
    headers: list[tuple[str, str]] = []
    for name, measures in _SHOWN:
        of_kind = [each for each in buckets if each.draw.measure in measures]
        if of_kind:
            tightest = min(of_kind, key=lambda each: (each.remaining, -each.reset_s))
            headers += (
                (f"x-ratelimit-limit-{name}", str(tightest.draw.capacity)),
                (f"x-ratelimit-remaining-{name}", str(tightest.remaining)),
                (f"x-ratelimit-reset-{name}", duration(tightest.reset_s)),
            )
    return tuple(headers)


def duration(seconds: float) -> str:
    """As OpenAI writes how long something takes: ``120ms``, ``7.66s``, ``6m0s``, ``23h59m1s``; rounded up to whole
    milliseconds."""
    milliseconds = max(0, -int(-seconds * 1000 // 1))
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    rest = f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{rest}"


def _spent(cap: Reserve, now_ms: int) -> ApiError:
    """The estimate is in dollars in the message: it is what the caller can change."""
    window = "in all" if not cap.end_ms else f"per {cap.window}"
    ends = ""
    if cap.end_ms > now_ms and cap.amount_nano <= cap.cap_nano:
        ends = f" The next {cap.window} begins at {datetime.fromtimestamp(cap.end_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}."
    return CallerError(
        402,
        f"{_whose(cap)} may spend {usd_text(cap.cap_nano)} USD {window}, and what is left does not cover this call, "
        f"which may cost up to {usd_text(cap.amount_nano)} USD. A smaller max_completion_tokens lowers that.{ends}",
        type="insufficient_quota",
        code="spend_cap_exceeded",
    )


def _too_many(by: Draw, buckets: Iterable[Remaining], wait_s: float | None) -> str:
    left = next((each.remaining for each in buckets if each.draw == by), 0)
    window = _WINDOWS.get(by.window_s, f"{by.window_s} s")
    text = (
        f"Rate limit reached: {_whose(by)} may use {by.capacity} "
        f"{_WORDS[by.measure]} per {window}{_of_model(by)}. Remaining {left}, requested {by.amount}."
    )
    if wait_s is None:
        return f"{text} The limit never holds so many: ask for less."
    return f"{text} Please try again in {duration(wait_s)}."


def _whose(by: Draw | Slot | Reserve) -> str:
    return "This API key" if by.scope.key else "The tenant"


def _of_model(by: Draw | Slot | Reserve) -> str:
    return f" of the model `{by.scope.model}`" if by.scope.model else ""

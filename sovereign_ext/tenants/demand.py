"""What a call draws on: from the limits of tenant and key, and what is known of the call, to a ``Demand``.

Both allowances hold, the tenant's and the key's; of each the limits for all models and those for the model that the
call names. What is drawn:

* requests: 1
* tokens in: the estimate of ``openai.tokens``
* tokens out: the most that the caller lets the answer have. Who sets no bound draws ``UNBOUNDED_TOKENS`` for each
  choice, or all that the bucket ever holds if that is less: the true count corrects it afterwards
* spend: the estimate with the tenant's margin, in the calendar windows (UTC) of the moment at which the call began

Pure: no clock, no counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

import msgspec

from sovereign_ext.config.tenancy import Allowance, RateLimit, SpendWindow
from sovereign_ext.tenants.ledger import Demand, Draw, Measure, Reserve, Scope, Slot

UNBOUNDED_TOKENS: Final = 1_024
"""What a choice without a bound draws on limits of tokens out."""

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

_EPOCH: Final = date(1970, 1, 1).toordinal()
_MONDAY: Final = 3  # days since one when 1970 began


class Ask(msgspec.Struct, frozen=True):
    """What is known of a call. ``tokens_out`` is the caller's bound for all ``choices`` together, ``None`` without one;
    ``estimate_nano`` what it may be billed at most, ``None`` where no price is known. Times are Unix milliseconds."""

    call: str
    model: str
    tokens_in: int
    tokens_out: int | None
    choices: int
    estimate_nano: int | None
    started_ms: int
    expires_ms: int
    strict: bool


def demand_of(tenant: str, key: str, allowances: tuple[Allowance, Allowance], ask: Ask) -> Demand | None:
    """What the call draws on; ``None`` if nothing limits it. ``allowances`` are the tenant's and the key's.

    Whoever has a cap must have an estimate.
    """
    scoped = [
        (allowance, each)
        for allowance, each in zip(allowances, ("", key), strict=True)
        if allowance.limits or allowance.spend_caps
    ]
    if not scoped:
        return None
    draws: list[Draw] = []
    slots: dict[Scope, Slot] = {}
    reserves: list[Reserve] = []
    for allowance, owner in scoped:
        for limit in allowance.limits:
            if limit.model is None or limit.model == ask.model:
                scope = Scope(tenant, owner, limit.model or "")
                draws.extend(_draws(limit, scope, ask))
                _slot(slots, limit, scope)
        reserves.extend(_reserves(allowance, Scope(tenant, owner), ask))
    if not (draws or slots or reserves):
        return None
    return Demand(
        ask.call, tenant, key, ask.expires_ms,
        tuple(draws), tuple(slots.values()), tuple(reserves), strict=ask.strict,
    )  # fmt: skip


def has_cap(allowances: Iterable[Allowance]) -> bool:
    """Whether any of them bounds spend, so that only what has a price can be used."""
    return any(allowance.spend_caps for allowance in allowances)


def window(per: SpendWindow, at_ms: int) -> tuple[int, int]:
    """Start and end (exclusive) of the calendar window in UTC that ``at_ms`` is in; 0 and 0 for ``total``."""
    if per is SpendWindow.TOTAL:
        return 0, 0
    if per is SpendWindow.HOUR:
        start = at_ms - at_ms % HOUR_MS
        return start, start + HOUR_MS
    day = at_ms // DAY_MS
    if per is SpendWindow.DAY:
        return day * DAY_MS, (day + 1) * DAY_MS
    if per is SpendWindow.WEEK:
        monday = day - (day + _MONDAY) % 7
        return monday * DAY_MS, (monday + 7) * DAY_MS
    first = date.fromordinal(_EPOCH + day).replace(day=1)
    after = (
        first.replace(year=first.year + 1, month=1)
        if first.month == 12
        else first.replace(month=first.month + 1)
    )
    return (first.toordinal() - _EPOCH) * DAY_MS, (after.toordinal() - _EPOCH) * DAY_MS


def _draws(limit: RateLimit, scope: Scope, ask: Ask) -> Iterable[Draw]:
    if limit.per is None:
        return
    seconds = limit.per.seconds
    if limit.requests is not None:
        yield Draw(scope, Measure.REQUESTS, limit.requests, seconds, 1)
    if limit.tokens_in is not None:
        yield Draw(scope, Measure.TOKENS_IN, limit.tokens_in, seconds, ask.tokens_in)
    if limit.tokens_out is not None:
        bound = ask.tokens_out
        amount = min(UNBOUNDED_TOKENS * ask.choices, limit.tokens_out) if bound is None else bound
        yield Draw(scope, Measure.TOKENS_OUT, limit.tokens_out, seconds, amount)


def _slot(slots: dict[Scope, Slot], limit: RateLimit, scope: Scope) -> None:
    """Several limits of one scope may count concurrent calls: the smallest holds."""
    if limit.concurrent is None:
        return
    before = slots.get(scope)
    if before is None or limit.concurrent < before.capacity:
        slots[scope] = Slot(scope, limit.concurrent)


def _reserves(allowance: Allowance, scope: Scope, ask: Ask) -> Iterable[Reserve]:
    for cap in allowance.spend_caps:
        if ask.estimate_nano is None:
            raise ValueError("a call under a spend cap needs an estimate")
        start_ms, end_ms = window(cap.per, ask.started_ms)
        yield Reserve(scope, cap.per.value, start_ms, end_ms, cap.nano_usd, ask.estimate_nano)

"""The ledger of one process: counts in memory, taken all or nothing, for one event loop.

``admit`` and ``settle`` cost as much as the call has limits, however many tenants there are. Memory is bounded by what
is in use: a bucket that has filled up again is the same as none, a spend counter that is not drawn on for a while can
be read again from the table that it is a copy of. Both are let go of little by little, when others come in.

No clock, no IO, and nothing that outlives the process: ``extproc.embedded`` reads what was spent and keeps a journal.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final

from sovereign_ext.tenants.buckets import Bucket, advanced, corrected, full_ms, wait_ms
from sovereign_ext.tenants.ledger import (
    SLOT_RETRY_S,
    SPEND_KEPT_MS,
    Admitted,
    Demand,
    Draw,
    Held,
    Measure,
    Refused,
    Remaining,
    Reserve,
    Scope,
    Slot,
    Standing,
    Used,
    Verdict,
)

_LOOKED_AT: Final = 2  # old ones for each that comes in: more go than come, if they may

_BucketKey = tuple[Scope, Measure, int]
_SpendKey = tuple[Scope, str, int]


@dataclass(slots=True)
class _Spend:
    """Billed in a window and reserved there, billionths of a dollar; by how many calls; when it was last drawn on."""

    spent: int
    reserved: int
    calls: int
    touched_ms: int

    def is_old(self, now_ms: int) -> bool:
        """Whether nothing draws on it, and nothing has for a while."""
        return not self.calls and self.touched_ms + SPEND_KEPT_MS <= now_ms


class MemoryLedger:
    """A ``Ledger``. Windows whose spend was not loaded are taken to begin with nothing."""

    def __init__(self) -> None:
        self._buckets: dict[_BucketKey, tuple[Bucket, int]] = {}  # with the capacity that it fills up to
        self._slots: dict[Scope, int] = {}
        self._spends: dict[_SpendKey, _Spend] = {}
        self._calls: dict[str, Demand] = {}
        self._old_buckets: deque[_BucketKey] = deque()
        self._old_spends: deque[_SpendKey] = deque()

    # -- spend that was before ---------------------------------------------------------------------------------

    def unknown(self, demand: Demand, now_ms: int) -> tuple[Reserve, ...]:
        """The reserves of whose windows it is not known, or not any more, what was spent."""
        return tuple(each for each in demand.reserves if self._is_unknown(_spend_key(each), now_ms))

    def load(self, reserve: Reserve, spent_nano: int, now_ms: int) -> None:
        """``spent_nano`` was billed before in the window of ``reserve``. Does nothing where that is known."""
        key = _spend_key(reserve)
        if not self._is_unknown(key, now_ms):
            return
        if key not in self._spends:
            self._forget_spends(now_ms)
            self._old_spends.append(key)
        self._spends[key] = _Spend(spent_nano, 0, 0, now_ms)

    # -- a call ------------------------------------------------------------------------------------------------

    def admit(self, demand: Demand, now_ms: int) -> Verdict:
        """Take all of ``demand`` or nothing."""
        buckets = [self._bucket(draw, now_ms) for draw in demand.draws]
        if demand.call in self._calls:
            return Admitted(remaining_of(demand.draws, buckets))
        by, longest = self._against(demand, buckets, now_ms)
        if by is not None:
            retry_s = None if longest == inf else longest
            return Refused(by, retry_s, remaining_of(demand.draws, buckets))
        self._calls[demand.call] = demand
        for at, draw in enumerate(demand.draws):
            used, part, at_ms = buckets[at]
            buckets[at] = Bucket(used + draw.amount, part, at_ms)
            self._keep(draw, buckets[at], now_ms)
        for slot in demand.slots:
            self._slots[slot.scope] = self._slots.get(slot.scope, 0) + 1
        for reserve in demand.reserves:
            if _spend_key(reserve) not in self._spends:
                self.load(reserve, 0, now_ms)
            spend = self._spends[_spend_key(reserve)]
            spend.reserved += reserve.amount_nano
            spend.calls += 1
            spend.touched_ms = now_ms
        return Admitted(remaining_of(demand.draws, buckets))

    def settle(self, call: str, used: Used, now_ms: int) -> None:
        """Give back what ``call`` did not use, once."""
        demand = self._calls.pop(call, None)
        if demand is None:
            return
        for draw in demand.draws:
            actual = _actual(draw, used)
            if actual is not None and actual != draw.amount:
                self._keep(draw, corrected(self._bucket(draw, now_ms), actual - draw.amount), now_ms)
        for slot in demand.slots:
            left = self._slots[slot.scope] - 1
            if left:
                self._slots[slot.scope] = left
            else:
                del self._slots[slot.scope]
        for reserve in demand.reserves:
            spend = self._spends[_spend_key(reserve)]
            spend.reserved -= reserve.amount_nano
            spend.calls -= 1
            spend.spent += reserve.amount_nano if used.billed_nano is None else used.billed_nano
            spend.touched_ms = now_ms

    def standing(self, demand: Demand, now_ms: int) -> Standing:
        """How everything in ``demand`` stands. Windows whose spend was not loaded begin with nothing."""
        buckets = [self._bucket(draw, now_ms) for draw in demand.draws]
        spends = [self._spends.get(_spend_key(reserve)) for reserve in demand.reserves]
        return Standing(
            remaining_of(demand.draws, buckets),
            tuple(self._slots.get(slot.scope, 0) for slot in demand.slots),
            tuple(Held(0, 0) if each is None else Held(each.spent, each.reserved) for each in spends),
        )

    def overdue(self, now_ms: int) -> tuple[Demand, ...]:
        """Calls that should be over by now and were never settled."""
        return tuple(demand for demand in self._calls.values() if demand.expires_ms <= now_ms)

    # -- inside ------------------------------------------------------------------------------------------------

    def _against(
        self, demand: Demand, buckets: list[Bucket], now_ms: int
    ) -> tuple[Draw | Slot | Reserve | None, float]:
        """What refuses the call for longest, and for how many seconds."""
        by: Draw | Slot | Reserve | None = None
        longest = 0.0
        for draw, bucket in zip(demand.draws, buckets, strict=True):
            if bucket.used + draw.amount > draw.capacity:
                waited = wait_ms(bucket, draw.capacity, draw.window_s * 1000, draw.amount)
                wait_s = inf if waited is None else (bucket.at_ms + waited - now_ms) / 1000
                if by is None or wait_s > longest:
                    by, longest = draw, wait_s
        for slot in demand.slots:
            if self._slots.get(slot.scope, 0) >= slot.capacity and (by is None or longest < SLOT_RETRY_S):
                by, longest = slot, SLOT_RETRY_S
        for reserve in demand.reserves:
            spend = self._spends.get(_spend_key(reserve))
            held = 0 if spend is None else spend.spent + spend.reserved
            if held + reserve.amount_nano > reserve.cap_nano:
                ends = reserve.end_ms and reserve.amount_nano <= reserve.cap_nano
                wait_s = max(0.0, (reserve.end_ms - now_ms) / 1000) if ends else inf
                if by is None or wait_s > longest:
                    by, longest = reserve, wait_s
        return by, longest

    def _bucket(self, draw: Draw, now_ms: int) -> Bucket:
        found = self._buckets.get((draw.scope, draw.measure, draw.window_s))
        if found is None:
            return Bucket(0, 0, now_ms)
        bucket = advanced(found[0], draw.capacity, draw.window_s * 1000, now_ms)
        if bucket.at_ms < found[0].at_ms:
            self._keep(draw, bucket, now_ms)  # also if the call is refused, or it would never fill up
        return bucket

    def _keep(self, draw: Draw, bucket: Bucket, now_ms: int) -> None:
        key = (draw.scope, draw.measure, draw.window_s)
        if key not in self._buckets:
            if not bucket.used:
                return
            self._forget_buckets(now_ms)
            self._old_buckets.append(key)
        self._buckets[key] = (bucket, draw.capacity)

    def _forget_buckets(self, now_ms: int) -> None:
        for _ in range(min(_LOOKED_AT, len(self._old_buckets))):
            key = self._old_buckets.popleft()
            bucket, capacity = self._buckets[key]
            if bucket.at_ms + full_ms(bucket, capacity, key[2] * 1000) <= now_ms:
                del self._buckets[key]
            else:
                self._old_buckets.append(key)

    def _is_unknown(self, key: _SpendKey, now_ms: int) -> bool:
        spend = self._spends.get(key)
        return spend is None or spend.is_old(now_ms)

    def _forget_spends(self, now_ms: int) -> None:
        for _ in range(min(_LOOKED_AT, len(self._old_spends))):
            key = self._old_spends.popleft()
            spend = self._spends[key]
            if spend.is_old(now_ms):
                del self._spends[key]
            else:
                self._old_spends.append(key)


def _spend_key(reserve: Reserve) -> _SpendKey:
    return reserve.scope, reserve.window, reserve.start_ms


def _actual(draw: Draw, used: Used) -> int | None:
    """What the call used of what it drew; ``None``: what it drew stands."""
    if draw.measure is Measure.TOKENS_IN:
        return used.tokens_in
    return used.tokens_out if draw.measure is Measure.TOKENS_OUT else None


def remaining_of(draws: tuple[Draw, ...], buckets: list[Bucket]) -> tuple[Remaining, ...]:
    """How buckets that were brought up to now stand."""
    return tuple(
        Remaining(
            draw,
            max(0, draw.capacity - bucket.used),
            full_ms(bucket, draw.capacity, draw.window_s * 1000) / 1000,
        )
        for draw, bucket in zip(draws, buckets, strict=True)
    )

"""What the script's numbers mean: admitted, or what stood against it and for how long. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from sovereign_ext.tenants.buckets import Bucket, wait_ms
from sovereign_ext.tenants.ledger import (
    SLOT_RETRY_S,
    Admitted,
    Demand,
    Draw,
    Held,
    Refused,
    Remaining,
    Reserve,
    Slot,
    Standing,
    Verdict,
)
from sovereign_ext.tenants.memory import remaining_of


def verdict_of(demand: Demand, admitted: bool, numbers: Sequence[int], now_ms: int) -> Verdict:
    """``numbers`` are what ``admit.lua`` gives after the status: time; used and part of each bucket; calls of each
    slot; the sum of each window. Those of a refusal are from before. ``now_ms`` is the time of the windows.
    """
    found, behind = _buckets(demand, numbers), 1 + 2 * len(demand.draws)
    buckets = _remaining(found)
    if admitted:
        return Admitted(buckets)
    against = _draws_against(found)
    counts, sums = numbers[behind : behind + len(demand.slots)], numbers[behind + len(demand.slots) :]
    for slot, count in zip(demand.slots, counts, strict=True):
        if count >= slot.capacity:
            against.append((slot, SLOT_RETRY_S))
    for reserve, total in zip(demand.reserves, sums, strict=True):
        if total + reserve.amount_nano > reserve.cap_nano:
            ends = reserve.end_ms and reserve.amount_nano <= reserve.cap_nano
            against.append((reserve, max(0.0, (reserve.end_ms - now_ms) / 1000) if ends else inf))
    by, longest = max(against, key=lambda each: each[1])  # of equals the first
    return Refused(by, None if longest == inf else longest, buckets)


def standing_of(demand: Demand, numbers: Sequence[int]) -> Standing:
    """The same of ``standing.lua``, which gives what is spent and what is reserved of each window."""
    behind = 1 + 2 * len(demand.draws)
    counts, sums = numbers[behind : behind + len(demand.slots)], numbers[behind + len(demand.slots) :]
    windows = tuple(Held(spent, reserved) for spent, reserved in zip(sums[::2], sums[1::2], strict=True))
    return Standing(_remaining(_buckets(demand, numbers)), tuple(counts), windows)


def _buckets(demand: Demand, numbers: Sequence[int]) -> list[tuple[Draw, Bucket]]:
    behind = 1 + 2 * len(demand.draws)
    at_ms, used, parts = numbers[0], numbers[1:behind:2], numbers[2:behind:2]
    return [
        (draw, Bucket(count, part, at_ms))
        for draw, count, part in zip(demand.draws, used, parts, strict=True)
    ]


def _remaining(found: list[tuple[Draw, Bucket]]) -> tuple[Remaining, ...]:
    return remaining_of(tuple(draw for draw, _ in found), [bucket for _, bucket in found])


def _draws_against(found: list[tuple[Draw, Bucket]]) -> list[tuple[Draw | Slot | Reserve, float]]:
    against: list[tuple[Draw | Slot | Reserve, float]] = []
    for draw, bucket in found:
        if bucket.used + draw.amount > draw.capacity:
            waited = wait_ms(bucket, draw.capacity, draw.window_s * 1000, draw.amount)
            against.append((draw, inf if waited is None else waited / 1000))
    return against

"""What the script's numbers mean: admitted, or what stood against it and for how long. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sovereign_ext.tenants.ledger import Admitted, Demand, Draw, Refused, Remaining, Reserve, Slot, Verdict

SLOT_RETRY_S: Final = 1.0
"""When a call in flight will be over is not known."""


def verdict_of(demand: Demand, admitted: bool, numbers: Sequence[int], now_ms: int) -> Verdict:
    """``numbers`` are what ``admit.lua`` gives after the status: time; used and part of each bucket; calls of each
    slot; the sum of each window. Those of a refusal are from before.
    """
    found = list(zip(numbers[1::2], numbers[2::2], strict=False))[: len(demand.draws)]
    buckets = tuple(
        Remaining(draw, max(0, draw.capacity - used), _fill_s(draw, used, part))
        for draw, (used, part) in zip(demand.draws, found, strict=True)
    )
    if admitted:
        return Admitted(buckets)
    place = 1 + 2 * len(demand.draws)
    against: list[tuple[Draw | Slot | Reserve, float | None]] = [
        (
            draw,
            None if draw.amount > draw.capacity else _fill_s(draw, used + draw.amount - draw.capacity, part),
        )
        for draw, (used, part) in zip(demand.draws, found, strict=True)
        if used + draw.amount > draw.capacity
    ]
    for slot, count in zip(demand.slots, numbers[place:], strict=False):
        if count + 1 > slot.capacity:
            against.append((slot, SLOT_RETRY_S))
    for reserve, total in zip(demand.reserves, numbers[place + len(demand.slots) :], strict=True):
        if total + reserve.amount_nano > reserve.cap_nano:
            hopeless = reserve.amount_nano > reserve.cap_nano or not reserve.end_ms
            against.append((reserve, None if hopeless else max(0.0, (reserve.end_ms - now_ms) / 1000)))
    by, retry_after_s = max(against, key=lambda each: float("inf") if each[1] is None else each[1])
    return Refused(by, retry_after_s, buckets)


def _fill_s(draw: Draw, units: int, part: int) -> float:
    """Seconds until so many units have filled up."""
    if units <= 0:
        return 0.0
    return -((part - units * draw.window_s * 1000) // draw.capacity) / 1000

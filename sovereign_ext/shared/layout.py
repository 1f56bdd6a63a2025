"""How a demand looks in Valkey: names of keys, a reservation as one field, the arguments of the scripts.

All keys of a tenant have the tenant as their hash tag (Redis Cluster specification, "Hash tags"), so one script may
touch them all. Under ``sf:{tenant}:`` are

* ``r``: hash of call → ``expires holder json``, a reservation; the JSON has what ``record`` writes
* ``b:measure:window:key:model``: a bucket, ``used part at``
* ``c:key:model``: set of the calls that hold a slot
* ``w:window:start:key:model``: hash of a spend window: ``epoch``, ``spent``, ``reserved``; while it is loaded,
  ``loader``, ``until`` and ``late``

and under ``sf:{*}:``, which no tenant can be called, what is nobody's alone. Values in, values out: no IO.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

import msgspec

from sovereign_ext.tenants.ledger import SPEND_KEPT_MS, Demand, Draw, Measure, Reserve, Scope, Slot, Used

EPOCH: Final = "sf:{*}:epoch"
ROUTERS: Final = "sf:{*}:routers"
TENANTS: Final = "sf:{*}:tenants"
SWEEPER: Final = "sf:{*}:sweeper"
HEALTH: Final = "sf:{*}:health"

HOUR_MS: Final = 3_600_000
VOID_MS: Final = 60_000
"""How long a tombstone stays: longer than a question can be under way."""

Argument = str | int
_encode: Final = msgspec.json.encode
_decode: Final = msgspec.json.decode


def reservations(tenant: str) -> str:
    """The key of a tenant's reservations."""
    return f"sf:{{{tenant}}}:r"


def window_name(reserve: Reserve) -> str:
    """The last part of a window's key, by which a reservation is matched with it."""
    return f"w:{reserve.window}:{reserve.start_ms}:{reserve.scope.key}:{reserve.scope.model}"


def window_key(reserve: Reserve) -> str:
    """The key of a spend window."""
    return f"sf:{{{reserve.scope.tenant}}}:{window_name(reserve)}"


def _bucket_key(draw: Draw) -> str:
    scope = draw.scope
    return f"sf:{{{scope.tenant}}}:b:{draw.measure}:{draw.window_s}:{scope.key}:{scope.model}"


def _slot_key(slot: Slot) -> str:
    return f"sf:{{{slot.scope.tenant}}}:c:{slot.scope.key}:{slot.scope.model}"


def _slots_kept_ms(demand: Demand, now_ms: int) -> int:
    return max(demand.expires_ms - now_ms, 0) + HOUR_MS


def settles(demand: Demand) -> bool:
    """Whether anything of it is given back or corrected when the call is over."""
    if demand.slots or demand.reserves:
        return True
    return any(draw.measure is not Measure.REQUESTS for draw in demand.draws)


# -- a reservation --------------------------------------------------------------------------------------------


def record(demand: Demand, holder: str) -> bytes:
    """The reservation of a call: what was taken, by whom, until when."""
    body = (
        demand.key,
        [(d.scope.key, d.scope.model, d.measure, d.capacity, d.window_s, d.amount) for d in demand.draws],
        [(s.scope.key, s.scope.model, s.capacity) for s in demand.slots],
        [
            (r.scope.key, r.scope.model, r.window, r.start_ms, r.end_ms, r.cap_nano, r.amount_nano)
            for r in demand.reserves
        ],
        demand.strict,
        b64encode(demand.lost).decode() if demand.reserves else "",
    )
    return b"%d %s %s" % (demand.expires_ms, holder.encode(), _encode(body))


def read_record(tenant: str, call: str, stored: bytes) -> Demand:
    """The demand that ``record`` wrote. Raises ``ValueError`` for anything else."""
    try:
        expires, _, text = stored.split(b" ", 2)
        key, draws, slots, reserves, strict, lost = _decode(text)
        return Demand(
            call, tenant, key, int(expires),
            tuple(Draw(Scope(tenant, d[0], d[1]), Measure(d[2]), *d[3:]) for d in draws),
            tuple(Slot(Scope(tenant, s[0], s[1]), s[2]) for s in slots),
            tuple(Reserve(Scope(tenant, r[0], r[1]), *r[2:]) for r in reserves),
            bool(strict), b64decode(lost),
        )  # fmt: skip
    except (msgspec.DecodeError, TypeError, IndexError, ValueError):
        raise ValueError("a reservation in the shared store has another form") from None


# -- the scripts' keys and arguments --------------------------------------------------------------------------


def keys_of(demand: Demand) -> list[str]:
    """Reservations, buckets, slots, windows: the keys of ``admit`` and ``settle``."""
    keys = [reservations(demand.tenant)]
    keys.extend([_bucket_key(draw) for draw in demand.draws])
    keys.extend([_slot_key(slot) for slot in demand.slots])
    keys.extend([window_key(reserve) for reserve in demand.reserves])
    return keys


def admit_arguments(
    demand: Demand, stored: bytes, epoch: str, now_ms: int, clock: Argument
) -> list[Argument | bytes]:
    """The arguments of ``admit.lua``. ``clock`` is the time to use, empty for the server's."""
    arguments: list[Argument | bytes] = [
        clock, demand.call, stored, epoch, _slots_kept_ms(demand, now_ms),
        len(demand.draws), len(demand.slots), len(demand.reserves),
    ]  # fmt: skip
    for draw in demand.draws:
        arguments += (draw.capacity, draw.window_s * 1000, draw.amount)
    for slot in demand.slots:
        arguments.append(slot.capacity)
    for reserve in demand.reserves:
        arguments += (reserve.cap_nano, reserve.amount_nano, SPEND_KEPT_MS)
    return arguments


def standing_arguments(demand: Demand, epoch: str, clock: Argument) -> list[Argument | bytes]:
    """The arguments of ``standing.lua``."""
    arguments: list[Argument | bytes] = [clock, epoch]
    arguments += (len(demand.draws), len(demand.slots), len(demand.reserves))
    for draw in demand.draws:
        arguments += (draw.capacity, draw.window_s * 1000)
    return arguments


def settle_arguments(demand: Demand, used: Used, clock: Argument) -> list[Argument | bytes]:
    """The arguments of ``settle.lua`` for a call that is over."""
    actual = {Measure.TOKENS_IN: used.tokens_in, Measure.TOKENS_OUT: used.tokens_out}
    arguments: list[Argument | bytes] = [clock, demand.call, "settle"]
    arguments += (len(demand.draws), len(demand.slots), len(demand.reserves))
    for draw in demand.draws:
        count = actual.get(draw.measure)
        arguments += (draw.capacity, draw.window_s * 1000, 0 if count is None else count - draw.amount)
    for reserve in demand.reserves:
        billed = reserve.amount_nano if used.billed_nano is None else used.billed_nano
        arguments += (-reserve.amount_nano, billed)
    return arguments


def void_arguments(demand: Demand, now_ms: int, clock: Argument) -> list[Argument | bytes]:
    """The arguments of ``settle.lua`` for a call that never was, whether or not its question arrives."""
    arguments: list[Argument | bytes] = [clock, demand.call, f"{now_ms + VOID_MS} - -"]
    arguments += (len(demand.draws), len(demand.slots), len(demand.reserves))
    for draw in demand.draws:
        arguments += (draw.capacity, draw.window_s * 1000, -draw.amount)
    for reserve in demand.reserves:
        arguments += (-reserve.amount_nano, 0)
    return arguments


def hold_keys(demand: Demand) -> list[str]:
    """The keys of ``hold.lua``."""
    keys = keys_of(demand)
    return [keys[0], *keys[1 + len(demand.draws) :]]


def hold_arguments(demand: Demand, stored: bytes, epoch: str, now_ms: int) -> list[Argument | bytes]:
    """The arguments of ``hold.lua``."""
    arguments: list[Argument | bytes] = [demand.call, stored, epoch, _slots_kept_ms(demand, now_ms)]
    arguments += (len(demand.slots), len(demand.reserves))
    arguments += [reserve.amount_nano for reserve in demand.reserves]
    return arguments

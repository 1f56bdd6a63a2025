"""The arithmetic of token buckets, in whole numbers, the same to the unit here and in the script that runs in Valkey.

A bucket holds ``capacity`` units and fills up evenly in a window of ``window_ms`` milliseconds. Its state is three
whole numbers:

* ``used``: units that were taken and have not filled up yet, at least 0; more than ``capacity`` if it is overdrawn
* ``part``: of the next unit to fill up, how many ``window_ms``-ths have, ``0 <= part < window_ms``
* ``at_ms``: when that was so, Unix milliseconds

A bucket that is not there is full: ``(0, 0, now)``. Time does not go back: an earlier ``now_ms`` counts as ``at_ms``.
If it is earlier by more than the window, the clock was set back: the bucket stands as it stood, and fills up from
then on.

After ``elapsed`` milliseconds ``(elapsed × capacity + part) // window_ms`` units have filled up and the remainder is
the new ``part``. Where numbers are 64-bit floats (Lua's) the product may be too large; the same is had, exactly, from::

    n, rest = divmod(elapsed, window_ms)      q, r = divmod(capacity, window_ms)
    part    = rest × r + part                 filled = n × capacity + rest × q + part // window_ms
    part    = part % window_ms

because ``window_ms`` is at most a day, so that ``rest × r + part`` is below 2**53, and a product ``n × capacity`` above
2**53 is more than ``used`` can be. A full bucket keeps no part. Taking adds to ``used`` if that leaves it at most
``capacity``; correcting adds what may be negative, or overdraw it, within ``0 <= used <= MOST_USED``.

No clock, no limits, no identities: ``memory`` has those.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MOST_USED: Final = 8 * 10**15
"""What a bucket can be overdrawn to: whole numbers up to twice of it are exact as 64-bit floats."""


class Bucket(NamedTuple):
    """How a bucket stands."""

    used: int
    part: int
    at_ms: int


def advanced(bucket: Bucket, capacity: int, window_ms: int, now_ms: int) -> Bucket:
    """The bucket as it stands at ``now_ms``."""
    used, part, at_ms = bucket
    if now_ms <= at_ms:
        return bucket if at_ms - now_ms <= window_ms else Bucket(used, part, now_ms)
    filled, part = divmod((now_ms - at_ms) * capacity + part, window_ms)
    if filled >= used:
        return Bucket(0, 0, now_ms)
    return Bucket(used - filled, part, now_ms)


def corrected(bucket: Bucket, difference: int) -> Bucket:
    """The bucket after ``difference`` units more (or, negative, fewer) were used than were taken."""
    used = min(max(bucket.used + difference, 0), MOST_USED)
    return Bucket(used, bucket.part if used else 0, bucket.at_ms)


def wait_ms(bucket: Bucket, capacity: int, window_ms: int, amount: int) -> int | None:
    """Milliseconds from ``at_ms`` until ``amount`` units can be taken, 0 if at once; ``None``: never."""
    if amount > capacity:
        return None
    needed = bucket.used + amount - capacity
    return 0 if needed <= 0 else -((bucket.part - needed * window_ms) // capacity)


def full_ms(bucket: Bucket, capacity: int, window_ms: int) -> int:
    """Milliseconds from ``at_ms`` until it is full, 0 if it is."""
    return -((bucket.part - bucket.used * window_ms) // capacity) if bucket.used else 0

"""A point in time, taken at the edge and passed in: the core reads no clock."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """``mono`` is monotonic seconds (durations, deadlines); ``wall_ms`` is Unix milliseconds (records)."""

    mono: float
    wall_ms: int

"""How long one attempt may take, by the limits of its provider. Reads no clock: moments come in."""

from __future__ import annotations

from typing import Final

from sovereign_ext.config.model import Timeouts
from sovereign_ext.exchange.moment import Moment

CLIENT_BUFFER_BYTES: Final = 1024 * 1024
"""How much of an answer Envoy holds for a client before it stops reading from the provider. An attempt that has
passed on less cannot have been held up by its reader, so its silence is the provider's."""


class Deadline:
    """The limits that run once the provider's headers are there; until then Envoy's own hold.

    Times are monotonic seconds. ``held`` says that a stream has begun and nothing a reader would see has
    come: only then the first-byte limit counts.
    """

    __slots__ = ("_heard", "_started", "_timeouts")

    def __init__(self, timeouts: Timeouts, now: Moment) -> None:
        self._timeouts = timeouts
        self._started = self._heard = now.mono

    def heard(self, now: Moment) -> None:
        """Something came from the provider: the idle limit starts anew."""
        self._heard = now.mono

    def due(self, *, held: bool) -> float:
        """When the first of the limits runs out."""
        first = (self._first_byte,) if held else ()
        return min(self._total, self._idle, *first)

    def overdue(self, now: Moment) -> str:
        """The reason code of the limit that has run out."""
        if now.mono >= self._total:
            return "total_timeout"
        return "idle_timeout" if now.mono >= self._idle else "first_byte_timeout"

    @property
    def _total(self) -> float:
        return self._started + self._timeouts.total_ms / 1000

    @property
    def _idle(self) -> float:
        return self._heard + self._timeouts.idle_ms / 1000

    @property
    def _first_byte(self) -> float:
        return self._started + self._timeouts.first_byte_limit_ms(stream=True) / 1000

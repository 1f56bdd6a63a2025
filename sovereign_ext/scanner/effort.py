"""How much work a body may ask for, and the end of it: a hostile body must not hold a core for minutes.

What is counted are *fruitless places*: where an anchor and its tail made detectors judge, and nothing new came of it.
Honest texts have few, however many credentials they hold; a body made to be slow has nothing else. All other work is
linear in the body with a small constant. The bound is in proportion to the bytes that are searched.

Deliberately no clock: the same body is always scanned, or never.
"""

from __future__ import annotations

from typing import Final

FREE: Final = 8_192
"""Fruitless places that every body may have, whatever its size."""

BYTES_EACH: Final = 16
"""Bytes searched for which a body may have one fruitless place more."""


class NotScannable(Exception):
    """The body asks for more work than any honest one does: it has not been scanned to its end."""


class CalledOff(Exception):
    """Nobody waits for the result any more."""


class Effort:
    """The work of one scan. Another thread may call it off; all else belongs to the one that scans."""

    __slots__ = ("_left", "_wanted")

    def __init__(self) -> None:
        self._left = FREE
        self._wanted = True

    def search(self, size: int) -> None:
        """So many bytes are about to be searched."""
        self._left += size // BYTES_EACH
        self.go_on()

    def go_on(self) -> None:
        """Raises ``CalledOff`` where nobody waits any more."""
        if not self._wanted:
            raise CalledOff

    def fruitless(self, places: int) -> None:
        """At so many places nothing came of judging. Raises ``NotScannable`` where there are too many of them."""
        self._left -= places
        if self._left < 0:
            raise NotScannable

    def call_off(self) -> None:
        """Let the scan end at its next step."""
        self._wanted = False

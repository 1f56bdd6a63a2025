"""What one router tells the others of the deployments it asked: counts, latencies, circuits that opened or closed.

Values and the record they are taken from. How they travel is ``shared.exchange``'s part, what they mean ``health``'s.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sovereign_ext.routing.window import bin_of


@dataclass(frozen=True, slots=True)
class Opened:
    """A circuit cools down for ``left_s`` more seconds; ``backoff_s`` is how long it would do so by itself."""

    left_s: float
    backoff_s: float
    rate_limited: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened with a deployment since the last time it was told.

    ``latencies`` are counts by bin (``window.bin_of``) of seconds to first content. ``streak`` is how many failures
    came after the last success, or in all where there was none. ``why`` is the last failure's reason code. ``opened``
    and ``closed`` say how its circuit changed last; at most one of them.
    """

    deployment: str
    successes: int = 0
    failures: int = 0
    latencies: tuple[tuple[int, int], ...] = ()
    streak: int = 0
    why: str = ""
    opened: Opened | None = None
    closed: bool = False


@dataclass(slots=True)
class _Notes:
    successes: int = 0
    failures: int = 0
    latencies: Counter[int] = field(default_factory=Counter)
    streak: int = 0
    why: str = ""
    until: float | None = None
    backoff_s: float = 0.0
    rate_limited: bool = False
    closed: bool = False


class Record:
    """Collects what ``take`` gives."""

    def __init__(self) -> None:
        self._notes: dict[str, _Notes] = {}

    def success(self, deployment: str, latency_s: float | None, closed: bool) -> None:
        """An attempt succeeded; ``closed`` if that closed the circuit."""
        notes = self._of(deployment)
        notes.successes += 1
        notes.streak = 0
        if latency_s is not None:
            notes.latencies[bin_of(latency_s)] += 1
        if closed:
            notes.closed, notes.until = True, None

    def failure(self, deployment: str, why: str) -> None:
        """An attempt failed."""
        notes = self._of(deployment)
        notes.failures += 1
        notes.streak += 1
        notes.why = why

    def opened(self, deployment: str, until: float, backoff_s: float, rate_limited: bool, why: str) -> None:
        """The circuit cools down until ``until`` (monotonic seconds)."""
        notes = self._of(deployment)
        notes.until, notes.backoff_s, notes.rate_limited, notes.why = until, backoff_s, rate_limited, why
        notes.closed = False

    def take(self, now: float) -> tuple[Seen, ...]:
        """What happened since the last time."""
        notes, self._notes = self._notes, {}
        return tuple(_seen(deployment, each, now) for deployment, each in notes.items())

    def _of(self, deployment: str) -> _Notes:
        notes = self._notes.get(deployment)
        if notes is None:
            notes = self._notes[deployment] = _Notes()
        return notes


def _seen(deployment: str, notes: _Notes, now: float) -> Seen:
    opened = None
    if notes.until is not None and notes.until > now:
        opened = Opened(notes.until - now, notes.backoff_s, notes.rate_limited)
    return Seen(
        deployment=deployment,
        successes=notes.successes,
        failures=notes.failures,
        latencies=tuple(sorted(notes.latencies.items())),
        streak=notes.streak,
        why=notes.why,
        opened=opened,
        closed=notes.closed,
    )

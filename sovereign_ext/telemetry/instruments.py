"""Counters, histograms and gauges: plain numbers, until ``exposition`` makes text of them.

What a call counts is counted on its way, so here is what a library has of its own: a number in a dictionary takes 0.1
to 0.2 µs, prometheus-client's series 0.4 to 0.8, OpenTelemetry's 7 to 8 (ADR 0019). Series are never dropped: a counter
that vanishes and comes back is a reset to Prometheus. ``labels`` keeps their number bounded.

Counting belongs to one thread. Another one may read meanwhile: it copies numbers in one step of the interpreter.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Labels = tuple[str, ...]
"""Values, in the order of a metric's label names."""


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as docs/metrics.md lists it: its name in the exposition, type and label names, and its help text."""

    name: str
    type: str
    labels: tuple[str, ...]
    text: str


class Tally:
    """A counter."""

    def __init__(self, described: Described) -> None:
        self.described = described
        self._series: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count ``amount``, which is not negative."""
        self._series[labels] = self._series.get(labels, 0) + amount

    def series(self) -> Sequence[tuple[Labels, float]]:
        """As they are now."""
        return list(self._series.items())


class Spread:
    """A histogram. ``bounds`` are the upper bounds of its buckets, ascending; one more has what is above."""

    def __init__(self, described: Described, bounds: Sequence[float]) -> None:
        self.described = described
        self.bounds = tuple(bounds)
        self._series: dict[Labels, list[float]] = {}  # how many in each bucket, and the sum

    def add(self, labels: Labels, value: float) -> None:
        """Sort ``value``, in the metric's unit, into its bucket."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = [0] * (len(self.bounds) + 2)
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value

    def series(self) -> Iterable[tuple[Labels, list[float], float]]:
        """As they are now: how many in each bucket alone, and the sum of all values."""
        for labels, series in list(self._series.items()):
            *counts, total = series.copy()
            yield labels, counts, total


class Level:
    """A gauge, brought up to date whenever somebody asks. It has the series it was given last, so maybe none."""

    def __init__(self, described: Described) -> None:
        self.described = described
        self._found: tuple[tuple[Labels, float], ...] = ()

    def set(self, value: float) -> None:
        """Of a gauge without labels."""
        self._found = (((), value),)

    def replace(self, found: Iterable[tuple[Labels, float]]) -> None:
        """These series, and no longer those before."""
        self._found = tuple(found)

    def series(self) -> Sequence[tuple[Labels, float]]:
        """As they are now."""
        return self._found


Instrument = Tally | Spread | Level


class Instruments:
    """Makes them, and knows what it has made. A name that is there already is a ``ValueError``."""

    def __init__(self) -> None:
        self.made: Final[dict[str, Instrument]] = {}

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Tally:
        """``name`` ends in ``_total``."""
        made = Tally(Described(name, "counter", tuple(labels), text))
        self._keep(made)
        return made

    def histogram(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> Spread:
        """``name`` ends in its unit."""
        made = Spread(Described(name, "histogram", tuple(labels), text), bounds)
        self._keep(made)
        return made

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Level:
        """What can go up and down."""
        made = Level(Described(name, "gauge", tuple(labels), text))
        self._keep(made)
        return made

    def _keep(self, made: Instrument) -> None:
        name = made.described.name
        if name in self.made:
            raise ValueError(f"two metrics are called {name}")
        self.made[name] = made

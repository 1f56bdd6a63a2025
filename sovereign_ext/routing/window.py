"""Counts and latencies of one deployment over the last minute, in memory of fixed size.

A ring of buckets, each with two counters and a histogram of first-content latency whose bins grow by 10 %,
so a quantile is at most 5 % off whatever the range. Knows nothing of cool-downs; ``health`` decides what the
numbers mean. Times are monotonic seconds given by the caller; a time before the newest one counts as the
newest.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BIN_RATIO: Final = 1.1
FASTEST_S: Final = 0.001
"""Everything faster shares the first bin."""

BINS: Final = 146
"""The last bin begins at 1.1^145 ms, about 1000 seconds; everything slower shares it."""

_LOG_RATIO: Final = math.log(BIN_RATIO)
_VALUES: Final = tuple(FASTEST_S * math.exp((index + 0.5) * _LOG_RATIO) for index in range(BINS))


def bin_of(latency_s: float) -> int:
    """The histogram bin of a latency in seconds."""
    if not latency_s > FASTEST_S:  # also true for NaN
        return 0
    return int(min(math.log(latency_s / FASTEST_S) / _LOG_RATIO, BINS - 1))


def value_of(index: int) -> float:
    """The latency in seconds that stands for a bin: its geometric middle."""
    return _VALUES[index]


@dataclass(frozen=True, slots=True)
class WindowStats:
    """The whole window in five numbers. Latencies are seconds to first content, ``None`` without a sample."""

    successes: int
    failures: int
    p50_s: float | None
    p95_s: float | None


EMPTY: Final = WindowStats(0, 0, None, None)


class _Bucket:
    __slots__ = ("failures", "latencies", "samples", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.samples = 0
        self.latencies = array("I", bytes(array("I").itemsize * BINS))


class _Quantile:
    """Follows one quantile (nearest rank) of a histogram that changes by little between two questions.

    Keeps the bin it gave last and how many samples lie below that, so the next answer is a step or two away.
    """

    __slots__ = ("_below", "_bin", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._bin = 0
        self._below = 0  # samples in the bins before it

    def add(self, index: int, count: int = 1) -> None:
        """The histogram got ``count`` more samples in bin ``index``."""
        if index < self._bin:
            self._below += count

    def value(self, histogram: _Bucket) -> float | None:
        """The latency in seconds; ``None`` without a sample."""
        if not histogram.samples:
            return None
        rank = max(1, math.ceil(self._share * histogram.samples))
        while self._below >= rank:
            self._bin -= 1
            self._below -= histogram.latencies[self._bin]
        while self._below + histogram.latencies[self._bin] < rank:
            self._below += histogram.latencies[self._bin]
            self._bin += 1
        return _VALUES[self._bin]


class Window:
    """``span_s`` seconds in ``buckets`` buckets; what it covers varies between span minus one bucket and
    span.
    """

    __slots__ = ("_bucket_s", "_buckets", "_epoch", "_p50", "_p95", "_stats", "_total")

    def __init__(self, now: float, span_s: float = 60.0, buckets: int = 12) -> None:
        self._bucket_s = span_s / buckets
        self._buckets = [_Bucket() for _ in range(buckets)]
        self._total = _Bucket()  # kept in step, so that reading need not add up twelve histograms
        self._epoch = int(now // self._bucket_s)
        self._p50, self._p95 = _Quantile(0.5), _Quantile(0.95)
        self._stats: WindowStats | None = EMPTY  # None: stale

    def success(self, now: float, latency_s: float | None = None) -> None:
        """Count a success and, if it had content, how long that took to come."""
        self._advance(now)
        self._stats = None
        index = None if latency_s is None else bin_of(latency_s)
        for bucket in (self._buckets[self._epoch % len(self._buckets)], self._total):
            bucket.successes += 1
            if index is not None:
                bucket.samples += 1
                bucket.latencies[index] += 1
        if index is not None:
            self._p50.add(index)
            self._p95.add(index)

    def failure(self, now: float) -> None:
        """Count a failure."""
        self._advance(now)
        self._stats = None
        self._buckets[self._epoch % len(self._buckets)].failures += 1
        self._total.failures += 1

    def add(
        self, now: float, age_s: float, successes: int, failures: int, latencies: Iterable[tuple[int, int]]
    ) -> None:
        """Count what was seen elsewhere ``age_s`` seconds ago; ``latencies`` are counts by bin. Too old is nothing."""
        self._advance(now)
        epoch = min(int((now - age_s) // self._bucket_s), self._epoch)
        if self._epoch - epoch >= len(self._buckets):
            return
        self._stats = None
        bucket = self._buckets[epoch % len(self._buckets)]
        for each in (bucket, self._total):
            each.successes += successes
            each.failures += failures
        for index, count in latencies:
            for each in (bucket, self._total):
                each.samples += count
                each.latencies[index] += count
            self._p50.add(index, count)
            self._p95.add(index, count)

    def stats(self, now: float) -> WindowStats:
        """The numbers as of ``now``."""
        self._advance(now)
        if self._stats is None:
            total = self._total
            p50_s, p95_s = self._p50.value(total), self._p95.value(total)
            self._stats = WindowStats(total.successes, total.failures, p50_s, p95_s)
        return self._stats

    def _advance(self, now: float) -> None:
        epoch = int(now // self._bucket_s)
        passed = epoch - self._epoch
        if passed <= 0:
            return
        count = len(self._buckets)
        for step in range(min(passed, count)):
            self._expire(self._buckets[(epoch - step) % count])
        self._epoch = epoch

    def _expire(self, bucket: _Bucket) -> None:
        total = self._total
        if bucket.samples:
            for index, latencies in enumerate(bucket.latencies):
                if latencies:
                    total.latencies[index] -= latencies
                    bucket.latencies[index] = 0
                    self._p50.add(index, -latencies)
                    self._p95.add(index, -latencies)
        if bucket.successes or bucket.failures:
            total.successes -= bucket.successes
            total.failures -= bucket.failures
            total.samples -= bucket.samples
            bucket.successes = bucket.failures = bucket.samples = 0
            self._stats = None

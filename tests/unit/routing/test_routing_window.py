"""The rolling window: counts, quantiles, fixed memory."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.routing.window import BINS, FASTEST_S, Window, WindowStats, bin_of, value_of


def test_an_empty_window_has_no_latency() -> None:
    """Nothing is not zero."""
    assert Window(5.0).stats(5.0) == WindowStats(0, 0, None, None)


def test_successes_and_failures_leave_after_a_minute() -> None:
    """Each stays for at least the span minus one bucket, at most the span."""
    window = Window(0.0)
    window.success(0.0, 0.2)
    window.failure(4.9)
    window.success(30.0)
    assert window.stats(59.9) == WindowStats(2, 1, window.stats(59.9).p50_s, window.stats(59.9).p95_s)
    assert window.stats(60.0) == WindowStats(1, 0, None, None)
    assert window.stats(89.9).successes == 1
    assert window.stats(90.0) == WindowStats(0, 0, None, None)


def test_a_long_silence_empties_everything() -> None:
    """However many turns of the ring passed, and the ring is usable after it."""
    window = Window(0.0)
    for second in range(60):
        window.success(float(second), 1.0)
    assert window.stats(1e9) == WindowStats(0, 0, None, None)
    window.success(1e9, 1.0)
    assert window.stats(1e9).successes == 1


def test_a_clock_that_goes_back_loses_nothing() -> None:
    """An older time counts as the newest one."""
    window = Window(100.0)
    window.success(100.0, 0.5)
    window.failure(3.0)
    assert (window.stats(0.0).successes, window.stats(100.0).failures) == (1, 1)


@pytest.mark.parametrize("latency_s", [0.0011, 0.05, 0.3, 1.0, 12.0, 700.0])
def test_quantiles_are_within_five_percent(latency_s: float) -> None:
    """Bins grow by 10 %, and the middle stands for each."""
    window = Window(0.0)
    window.success(0.0, latency_s)
    for value in (window.stats(0.0).p50_s, window.stats(0.0).p95_s):
        assert value == pytest.approx(latency_s, rel=0.05)


def test_the_tail_is_not_the_middle() -> None:
    """Nearest rank: of 100 samples the 50th and the 95th."""
    window = Window(0.0)
    for number in range(100):
        window.success(0.0, 0.1 if number < 94 else 2.0)
    stats = window.stats(0.0)
    assert stats.p50_s == pytest.approx(0.1, rel=0.05)
    assert stats.p95_s == pytest.approx(2.0, rel=0.05)


@given(st.floats())
def test_any_latency_has_a_bin(latency_s: float) -> None:
    """NaN, infinities and negative numbers do not break the window."""
    assert 0 <= bin_of(latency_s) < BINS


@given(st.floats(FASTEST_S * 1.001, 900))
def test_a_bin_stands_for_its_values(latency_s: float) -> None:
    """At most 5 % away (and a hair for rounding at the edges)."""
    assert value_of(bin_of(latency_s)) == pytest.approx(latency_s, rel=0.0501)


events = st.lists(
    st.tuples(st.floats(0, 30), st.booleans(), st.none() | st.floats(0.0001, 2000)), min_size=1, max_size=150
)


@given(events)
def test_the_window_agrees_with_a_list_of_events(steps: list[tuple[float, bool, float | None]]) -> None:
    """The counts are those of the events whose bucket is among the last twelve."""
    window, now, kept = Window(0.0), 0.0, []
    for pause, ok, latency_s in steps:
        now += pause
        if ok:
            window.success(now, latency_s)
        else:
            window.failure(now)
        kept.append((int(now // 5), ok, latency_s))
        live = [event for event in kept if event[0] > int(now // 5) - 12]
        stats = window.stats(now)
        assert stats.successes == sum(event[1] for event in live)
        assert stats.failures == sum(not event[1] for event in live)
        samples = sorted(bin_of(event[2]) for event in live if event[1] and event[2] is not None)
        for quantile, value in ((0.5, stats.p50_s), (0.95, stats.p95_s)):
            rank = max(1, math.ceil(quantile * len(samples)))
            assert value == (value_of(samples[rank - 1]) if samples else None)


def size(window: Window) -> int:
    """Bytes held by the window's containers and histograms."""
    buckets = [*window._buckets, window._total]
    return sum(sys.getsizeof(bucket) + sys.getsizeof(bucket.latencies) for bucket in buckets)


def test_memory_does_not_grow() -> None:
    """A hundred thousand events of any latency take as much as none: about 10 KB."""
    window = Window(0.0)
    empty = size(window)
    for number in range(100_000):
        window.success(number * 0.01, (number % 977) / 100)
    assert size(window) == empty
    assert empty < 11_000

"""The arithmetic of buckets agrees with fractions, and the way of computing it in 64-bit floats gives the same."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from sovereign_ext.config.tenancy import MAX_UNITS
from sovereign_ext.tenants.buckets import MOST_USED, Bucket, advanced, corrected, full_ms, wait_ms

WINDOWS = st.sampled_from((1_000, 60_000, 3_600_000, 86_400_000))
CAPACITIES = st.integers(1, MAX_UNITS) | st.integers(1, 100)
USED = st.integers(0, MOST_USED) | st.integers(0, 200)


@st.composite
def buckets(draw: st.DrawFn) -> tuple[Bucket, int, int]:
    """A bucket, its capacity and its window in milliseconds."""
    window_ms = draw(WINDOWS)
    used = draw(USED)
    part = draw(st.integers(0, window_ms - 1)) if used else 0
    return Bucket(used, part, 5), draw(CAPACITIES), window_ms


def level(bucket: Bucket, window_ms: int) -> Fraction:
    """What is used, exactly."""
    return bucket.used - Fraction(bucket.part, window_ms)


ELAPSED = st.integers(-10, 10**9) | st.integers(0, 200_000)


@given(buckets(), ELAPSED)
def test_filling_up_is_exact(given_: tuple[Bucket, int, int], elapsed: int) -> None:
    bucket, capacity, window_ms = given_
    found = advanced(bucket, capacity, window_ms, bucket.at_ms + elapsed)
    exact = level(bucket, window_ms) - Fraction(max(0, elapsed) * capacity, window_ms)
    assert level(found, window_ms) == max(0, exact)
    assert 0 <= found.part < window_ms
    assert found.at_ms == bucket.at_ms + max(0, elapsed)


@given(buckets(), ELAPSED, ELAPSED)
def test_filling_up_in_two_steps_is_filling_up_once(
    given_: tuple[Bucket, int, int], one: int, two: int
) -> None:
    bucket, capacity, window_ms = given_
    middle, end = sorted((max(0, one), max(0, two)))
    twice = advanced(advanced(bucket, capacity, window_ms, 5 + middle), capacity, window_ms, 5 + end)
    assert twice == advanced(bucket, capacity, window_ms, 5 + end)


@given(buckets(), st.integers(0, 10**12))
@example((Bucket(MOST_USED, 86_399_999, 5), MAX_UNITS, 86_400_000), 7 * 86_400_000 - 1)
def test_the_same_is_had_in_64_bit_floats(given_: tuple[Bucket, int, int], elapsed: int) -> None:
    """Lua's numbers: every step as the module's docstring says, in floats only."""
    bucket, capacity, window_ms = given_
    w, c, gone = float(window_ms), float(capacity), float(elapsed)
    n, rest = divmod(gone, w)
    q, r = divmod(c, w)
    part = rest * r + float(bucket.part)
    filled = n * c + rest * q + part // w
    used = float(bucket.used) - filled
    floats = (0.0, 0.0) if used <= 0 else (used, part % w)
    found = advanced(bucket, capacity, window_ms, bucket.at_ms + elapsed)
    assert (found.used, found.part) == floats


@given(buckets(), st.integers(0, MAX_UNITS) | st.integers(0, 100))
def test_waiting_that_long_and_no_shorter_helps(given_: tuple[Bucket, int, int], amount: int) -> None:
    bucket, capacity, window_ms = given_
    waited = wait_ms(bucket, capacity, window_ms, amount)
    if amount > capacity:
        assert waited is None
        return
    assert waited is not None

    def fits(after_ms: int) -> bool:
        return advanced(bucket, capacity, window_ms, bucket.at_ms + after_ms).used + amount <= capacity

    assert fits(waited)
    assert waited == 0 or not fits(waited - 1)
    assert full_ms(bucket, capacity, window_ms) == wait_ms(bucket, capacity, window_ms, capacity)


@given(buckets(), st.integers(-MOST_USED, MOST_USED))
def test_a_correction_is_exact_within_its_bounds(given_: tuple[Bucket, int, int], difference: int) -> None:
    bucket, _, window_ms = given_
    found = corrected(bucket, difference)
    assert 0 <= found.used <= MOST_USED
    if 0 < bucket.used + difference <= MOST_USED:
        assert level(found, window_ms) == level(bucket, window_ms) + difference
    assert found.part == 0 or found.used

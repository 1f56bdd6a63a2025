"""Secrets that overlap: who is named, and that no byte of one is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.scanner.overlap import Found, resolved


def found(start: int, end: int, rank: int = 0) -> Found:
    return Found(start, end, rank, b"%d-%d" % (start, end))


def test_the_first_then_the_longest_then_the_detector_s_order_counts():
    assert resolved([found(5, 9), found(0, 3)]) == [found(0, 3), found(5, 9)]
    assert resolved([found(0, 3), found(0, 5)]) == [found(0, 5)]
    assert resolved([found(0, 3, 2), found(0, 3, 1)]) == [found(0, 3, 1)]


def test_what_sticks_out_is_replaced_by_itself():
    """With the whole secret, so that its number and its length are those of the secret."""
    assert resolved([found(0, 5), found(3, 9)]) == [found(0, 5), Found(5, 9, 0, b"3-9")]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.integers(0, 3)), max_size=12))
def test_all_is_covered_once(spans: list[tuple[int, int, int]]):
    some = [found(start, start + length, rank) for start, length, rank in spans]
    kept = resolved(some)
    covered = [at for one in kept for at in range(one.start, one.end)]
    assert covered == sorted({at for one in some for at in range(one.start, one.end)})
    assert kept == resolved(reversed(some))

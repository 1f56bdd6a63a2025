"""The engine: no anchor outside its intervals, however it is spelt; many threads; memory that matches do not take."""

from __future__ import annotations

import json
import threading
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanner_fakes import ALL, FIXED, detector

from sovereign_ext.scanner.engine import LONGEST_INTERVAL, Engine, Interval

ENGINE = Engine(ALL)
ANCHOR = "seven_"


def covers(body: bytes, at: int) -> bool:
    intervals, _ = ENGINE.intervals(body)
    return any(start <= at < end for start, end, _ in intervals)


SPELLINGS = (
    lambda c: c,
    lambda c: f"\\u{ord(c):04x}",
    lambda c: f"\\u{ord(c):04X}",
    lambda c: f"\\\\\\u{ord(c):04x}",
    lambda c: f"%{ord(c):02x}",
    lambda c: f"%25{ord(c):02X}",
)
BETWEEN = ("", "", "", "\u200b", "\\u200B", "\u00ad", "\\n", "\\n    ", "\\\\n> ", "\\r\\n\\t")


@given(
    st.lists(st.sampled_from(SPELLINGS), min_size=6, max_size=6),
    st.integers(1, 5),
    st.sampled_from(BETWEEN),
    st.sampled_from(["", " ", "\\n", "\\\\n", "\\u0020", "%20", "\u200b", "é"]),
)
def test_an_anchor_is_in_an_interval_however_it_is_spelt(spelt, at, between, before):
    """Each character in its own way; with something in between at one place, and something before it."""
    if "n" in between:
        spelt = [SPELLINGS[0]] * 6  # a broken line and another form in one anchor are not promised
    parts = [each(character) for each, character in zip(spelt, ANCHOR, strict=True)]
    anchor = "".join(parts[:at]) + between + "".join(parts[at:])
    text = f'{{"a":"some text {before}{anchor}and more"}}'.encode()
    assert covers(text, text.index(anchor.encode()))


@pytest.mark.parametrize(
    "text", ["a", "ase, \\n", "Seven_up seven _even_", "xseven_", "1seven_\\nsev", "seve-n_"]
)
def test_text_without_an_anchor_has_no_interval(text: str):
    assert ENGINE.intervals(f'{{"a":"{text}"}}'.encode()) == ([], {})


def test_a_slash_may_be_escaped_and_letters_may_be_of_any_case():
    for text in (r"fake:\/\/", r"fake:\\\/\\\/", "SECRET_Name", "xSecret_nAME"):
        assert ENGINE.intervals(text.encode())[0]


def test_an_interval_says_how_far_its_detectors_look():
    (interval,), _ = ENGINE.intervals(b'"seven_ fake://"')
    assert interval == Interval(0, 15, 256)


def test_intervals_of_a_body_full_of_anchors_are_few_and_bounded():
    body = b"seven_ " * 100_000
    intervals, _ = ENGINE.intervals(body)
    assert len(intervals) <= 2 * len(body) // LONGEST_INTERVAL + 1
    assert max(end - start for start, end, _ in intervals) < LONGEST_INTERVAL + 1024
    covered = 0
    for start, end, _ in intervals:
        assert start <= covered  # without gaps
        covered = end
    assert covered == len(body) - 1


def test_where_that_ends_which_is_to_be_noticed_is_told():
    engine = Engine(ALL, (rb"base64\s*,", rb"data:"))
    assert engine.intervals(b"a base64  , b, base64,") == ([], {0: array("I", [11, 22])})
    assert engine.intervals(b"xdata:x") == ([], {1: array("I", [6])})
    assert not engine.intervals(b"base64 seven_")[1]


def test_anchors_of_a_text_come_in_order_with_all_that_have_them():
    twin = detector("twin", (b"seven_", b"ven_"), rb"x")
    engine = Engine((FIXED, twin))
    assert engine.anchors(b"ven_ seven_") == [(0, (1,)), (5, (0, 1)), (7, (1,))]


def test_threads_do_not_disturb_one_another():
    """Vectorscan refuses a scratch space that is in use; each scan has its own."""
    bodies = [json.dumps({"a": " ".join(["seven_"] * count)}).encode() for count in range(1, 40)]
    wanted = [ENGINE.intervals(body) for body in bodies]
    failed: list[object] = []
    barrier = threading.Barrier(4)

    def scan() -> None:
        barrier.wait()
        try:
            failed.extend(
                body
                for _ in range(50)
                for body, w in zip(bodies, wanted, strict=True)
                if ENGINE.intervals(body) != w
            )
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=scan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []

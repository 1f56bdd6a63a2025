"""Canonical text: every hidden form is undone, nothing else is touched, and each byte knows where it came from."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanner_fakes import ALL

from sovereign_ext.scanner.canonical import Canonical, Joined
from sovereign_ext.scanner.regions import Region

CANONICAL = Canonical(ALL)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb"plain, \ and % alone", rb"plain, \ and % alone"),
        (rb"\u0073k", b"sk"),
        (rb"\\\\\\u0073k", b"sk"),
        (rb"a\/b\\/c", b"a/b/c"),
        (rb"\"\n\r\t\b\f", b'"\n\r\t\b\f'),
        (rb"\\n", b"\n"),
        (rb"\\\\", b"\\"),
        (rb"\u00e9\u20ac", "é€".encode()),
        (rb"\ud83d\ude00", "😀".encode()),
        (rb"\\ud83d\\ude00", "😀".encode()),
        (rb"x\ud83dy", b"x?y"),
        (rb"%73%6B", b"sk"),
        (rb"%2573 %25252573", b"s s"),
        (rb"100% %zz %2", rb"100% %zz %2"),
        (rb"\u0025\u0037\u0033", b"s"),
        (rb"\u005cu0073", b"s"),
        (rb"%5Cu0073", b"s"),
        (rb"\u00257\u0033", b"s"),
        ("s\u200bk\u00ad-\ufeff1".encode(), b"sk-1"),
        (rb"s\u200bk\\u00AD-\ufeff1", b"sk-1"),
        (rb"s%E2%80%8Bk", b"sk"),
        ("s\U000e0041k".encode(), b"sk"),
        (rb"s\udb40\udc41k", b"sk"),
        ("é ü 漢字 👩".encode(), "é ü 漢字 👩".encode()),
        (b"", b""),
    ],
)
def test_a_hidden_form_is_undone(raw: bytes, text: bytes):
    assert CANONICAL.text(raw) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (rb"C:\\npmx_1", rb"C:\npmx_1"),  # a folder of that name, and the only reading with an anchor
        (rb"C:\\\\npmx_1", rb"C:\npmx_1"),
        (rb"x\\r\\npmx_1", b"x\r\npmx_1"),  # the two make a line break
        (rb"x n\\\npmx_1", b"x n\npmx_1"),  # the anchor's letter is there, and then a line break
        (rb"\tn\\npmx_1", b"\tn\npmx_1"),
        (rb"xn\\npmx_1", rb"xn\npmx_1"),
        (rb"x\npmx_1", b"x\npmx_1"),  # a line break is one: ``pmx_`` is no anchor
        (rb"C:\\new", b"C:\new"),
        (rb"\\nseven_1", b"\nseven_1"),
    ],
)
def test_two_backslashes_before_an_anchor_are_no_line_break(raw: bytes, text: bytes):
    assert CANONICAL.text(raw) == text


def test_text_without_hidden_forms_is_the_same_object():
    raw = b"nothing here" * 10
    assert CANONICAL.text(raw) is raw


@given(st.text(), st.integers(0, 4))
def test_what_was_encoded_any_number_of_times_is_what_it_was(text: str, times: int):
    """But for backslashes and percent signs, which may begin something, and what takes no room."""
    for character in ("\\", "%"):
        text = text.replace(character, "")
    text = text.encode("utf-8", "ignore").decode()
    wanted = CANONICAL.text(text.encode())
    for _ in range(times):
        text = json.dumps(text)[1:-1]
    raw = text.encode()
    if times:
        wanted = b"".join(bytes((byte,)) for byte in wanted)
        printable = bytes(byte for byte in wanted if byte >= 0x20 and byte != 0x7F)
        undone = bytes(byte for byte in CANONICAL.text(raw) if byte >= 0x20 and byte != 0x7F)
        assert undone == printable or b"\\u00" in raw  # a control character may be any escape
    else:
        assert CANONICAL.text(raw) == wanted


FORMS = rb"""a s - _ \ \\ \" \n \u0073 \u005c u0073 % %73 %25 73 \u200b \ud83d\ude00 npmx_ 0 f n u""".split()
PIECES = st.lists(st.sampled_from([*FORMS, b" ", "é".encode(), "\u200b".encode()]), max_size=40).map(b"".join)


@given(PIECES)
def test_each_byte_of_the_text_stands_where_the_trace_says(raw: bytes):
    """Spans of raw bytes follow one another, and each alone says its byte or a character that holds it."""
    traces = CANONICAL.trace(raw)
    text = traces[-1].text
    assert text == CANONICAL.text(raw)
    before = 0
    for at in range(len(text)):
        start, end = at, at + 1
        for trace in reversed(traces):
            start, end = trace.start(start), trace.end(end)
        assert before <= start < end <= len(raw)
        before = start
        if end - start == 1:
            assert raw[start] == text[at]


@given(PIECES, st.integers(0, 100), st.integers(0, 100))
def test_a_region_is_the_text_around_its_core(raw: bytes, start: int, length: int):
    """Wherever it is cut, no hidden form is: text and places are those of the whole."""
    start = min(start, len(raw))
    region = Region(raw, CANONICAL, start, min(len(raw), start + length), reach=5)
    while region.grow(50, 50, 10):
        pass
    low, high = region.core
    assert 0 <= low <= high <= len(region.text)
    assert region.end >= min(len(raw), start + length)
    whole = Region(raw, CANONICAL, 0, len(raw))
    assert region.text == whole.text == CANONICAL.text(raw)
    for at in range(len(region.text)):
        assert region.raw(at, at + 1) == whole.raw(at, at + 1)


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        (b"ab\ncd", b"abcd"),
        (b"ab\r\n   cd", b"abcd"),
        (b"ab \\\n\tcd", b"abcd"),
        (b"> ab\n> cd\n> > ef", b"> abcdef"),
        (b"ab\n\ncd", b"abcd"),
        (b"\nab\n", b"ab"),
    ],
)
def test_lines_are_joined(lines: bytes, joined: bytes):
    assert Joined(lines).text == joined


@given(st.lists(st.sampled_from([b"a", b"b", b" ", b"\n", b"\r", b"\\", b"> "]), max_size=30).map(b"".join))
def test_joined_lines_know_their_places(source: bytes):
    joined = Joined(source)
    for start in range(len(joined.text)):
        assert joined.text[start] == source[_source(joined, start)]
        assert joined.place(_source(joined, start)) == start
        for end in range(start + 1, len(joined.text) + 1):
            places = joined.source(start, end)
            if places is not None:
                assert source[places[0]] == joined.text[start]
                assert source[places[1] - 1] == joined.text[end - 1]
                assert b"\n" in source[slice(*places)] or b"\r" in source[slice(*places)]


def _source(joined: Joined, at: int) -> int:
    """Where ``joined.text[at]`` stands: the end of the longest span that crosses a break, or the first line."""
    for start in range(at):
        places = joined.source(start, at + 1)
        if places is not None:
            return places[1] - 1
    return _first(joined) + at


def _first(joined: Joined) -> int:
    whole = joined.source(0, len(joined.text))
    if whole is not None:
        return whole[0]
    places, starts = joined._lines()
    return next(start for place, start in zip(reversed(places), reversed(starts), strict=True) if place == 0)

"""Server-sent events: the same events for the same bytes, whatever the cuts (cases 1-4, 6, 9)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sovereign_ext.openai.sse import DONE, Event, EventTooLarge, SseDecoder, frame

BOM = b"\xef\xbb\xbf"
TOKENS = st.sampled_from(
    [b"data:", b"data", b"event:", b"id:", b"retry:", b":", b" ", b"\n", b"\r", b"\r\n", b"\n\n", b"x",
     b"{}", "北🌍".encode(), BOM, b"\xef", b"\xbb", b"\0", b"[DONE]"]
)  # fmt: skip
STREAMS = st.lists(TOKENS, max_size=40).map(b"".join)


def events(*pieces: bytes, limit: int = 1000) -> list[Event]:
    decoder = SseDecoder(limit)
    found = [event for piece in pieces for event in decoder.feed(piece)]
    return found + list(decoder.flush())


def reference(stream: bytes) -> list[Event]:
    """The specification word by word, on the whole stream; only the end differs (see ``flush``)."""
    text = stream.removeprefix(BOM)
    for end in (b"\r\n", b"\r"):
        text = text.replace(end, b"\n")
    found, data, kind = [], [], b""
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if data:
                found.append(Event(kind, b"\n".join(data)))
            data, kind = [], b""
            continue
        name, colon, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if name == b"data":
            data.append(value)
        elif name == b"event" and colon:
            kind = value
    return found


@given(STREAMS, st.lists(st.integers(0, 200), max_size=8))
@example(b":\n" + BOM + b"data: x\n\n", [2])
@example(b"data: a\r\n\r\ndata: b\r\r", [8, 9, 10])
def test_cuts_do_not_matter(stream: bytes, cuts: list[int]):
    """Cases 1 and 3: any cuts give the events that the specification gives for the whole."""
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(bounds)]
    assert events(*pieces) == events(stream) == reference(stream)


@given(STREAMS)
def test_byte_by_byte(stream: bytes):
    """Case 1: one byte at a time."""
    assert events(*(stream[at : at + 1] for at in range(len(stream)))) == reference(stream)


def test_cut_inside_a_character():
    """Case 2: a cut inside 北 or 🌍 loses nothing."""
    stream = frame('{"a":"北🌍"}'.encode())
    for cut in range(len(stream)):
        assert events(stream[:cut], stream[cut:]) == [Event(b"", '{"a":"北🌍"}'.encode())]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends(end: bytes):
    """Case 3: LF, CRLF and CR end lines alike."""
    stream = end.join([b"event: e", b"data: a", b"data: b", b"", b"data: c", b"", b""])
    assert events(stream) == [Event(b"e", b"a\nb"), Event(b"", b"c")]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data:{}\n\n", [(b"", b"{}")]),  # case 4
        (b"data:  two\n\n", [(b"", b" two")]),
        (b"data\n\n", [(b"", b"")]),
        (b"data:\n\n", [(b"", b"")]),
        (b"data: a\nevent: late\n\n", [(b"late", b"a")]),
        (b": comment\nid: 7\nretry: 10\nfoo: bar\nfoo\ndata: a\n:\n\n", [(b"", b"a")]),
        (b"event: e\n\ndata: a\n\n", [(b"", b"a")]),
        (b"datax: a\n\n", []),
        (b"data: [DONE]", [(b"", b"[DONE]")]),
        (b"data: [DONE]\n", [(b"", b"[DONE]")]),
        (BOM + b"data: a\n\n", [(b"", b"a")]),
        (BOM, []),
        (BOM[:2], []),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_semantics(stream: bytes, expected: list[tuple[bytes, bytes]]):
    """Case 6: fields in any order, comments, no space, no last blank line."""
    assert events(stream) == [Event(*each) for each in expected]


def test_an_endless_line_is_refused():
    """Case 9: neither a line nor an event of many lines grows beyond the limit; what came before counts."""
    decoder = SseDecoder(100)
    found = decoder.feed(b"data: a\n\ndata: " + b"x" * 95)
    assert next(found) == Event(b"", b"a")
    with pytest.raises(EventTooLarge):
        next(found)
    with pytest.raises(EventTooLarge):
        events(*[b"data: 0123456789\n"] * 10, limit=100)
    with pytest.raises(EventTooLarge):
        events(b": " + b"x" * 200, limit=100)


@given(st.integers(1, 40), st.integers(1, 60))
def test_the_limit_does_not_depend_on_cuts(size: int, step: int):
    """Whether an event is too large is the same for all cuts."""
    stream = b"data: " + b"x" * size + b"\n\n"
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]

    def refused(*parts: bytes) -> bool:
        try:
            events(*parts, limit=30)
        except EventTooLarge:
            return True
        return False

    assert refused(*pieces) == refused(stream) == (size + 6 > 30)


def test_comments_may_go_on_for_hours():
    """Keep-alive comments without blank lines between them are no growing event."""
    assert events(*[b": ping\n"] * 1000, b"data: a\n\n", limit=50) == [Event(b"", b"a")]


@pytest.mark.parametrize("line", [b"\n", b"\r", b": x\n", b"id: 1\n\n", b"event: x\r\n\r\n"])
def test_what_says_nothing_has_an_end(line: bytes):
    """Lines without an event take time, and a compressed stream may have any number of them; events begin anew."""
    half = line * (180_000 // len(line))
    assert len(events(half, b"data: a\n\n", half, b"data: b\n\n")) == 2
    with pytest.raises(EventTooLarge):
        events(half, half)


def test_frame():
    """What is framed here is read back."""
    assert events(frame(b"{}") + frame(b"[]", b"kind") + DONE) == [
        Event(b"", b"{}"),
        Event(b"kind", b"[]"),
        Event(b"", b"[DONE]"),
    ]

"""The reader of AWS event stream frames: any cut, any damage; botocore's buffer is the judge."""

from __future__ import annotations

import base64
import struct
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from zlib import crc32

import judging
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.mock import eventstream as mock
from sovereign_ext.providers._eventstream import Frame, FrameReader
from sovereign_ext.providers.base import StreamFault

LIMIT = 64 * 1024
HELLO = mock.event("contentBlockDelta", '{"delta":{"text":"北京 🌍"},"contentBlockIndex":0}'.encode())
STOP = mock.event("messageStop", b'{"stopReason":"end_turn"}')
FAILED = mock.exception("throttlingException", b'{"message":"slow down"}')
ERROR = mock.encode({":message-type": "error", ":error-code": "Oops", ":error-message": "it broke"}, b"")


@pytest.fixture(scope="module")
def aws() -> Iterator[judging.Aws]:
    with judging.aws() as judge:
        yield judge


def read(*pieces: bytes, limit: int = LIMIT) -> tuple[list[Frame], str]:
    """All frames, and the outcome of the fault after them, if there was one."""
    reader, found = FrameReader(limit), []
    try:
        for piece in pieces:
            found.extend(reader.feed(piece))
    except StreamFault as fault:
        return found, fault.fault.outcome
    return found, ""


def test_frames() -> None:
    """Events, exceptions and errors, each with its name; several in one piece (case 11)."""
    found, fault = read(HELLO + STOP + FAILED + ERROR)
    assert not fault
    assert [(one.kind, one.name, one.message) for one in found] == [
        ("event", "contentBlockDelta", ""),
        ("event", "messageStop", ""),
        ("exception", "throttlingException", ""),
        ("error", "Oops", "it broke"),
    ]
    assert found[1].payload == b'{"stopReason":"end_turn"}'


def test_cut_at_every_byte() -> None:
    """Cases 1 and 11: in two at every byte, and byte by byte, the same frames."""
    stream = HELLO + STOP + ERROR
    whole = read(stream)
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == whole
    for cut in range(len(stream)):
        assert read(stream[:cut], stream[cut:]) == whole
        assert whole[0][: len(read(stream[:cut])[0])] == read(stream[:cut])[0]


@pytest.mark.parametrize("damage", ["prelude_crc", "message_crc", "length"])
def test_damage_ends_it(damage: str) -> None:
    """Case 11: frames before the damage count; after it there is no next frame, however good what follows."""
    broken = mock.damaged(HELLO, damage)  # type: ignore[arg-type]
    reader = FrameReader(LIMIT)
    found = []
    with pytest.raises(StreamFault, match="bad_frame"):
        found.extend(reader.feed(STOP + broken + STOP + STOP))
    assert [one.name for one in found] == ["messageStop"]
    with pytest.raises(StreamFault, match="bad_frame"):
        list(reader.feed(STOP))


def test_every_flipped_bit_is_noticed() -> None:
    """No bit of a frame can change and the frame be taken, nor anything after it."""
    for place in range(len(HELLO) * 8):
        broken = bytearray(HELLO)
        broken[place // 8] ^= 1 << place % 8
        found, fault = read(bytes(broken) + STOP + bytes(300))
        assert (found, bool(fault)) == ([], True), place


def prelude(total: int, headers: int) -> bytes:
    start = struct.pack(">II", total, headers)
    return start + struct.pack(">I", crc32(start))


@pytest.mark.parametrize(
    ("start", "outcome"),
    [
        (prelude(16 + LIMIT + 1, 0), "event_too_large"),
        (prelude(0xFFFFFFFF, 0), "event_too_large"),
        (prelude(0xFFFFFFFF, 128 * 1024 + 1), "bad_frame"),
        (prelude(15, 0), "bad_frame"),
        (prelude(0, 0), "bad_frame"),
        (prelude(100, 85), "bad_frame"),
        (bytes(12), "bad_frame"),
    ],
)
def test_lengths_are_refused_at_once(start: bytes, outcome: str) -> None:
    """Not after the bytes that they speak of have been collected (case 9)."""
    assert read(start) == ([], outcome)
    assert read(start[:-1]) == ([], "")


def test_what_fits_is_taken() -> None:
    """The limits are those of the payload and, apart from it, the headers."""
    assert len(read(mock.event("x", bytes(LIMIT)))[0]) == 1
    many = {":message-type": "event", ":event-type": "x"} | {f"h{n}": "v" * 1000 for n in range(100)}
    found, fault = read(mock.encode(many, b"p"))
    assert (found[0].payload, fault) == (b"p", "")


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x01a\x07\x00\x01b",  # no :message-type
        b"\x0d:message-type\x07\x00\x05event",  # no :event-type
        b"\x0d:message-type\x07\x00\x05other\x0b:event-type\x07\x00\x01x",
        b"\x0d:message-type\x06\x00\x05event\x0b:event-type\x07\x00\x01x",  # bytes, not text
        b"\x0d:message-type\x07\x00\x05event\x0b:event-type\x07\x00\x02x",  # cut off
        b"\x0d:message-type\x07\x00\x05event\x0b:event-type\x07\x00",
        b"\x0d:message-type\x07\x00\x05event\x0b:event-type",
        b"\x0d:message-type\x07\x00\x05event\x0b:event-type\x07\x00\x01\xff",  # no UTF-8
        b"\x0d:message-type\x07\x00\x05event\x0b:event-type\x0a\x00\x01x",  # no such type
        b"\x0d:message-type\x07\x00\x05event" * 2 + b"\x0b:event-type\x07\x00\x01x",
        b"\x0d:message-type\x07\x00\x05event\x0b:event-type\x07\x00\x01x\x01d\x09short",
    ],
)
def test_odd_headers(block: bytes) -> None:
    """Headers that do not say what the frame is, or cannot be read, make it a bad frame."""
    start = prelude(16 + len(block), len(block)) + block
    assert read(start + struct.pack(">I", crc32(start))) == ([], "bad_frame")


def test_memory_is_bounded() -> None:
    """A frame that never ends holds no more than its limit, however many bytes come."""

    def held(size: int) -> int:
        reader = FrameReader(LIMIT)
        tracemalloc.start()
        list(reader.feed(prelude(16 + size, 0)))
        try:
            for _ in range(size // 1024 + 50):
                list(reader.feed(bytes(1024)))
        except StreamFault:
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert held(LIMIT) < 4 * LIMIT


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = {
    0: st.just(b""), 1: st.just(b""), 2: st.binary(min_size=1, max_size=1), 3: st.binary(min_size=2, max_size=2),
    4: st.binary(min_size=4, max_size=4), 5: st.binary(min_size=8, max_size=8),
    6: st.binary(max_size=9).map(lambda value: struct.pack(">H", len(value)) + value),
    7: TEXT.map(lambda value: struct.pack(">H", len(value.encode())) + value.encode()),
    8: st.just(bytes(8)), 9: st.binary(min_size=16, max_size=16),
}  # fmt: skip


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame as the specification allows it: headers of every type among the ones that matter."""
    kind = draw(st.sampled_from([":event-type", ":exception-type", ":error-code"]))
    known = {
        ":message-type": {"ev": "event", "ex": "exception", "er": "error"}[kind[1:3]],
        kind: draw(TEXT),
        ":error-message": draw(TEXT),
    }
    block = [
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in known.items()
    ]
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4)):
        type_ = draw(st.sampled_from(sorted(VALUES)))
        block.append(b"\x01" + name.encode() + bytes([type_]) + draw(VALUES[type_]))
    headers = b"".join(draw(st.permutations(block)))
    payload = draw(st.binary(max_size=40))
    start = prelude(16 + len(headers) + len(payload), len(headers)) + headers + payload
    return start + struct.pack(">I", crc32(start))


def judged(aws: judging.Aws, stream: bytes) -> tuple[list[Frame], bool]:
    """What botocore reads, and whether it gave up."""
    answer = aws.ask("frames", data=base64.b64encode(stream).decode())
    found = []
    for frame in answer["frames"]:
        headers = frame["headers"]
        kind = headers.get(":message-type")
        name = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}.get(kind, "")
        message = headers.get(":error-message", "")
        found.append(Frame(kind, headers.get(name), message, base64.b64decode(frame["payload"])))
    return found, answer["broken"] is not None


@given(stream=st.lists(frames(), max_size=4).map(b"".join), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_botocore_reads_alike(aws: judging.Aws, stream: bytes, cuts: list[int]) -> None:
    """Legal frames, cut anywhere: the same frames as botocore finds, and no fault."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert (read(*pieces)[0], read(*pieces)[1] != "") == judged(aws, stream)


@given(
    stream=st.lists(frames(), min_size=1, max_size=3).map(b"".join),
    place=st.floats(0, 1),
    size=st.integers(0, 4),
    new=st.binary(max_size=5),
)
def test_damaged_streams(aws: judging.Aws, stream: bytes, place: float, size: int, new: bytes) -> None:
    """Bytes changed, lost or added: never a frame that botocore does not find too, in its place."""
    at = int(place * len(stream))
    broken = stream[:at] + new + stream[at + size :]
    found, fault = read(broken)
    theirs, gave_up = judged(aws, broken)
    assert found == theirs[: len(found)]
    assert fault or (len(found), gave_up) == (len(theirs), False)


@given(pieces=st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes(pieces: list[bytes]) -> None:
    """Nothing but frames and ``StreamFault`` comes out of arbitrary bytes."""
    read(*pieces)

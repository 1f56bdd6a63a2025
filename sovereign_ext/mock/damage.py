"""Apply faults to the content of an answer: which events are sent, what is put in their place, where it
breaks off.

The first stage of ``transmit``'s pipeline: what comes out is the body before content and transfer coding. A
JSON answer counts as two content events, its halves, so that the places in ``Cut`` and ``Stall`` mean
something for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from zlib import crc32

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.framing import encode_events
from sovereign_ext.mock.reply import Event, Format, Reply, Stage
from sovereign_ext.mock.steps import End, Step, Wait, Write

_MIB = 1024 * 1024
_DROPPED = {
    None: frozenset[Stage](),
    "before_finish": frozenset({Stage.FINISH, Stage.USAGE, Stage.DONE}),
    "before_usage": frozenset({Stage.USAGE, Stage.DONE}),
    "before_done": frozenset({Stage.DONE}),
}
HTML = b"<!DOCTYPE html>\n<html><head><title>%d</title></head><body><h1>%d</h1><hr>mock</body></html>\n"


def headed(reply: Reply, fault: Fault) -> Reply:
    """The reply with the headers a fault adds or replaces."""
    own = {name.lower() for name in fault.headers}
    headers = [pair for pair in reply.headers if pair[0].lower() not in own]
    if fault.retry_after is not None:
        headers.append(("retry-after", str(fault.retry_after)))
    if fault.huge_headers_bytes is not None:
        headers.append(("x-mock-padding", "x" * fault.huge_headers_bytes))
    headers += fault.headers.items()
    content_type = "" if "content-type" in own else fault.content_type or reply.content_type
    return replace(reply, headers=tuple(headers), content_type=content_type)


def interrupted(reply: Reply, failure: Event, fault: Fault) -> Reply:
    """The stream with a native error event in place of what follows; it then ends cleanly."""
    assert fault.error_event is not None
    assert reply.events is not None
    after = fault.error_event.after
    if after == "start":
        return replace(reply, events=(failure,))
    kept: list[Event] = []
    counted = 0
    for event in reply.events:
        if counted == after and event.stage not in (Stage.OPENING, Stage.PING):
            break
        counted += event.counts
        kept.append(event)
    return replace(reply, events=(*kept, failure))


def content(reply: Reply, fault: Fault) -> Iterator[Step]:
    """The body's bytes with the pauses and ends that faults put between them."""
    if fault.stall is not None and fault.stall.at == "first_event":
        yield Wait(fault.stall.seconds)
    if fault.empty:
        return
    pieces = _grouped(_pieces(reply, fault), fault.events_per_write)
    counted, first, begun = 0, True, False
    for data, counts, contents in pieces:
        if contents and not begun:  # the place "after 0 content events"
            begun = True
            yield from _at(fault, 0)
            if fault.endless_line_mib is not None:
                yield from _endless(reply, fault.endless_line_mib)
                return
        if fault.pace_ms and not first:
            yield Wait(fault.pace_ms / 1000)
        yield Write(data)
        first = False
        for _ in range(counts):
            counted += 1
            yield from _at(fault, counted)


def _at(fault: Fault, counted: int) -> Iterator[Step]:
    """What happens once so many content events are out."""
    if fault.stall is not None and fault.stall.at == counted:
        yield Wait(fault.stall.seconds)
    if fault.cut is not None and fault.cut.after_events == counted:
        yield End(fault.cut.how, cut=True)


def _pieces(reply: Reply, fault: Fault) -> Iterator[tuple[bytes, int, bool]]:
    """Pieces of the body: bytes, how many content events they complete, whether they hold content at all."""
    if reply.events is None:
        body = reply.body[: len(reply.body) * 2 // 3] if fault.invalid_json else reply.body
        half = len(body) // 2
        yield body[:half], 1, True
        yield body[half:], 1, True
        return
    dropped = _DROPPED[fault.end]
    events = tuple(event for event in reply.events if event.stage not in dropped)
    if fault.invalid_json:
        events = _broken(events)
    if fault.endless_line_mib is not None and reply.format is Format.JSON_ARRAY:
        events = tuple(event for event in events if event.counts)  # the endless line opens the array itself
    for event, data in encode_events(events, reply.format, fault.sse, fault.frame):
        yield data, int(event.counts), event.stage not in (Stage.OPENING, Stage.PING)


def _broken(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """The first content event with its JSON cut short."""
    done = False
    result = []
    for event in events:
        if event.counts and not done:
            done = True
            event = replace(event, data=event.data[: len(event.data) * 2 // 3])  # noqa: PLW2901
        result.append(event)
    return tuple(result)


def _grouped(
    pieces: Iterator[tuple[bytes, int, bool]], size: int | None
) -> Iterator[tuple[bytes, int, bool]]:
    """Several events in one write."""
    if size is None:
        yield from pieces
        return
    held: list[tuple[bytes, int, bool]] = []
    for piece in pieces:
        held.append(piece)
        if len(held) == size:
            yield _joined(held)
            held.clear()
    if held:
        yield _joined(held)


def _joined(pieces: list[tuple[bytes, int, bool]]) -> tuple[bytes, int, bool]:
    return (
        b"".join(piece[0] for piece in pieces),
        sum(piece[1] for piece in pieces),
        any(p[2] for p in pieces),
    )


def _endless(reply: Reply, mib: int) -> Iterator[Step]:
    """A line, document or frame that does not end within so many MiB; then the body ends."""
    start = b'{"x":"'
    if reply.events is not None:
        match reply.format:
            case Format.SSE:
                start = b"data: " + start
            case Format.JSON_ARRAY:
                start = b"[" + start
            case Format.EVENT_STREAM:
                prelude = struct.pack(">II", 16 + (mib + 1) * _MIB, 0)
                start = prelude + struct.pack(">I", crc32(prelude))
            case Format.NDJSON:
                pass
    yield Write(start)
    filler = b"a" * (_MIB // 16)
    for _ in range(mib * 16):
        yield Write(filler)

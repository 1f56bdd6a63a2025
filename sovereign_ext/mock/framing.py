"""Lay events out as bytes: server-sent events (WHATWG HTML, section 9.2), NDJSON, one JSON array, AWS frames.

Encoding one event is a pure function of the event and the ``Sse``/``Frame`` oddities asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from sovereign_ext.mock import eventstream
from sovereign_ext.mock.faults import Frame, Sse
from sovereign_ext.mock.reply import Event, Format, Stage

PLAIN = Sse()
_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


def encode_events(
    events: tuple[Event, ...],
    format: Format,  # noqa: A002 - the reply's field
    sse: Sse = PLAIN,
    frame: Frame | None = None,
) -> Iterator[tuple[Event, bytes]]:
    """Each event with its bytes, in order. A JSON array gets a last piece that closes it."""
    match format:
        case Format.SSE if sse == PLAIN:
            for event in events:
                yield event, _plain_sse(event)
        case Format.SSE:
            for number, event in enumerate(events):
                start = b"\xef\xbb\xbf" if sse.bom and number == 0 else b""
                yield event, start + _odd_sse(event, sse, number)
        case Format.NDJSON:
            for event in events:
                yield event, event.data + b"\n"
        case Format.JSON_ARRAY:
            yield from _array(events)
        case Format.EVENT_STREAM:
            yield from _frames(events, frame)


def _plain_sse(event: Event) -> bytes:
    if event.raw:
        return event.data
    if event.name:
        return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data)
    return b"data: %b\n\n" % event.data


def _odd_sse(event: Event, sse: Sse, number: int) -> bytes:
    end = _ENDS[sse.line_end]
    if event.raw:
        return event.data.replace(b"\n", end)
    colon = b": " if sse.space else b":"
    pieces = _split_json(event.data) if sse.multiline else [event.data]
    data = [b"data" + colon + piece for piece in pieces]
    name = [b"event" + colon + event.name.encode()] if event.name else []
    lines = [*data, *name] if sse.event_after_data else [*name, *data]
    if sse.comments:
        lines.insert(0, b": mock comment")
    if sse.id_retry:
        lines += [b"id" + colon + str(number).encode(), b"retry" + colon + b"1000"]
    return end.join(lines) + end + end


def _split_json(data: bytes) -> list[bytes]:
    """Cut JSON where a line break is blank space: after the first ``{`` and before the last ``}``."""
    if not (data.startswith(b"{") and data.endswith(b"}")):
        return [data]
    return [data[:1], data[1:-1], data[-1:]]


def _array(events: tuple[Event, ...]) -> Iterator[tuple[Event, bytes]]:
    for number, event in enumerate(events):
        yield event, (b",\r\n" if number else b"[") + event.data.strip()
    yield Event(Stage.DONE, b"]"), b"]" if events else b"[]"


def _frames(events: tuple[Event, ...], frame: Frame | None) -> Iterator[tuple[Event, bytes]]:
    counted = 0
    for event in events:
        failed = event.stage is Stage.FAILURE
        encoded = (
            eventstream.exception(event.name, event.data)
            if failed
            else eventstream.event(event.name, event.data)
        )
        if frame is not None and event.counts:
            if counted == frame.event:
                encoded = eventstream.damaged(encoded, frame.damage)
            counted += 1
        yield event, encoded

"""Server-sent events, read incrementally (WHATWG HTML, section 9.2.6 "Interpreting an event stream").

One decoder belongs to one response. Where the bytes are cut never matters: the same stream gives the same
events whatever the pieces are. Lines end in LF, CRLF or CR; ``data:`` may lack its space; several ``data:``
lines join with LF; comments and unknown fields are skipped. Events and unfinished lines beyond ``limit`` are
refused, so memory is bounded by it; so is more between two events than keep-alives come to, since it takes time.

Deliberately not here: reconnection (``id``, ``retry``), which makes no sense for a generation.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import Final, NamedTuple

_COLON: Final = 0x3A
_MOST_BETWEEN: Final = 256 * 1024
"""Bytes that are part of no event between two of them: hours of comments. A line takes the time of a long one."""


class Event(NamedTuple):
    """One dispatched event: its type (``""`` when the stream named none) and its joined data."""

    type: bytes
    data: bytes


class EventTooLarge(ValueError):
    """An event or a line is longer than the limit, or there is too much between two events."""


class SseDecoder:
    """Bytes in, events out. ``limit`` bounds one event's bytes, framing included."""

    __slots__ = ("_between", "_data", "_limit", "_pending", "_size", "_skip_lf", "_started", "_type")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending = b""  # an unfinished line
        self._data: list[bytes] = []
        self._type = b""
        self._size = 0
        self._between = 0  # bytes since the last event that are part of none
        self._skip_lf = False  # the last piece ended in CR: a leading LF belongs to it
        self._started = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Take the next bytes; give the events they complete. Must be consumed.

        Raises ``EventTooLarge``, after the events that came before the large one.
        """
        if not piece:
            return
        if self._skip_lf:
            self._skip_lf = False
            if piece[0] == 0x0A:
                piece = piece[1:]
        text = self._pending + piece if self._pending else piece
        if not self._started:
            if len(text) < len(BOM_UTF8) and BOM_UTF8.startswith(text):
                self._pending = text
                return
            self._started = True
            text = text.removeprefix(BOM_UTF8)
        if b"\r" in text:
            self._skip_lf = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = text.split(b"\n")
        self._pending = lines.pop()
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event
        self._check(len(self._pending))

    def flush(self) -> Iterator[Event]:
        """The stream has ended: dispatch an event whose blank line is missing.

        The specification drops such an event; providers are known to omit the last blank line after
        ``[DONE]``. Its data may be cut: whoever parses it decides.
        """
        line, self._pending = self._pending, b""
        for last in (line.removeprefix(b"" if self._started else BOM_UTF8), b""):
            event = self._line(last)
            if event is not None:
                yield event

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        self._check(len(line))
        if line[0] == _COLON:
            self._skip(len(line))
        else:
            self._size += len(line)
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            self._type = line[7:] if line[6:7] == b" " else line[6:]
        elif line == b"data":
            self._data.append(b"")
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._type, b"\n".join(self._data)) if self._data else None
        if event is None:
            self._skip(self._size)
        else:
            self._between = 0
        self._data = []
        self._type = b""
        self._size = 0
        return event

    def _skip(self, size: int) -> None:
        """A line that goes nowhere; keep-alives are few, however long they go on."""
        self._between += size + 1
        if self._between > _MOST_BETWEEN:
            raise EventTooLarge(f"more than {_MOST_BETWEEN} bytes without an event")

    def _check(self, more: int) -> None:
        if self._size + more > self._limit:
            raise EventTooLarge(f"an event exceeds {self._limit} bytes")


def frame(data: bytes, event: bytes = b"") -> bytes:
    """One event as bytes. ``data`` must hold no line break (JSON without pretty-printing never does)."""
    if event:
        return b"event: " + event + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"


DONE = frame(b"[DONE]")

"""AWS event stream frames, read as they arrive: bytes in any pieces in, whole frames out.

Source: Smithy specification, "Amazon Event Stream". A frame, big-endian: u32 total length, u32 length of the
headers, u32 CRC-32 of those eight bytes; headers; payload; u32 CRC-32 of everything before. A header: u8 length
of its name, name, u8 type, value. A frame that contradicts itself ends the stream: a reader that looks for the
next one would take whatever the payload holds for a frame. Signed frames (``:chunk-signature``) and writing are
not here; what the events mean is ``bedrock_stream``'s matter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zlib import crc32

from sovereign_ext.providers._shared import unusable
from sovereign_ext.providers.base import StreamFault

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_OVERHEAD: Final = _PRELUDE.size + _CRC.size
_MAX_HEADERS: Final = 128 * 1024  # bytes, by the specification
_REMEMBERED: Final = 512  # bytes: longer header blocks than this are not kept for the next frame
_STRING: Final = 7
_BYTES: Final = 6
_FIXED: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Sizes of the other types of values: booleans (2), integers (4), timestamp, UUID."""
_NAMES: Final = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``kind`` is event, exception or error; ``name`` its event type, exception type or code.

    ``message`` is what an ``error`` says, which has no payload.
    """

    kind: str
    name: str
    message: str
    payload: bytes


class FrameReader:
    """One response's frames. ``limit`` bounds a payload in bytes; no more than one frame is ever held.

    ``feed`` raises ``StreamFault`` after the frames that came before the fault, and again whenever it is asked.
    What is cut in the middle at the end of the stream is the caller's to notice: no terminal event has come.
    """

    __slots__ = ("_fault", "_limit", "_pending")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._fault: StreamFault | None = None

    def feed(self, piece: bytes) -> Iterator[Frame]:
        if self._fault is not None:
            raise self._fault
        self._pending += piece
        try:
            while (total := self._next_length()) is not None:
                data = bytes(self._pending[:total])
                del self._pending[:total]
                yield _frame(data)
        except StreamFault as fault:
            self._fault = fault
            self._pending.clear()
            raise

    def _next_length(self) -> int | None:
        """Length of the frame at the start, once all of it is there. Checked before any of it is waited for."""
        if len(self._pending) < _PRELUDE.size:
            return None
        total, headers, crc = _PRELUDE.unpack_from(self._pending)
        if crc != crc32(self._pending[:8]) or headers > _MAX_HEADERS or total < _OVERHEAD + headers:
            raise StreamFault(unusable("bad_frame"))
        if total - headers - _OVERHEAD > self._limit:
            raise StreamFault(unusable("event_too_large"))
        return int(total) if len(self._pending) >= total else None


def _frame(data: bytes) -> Frame:
    (crc,) = _CRC.unpack_from(data, len(data) - _CRC.size)
    if crc != crc32(memoryview(data)[: -_CRC.size]):
        raise StreamFault(unusable("bad_frame"))
    end = _PRELUDE.size + _PRELUDE.unpack_from(data)[1]
    block = data[_PRELUDE.size : end]
    kind, name, message = _remembered(block) if len(block) <= _REMEMBERED else _read(block)
    return Frame(kind, name, message, data[end : -_CRC.size])


def _read(block: bytes) -> tuple[str, str, str]:
    """What sort of frame it is, by its headers. Raises ``StreamFault`` if they do not say, or cannot be read."""
    try:
        headers = _headers(block)
        kind = headers[":message-type"]
        return kind, headers[_NAMES[kind]], headers.get(":error-message", "")
    except (KeyError, IndexError, ValueError, struct.error):
        raise StreamFault(unusable("bad_frame")) from None


_remembered = lru_cache(maxsize=64)(_read)
"""The frames of a stream have a handful of different header blocks, byte for byte."""


def _headers(block: bytes) -> dict[str, str]:
    """The headers with values of text. Raises what reading past the end or an odd type raises."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        name, kind = block[at + 1 : name_end].decode(), block[name_end]
        at = name_end + 1
        if kind in (_STRING, _BYTES):
            (size,) = _LENGTH.unpack_from(block, at)
            at += _LENGTH.size
        else:
            size = _FIXED[kind]
        if name in seen or at + size > len(block):
            raise ValueError("a header twice, or one that is cut off")
        seen.add(name)
        if kind == _STRING:
            found[name] = block[at : at + size].decode()
        at += size
    return found

"""Write AWS event stream frames (``application/vnd.amazon.eventstream``) as Bedrock sends them, and damaged
ones.

Layout, big-endian: u32 total length, u32 header length, u32 CRC-32 of those eight bytes, headers, payload,
u32 CRC-32 of everything before. Only string headers (type 7) are written. Reading frames is not done here.
"""

from __future__ import annotations

import struct
from typing import Literal
from zlib import crc32


def event(name: str, payload: bytes) -> bytes:
    """A frame with ``:message-type`` event."""
    return encode(
        {":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload
    )


def exception(name: str, payload: bytes) -> bytes:
    """A frame with ``:message-type`` exception: a modelled error inside a stream."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return encode(headers, payload)


def encode(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame."""
    block = b"".join(_header(name.encode(), value.encode()) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    start = prelude + struct.pack(">I", crc32(prelude)) + block + payload
    return start + struct.pack(">I", crc32(start))


def damaged(frame: bytes, damage: Literal["prelude_crc", "message_crc", "length"]) -> bytes:
    """The same frame with one field wrong.

    ``length`` says 7 bytes more than there are, with a right prelude CRC.
    """
    match damage:
        case "prelude_crc":
            return frame[:8] + bytes([frame[8] ^ 0xFF]) + frame[9:]
        case "message_crc":
            return frame[:-1] + bytes([frame[-1] ^ 0xFF])
        case "length":
            prelude = struct.pack(">I", len(frame) + 7) + frame[4:8]
            return prelude + struct.pack(">I", crc32(prelude)) + frame[12:]


def _header(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value

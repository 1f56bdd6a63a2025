"""Reads HTTP/1.1 answers (RFC 9112) as bytes arrive: just enough of it for a load generator that trusts its servers.

Lengths and chunked bodies are read exactly, so that an answer that is cut short is noticed. Deliberately not here:
bodies that end with the connection, answers without a body, trailers, limits on sizes.
"""

from __future__ import annotations

import re

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)


class Answer:
    """One answer. ``feed`` it until ``done``; ``status`` is known (not 0) once the head has arrived."""

    __slots__ = ("_chunked", "_left", "_pending", "done", "status")

    def __init__(self) -> None:
        self.status = 0
        self.done = False
        self._pending = b""  # bytes that cannot be read yet: an incomplete head or chunk size
        self._chunked = False
        self._left = 0  # body bytes still to come, of the whole or of this chunk with its line end

    def feed(self, data: bytes) -> bytes:
        """The body bytes in ``data``. Raises ``ValueError`` for what is not an answer as described above."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        if not self.status:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._pending = data
                return b""
            self._head(data[: end + 2])
            data = data[end + 4 :]
        if self._chunked:
            return self._chunks(data)
        if len(data) > self._left:
            raise ValueError("bytes after the end of the answer")
        self._left -= len(data)
        self.done = not self._left
        return data

    def _head(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 "):
            raise ValueError("not an HTTP/1.1 answer")
        self.status = int(head[9:12])
        if length := _LENGTH.search(head):
            self._left = int(length[1])
        elif _CHUNKED.search(head):
            self._chunked = True
        else:
            raise ValueError("an answer of unknown length")

    def _chunks(self, data: bytes) -> bytes:
        found = []
        at = 0
        while at < len(data):
            if self._left:  # of which the last two are the line end
                part = data[at : at + self._left]
                at += len(part)
                content = self._left - 2
                self._left -= len(part)
                found.append(part[: max(0, content)])
                continue
            line = data.find(b"\r\n", at)
            size = int(data[at:line], 16) if line >= 0 else -1
            if size < 0 or (size == 0 and len(data) < line + 4):
                self._pending = data[at:]
                break
            at = line + 2
            if size == 0:
                if data[at:] != b"\r\n":
                    raise ValueError("bytes after the end of the answer")
                self.done = True
                break
            self._left = size + 2
        return found[0] if len(found) == 1 else b"".join(found)

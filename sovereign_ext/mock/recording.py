"""What a mock server remembers of the requests it got, for tests to look at. Holds credentials: see
``control``.

The newest requests are kept, up to a number and a budget of body bytes; bodies over 1 MiB are kept as digest
only.
"""

from __future__ import annotations

import base64
from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

MAX_BODY_KEPT = 1024 * 1024
_BUDGET = 64 * 1024 * 1024

Ended = Literal["in_progress", "complete", "cut", "client_closed"]


@dataclass(slots=True)
class Recorded:
    """One request and how its answer went. Times are Unix seconds."""

    number: int  # counts from 1 over the life of the server
    connection: int  # requests with the same number came over the same TCP connection
    method: str
    target: str  # raw path and query
    headers: tuple[tuple[str, str], ...]  # in order, as received
    body: bytes | None  # None when it was longer than 1 MiB
    body_length: int
    body_sha256: str  # hex; empty until asked for when the body is kept
    chunked: bool
    received_at: float
    model: str | None = None
    fault: dict[str, Any] | None = None  # the fault that struck, as JSON; None for none
    status: int = 0
    ended: Ended = "in_progress"
    ended_at: float | None = None

    def header(self, name: str) -> str | None:
        """The first value of a header; ``name`` in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the body bytes after transfer coding."""
        if not self.body_sha256:
            self.body_sha256 = sha256(self.body or b"").hexdigest()
        return self.body_sha256

    def as_json(self) -> dict[str, Any]:
        """The value that ``GET /_mock/requests`` lists."""
        return {
            "number": self.number,
            "connection": self.connection,
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "body_length": self.body_length,
            "body_sha256": self.sha256,
            "body_base64": None if self.body is None else base64.b64encode(self.body).decode(),
            "chunked": self.chunked,
            "received_at": self.received_at,
            "model": self.model,
            "fault": self.fault,
            "status": self.status,
            "ended": self.ended,
            "ended_at": self.ended_at,
        }


class Recording:
    """The newest requests of one server, oldest first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: deque[Recorded] = deque()
        self._bytes = 0

    def add(self, recorded: Recorded) -> None:
        """Remember a request; old ones make room."""
        if self._limit == 0:
            return
        self._kept.append(recorded)
        self._bytes += len(recorded.body or b"")
        while len(self._kept) > self._limit or (self._bytes > _BUDGET and len(self._kept) > 1):
            self._bytes -= len(self._kept.popleft().body or b"")

    def clear(self) -> None:
        """Forget everything; numbers go on counting."""
        self._kept.clear()
        self._bytes = 0

    def all(self) -> list[Recorded]:
        """The remembered requests, oldest first."""
        return list(self._kept)

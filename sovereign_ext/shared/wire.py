"""One connection that speaks RESP2 (the protocol of Redis and Valkey): many callers, answers in order.

Commands of the same turn of the loop go out in one write. Parsing is hiredis's. An answer that does not come in time
ends the connection, and with it everything that waits: answers come in order, so nothing behind it would come either.
Does not connect again and knows no script; that is ``client``'s part.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

Part = str | bytes | int

_LOOK_S: Final = 0.01
"""The watch looks this much late, so that one look covers many answers."""


class WireLost(Exception):
    """The connection is gone. What was asked may have been done or not. The text has no address and no secret."""


class Wire(asyncio.Protocol):
    """``lost`` is called once, with the reason, when the connection ends for whatever cause."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost = lost
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._ended = ""
        self._warned = False

    def ask(self, parts: tuple[Part, ...], timeout_s: float) -> asyncio.Future[Any]:
        """Send one command. The future gives the reply, a ``hiredis.ReplyError`` too, or raises ``WireLost``."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._ended or self._transport is None:
            future.set_exception(WireLost(self._ended or "not connected"))
            return future
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(parts))  # type: ignore[arg-type] # its stub: a tuple of one
        due = self._loop.time() + timeout_s
        self._waiting.append((future, due))
        if self._watch is None or due + _LOOK_S < self._watch.when():
            self._look_at(due)
        return future

    def close(self, why: str) -> None:
        """End it. Everything that waits fails with ``why``."""
        if self._ended:
            return
        self._ended = why
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()  # there is nothing to say goodbye for, and the peer may not read
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(WireLost(why))
        self._lost(why)

    # -- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class

    def connection_lost(self, exc: Exception | None) -> None:
        self.close("the connection ended")

    def data_received(self, data: bytes) -> None:
        self._warned = False
        self._reader.feed(data)
        while True:
            try:
                reply = self._reader.gets()
            except hiredis.ProtocolError:
                self.close("what came is not the protocol of Redis")
                return
            if reply is False:
                return
            if not self._waiting:
                self.close("an answer came that nobody asked for")
                return
            future, _ = self._waiting.popleft()
            if not future.done():  # who asked may have gone away
                future.set_result(reply)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self._ended and self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _look(self) -> None:
        self._watch = None
        if self._ended or not self._waiting:
            return
        now = self._loop.time()
        # Not the first's: whoever asked first may have more time than those behind.
        due = min(due for _, due in self._waiting)
        if due > now:
            self._warned = False
        elif self._warned:
            self.close("no answer in time")
            return
        else:
            # If it was this process that stood still, the answer is there and only has to be read.
            self._warned, due = True, now
        self._look_at(due)

    def _look_at(self, due: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_at(due + _LOOK_S, self._look)

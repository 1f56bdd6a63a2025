"""One TCP connection of a mock server.

Requests in, scripts out, one at a time and in order (pipelining allowed).
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Iterator
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock import exchange
from sovereign_ext.mock.control import PREFIX, control
from sovereign_ext.mock.http1 import ContinueExpected, Request, RequestReader
from sovereign_ext.mock.recording import MAX_BODY_KEPT, Ended, Recorded
from sovereign_ext.mock.steps import End, Step, Wait, Write
from sovereign_ext.mock.transmit import Terms, closes, whole

if TYPE_CHECKING:
    from sovereign_ext.mock.server import MockServer

_LINGER_NONE = struct.pack("ii", 1, 0)
_DRAIN_POLL_S = 0.001
_DRAIN_LIMIT_S = 2.0


class Connection(asyncio.Protocol):
    """Reads requests and plays their answers. Owned by the event loop."""

    def __init__(self, server: MockServer) -> None:
        self._server = server
        self._reader = RequestReader()
        self._transport: Any = None
        self._playing: asyncio.Task[None] | None = None
        self._recorded: Recorded | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._number = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted: perhaps to be thrown out at once."""
        self._transport = transport
        self._number = self._server.opened(self)
        struck = self._server.faults.strike_accept()
        if struck is not None:
            self._end(End("rst" if struck == "reset" else "fin"))

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._reader.feed(data)
        if self._playing is None:
            self._advance()
        else:
            self._transport.pause_reading()  # pipelined requests wait in the kernel

    def connection_lost(self, error: Exception | None) -> None:
        """Gone, whoever ended it."""
        self._server.closed(self)
        self._writable.set()
        if self._playing is not None:
            self._playing.cancel()
        self._finish("client_closed")

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It caught up."""
        self._writable.set()

    def drop(self) -> None:
        """End it now, from the server's side."""
        self._transport.abort()

    # Answering

    def _advance(self) -> None:
        """Answer what has arrived, until an answer takes time or the input runs out."""
        while self._playing is None and not self._transport.is_closing():
            try:
                request = self._reader.next()
            except CallerError as error:
                self._refuse(error)
                return
            if request is None:
                return
            if isinstance(request, ContinueExpected):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif self._server.control and request.path.startswith(PREFIX):
                reply = control(request, self._server.faults, self._server.recording, self._server.wire)
                self._send(whole(reply, reply.body, self._terms(request)), close=not request.keep_alive)
            else:
                self._answer(request)

    def _answer(self, request: Request) -> None:
        recorded = self._record(request)
        terms = self._terms(request)
        answered = exchange.answer(
            self._server.wire, self._server.faults, request, recorded, self._server.tag
        )
        if answered.normal:
            self._send(exchange.plain(answered.reply, terms), close=closes(answered.reply, terms))
            self._finish("complete")
            return
        steps = exchange.steps(answered, terms)
        self._playing = asyncio.get_running_loop().create_task(self._play(steps))

    def _send(self, data: bytes, *, close: bool) -> None:
        self._transport.write(data)
        if close:
            self._transport.close()

    def _refuse(self, error: CallerError) -> None:
        """The bytes were not HTTP: say so in the provider's words and hang up."""
        reply = exchange.refusal(self._server.wire, error, self._server.tag(0))
        terms = Terms(date=_date(int(self._server.now())), keep_alive=False)
        self._send(whole(reply, reply.body, terms), close=True)

    async def _play(self, steps: Iterator[Step]) -> None:
        ended: Ended = "complete"
        for step in steps:
            if isinstance(step, Write):
                self._transport.write(step.data)
                await self._writable.wait()
            elif isinstance(step, Wait):
                await _sleep(step.seconds)
            else:
                ended = "cut" if step.cut else "complete"
                await self._flushed()
                self._finish(ended)
                self._end(step)
                break
        self._finish(ended)
        self._playing = None
        self._transport.resume_reading()
        self._advance()

    async def _flushed(self) -> None:
        """Wait until the kernel has delivered what was written: a reset would throw it away."""
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        for _ in range(int(_DRAIN_LIMIT_S / _DRAIN_POLL_S)):
            unsent = self._transport.get_write_buffer_size()
            if not unsent and sock is not None:
                unsent = _unacknowledged(sock)
            if not unsent:
                return
            await asyncio.sleep(_DRAIN_POLL_S)

    def _end(self, end: End) -> None:
        if end.how == "fin":
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._transport.abort()

    # Remembering

    def _record(self, request: Request) -> Recorded:
        long = len(request.body) > MAX_BODY_KEPT
        self._recorded = Recorded(
            number=self._server.number(),
            connection=self._number,
            method=request.method,
            target=request.target,
            headers=request.headers,
            body=None if long else request.body,
            body_length=len(request.body),
            body_sha256=exchange.digest(request.body) if long else "",
            chunked=request.chunked,
            received_at=self._server.now(),
        )
        self._server.recording.add(self._recorded)
        return self._recorded

    def _finish(self, ended: Ended) -> None:
        """Note how the current answer ended, once."""
        if self._recorded is not None:
            self._recorded.ended = ended
            self._recorded.ended_at = self._server.now()
            self._recorded = None

    def _terms(self, request: Request) -> Terms:
        return Terms(
            date=_date(int(self._server.now())),
            keep_alive=request.keep_alive,
            http10=request.http10,
            head_only=request.method == "HEAD",
        )


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes the peer's kernel has not confirmed (Linux SIOCOUTQ); 0 where that cannot be asked."""
    try:
        count: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    except OSError:
        return 0
    return count


async def _sleep(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.get_running_loop().create_future()
    else:
        await asyncio.sleep(seconds)


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    """An IMF-fixdate, formatted once a second."""
    return formatdate(second, usegmt=True)

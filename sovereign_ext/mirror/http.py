"""A small HTTP/1.1 server (RFC 9110, 9112) for public reads and short posts: h11's protocol on asyncio's sockets.

Bounded in everything a stranger can make it hold: connections, heads, bodies, time. Requests with a body in memory,
answers with a body in memory; no streaming, no HTTP/2, no routes (``service`` has those).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import h11

MAX_CONNECTIONS: Final = 512
MAX_HEAD_BYTES: Final = 16 * 1024
REQUEST_S: Final = 20.0
"""For a whole request, the pause before it included, and for the client to take the answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request. ``path`` is the target's path as received, still percent-encoded, without the query."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. Length and connection headers are added."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = field(default=())


Answer = Callable[[Request], Awaitable[Response]]


class _TooLargeError(Exception):
    pass


class HttpServer:
    """Serves ``answer`` to every request; bodies longer than ``max_body`` bytes are refused with 413."""

    def __init__(self, answer: Answer, *, max_body: int, request_s: float = REQUEST_S) -> None:
        self._answer = answer
        self._max_body = max_body
        self._request_s = request_s
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; gives the port, which the system chooses for 0. Raises ``OSError``."""
        self._server = await asyncio.start_server(self._connected, host, port, ssl=tls, limit=MAX_HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client went away or took too long, or we stop
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        while True:
            try:
                async with asyncio.timeout(self._request_s):
                    request = await self._read(connection, reader, writer)
            except h11.RemoteProtocolError as error:
                await self._refuse(connection, writer, error.error_status_hint)
                return
            except _TooLargeError:
                await self._refuse(connection, writer, 413)
                return
            if request is None:
                return
            response = await self._answer(request)
            await self._send(connection, writer, response, with_body=request.method != "HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _read(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    go = h11.InformationalResponse(status_code=100, headers=[])
                    writer.write(connection.send(go) or b"")
                connection.receive_data(await reader.read(64 * 1024))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._max_body:
                    raise _TooLargeError
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                path = head.target.decode("latin-1").partition("?")[0]
                return Request(head.method.decode("ascii"), path, bytes(body))
            else:  # the connection was closed, or the last answer closed it
                return None

    async def _refuse(self, connection: h11.Connection, writer: asyncio.StreamWriter, status: int) -> None:
        if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = Response(status, f"{status}\n".encode(), headers=(("connection", "close"),))
            await self._send(connection, writer, response, with_body=True)

    async def _send(
        self,
        connection: h11.Connection,
        writer: asyncio.StreamWriter,
        response: Response,
        *,
        with_body: bool,
    ) -> None:
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            *response.headers,
        ]
        reason = _reason(response.status)
        head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        data = connection.send(head) or b""
        if with_body and response.body:
            data += connection.send(h11.Data(data=response.body)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
        writer.write(data)
        async with asyncio.timeout(self._request_s):
            await writer.drain()


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""

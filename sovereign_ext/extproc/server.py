"""The socket that Envoy's two ext_proc filters talk to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from sovereign_ext.envoyconf.names import PHASE, PHASE_ATTEMPT
from sovereign_ext.extproc.attempt_stream import AttemptStream
from sovereign_ext.extproc.exchange_stream import ExchangeStream
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.extproc.grpcwire import UNAVAILABLE, Calls, GrpcCall, acceptor
from sovereign_ext.extproc.http2 import Headers, Http2Connection

METHOD: Final = b"/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_SLACK: Final = 1024 * 1024  # a message is its body plus headers and framing
_LOOK_S: Final = 0.02


class ProcessorServer:
    """Serves ``ExternalProcessor.Process`` on a Unix socket."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._limit = max_body_bytes + _SLACK
        self._connections: set[Http2Connection] = set()
        self._server: asyncio.Server | None = None
        self._draining = False

    async def start(self, path: Path) -> None:
        """Listen on ``path``, for this user only."""
        accept = acceptor(METHOD, self._serve, self._limit)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: Http2Connection(accept, self._connections, loop.call_soon), str(path)
        )
        path.chmod(0o600)  # noqa: ASYNC240 - start-up; nothing waits yet

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let the open ones end for ``grace_s`` seconds, then cut them off.

        1. A new call is refused, which Envoy answers 500. One that is open may go on to its next provider: that is a
           stream of its own on this socket.
        2. When none is left, or it has taken too long, the socket is closed and the connections to it.
        """
        if self._server is None:
            return
        self._draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        while self._gateway.exchanges and loop.time() < until:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(_LOOK_S)
        self._server.close()
        for connection in list(self._connections):
            connection.drain()
        while self._connections and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        for connection in list(self._connections):
            connection.abort()

    def _serve(self, call: GrpcCall, headers: Headers) -> Calls:
        if headers.get(PHASE.encode()) == PHASE_ATTEMPT.encode():
            return AttemptStream(self._gateway, call)
        if self._draining:
            return _Refused(call)
        return ExchangeStream(self._gateway, call)


class _Refused:
    """A call that comes too late."""

    def __init__(self, call: GrpcCall) -> None:
        self._call = call

    def message(self, data: bytes) -> None:
        self._call.finish(UNAVAILABLE)

    def ended(self) -> None:
        """Nothing was begun."""

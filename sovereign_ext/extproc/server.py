"""The socket that Envoy's two ext_proc filters talk to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.envoyconf.names import PHASE, PHASE_ATTEMPT
from sovereign_ext.extproc.attempt_stream import AttemptStream
from sovereign_ext.extproc.exchange_stream import ExchangeStream
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.extproc.grpcwire import OK, UNAVAILABLE, Calls, GrpcCall, acceptor
from sovereign_ext.extproc.http2 import Headers, Http2Connection

METHOD: Final = b"/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK: Final = b"/grpc.health.v1.Health/Check"
_SERVING: Final = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()
_LEAVING: Final = health_pb2.HealthCheckResponse(status="NOT_SERVING").SerializeToString()
_SLACK: Final = 1024 * 1024  # a message is its body plus headers and framing
_LOOK_S: Final = 0.02
_NOTICE_S: Final = 3.0
"""Envoy asks every second whether a worker serves."""


class ProcessorServer:
    """Serves ``ExternalProcessor.Process`` on a Unix socket, and says to whom asks whether it goes on to do so."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._leaving = False
        self._noticed = False
        self._limit = max_body_bytes + _SLACK
        self._connections: set[Http2Connection] = set()
        self._server: asyncio.Server | None = None
        self._draining = False

    async def start(self, path: Path) -> None:
        """Listen on ``path``, for this user only."""
        accept = acceptor({METHOD: self._serve, CHECK: self._check}, self._limit)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: Http2Connection(accept, self._connections, loop.call_soon), str(path)
        )
        path.chmod(0o600)  # noqa: ASYNC240 - start-up; nothing waits yet

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let the open ones end for ``grace_s`` seconds, then cut them off.

        1. If there are other workers, calls are taken until Envoy has noticed that it should ask those.
        2. A new call is refused, which Envoy answers 500. One that is open may go on to its next provider: that is a
           stream of its own on this socket.
        3. When none is left, or it has taken too long, the socket is closed and the connections to it.
        """
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        self._leaving = True
        notice = min(until, loop.time() + _NOTICE_S)
        while self._gateway.worker is not None and self._unnoticed and loop.time() < notice:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        self._draining = True
        while self._gateway.exchanges and loop.time() < until:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(_LOOK_S)
        self._server.close()
        for connection in list(self._connections):
            connection.drain()
        while self._connections and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        for connection in list(self._connections):
            connection.abort()

    @property
    def _unnoticed(self) -> bool:
        return bool(self._connections) and not self._noticed

    def _check(self, call: GrpcCall, _: Headers) -> Calls:
        return _Check(call, self._answer)

    def _answer(self) -> bytes:
        self._noticed = self._leaving
        return _LEAVING if self._leaving else _SERVING

    def _serve(self, call: GrpcCall, headers: Headers) -> Calls:
        if headers.get(PHASE.encode()) == PHASE_ATTEMPT.encode():
            return AttemptStream(self._gateway, call)
        if self._draining:
            return _Refused(call)
        return ExchangeStream(self._gateway, call)


class _Check:
    """Somebody asks how we are; which service is meant does not matter, there is one."""

    def __init__(self, call: GrpcCall, answer: Callable[[], bytes]) -> None:
        self._call = call
        self._answer = answer

    def message(self, data: bytes) -> None:
        self._call.send(self._answer())
        self._call.finish(OK)

    def ended(self) -> None:
        """Nothing is kept."""


class _Refused:
    """A call that comes too late."""

    def __init__(self, call: GrpcCall) -> None:
        self._call = call

    def message(self, data: bytes) -> None:
        self._call.finish(UNAVAILABLE)

    def ended(self) -> None:
        """Nothing was begun."""

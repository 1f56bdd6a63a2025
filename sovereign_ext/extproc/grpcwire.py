"""gRPC over HTTP/2, for few methods: length-prefixed messages in and out, a status at the end.

Source: gRPC over HTTP2 (doc/PROTOCOL-HTTP2.md). No compression, no deadlines: Envoy's ext_proc client uses
neither.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from sovereign_ext.extproc.http2 import Handler, Headers, Http2Stream

_log = logging.getLogger(__name__)

_PREFIX: Final = struct.Struct(">BL")

# HPACK, written out once: ":status: 200" is static entry 8; "content-type" is static name 31.
_RESPONSE: Final = b"\x88\x0f\x10\x10application/grpc"

Make = Callable[["GrpcCall", Headers], "Calls"]
"""Who serves a call, from the call and its metadata."""

OK, INTERNAL, UNIMPLEMENTED, RESOURCE_EXHAUSTED, UNAVAILABLE = 0, 13, 12, 8, 14


class Calls(Protocol):
    """What serves one call. All methods are called on the event loop."""

    def message(self, data: bytes) -> None:
        """One request message. An exception ends the call with status INTERNAL."""

    def ended(self) -> None:
        """The call is over: the client closed its side, reset the stream or went away. Called once."""


class GrpcCall(Handler):
    """One call on one stream. ``limit`` bounds a request message in bytes."""

    __slots__ = ("_calls", "_head", "_in", "_limit", "_over", "_stream")

    def __init__(self, stream: Http2Stream, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._in = bytearray()
        self._head = False
        self._over = False
        self._calls: Calls | None = None

    def serve(self, calls: Calls) -> None:
        """Say who serves the call; before anything is received."""
        self._calls = calls

    def send(self, message: bytes) -> None:
        """One response message; dropped if the call is over."""
        if self._over:
            return
        if not self._head:
            self._head = True
            self._stream.headers(_RESPONSE)
        self._stream.write(_PREFIX.pack(0, len(message)) + message)

    def finish(self, status: int) -> None:
        """End the call with a gRPC status."""
        if self._over:
            return
        code = b"%d" % status
        block = b"\x00\x0bgrpc-status" + bytes((len(code),)) + code
        self._over = True
        self._stream.headers(block if self._head else _RESPONSE + block, end=True)
        self._tell_ended()

    def data(self, piece: bytes, end: bool) -> None:
        if self._over:
            return
        if piece:
            self._receive(piece)
        if end:
            self.finish(OK)

    def lost(self) -> None:
        self._over = True
        self._tell_ended()

    def _receive(self, piece: bytes) -> None:
        buffer = self._in
        if not buffer and self._is_one(piece):
            self._deliver(piece[5:])
            return
        buffer += piece
        while len(buffer) >= 5 and not self._over:
            compressed, size = _PREFIX.unpack_from(buffer)
            if compressed or size > self._limit:
                self.finish(UNIMPLEMENTED if compressed else RESOURCE_EXHAUSTED)
                return
            if len(buffer) < 5 + size:
                return
            message = bytes(buffer[5 : 5 + size])
            del buffer[: 5 + size]
            self._deliver(message)

    def _is_one(self, piece: bytes) -> bool:
        """Whether ``piece`` is one message that is taken; nearly every frame is."""
        return (
            len(piece) >= 5
            and _PREFIX.unpack_from(piece) == (0, len(piece) - 5)
            and len(piece) - 5 <= self._limit
        )

    def _deliver(self, message: bytes) -> None:
        assert self._calls is not None
        try:
            self._calls.message(message)
        except Exception:
            # Fails closed: Envoy answers with its own error, and the traceback stays here.
            _log.exception("call failed")
            self.finish(INTERNAL)

    def _tell_ended(self) -> None:
        calls, self._calls = self._calls, None
        if calls is not None:
            try:
                calls.ended()
            except Exception:
                _log.exception("end of call failed")


def acceptor(methods: Mapping[bytes, Make], limit: int) -> Callable[..., Handler]:
    """For ``Http2Connection``: serve ``methods``, by path, refuse others as unimplemented."""

    def accept(stream: Http2Stream, headers: Headers) -> Handler:
        call = GrpcCall(stream, limit)
        make = methods.get(headers.get(b":path", b""))
        if make is None:
            call.finish(UNIMPLEMENTED)
        else:
            call.serve(make(call, headers))
        return call

    return accept

"""The server's half of HTTP/2 (RFC 9113) that gRPC streams need, for one trusted peer: Envoy on a Unix socket.

Why not grpcio here: its completion queue lives in another thread, and handing each of a call's eleven messages over
costs more than everything this product does with them (measured, docs/adr/0003). What is written is the framing:
frames, flow control both ways, HPACK by the ``hpack`` package. The whole of RFC 9113 is deliberately not here: no
push, no priorities, no client role, no TLS, and a peer that breaks the protocol is cut off with GOAWAY.

Work is done inside ``data_received`` and answered with one write per read, so back-pressure is the socket's own.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, cast

import hpack

_log = logging.getLogger(__name__)

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _PRIORITY, _RST, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)
_END_STREAM: Final = 0x1
_ACK: Final = 0x1
_END_HEADERS: Final = 0x4
_PADDED: Final = 0x8
_HAS_PRIORITY: Final = 0x20
_MAX_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_DEFAULT_FRAME: Final = 16_384
_OUR_FRAME: Final = 1024 * 1024  # SETTINGS_MAX_FRAME_SIZE we announce
_MAX_HEADER_BLOCK: Final = 64 * 1024
_REPLENISH: Final = 64 * 1024 * 1024  # connection window given back in steps of this size

_PROTOCOL_ERROR, _FLOW_CONTROL_ERROR, _FRAME_SIZE_ERROR, _COMPRESSION_ERROR = 0x1, 0x3, 0x6, 0x9
_NO_ERROR, _INTERNAL_ERROR, _CANCEL = 0x0, 0x2, 0x8

_HEAD: Final = struct.Struct(">HBBBL")  # length in two parts, type, flags, stream
_U32: Final = struct.Struct(">L")
_SETTING: Final = struct.Struct(">HL")

Headers = dict[bytes, bytes]
Payload = bytes | memoryview


class Handler(Protocol):
    """What an application does with one stream. Called on the event loop; must not block."""

    def data(self, piece: bytes, end: bool) -> None:
        """Bytes of the request's body, as framed by the peer; ``end`` when it is complete."""

    def lost(self) -> None:
        """The peer reset the stream or went away; nothing more can be sent. Not called after an end of both
        sides."""


Accept = Callable[["Http2Stream", Headers], Handler]


class ProtocolError(Exception):
    """The peer broke the protocol; ``code`` is the HTTP/2 error code (RFC 9113 section 7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Http2Stream:
    """One stream, from the server's side."""

    __slots__ = ("_connection", "_pending", "_window", "closed", "handler", "number", "remote_ended")

    def __init__(self, connection: Http2Connection, number: int, window: int) -> None:
        self._connection = connection
        self._window = window  # bytes the peer still takes on this stream
        self._pending: deque[tuple[int, Payload, int]] = deque()  # frames that wait for window
        self.number = number
        self.handler: Handler | None = None
        self.closed = False  # our side
        self.remote_ended = False

    def headers(self, block: bytes, *, end: bool = False) -> None:
        """Send an encoded header block (small enough for one frame)."""
        if not self.closed:
            self.closed = end
            self._send(_HEADERS, block, _END_HEADERS | (_END_STREAM if end else 0))

    def write(self, payload: bytes) -> None:
        """Send bytes of the body, as the flow-control windows let them go."""
        if not self.closed:
            self._send(_DATA, payload, 0)

    def reset(self, code: int = _CANCEL) -> None:
        """Give the stream up."""
        if not self.closed:
            self.closed = True
            self._pending.clear()
            self._connection.frame(_RST, 0, self.number, _U32.pack(code))
            self._connection.forget(self)

    @property
    def waiting(self) -> bool:
        """Whether frames wait for the peer's window."""
        return bool(self._pending)

    def grant(self, increment: int) -> None:
        """The peer takes more (or, after a settings change, less)."""
        self._window += increment
        if self._window > _MAX_WINDOW:
            raise ProtocolError(_FLOW_CONTROL_ERROR, "stream window overflow")
        self.drain()

    def drain(self) -> None:
        """Send what waits and may go now."""
        while self._pending:
            kind, payload, flags = self._pending.popleft()
            if not self._send_now(kind, payload, flags):
                return

    def _send(self, kind: int, payload: Payload, flags: int) -> None:
        if self._pending:
            self._pending.append((kind, payload, flags))
        else:
            self._send_now(kind, payload, flags)

    def _send_now(self, kind: int, payload: Payload, flags: int) -> bool:
        """Send as much as the windows allow; what is left waits at the front. True if all went."""
        connection = self._connection
        if kind != _DATA:
            connection.frame(kind, flags, self.number, payload)
            connection.stream_ended(self)
            return True
        size = len(payload)
        if size <= min(self._window, connection.window, connection.peer_frame):
            self._frame(payload, size, flags)
            return True
        rest = memoryview(payload)  # a large message may wait many times: never copy what is left of it
        while rest:
            room = min(self._window, connection.window, connection.peer_frame)
            if room <= 0:
                self._pending.appendleft((kind, rest, flags))
                return False
            part, rest = rest[:room], rest[room:]
            self._frame(part, len(part), flags)
        return True

    def _frame(self, payload: Payload, size: int, flags: int) -> None:
        connection = self._connection
        connection.frame(_DATA, flags, self.number, payload)
        self._window -= size
        connection.window -= size


class Http2Connection(asyncio.Protocol):
    """One connection from Envoy.

    ``accept`` makes the handler of each new stream; the connection is in ``connections`` while it lives;
    ``call_soon`` is the event loop's.
    """

    def __init__(
        self, accept: Accept, connections: set[Http2Connection], call_soon: Callable[..., object]
    ) -> None:
        self._accept = accept
        self._call_soon = call_soon
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._in = bytearray()
        self._out: list[Payload] = []
        self._last_words: dict[int, bytes] = {}  # by stream: trailers, held until what was read is dealt with
        self._reading = False
        self._flush_due = False
        self._greeted = False
        self._streams: dict[int, Http2Stream] = {}
        self._last_stream = 0
        self._block: tuple[Http2Stream, bool, bytearray] | None = None  # headers that go on in CONTINUATION
        self._decoder = hpack.Decoder(max_header_list_size=_MAX_HEADER_BLOCK)
        self._known_blocks: dict[bytes, Headers] = {}
        self._consumed = 0
        self._initial_window = _DEFAULT_WINDOW
        self._draining = False
        self.window = _DEFAULT_WINDOW  # bytes the peer still takes on the whole connection
        self.peer_frame = _DEFAULT_FRAME

    # -- asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        settings = (
            _SETTING.pack(0x3, 1_000_000) + _SETTING.pack(0x4, _MAX_WINDOW) + _SETTING.pack(0x5, _OUR_FRAME)
        )
        self.frame(_SETTINGS, 0, 0, settings)
        self.frame(_WINDOW, 0, 0, _U32.pack(_MAX_WINDOW - _DEFAULT_WINDOW))
        self._flush()

    def data_received(self, data: bytes) -> None:
        rest = self._in
        if rest:
            rest += data
        self._reading = True
        try:
            at = self._parse(rest or data)
            if rest:
                del rest[:at]
            elif at < len(data):
                rest += data[at:]
        except ProtocolError as error:
            self._abort(error)
        except Exception:
            _log.exception("connection failed")
            self._abort(ProtocolError(_INTERNAL_ERROR, "internal error"))
        finally:
            self._reading = False
            self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.closed = True
            if stream.handler is not None:
                stream.handler.lost()

    def pause_writing(self) -> None:
        """Envoy reads slower than it writes: stop taking more work from it."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # -- for streams ---------------------------------------------------------------------------------------

    def frame(self, kind: int, flags: int, stream: int, payload: Payload) -> None:
        """Queue one frame; it leaves with the others of this turn of the loop."""
        size = len(payload)
        head = _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)
        if self._reading and kind == _HEADERS and flags & _END_STREAM:
            # Envoy ends its side and resets the stream at once: most trailers have nobody left to read them.
            self._last_words[stream] = head + payload
            return
        self._out.append(head)
        self._out.append(payload)
        if not self._reading and not self._flush_due:
            self._flush_due = True
            self._call_soon(self._flush)

    def stream_ended(self, stream: Http2Stream) -> None:
        """One side has ended; the stream is over when both have and nothing waits to be sent."""
        if stream.closed and stream.remote_ended and not stream.waiting:
            self.forget(stream)

    def forget(self, stream: Http2Stream) -> None:
        self._streams.pop(stream.number, None)
        if self._draining and not self._streams and self._transport is not None:
            self._flush()
            self._transport.close()

    def drain(self) -> None:
        """Take no new streams; close once the open ones have ended."""
        if self._draining or self._transport is None:
            return
        self._draining = True
        self.frame(_GOAWAY, 0, 0, _U32.pack(self._last_stream) + _U32.pack(_NO_ERROR))
        if not self._streams:
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- frames in -----------------------------------------------------------------------------------------

    def _parse(self, buffer: bytes | bytearray) -> int:
        """Deal with the whole frames in ``buffer``; gives how many bytes they are."""
        at = 0
        if not self._greeted:
            if len(buffer) < len(_PREFACE):
                return 0
            if not buffer.startswith(_PREFACE):
                raise ProtocolError(_PROTOCOL_ERROR, "no connection preface")
            self._greeted = True
            at = len(_PREFACE)
        available = len(buffer)
        while available - at >= 9:
            high, low, kind, flags, number = _HEAD.unpack_from(buffer, at)
            size = high << 8 | low
            if size > _OUR_FRAME:
                raise ProtocolError(_FRAME_SIZE_ERROR, "frame too large")
            end = at + 9 + size
            if available < end:
                break
            payload = bytes(buffer[at + 9 : end])
            at = end
            self._handle(kind, flags, number & _MAX_WINDOW, payload)
        return at

    def _handle(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and kind != _CONTINUATION:
            raise ProtocolError(_PROTOCOL_ERROR, "a header block was interrupted")
        if kind == _DATA:
            self._data(flags, number, payload)
        elif kind == _HEADERS:
            self._headers(flags, number, payload)
        elif kind == _CONTINUATION:
            self._continuation(flags, payload)
        elif kind == _WINDOW:
            self._window_update(number, payload)
        elif kind == _RST:
            self._reset(number)
        elif kind == _SETTINGS:
            self._settings(flags, payload)
        elif kind == _PING:
            if not flags & _ACK:
                self.frame(_PING, _ACK, 0, payload)
        elif kind == _PUSH:
            raise ProtocolError(_PROTOCOL_ERROR, "a client does not push")
        # GOAWAY: the peer opens no more streams; PRIORITY and unknown types are ignored (RFC 9113 5.5)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        self._consumed += len(payload)
        if self._consumed >= _REPLENISH:
            self.frame(_WINDOW, 0, 0, _U32.pack(self._consumed))
            self._consumed = 0
        stream = self._streams.get(number)
        if stream is None or stream.remote_ended:
            if number > self._last_stream:
                raise ProtocolError(_PROTOCOL_ERROR, "data on an idle stream")
            return  # reset by us a moment ago
        end = bool(flags & _END_STREAM)
        stream.remote_ended = end
        assert stream.handler is not None
        stream.handler.data(_unpadded(flags, payload), end)
        if end:
            self.stream_ended(stream)

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        payload = _unpadded(flags, payload)
        if flags & _HAS_PRIORITY:
            payload = payload[5:]
        stream = self._streams.get(number)
        if stream is None:
            if number <= self._last_stream or number % 2 == 0:
                raise ProtocolError(_PROTOCOL_ERROR, "a stream was opened out of order")
            self._last_stream = number
            stream = Http2Stream(self, number, self._initial_window)
        end = bool(flags & _END_STREAM)
        if flags & _END_HEADERS:
            self._block_done(stream, end, payload)
        else:
            self._block = (stream, end, bytearray(payload))

    def _continuation(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise ProtocolError(_PROTOCOL_ERROR, "a continuation of nothing")
        stream, end, block = self._block
        block += payload
        if len(block) > _MAX_HEADER_BLOCK:
            raise ProtocolError(_PROTOCOL_ERROR, "header block too large")
        if flags & _END_HEADERS:
            self._block = None
            self._block_done(stream, end, bytes(block))

    def _block_done(self, stream: Http2Stream, end: bool, block: bytes) -> None:
        headers = self._decode(block)
        if stream.handler is not None:  # trailers; gRPC clients send none
            stream.remote_ended = end
            stream.handler.data(b"", end)
            self.stream_ended(stream)
            return
        if self._draining:
            self.frame(_RST, 0, stream.number, _U32.pack(0x7))  # REFUSED_STREAM: safe to retry elsewhere
            return
        self._streams[stream.number] = stream
        stream.remote_ended = end
        stream.handler = self._accept(stream, headers)
        if end:
            stream.handler.data(b"", end)
            self.stream_ended(stream)

    def _decode(self, block: bytes) -> Headers:
        """HPACK. Blocks that only refer to the tables repeat; they are remembered until a table changes."""
        known = self._known_blocks.get(block)
        if known is not None:
            return known
        entries = self._decoder.header_table.dynamic_entries
        before = (len(entries), entries[0] if entries else None)
        try:
            headers = {bytes(name): bytes(value) for name, value in self._decoder.decode(block, raw=True)}
        except hpack.HPACKError as error:
            raise ProtocolError(_COMPRESSION_ERROR, "damaged header block") from error
        if before != (len(entries), entries[0] if entries else None) or len(self._known_blocks) > 256:
            self._known_blocks.clear()
        else:
            self._known_blocks[block] = headers
        return headers

    def _window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ProtocolError(_FRAME_SIZE_ERROR, "window update")
        increment = _U32.unpack(payload)[0] & _MAX_WINDOW
        if number:
            stream = self._streams.get(number)
            if stream is not None:
                stream.grant(increment)
            return
        self.window += increment
        if self.window > _MAX_WINDOW or not increment:
            raise ProtocolError(_FLOW_CONTROL_ERROR, "connection window")
        for stream in list(self._streams.values()):
            if self.window <= 0:
                break
            stream.drain()

    def _reset(self, number: int) -> None:
        self._last_words.pop(number, None)
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.closed = stream.remote_ended = True
        assert stream.handler is not None
        stream.handler.lost()
        self.forget(stream)

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & _ACK:
            return
        if len(payload) % 6:
            raise ProtocolError(_FRAME_SIZE_ERROR, "settings")
        for name, value in _SETTING.iter_unpack(payload):
            if name == 0x4:
                if value > _MAX_WINDOW:
                    raise ProtocolError(_FLOW_CONTROL_ERROR, "initial window")
                change, self._initial_window = value - self._initial_window, value
                for stream in list(self._streams.values()):
                    stream.grant(change)
            elif name == 0x5:
                self.peer_frame = value
        self.frame(_SETTINGS, _ACK, 0, b"")

    # -- frames out ----------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._flush_due = False
        if self._last_words:
            self._out.extend(self._last_words.values())
            self._last_words.clear()
        if self._out and self._transport is not None and not self._transport.is_closing():
            out = b"".join(self._out)
            self._out.clear()
            self._transport.write(out)

    def _abort(self, error: ProtocolError) -> None:
        _log.error("connection closed: %s", error)
        self.frame(_GOAWAY, 0, 0, _U32.pack(self._last_stream) + _U32.pack(error.code))
        self._flush()
        if self._transport is not None:
            self._transport.close()


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError(_PROTOCOL_ERROR, "padding")
    return payload[1 : len(payload) - payload[0]]

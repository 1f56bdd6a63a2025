"""The HTTP/2 framing under the ext_proc socket, judged by grpcio's client and by hand-made frames."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc.aio
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovereign_ext.extproc.grpcwire import GrpcCall, acceptor
from sovereign_ext.extproc.http2 import Headers, Http2Connection

METHOD = "/test.Echo/Talk"
LIMIT = 40 * 1024 * 1024
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Echo:
    """Sends each message back; ``b"fail"`` raises, ``b"big:N"`` answers N bytes."""

    def __init__(self, call: GrpcCall, ends: list[str]) -> None:
        self._call = call
        self._ends = ends

    def message(self, data: bytes) -> None:
        if data == b"fail":
            raise RuntimeError("asked for")
        if data.startswith(b"big:"):
            data = b"x" * int(data[4:])
        self._call.send(data)

    def ended(self) -> None:
        self._ends.append("ended")


class Served:
    """A listening server and what its calls told at their end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ends: list[str] = []
        self.connections: set[Http2Connection] = set()

    async def __aenter__(self) -> Served:
        accept = acceptor({METHOD.encode(): self._serve}, LIMIT)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: Http2Connection(accept, self.connections, loop.call_soon), str(self.path)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await self._server.wait_closed()

    def _serve(self, call: GrpcCall, headers: Headers) -> Echo:
        assert headers[b":method"] == b"POST"
        return Echo(call, self.ends)


def with_channel(path: Path, talk: Callable[[Served, grpc.aio.Channel], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Served(path) as served:
            options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
            async with grpc.aio.insecure_channel(f"unix:{path}", options=options) as channel:
                await asyncio.wait_for(talk(served, channel), 30)

    asyncio.run(main())


async def echoes(channel: grpc.aio.Channel, *sent: bytes, method: str = METHOD) -> list[bytes]:
    async def requests() -> AsyncIterator[bytes]:
        for message in sent:
            yield message

    return [answer async for answer in channel.stream_stream(method)(requests())]


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 65_535, 65_536, 5_000_000, 33_000_000])
def test_messages_of_any_size_come_back(tmp_path: Path, size: int) -> None:
    """Both flow-control windows and the frame size are crossed; not a byte is lost or added."""

    async def talk(_: Served, channel: grpc.aio.Channel) -> None:
        message = bytes(range(256)) * (size // 256) + b"e" * (size % 256)
        assert await echoes(channel, message, b"after") == [message, b"after"]

    with_channel(tmp_path / "s", talk)


def test_many_streams_at_once_share_the_connection_window(tmp_path: Path) -> None:
    """Fifty streams with a megabyte each: none starves, none gets another's bytes."""

    async def talk(_: Served, channel: grpc.aio.Channel) -> None:
        sent = [bytes([number]) * 1_000_000 for number in range(50)]
        answers = await asyncio.gather(*(echoes(channel, message) for message in sent))
        assert answers == [[message] for message in sent]

    with_channel(tmp_path / "s", talk)


def test_a_failing_call_ends_with_internal_and_the_connection_lives(tmp_path: Path) -> None:
    """The exception's text does not reach the peer."""

    async def talk(_: Served, channel: grpc.aio.Channel) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echoes(channel, b"fail")
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "asked for" not in str(caught.value)
        assert await echoes(channel, b"still here") == [b"still here"]

    with_channel(tmp_path / "s", talk)


def test_another_method_is_unimplemented(tmp_path: Path) -> None:
    """Only the one method is served."""

    async def talk(_: Served, channel: grpc.aio.Channel) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echoes(channel, method="/test.Echo/Other")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    with_channel(tmp_path / "s", talk)


def test_every_call_is_told_its_end_once(tmp_path: Path) -> None:
    """Whether it was closed, cancelled by the client, or lost with the connection."""

    async def talk(served: Served, channel: grpc.aio.Channel) -> None:
        await echoes(channel, b"closed")
        assert served.ends == ["ended"]
        call = channel.stream_stream(METHOD)()
        await call.write(b"open")
        assert await call.read() == b"open"
        call.cancel()
        other = channel.stream_stream(METHOD)()
        await other.write(b"open")
        assert await other.read() == b"open"
        await channel.close()
        while len(served.ends) < 3:
            await asyncio.sleep(0)
        assert served.ends == ["ended"] * 3

    with_channel(tmp_path / "s", talk)


def test_draining_lets_open_calls_end_and_takes_no_new_ones(tmp_path: Path) -> None:
    """GOAWAY first; the connection closes when the last call has ended."""

    async def talk(served: Served, channel: grpc.aio.Channel) -> None:
        call = channel.stream_stream(METHOD)()
        await call.write(b"one")
        assert await call.read() == b"one"
        for connection in list(served.connections):
            connection.drain()
        await call.write(b"two")
        assert await call.read() == b"two"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        while served.connections:
            await asyncio.sleep(0)

    with_channel(tmp_path / "s", talk)


# -- hand-made frames ----------------------------------------------------------------------------------------


class Wire(asyncio.Transport):
    """Collects what a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.out += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        found, at = [], 0
        while at < len(self.out):
            high, low, kind, flags, stream = struct.unpack_from(">HBBBL", self.out, at)
            size = high << 8 | low
            found.append((kind, flags, stream, bytes(self.out[at + 9 : at + 9 + size])))
            at += 9 + size
        return found


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def opening(stream: int, *, end_headers: bool = True) -> bytes:
    block = hpack.Encoder().encode([(":method", "POST"), (":path", METHOD), (":scheme", "http")])
    return frame(1, 4 if end_headers else 0, stream, block)


def message(data: bytes) -> bytes:
    return struct.pack(">BL", 0, len(data)) + data


def connection() -> tuple[Http2Connection, Wire]:
    accept = acceptor({METHOD.encode(): lambda call, _: Echo(call, [])}, LIMIT)
    wire = Wire()
    made = Http2Connection(accept, set(), lambda _: None)
    made.connection_made(wire)
    return made, wire


def body_of(wire: Wire, stream: int) -> bytes:
    return b"".join(payload for kind, _, number, payload in wire.frames() if kind == 0 and number == stream)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=40))
def test_where_the_bytes_are_cut_does_not_matter(cuts: list[int]) -> None:
    """Any split of the same bytes gives the same answer."""
    head, rest = message(b"hello" * 20)[:7], message(b"hello" * 20)[7:]
    sent = b"".join(
        (
            PREFACE,
            frame(4, 0, 0, b""),
            opening(1),
            frame(0, 0, 1, head),
            frame(0, 8, 1, b"\x03" + rest + b"\0" * 3),
        )
    )
    made, wire = connection()
    at = 0
    for cut in cuts:
        made.data_received(sent[at : at + cut])
        at += cut
    made.data_received(sent[at:])
    assert body_of(wire, 1) == message(b"hello" * 20)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_never_raise(noise: bytes) -> None:
    """A peer that breaks the protocol is cut off; nothing escapes into the event loop."""
    made, _ = connection()
    made.data_received(PREFACE)
    made.data_received(noise)
    made.connection_lost(None)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 1),
        (PREFACE + frame(0, 0, 1, b"x"), 1),
        (PREFACE + opening(2), 1),
        (PREFACE + opening(3) + opening(1), 1),
        (PREFACE + opening(1, end_headers=False) + frame(0, 0, 1, b""), 1),
        (PREFACE + frame(9, 4, 1, b""), 1),
        (PREFACE + frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"), 9),
        (PREFACE + frame(8, 0, 0, b"\x7f\xff\xff\xff"), 3),
        (PREFACE + frame(8, 0, 0, b"\x00"), 6),
        (PREFACE + frame(4, 0, 0, b"\x00"), 6),
        (PREFACE + frame(5, 4, 1, b""), 1),
        (PREFACE + struct.pack(">HBBBL", 0xFFFF, 0xFF, 0, 0, 1), 6),
    ],
)  # fmt: skip
def test_a_broken_protocol_is_answered_with_goaway(frames: bytes, code: int) -> None:
    """RFC 9113 section 7: the error code says what was wrong; the connection is closed."""
    made, wire = connection()
    made.data_received(frames)
    kind, _, _, payload = wire.frames()[-1]
    assert (kind, struct.unpack(">LL", payload)[1]) == (7, code)
    assert wire.closed


def test_a_ping_is_acknowledged_and_settings_too() -> None:
    """RFC 9113 sections 6.5.3 and 6.7."""
    made, wire = connection()
    made.data_received(PREFACE + frame(4, 0, 0, b"") + frame(6, 0, 0, b"12345678"))
    assert (4, 1, 0, b"") in wire.frames()
    assert (6, 1, 0, b"12345678") in wire.frames()


def test_nothing_is_sent_beyond_the_peers_windows() -> None:
    """Data waits for WINDOW_UPDATE, on the stream and on the connection."""
    made, wire = connection()
    made.data_received(PREFACE + frame(4, 0, 0, struct.pack(">HL", 4, 10)) + opening(1))
    made.data_received(frame(0, 0, 1, message(b"big:100000")))
    assert len(body_of(wire, 1)) == 10
    made.data_received(frame(8, 0, 1, struct.pack(">L", 200_000)))
    assert len(body_of(wire, 1)) == 65_535
    made.data_received(frame(8, 0, 0, struct.pack(">L", 200_000)))
    assert body_of(wire, 1) == message(b"x" * 100_000)


def test_a_header_block_may_go_on_in_continuation_frames() -> None:
    """RFC 9113 section 6.10."""
    block = hpack.Encoder().encode([(":method", "POST"), (":path", METHOD), ("x", "y" * 100)])
    made, wire = connection()
    made.data_received(
        PREFACE + frame(1, 0, 1, block[:5]) + frame(9, 0, 1, block[5:9]) + frame(9, 4, 1, block[9:])
    )
    made.data_received(frame(0, 1, 1, message(b"hi")))
    assert body_of(wire, 1) == message(b"hi")


def test_an_oversized_message_is_refused_before_it_is_read() -> None:
    """The length prefix is enough to refuse it: RESOURCE_EXHAUSTED."""
    made, wire = connection()
    made.data_received(PREFACE + opening(1) + frame(0, 0, 1, struct.pack(">BL", 0, LIMIT + 1)))
    kind, flags, _, block = wire.frames()[-1]
    assert (kind, flags & 1) == (1, 1)
    assert (b"grpc-status", b"8") in hpack.Decoder().decode(block, raw=True)

"""The connection against a server of the test's own: hostile bytes, silence, order. Needs no Valkey."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest
from shared_world import in_loop

from sovereign_ext.errors import ConfigError
from sovereign_ext.secret import Secret
from sovereign_ext.shared.address import parse
from sovereign_ext.shared.wire import Wire, WireLost

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[tuple[Wire, list[str]]]:
    """A wire to a server that does as ``serve`` says, and what the wire says at its end."""
    over: list[asyncio.Event] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.append(asyncio.Event())
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            over[0].set()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    said: list[str] = []
    wire = Wire(said.append)
    port = server.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port)
    try:
        yield wire, said
    finally:
        wire.close("done")
        while not over:
            await asyncio.sleep(0)
        await over[0].wait()
        server.close()
        await server.wait_closed()


async def commands(reader: asyncio.StreamReader) -> Any:
    """Each command that arrives, as RESP2 writes them."""
    while head := await reader.readline():
        parts = []
        for _ in range(int(head[1:])):
            size = int((await reader.readline())[1:])
            parts.append((await reader.readexactly(size + 2))[:-2])
        yield parts


@in_loop
async def test_answers_come_to_those_who_asked() -> None:
    """In order, however they are cut on the way, those of cancelled questions thrown away; errors are values."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for parts in commands(reader):
            answer = b"-ERR no\r\n" if parts[1] == b"3" else b"$%d\r\n%s\r\n" % (len(parts[1]), parts[1])
            for cut in range(len(answer)):
                writer.write(answer[cut : cut + 1])
                await asyncio.sleep(0)

    async with connected(serve) as (wire, _):
        asked = [wire.ask(("ECHO", number), 5.0) for number in range(6)]
        asked[1].cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(found[1], asyncio.CancelledError)
        assert isinstance(found[3], hiredis.ReplyError)
        assert [found[each] for each in (0, 2, 4, 5)] == [b"0", b"2", b"4", b"5"]


@in_loop
async def test_silence_ends_the_connection_and_all_that_wait() -> None:
    """After the timeout of the one that has waited longest; what is asked later is told at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connected(serve) as (wire, said):
        started = time.monotonic()
        first, second = wire.ask(("PING",), 0.05), wire.ask(("PING",), 30.0)
        for each in (first, second, wire.ask(("PING",), 30.0)):
            with pytest.raises(WireLost, match="no answer in time"):
                await each
        assert 0.04 < time.monotonic() - started < 5.0
        with pytest.raises(WireLost):
            await wire.ask(("PING",), 30.0)
        assert said == ["no answer in time"]


@in_loop
async def test_the_patience_of_an_earlier_question_is_not_that_of_a_later_one() -> None:
    """Who waits briefly behind somebody who waits long is told after his own time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connected(serve) as (wire, _):
        started = time.monotonic()
        slow = wire.ask(("PING",), 30.0)
        await asyncio.sleep(0.02)
        quick = wire.ask(("PING",), 0.05)
        for each in (quick, slow):
            with pytest.raises(WireLost, match="no answer in time"):
                await asyncio.wait_for(each, 5.0)
        assert 0.04 < time.monotonic() - started < 5.0


@in_loop
async def test_an_answer_that_came_while_this_process_stood_still_is_taken() -> None:
    """A timeout is the server's, never that of a loop which did not look."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for _ in commands(reader):
            writer.write(b"+OK\r\n")
            await writer.drain()

    async with connected(serve) as (wire, said):
        await wire.ask(("PING",), 5.0)
        for _ in range(3):
            future = wire.ask(("PING",), 0.05)
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            time.sleep(0.2)
            assert await future == b"OK"
        assert said == []


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not the protocol"),
        (b"+OK\r\n+OK\r\n", "nobody asked"),
        (b"*-7\r\n", "not the protocol"),
        (b"", "connection ended"),
    ],
)
@in_loop
async def test_what_is_no_answer_ends_the_connection(sent: bytes, why: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(sent)
        await writer.drain()

    async with connected(serve) as (wire, said):
        future = wire.ask(("PING",), 5.0)
        while not said:
            await asyncio.sleep(0.001)
        assert why in said[0]
        if not sent.startswith(b"+OK"):
            with pytest.raises(WireLost):
                await future


class Counted:
    """A transport that counts its writes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.count = 0

    def write(self, data: bytes) -> None:
        self.count += 1
        self._transport.write(data)

    def abort(self) -> None:
        self._transport.abort()


@in_loop
async def test_questions_of_one_turn_go_out_in_one_write() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for _ in commands(reader):
            writer.write(b"+OK\r\n")

    async with connected(serve) as (wire, _):
        writes = Counted(wire._transport)
        wire._transport = writes  # type: ignore[assignment]
        await asyncio.gather(*(wire.ask(("PING",), 5.0) for _ in range(50)))
        assert writes.count == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@host:1/0", "redis://", "redis://:s3cret@host:99999/0", "redis://:s3cret@host/x",
        "redis://:s3cret@host/-1", "s3cret", "", "redis://[s3cret",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_used_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Secret(url), None)
    assert "s3cret" not in str(caught.value)


def test_a_url_is_taken_apart() -> None:
    found = parse(Secret("redis://us%40er:p%3Ass@[::1]:7000/3"), None)
    assert (found.host, found.port, found.user, found.database, found.tls) == ("::1", 7000, "us@er", 3, None)
    assert found.greeting() == [("AUTH", "us@er", "p:ss"), ("SELECT", 3)]
    assert parse(Secret("rediss://host"), None).tls is not None
    assert parse(Secret("redis://host"), None).greeting() == []
    for hidden in ("p:ss", "::1", "7000"):
        assert hidden not in repr(found)

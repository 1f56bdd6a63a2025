"""A TCP proxy before PostgreSQL that cuts connections in the middle of a commit.

It looks for the command on its way to the server. ``before``: the server never gets it. ``after``: the server gets it,
its answer goes nowhere. ``late``: as ``after``, but the server gets it only a while after the client's connection was
cut, when the client is asking already what became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LATE_S = 0.2


class CuttingProxy:
    """``plan`` says what is done to the next commits, in order; then they pass. ``cut`` counts what was done."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self.plan: list[str] = []
        self.cut: list[str] = []
        self.port = 0
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CuttingProxy]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        down = asyncio.create_task(self._pump(up_reader, writer))
        try:
            while data := await reader.read(65_536):
                # The Query message of the simple protocol: a length, the text, a NUL.
                if b"COMMIT\x00" in data and self.plan and (what := self.plan.pop(0)) != "pass":
                    self.cut.append(what)
                    await self._cut(what, data, writer, up_writer)
                    return
                up_writer.write(data)
                await up_writer.drain()
        except OSError:
            pass
        finally:
            down.cancel()
            for each in (writer, up_writer):
                each.transport.abort() if each is writer else each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()
            await asyncio.gather(down, return_exceptions=True)

    @staticmethod
    async def _cut(
        what: str, data: bytes, writer: asyncio.StreamWriter, up_writer: asyncio.StreamWriter
    ) -> None:
        if what == "after":
            up_writer.write(data)
            await up_writer.drain()
        writer.transport.abort()
        if what == "late":
            await asyncio.sleep(LATE_S)
            up_writer.write(data)
            await up_writer.drain()
            await asyncio.sleep(LATE_S)

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

"""A TCP proxy before PostgreSQL that makes a router look frozen in the middle of an append.

To the server a process that was stopped is a client whose kernel acknowledges everything, and that says nothing. So the
proxy stops all that passes, in both directions, at a chosen place of the protocol, until ``thaw``.
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

from cutting_proxy import CuttingProxy

ADVANCE: Final = b"UPDATE log_head"
"""What an append begins with, after BEGIN."""

MOMENTS: Final = {
    "between two statements": lambda kinds: _end(kinds, "S", 1),
    "in the middle of a message": lambda kinds: _end(kinds, "B", 2) + 1,
    "in a pipeline": lambda kinds: _end(kinds, "E", 2),
    "behind a pipeline": lambda kinds: _end(kinds, "H", 1),
}
"""Where an append of one row may be stopped. The head is advanced by Parse, Bind, Describe, Execute, Sync; the row's
pipeline is Parse, Bind, Describe, Execute, Sync (without Parse when it is prepared), and Flush, unless the answers were
quicker: so they are held back until then. After it comes COMMIT."""


class FreezingProxy(CuttingProxy):
    """``freeze_at`` arms it for the next append; ``frozen`` is set when the place was reached."""

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self.frozen = asyncio.Event()
        self._moment: str | None = None
        self._going = asyncio.Event()
        self._going.set()
        self._answering = asyncio.Event()
        self._answering.set()

    def freeze_at(self, moment: str) -> None:
        self._moment = moment
        self.frozen.clear()

    def thaw(self) -> None:
        self._going.set()
        self._answering.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        down = asyncio.create_task(self._down(up_reader, writer))
        try:
            await self._up(reader, up_writer)
        except OSError:
            pass
        finally:
            down.cancel()
            for each in (writer, up_writer):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()
            await asyncio.gather(down, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said, sent = b"", 0  # since the append began
        while data := await reader.read(65_536):
            await self._going.wait()
            if self._moment is not None and (said or ADVANCE in data):
                said += data
                kinds = list(_messages(said))
                if kinds and kinds[-1][1] > _end(kinds, "S", 1):
                    self._answering.clear()
                place = MOMENTS[self._moment](kinds)
                if place <= len(said):
                    writer.write(said[sent:place])
                    await writer.drain()
                    self._moment = None
                    self._going.clear()
                    self.frozen.set()
                    await self._going.wait()
                    data = said[place:]
                sent = len(said)
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._answering.wait()
                await self._going.wait()
                writer.write(data)
                await writer.drain()
        await self._going.wait()
        writer.close()


def _messages(said: bytes) -> Iterator[tuple[str, int]]:
    """Kind and end of each whole message."""
    at = 0
    while at + 5 <= len(said):
        end = at + 1 + int.from_bytes(said[at + 1 : at + 5], "big")
        if end > len(said):
            return
        yield chr(said[at]), end
        at = end


def _end(kinds: list[tuple[str, int]], kind: str, number: int) -> int:
    """Where the message of that kind and number (from 1) ends; far away while it has not come."""
    ends = [end for each, end in kinds if each == kind]
    return ends[number - 1] if len(ends) >= number else 1 << 40

"""A mock provider on a TCP port: reads requests, asks the wire for an answer, plays it with its faults.

Own HTTP/1.1 on ``asyncio.Protocol`` because frameworks refuse to send broken HTTP and because, as the
upstream of benchmarks, an answer without faults must cost little: it is one synchronous call and one write.
Everything else runs as a task that plays the steps of ``transmit.script``.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from zlib import crc32

from sovereign_ext.mock.connection import Connection
from sovereign_ext.mock.faults import Fault, FaultTable, Rule, Scope
from sovereign_ext.mock.recording import Recorded, Recording
from sovereign_ext.mock.wires import wire_of
from sovereign_ext.mock.wires.base import Wire


class MockServer:
    """One provider on one port. ``async with MockServer("openai") as server: server.url``.

    ``faults`` are in force from the start (a bare ``Fault`` strikes every model call). ``port`` 0 takes a
    free one. ``record`` is how many requests are remembered. ``tls`` is a server-side context. ``models`` is
    what the model list shows; any model name is answered. ``wire`` is one that is not among the kinds. Lives
    in one event loop and is not thread-safe: see ``thread``.
    """

    def __init__(
        self,
        kind: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Sequence[Rule | Fault] = (),
        models: tuple[str, ...] = (),
        control: bool = True,
        record: int = 1000,
        tls: ssl.SSLContext | None = None,
        wire: Wire | None = None,
    ) -> None:
        self.kind = kind
        self.wire = wire or wire_of(kind, models)
        self.faults = FaultTable(
            tuple(rule if isinstance(rule, Rule) else Rule(fault=rule) for rule in faults)
        )
        self.recording = Recording(record)
        self.control = control
        self.host = host
        self.port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._accepted = 0
        self._answered = 0
        self._tag = 0

    @property
    def url(self) -> str:
        """``scheme://host:port`` without a path; valid once started."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def requests(self) -> list[Recorded]:
        """The remembered requests, oldest first."""
        return self.recording.all()

    def fault(
        self, fault: Fault, *, model: str | None = None, path: str | None = None, times: int | None = None
    ) -> None:
        """Put a fault in force, as ``POST /_mock/fault`` does."""
        narrow = model is not None or path is not None
        self.faults.add(
            Rule(fault=fault, scope=Scope(model=model, path=path) if narrow else "all", times=times)
        )

    async def start(self) -> None:
        """Listen; sets ``port``. Raises ``OSError`` when the address cannot be used."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), self.host, self.port, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._tag = crc32(f"{self.kind}:{self.port}".encode())

    async def refuse(self) -> None:
        """Stop listening, so that new connections are refused; open ones go on. ``start`` listens again."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        await self.refuse()
        for connection in tuple(self._connections):
            connection.drop()
        await self._empty.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # What connections use.

    def opened(self, connection: Connection) -> int:
        """A connection was accepted; returns its number."""
        self._connections.add(connection)
        self._empty.clear()
        self._accepted += 1
        return self._accepted

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def number(self) -> int:
        """The number of the next request."""
        self._answered += 1
        return self._answered

    def tag(self, number: int) -> str:
        """24 hex digits that name an answer: 8 for this server, 16 for the request."""
        return f"{self._tag:08x}{number:016x}"

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

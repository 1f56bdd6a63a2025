"""A TCP balancer as routers stand behind one: it probes `/healthz`, and gives a connection to the healthy router that
has the fewest.

It knows no HTTP beyond its probe: a connection stays where it is until one of its ends closes it. Deliberately without
a second try: a router that refuses a connection is seen by the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import Self

PROBE_S = 0.05
_PIECE = 65536


@dataclass
class Router:
    """What the balancer knows of one: ``port`` on loopback, whether its last probe said 200, connections."""

    port: int
    healthy: bool = False
    connections: int = 0


class Balancer:
    """``with Balancer() as balancer``; routers come with ``add`` and stay until the end, healthy or not."""

    def __init__(self) -> None:
        self.port = 0
        self._routers: dict[int, Router] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(self, port: int) -> None:
        """A router to probe; it gets connections from its first 200 on."""
        router = Router(port)
        # A new dictionary: the loop may be going through the old one.
        self._routers = {**self._routers, port: router}
        self._loop.call_soon_threadsafe(self._look_after, router)

    def connections(self, port: int) -> int:
        """How many a router has."""
        return self._routers[port].connections

    def healthy(self, port: int) -> bool:
        """Whether a router's last probe said so."""
        return self._routers[port].healthy

    # -- on the loop -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look_after(self, router: Router) -> None:
        self._spawn(self._loop.create_task(self._probe(router)))

    def _spawn(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _probe(self, router: Router) -> None:
        request = b"GET /healthz HTTP/1.1\r\nhost: balancer\r\nconnection: close\r\n\r\n"
        while True:
            status = b""
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
                with contextlib.closing(writer):
                    writer.write(request)
                    status = await reader.readline()
            router.healthy = status.startswith(b"HTTP/1.1 200")
            await asyncio.sleep(PROBE_S)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._loop.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            healthy = [router for router in self._routers.values() if router.healthy]
            if not healthy:
                return
            chosen = min(healthy, key=lambda router: router.connections)
            chosen.connections += 1
            try:
                await _join(chosen.port, reader, writer)
            finally:
                chosen.connections -= 1


async def _join(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until both ends have said their last."""
    with contextlib.suppress(OSError):
        answers, requests = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(requests):
            await asyncio.gather(_carry(reader, requests), _carry(answers, writer))


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE):
        sink.write(piece)
        await sink.drain()
    sink.write_eof()

"""Asking a running Envoy, over its admin socket, which configuration it has taken up, and having it drain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

_POLL_S: Final = 0.05
_OPEN_CALLS: Final = r"^http\.ingress\.downstream_rq_active$"
_VERSIONS: Final = ("cluster_manager.cds.version_text", "http.egress.rds.egress.version_text")


class EnvoyAdmin:
    """A client for the admin interface on a Unix socket."""

    def __init__(self, socket_path: str, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._socket = socket_path
        self._sleep = sleep

    async def serves(self, version: Callable[[], str], *, rounds: int) -> bool | None:
        """Whether Envoy comes to serve ``version`` of clusters and routes within ``rounds`` looks of 50 ms.

        It is asked for with each look: other workers may have given Envoy a newer one.

        ``None`` if there is no Envoy to ask: one that starts later reads the files as they are.
        """
        async with self._client(timeout_s=2.0) as client:
            for _ in range(rounds):
                try:
                    if await self._taken_up(client, version()):
                        return True
                except httpx.TransportError:
                    return None
                await self._sleep(_POLL_S)
        return False

    async def drain(
        self, *, accept_s: float, within_s: float, waiting: Callable[[int], object] | None = None
    ) -> int:
        """Have Envoy take no new calls, and wait until those of its clients are over; how many were left in the end.

        1. From now on the probe of balancers fails, and answers ask clients to connect anew (`connection: close`,
           GOAWAY). Connections are still accepted: a balancer needs time to notice.
        2. After ``accept_s`` seconds the listeners of clients close. The internal one does not, so that open calls may
           still go on to their next provider.
        3. Until no call is open, ``within_s`` seconds at most, counted from 1. ``waiting`` is told how many there are,
           once, if there are any that do not end at once.

        Raises ``httpx.TransportError`` if there is no Envoy.
        """
        async with self._client(timeout_s=10.0) as client:
            await client.post("/healthcheck/fail")
            await client.post("/drain_listeners?inboundonly&graceful&skip_exit")
            await self._sleep(accept_s)
            await client.post("/drain_listeners?inboundonly")
            left = await self._open_calls(client)
            if left and waiting is not None:
                await self._sleep(_POLL_S)  # one that is as good as over, such as a mirror's look, is no news
                left = await self._open_calls(client)
                if left:
                    waiting(left)
            for _ in range(round(max(0.0, within_s - accept_s) / _POLL_S)):
                if not left:
                    break
                await self._sleep(_POLL_S)
                left = await self._open_calls(client)
            return left

    def _client(self, *, timeout_s: float) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=self._socket)
        return httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=timeout_s)

    async def _open_calls(self, client: httpx.AsyncClient) -> int:
        stats = await client.get("/stats", params={"filter": _OPEN_CALLS, "usedonly": ""})
        return sum(int(line.rpartition(":")[2]) for line in stats.text.splitlines())

    async def _taken_up(self, client: httpx.AsyncClient, version: str) -> bool:
        texts = (await client.get("/stats", params={"type": "TextReadouts"})).text
        if any(f'{name}: "{version}"' not in texts for name in _VERSIONS):
            return False
        warming = await client.get("/stats", params={"filter": "^cluster_manager.warming_clusters$"})
        return warming.text.strip().endswith(": 0")

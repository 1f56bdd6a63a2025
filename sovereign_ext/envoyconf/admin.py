"""Asking a running Envoy, over its admin socket, which configuration it has taken up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import httpx

_POLL_S: Final = 0.05
_VERSIONS: Final = ("cluster_manager.cds.version_text", "http.egress.rds.egress.version_text")


class EnvoyAdmin:
    """A client for the admin interface on a Unix socket."""

    def __init__(self, socket_path: str, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._socket = socket_path
        self._sleep = sleep

    async def serves(self, version: str, *, rounds: int) -> bool | None:
        """Whether Envoy comes to serve ``version`` of clusters and routes within ``rounds`` looks of 50 ms.

        ``None`` if there is no Envoy to ask: one that starts later reads the files as they are.
        """
        transport = httpx.AsyncHTTPTransport(uds=self._socket)
        async with httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=2.0) as client:
            for _ in range(rounds):
                try:
                    if await self._taken_up(client, version):
                        return True
                except httpx.TransportError:
                    return None
                await self._sleep(_POLL_S)
        return False

    async def _taken_up(self, client: httpx.AsyncClient, version: str) -> bool:
        texts = (await client.get("/stats", params={"type": "TextReadouts"})).text
        if any(f'{name}: "{version}"' not in texts for name in _VERSIONS):
            return False
        warming = await client.get("/stats", params={"filter": "^cluster_manager.warming_clusters$"})
        return warming.text.strip().endswith(": 0")

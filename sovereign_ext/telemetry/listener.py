"""Where a scraper without a key asks: a listener for ``GET /metrics`` alone, on an address that the operator chooses.

Off unless it is asked for, on loopback unless an address is named. It has no TLS and no keys: what may reach it is the
operator's to say (loopback, a network policy). With a key the same is at ``GET /sf/v1/metrics``.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from sovereign_ext.mirror.http import HttpServer, Request, Response

_log = logging.getLogger(__name__)

PATH: Final = "/metrics"
LOOPBACK: Final = "127.0.0.1"

_ONCE: Final = (("connection", "close"),)
"""The pause until the next scrape is longer than the server lets a connection wait."""

Expose = Callable[[], Awaitable[bytes]]


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``PORT`` (on loopback), ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ``ValueError``."""
    found = re.fullmatch(r"(?:(?P<host>[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>[0-9]{1,5})", text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(f"{text!r} is not PORT, HOST:PORT or [IPV6]:PORT")
    host = (found["host"] or LOOPBACK).strip("[]")
    if ":" in host:
        ipaddress.IPv6Address(host)
    return host, int(found["port"])


class Listener:
    """Serves ``expose``'s text until it is closed."""

    def __init__(self, expose: Expose, content_type: str) -> None:
        self._expose = expose
        self._content_type = content_type
        self._server = HttpServer(self._answer, max_body=0)

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port, which the system chooses for 0. Raises ``OSError``."""
        return await self._server.start(host, port)

    async def close(self) -> None:
        """End all connections."""
        await self._server.close()

    async def _answer(self, request: Request) -> Response:
        if request.path != PATH:
            return Response(404, b"only /metrics is here\n", headers=_ONCE)
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"only GET\n", headers=(("allow", "GET, HEAD"), *_ONCE))
        try:
            text = await self._expose()
        except Exception:
            _log.exception("metrics cannot be told")
            return Response(500, b"see the log\n", headers=_ONCE)
        return Response(200, text, self._content_type, (("cache-control", "no-store"), *_ONCE))

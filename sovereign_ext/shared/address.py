"""Where the shared store is: a URL taken apart, and how to connect to it. The URL holds a password.

Known are ``redis://``, ``valkey://``, with TLS ``rediss://`` and ``valkeys://`` (``user:password@host:port/database``),
and ``unix://user:password@/path?db=0``, as redis-py reads them. Nothing of the URL is in an error or a repr.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from sovereign_ext.errors import ConfigError
from sovereign_ext.secret import Secret
from sovereign_ext.shared.wire import Wire

_TLS: Final = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """``path`` is a Unix socket, or empty. ``tls`` is ``None`` for a connection in the clear."""

    host: str = field(repr=False)
    port: int = field(repr=False)
    path: str = field(repr=False)
    user: str = field(repr=False)
    password: Secret
    database: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    async def connect(self, wire: Wire) -> None:
        """Raises ``OSError`` (``ssl.SSLError`` is one) when it cannot be reached."""
        loop = asyncio.get_running_loop()
        if self.path:
            await loop.create_unix_connection(lambda: wire, self.path)
        else:
            await loop.create_connection(lambda: wire, self.host, self.port, ssl=self.tls)

    def greeting(self) -> list[tuple[str | bytes | int, ...]]:
        """The commands that open a session. Each is answered with ``OK``."""
        commands: list[tuple[str | bytes | int, ...]] = []
        password = self.password.reveal()
        if password:
            commands.append(("AUTH", self.user, password) if self.user else ("AUTH", password))
        if self.database:
            commands.append(("SELECT", self.database))
        return commands


def parse(url: Secret, tls: ssl.SSLContext) -> Address:
    """Take a URL apart; ``tls`` is used where it asks for TLS. Raises ``ConfigError`` that says nothing of it."""
    try:
        parts = urlsplit(url.reveal().strip())
        user, password = unquote(parts.username or ""), Secret(unquote(parts.password or ""))
        if parts.scheme == "unix" and parts.path:
            database = int(parse_qs(parts.query).get("db", ["0"])[0])
            return Address("", 0, unquote(parts.path), user, password, database)
        if parts.scheme in _TLS and parts.hostname and not parts.query and not parts.fragment:
            database = int(parts.path.strip("/") or 0)
            context = tls if _TLS[parts.scheme] else None
            return Address(parts.hostname, parts.port or _PORT, "", user, password, database, context)
    except ValueError:
        pass
    raise ConfigError(
        "the shared store's URL should be redis://, rediss:// (TLS), valkey://, valkeys:// or unix://, like "
        "rediss://user:password@host:6379/0"
    )

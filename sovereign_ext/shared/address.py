"""Where the shared store is: a URL taken apart, and how to connect to it. The URL holds a password.

``redis://user:password@host:port/database``, or ``rediss://`` with TLS, as redis-py reads them. Valkey has no scheme
that everybody knows. Nothing of the URL is in an error or a repr.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from sovereign_ext.errors import ConfigError
from sovereign_ext.roots import tls_context
from sovereign_ext.secret import Secret
from sovereign_ext.shared.wire import Wire

_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """``tls`` is ``None`` for a connection in the clear."""

    host: str = field(repr=False)
    port: int = field(repr=False)
    user: str = field(repr=False)
    password: Secret
    database: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    async def connect(self, wire: Wire) -> None:
        """Raises ``OSError`` (``ssl.SSLError`` is one) when it cannot be reached."""
        await asyncio.get_running_loop().create_connection(lambda: wire, self.host, self.port, ssl=self.tls)

    def greeting(self) -> list[tuple[str | bytes | int, ...]]:
        """The commands that open a session. Each is answered with ``OK``."""
        commands: list[tuple[str | bytes | int, ...]] = []
        password = self.password.reveal()
        if password:
            commands.append(("AUTH", self.user, password) if self.user else ("AUTH", password))
        if self.database:
            commands.append(("SELECT", self.database))
        return commands


def parse(url: Secret, roots: bytes | None) -> Address:
    """Take a URL apart. ``roots`` (PEM) are trusted instead of the system's where it asks for TLS.

    Raises ``ConfigError``, which says nothing of the URL.
    """
    try:
        parts = urlsplit(url.reveal().strip())
        database = int(parts.path.strip("/") or 0)
        if parts.scheme in ("redis", "rediss") and parts.hostname and database >= 0:
            return Address(
                parts.hostname,
                parts.port or _PORT,
                unquote(parts.username or ""),
                Secret(unquote(parts.password or "")),
                database,
                tls_context(roots) if parts.scheme == "rediss" else None,
            )
    except ValueError:
        pass
    raise ConfigError("is no URL such as rediss://:password@host:6379/0 (not shown)", field="storage.shared")

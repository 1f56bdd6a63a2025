"""What the tests of a shared log have in common: replicas in this process, on a PostgreSQL database of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from log_world import NOW_MS, ORIGIN
from sqlalchemy import Engine

from sovereign_ext.cli.log import row_verifier
from sovereign_ext.secret import Secret
from sovereign_ext.storage.engine import open_postgres
from sovereign_ext.storage.entries import EntryStore
from sovereign_ext.storage.published import PublishedStore
from sovereign_ext.tlog.fsck import Fsck, FsckReport
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.service import TransparencyLog
from sovereign_ext.tlog.shared import SharedLog, shared_directory
from sovereign_ext.tlog.tilestore import TileStore

LEASE_S = 1.0


class Site:
    """A database, a directory of tiles and the keys; ``replica`` opens the log by them."""

    def __init__(self, url: str, root: Path, tiles: Callable[[], TileStore] | None = None) -> None:
        self.url = url
        self.root = root
        self.tiles = tiles or (lambda: shared_directory(root / "tiles"))

    @asynccontextmanager
    async def replica(
        self, name: str, *, keys: str = "keys", **options: Any
    ) -> AsyncIterator[TransparencyLog]:
        """An open replica with a state directory of its own, closed at the end."""
        engine = open_postgres(
            Secret(options.pop("url", self.url)), patience_s=options.pop("patience_s", 8.0)
        )
        shared = SharedLog(engine, self.tiles(), self.root / keys, options.pop("lease_s", LEASE_S))
        options.setdefault("clock", lambda: NOW_MS)
        try:
            log = await TransparencyLog.open(
                self.root / name, options.pop("origin", ORIGIN), shared=shared, **options
            )
            try:
                yield log
            finally:
                await log.close()
        finally:
            engine.dispose()

    def engine(self) -> Engine:
        """A connection pool of the test's own."""
        return open_postgres(Secret(self.url))

    def fsck(self, log: TransparencyLog) -> FsckReport:
        """Check everything, as the command does."""
        engine = self.engine()
        try:
            keys, reader = log.public_keys, LogReader(self.tiles())
            signed = PublishedStore(engine).note
            return Fsck(EntryStore(engine), reader, signed, keys.log, row_verifier(keys.envelope)).run()
        finally:
            engine.dispose()


def through(url: str, port: int) -> str:
    """The URL of the same database by way of a proxy on that port."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()


def held(site: Site) -> dict[int, str]:
    """The leaf hash of each entry that the database holds, in hex."""
    engine = site.engine()
    try:
        return {index: leaf.hex() for index, _, leaf in EntryStore(engine).leaves(0, 1 << 40)}
    finally:
        engine.dispose()


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so; a test that waits in vain fails."""
    for _ in range(int(seconds / 0.01)):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to be")

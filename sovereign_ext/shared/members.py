"""Who shares the store, and since when what it holds can be relied on: heartbeats and epochs.

An **epoch** is a stretch of time in which no counts were lost. It ends when the marker is gone (``FLUSHALL``) or when
the server or the lineage of its data is another one: its run id differs (it was restarted), or its replication id (a
replica took over, which may lack the last writes). Whoever sees it first begins the next; every router learns of it
when it connects or with its next sign of life, and says again what its calls hold. Spend is loaded from the database
only ``REBUILD_MS`` after an epoch began, when all have had the time for that; until then calls under a spend cap are
refused.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sovereign_ext.errors import ServiceError
from sovereign_ext.shared import layout
from sovereign_ext.shared.client import Client
from sovereign_ext.shared.rounds import Rounds
from sovereign_ext.shared.scripts import BEAT

_log = logging.getLogger(__name__)

BEAT_S: Final = 1.0
GONE_S: Final = 15.0
"""A router that gave no sign of life for so long is taken for dead."""

REBUILD_MS: Final = 3_000
_REMEMBERED_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Epoch:
    """``name`` is unique; ``rebuilt_ms`` is the server's time (Unix milliseconds) from which spend may be loaded."""

    name: str
    rebuilt_ms: int


NO_EPOCH: Final = Epoch("", 0)


class Members:
    """This router among the others. ``renewed`` is called, in the loop, when another epoch is seen than before."""

    def __init__(
        self,
        client: Client,
        router: str,
        renewed: Callable[[], None],
        *,
        beat_s: float = BEAT_S,
        gone_s: float = GONE_S,
        rebuild_ms: int = REBUILD_MS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._renewed = renewed
        self._gone_s = gone_s
        self._rebuild_ms = rebuild_ms
        self._monotonic = monotonic
        self._routers: dict[str, float] = {}  # seconds since their last sign, as of the last beat
        self._server_ms, self._server_at = 0, 0.0
        self._rounds = Rounds(client, beat_s, "a sign of life", self._look)
        self.router = router
        self.epoch = NO_EPOCH

    def start(self) -> None:
        """Begin to give signs of life."""
        self._rounds.start()

    async def stop(self) -> None:
        """Give no more signs, and say goodbye: what this router still holds may be swept at once."""
        await self._rounds.stop()
        if self._client.up:
            try:
                await self._client.command("ZREM", layout.ROUTERS, self.router)
            except ServiceError:
                return

    async def beat(self) -> None:
        """One sign of life, on every new connection too. Raises ``ServiceError`` as ``Client.run`` does."""
        reply = await self._client.run(
            BEAT, [layout.EPOCH, layout.ROUTERS],
            [self.router, self._client.lineage, os.urandom(6).hex(), _REMEMBERED_MS], slow=True,
        )  # fmt: skip
        if self._client.up:
            self._client.why = ""  # it was written, so whatever was refused before may be taken now
        name, since_ms, self._server_ms = reply[0].decode(), int(reply[1]), int(reply[2])
        self._server_at = self._monotonic()
        self._routers = {
            router.decode(): (self._server_ms - float(at)) / 1000
            for router, at in zip(reply[3][::2], reply[3][1::2], strict=True)
        }
        epoch = Epoch(name, since_ms + self._rebuild_ms)
        if name != self.epoch.name:
            if self.epoch.name:
                _log.warning("the shared store lost what it held, or may have: counts are rebuilt")
            self.epoch = epoch
            self._renewed()
        elif epoch != self.epoch:  # the server's clock was set back
            self.epoch = epoch

    @property
    def rebuilding_s(self) -> float:
        """Seconds until spend may be loaded in this epoch; 0 when it may."""
        now_ms = self._server_ms + (self._monotonic() - self._server_at) * 1000
        return max(0.0, (self.epoch.rebuilt_ms - now_ms) / 1000)

    def there(self) -> list[str]:
        """The routers that have given a sign of life lately."""
        return [router for router, silent_s in self._routers.items() if silent_s < self._gone_s]

    @property
    def sees_gone(self) -> bool:
        """Whether a router that is not among ``there`` is gone: the store was in reach for as long as that takes.

        After an outage all are silent at first; that says nothing about them.
        """
        since = self._client.up_since
        return since is not None and self._monotonic() - since >= self._gone_s

    async def _look(self) -> None:
        await self._check_server()
        await self.beat()

    async def _check_server(self) -> None:
        """A proxy may hold the connection and put another server behind it."""
        info: Any = await self._client.command("INFO", "replication")
        if f"master_replid:{self._client.lineage.split('.')[1]}".encode() not in info:
            self._client.drop("another server answers")

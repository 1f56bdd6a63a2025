"""The metrics of a processor, from its start to its stop: counted, read from its parts, served where one asks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.management.health import is_ready
from sovereign_ext.routing.health import Health
from sovereign_ext.shared.service import SharedStatus
from sovereign_ext.telemetry.facts import Reloaded
from sovereign_ext.telemetry.families.base import UNKNOWN, Deployed
from sovereign_ext.telemetry.metrics import CONTENT_TYPE, Metrics
from sovereign_ext.telemetry.readings import (
    ConfigReading,
    DeploymentReading,
    LogReading,
    Readings,
    SharedReading,
)
from sovereign_ext.tlog.service import TransparencyLog

if TYPE_CHECKING:
    from sovereign_ext.telemetry.listener import Listener

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is looked at. ``faults`` counts what is wrong with a newer configuration, ``in_flight`` calls under way."""

    log: TransparencyLog
    health: Health
    faults: Callable[[], int]
    in_flight: Callable[[], int]
    shared: Callable[[], SharedStatus | None]
    draining: Callable[[], bool]


class Observing:
    """``snapshot`` is the configuration in use."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._metrics = Metrics(self._deployed)
        self._used_s = time.time()
        self._parts: Parts | None = None
        self._listener: Listener | None = None
        self.tell = self._metrics.tell

    async def start(self, parts: Parts, listen: tuple[str, int] | None) -> None:
        """Look at ``parts`` from now on, and listen if that is asked for. Raises ``OSError``."""
        self._parts = parts
        if listen is not None:
            from sovereign_ext.telemetry.listener import Listener  # noqa: PLC0415 - most have none

            self._listener = Listener(self.exposition, CONTENT_TYPE)
            port = await self._listener.start(*listen)
            _log.info("metrics at http://%s:%d/metrics, for whoever can connect", listen[0], port)

    async def stop(self) -> None:
        """Listen no longer."""
        if self._listener is not None:
            await self._listener.close()

    def reloaded(self, used: bool) -> None:
        """A new configuration is in use now, or could not be taken up."""
        if used:
            self._used_s = time.time()
        self.tell(Reloaded(used))

    async def exposition(self) -> bytes:
        """The text for a scraper."""
        return await self._metrics.exposition(self._read)

    def _read(self) -> Readings:
        parts, snapshot = self._parts, self._snapshot()
        assert parts is not None, "nobody is served before the start"
        log, shared, now = parts.log.status(), parts.shared(), time.monotonic()
        return Readings(
            in_flight=parts.in_flight(),
            ready=is_ready(log, draining=parts.draining()),
            log=LogReading(log.size, log.published_size, log.healthy, parts.log.leads),
            config=ConfigReading(snapshot.version, self._used_s, parts.faults()),
            deployments=[
                DeploymentReading(each.id, each.provider, parts.health.blocked(each.id, now) is None)
                for each in snapshot.config.deployments
            ],
            shared=None
            if shared is None
            else SharedReading(shared.reachable, shared.rebuilding_s, shared.routers, shared.queued),
        )

    def _deployed(self, deployment: str) -> Deployed:
        snapshot = self._snapshot()
        found = snapshot.deployments.get(deployment)
        return (
            UNKNOWN if found is None else Deployed(found.model, snapshot.providers[found.provider].kind.value)
        )

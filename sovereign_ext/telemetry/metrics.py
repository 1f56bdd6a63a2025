"""The metrics of one process: told facts while calls run, asked for their text by whoever scrapes.

Nothing here is global, knows the network or keeps time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sovereign_ext.telemetry.facts import Fact
from sovereign_ext.telemetry.families.base import DeployedAs, Family, Making
from sovereign_ext.telemetry.instruments import Described, Instruments
from sovereign_ext.telemetry.readings import Read
from sovereign_ext.telemetry.registry import FAMILIES

if TYPE_CHECKING:
    from sovereign_ext.telemetry.exposition import Exposition

_log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All families. ``deployed`` looks a deployment up in the configuration in use."""

    def __init__(self, deployed: DeployedAs) -> None:
        self._instruments = Instruments()
        making = Making(self._instruments, deployed)
        self._families: list[Family] = [made(making) for made in FAMILIES]
        self._hears: dict[type, list[Callable[[Any], None]]] = {}
        for family in self._families:
            for kind, hear in family.hears().items():
                self._hears.setdefault(kind, []).append(hear)
        self._complained = False
        self._exposition: Exposition | None = None

    def tell(self, fact: Fact) -> None:
        """Count it. A ``facts.Tell``: what goes wrong here is no call's fault, so it is logged, once."""
        try:
            for hear in self._hears.get(type(fact), ()):
                hear(fact)
        except Exception:
            if not self._complained:
                self._complained = True
                _log.exception("a metric cannot be counted; said once")

    async def exposition(self, read: Read) -> bytes:
        """The text, with gauges as ``read`` finds them now. On the event loop.

        Rendering a thousand series takes some 10 ms, so it happens on another thread.
        """
        readings = read()
        for family in self._families:
            family.read(readings)
        return await asyncio.to_thread(self._rendered)

    def described(self) -> tuple[Described, ...]:
        """Every metric of ours, in the order of the registry."""
        return tuple(made.described for made in self._instruments.made.values())

    def _rendered(self) -> bytes:
        if self._exposition is None:
            from sovereign_ext.telemetry.exposition import Exposition  # noqa: PLC0415 - slow; see there

            self._exposition = Exposition(self._instruments)
        return self._exposition.text()

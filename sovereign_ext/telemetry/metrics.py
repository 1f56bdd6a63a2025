"""The metrics of one process: told facts while calls run, asked for their text by whoever scrapes.

Prometheus' text format 0.0.4, which every version of Prometheus and its relatives reads. Nothing here is global, knows
the network or keeps time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from sovereign_ext.telemetry.facts import Fact
from sovereign_ext.telemetry.families.base import DeployedAs, Family, Making
from sovereign_ext.telemetry.instruments import Described, Instruments
from sovereign_ext.telemetry.readings import Read
from sovereign_ext.telemetry.registry import FAMILIES

_log = logging.getLogger(__name__)

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


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
        return await asyncio.to_thread(generate_latest, self._instruments.registry)

    def described(self) -> tuple[Described, ...]:
        """Every metric of ours, in the order of the registry."""
        return tuple(self._instruments.described)

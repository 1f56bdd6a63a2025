"""The process itself: which version it is, and whether it is ready. CPU and memory are added by ``exposition``."""

from __future__ import annotations

from sovereign_ext import __version__
from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.readings import Readings


class Process:
    """Ready is what gRPC health says under ``readiness``."""

    def __init__(self, making: Making) -> None:
        make = making.instruments
        build = make.gauge("sovereign_build_info", "1, with the version of this process.", ("version",))
        build.replace([((__version__,), 1)])
        self._ready = make.gauge("sovereign_ready", "1 if this process takes calls.")

    def hears(self) -> Hears:
        return {}

    def read(self, readings: Readings) -> None:
        self._ready.set(readings.ready)

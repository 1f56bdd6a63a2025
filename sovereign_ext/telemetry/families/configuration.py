"""The configuration in use: which one, since when, and whether what came after it could be used.

The age of the last good one is ``time() - sovereign_config_last_reload_success_timestamp_seconds``, as Prometheus names
its own.
"""

from __future__ import annotations

from sovereign_ext.telemetry.facts import Reloaded
from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.readings import Readings


class Configuration:
    """A reload is an edit of the file, or a change of resources, that was taken up or refused."""

    def __init__(self, making: Making) -> None:
        make = making.instruments
        self._reloads = make.counter(
            "sovereign_config_reloads_total",
            "Configurations taken up since the start, and edits that could not be.",
            ("result",),
        )
        for result in ("ok", "failed"):
            self._reloads.add((result,), 0)  # so that the first failure is an increase
        self._version = make.gauge("sovereign_config_version", "Configurations that this process has used.")
        self._since = make.gauge(
            "sovereign_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was taken up, Unix time.",
        )
        self._good = make.gauge(
            "sovereign_config_last_reload_successful", "1 unless something newer could not be used."
        )
        self._faults = make.gauge("sovereign_config_faults", "What is wrong with what is newer.")

    def hears(self) -> Hears:
        return {Reloaded: self._reloaded}

    def _reloaded(self, fact: Reloaded) -> None:
        self._reloads.add(("ok" if fact.used else "failed",))

    def read(self, readings: Readings) -> None:
        config = readings.config
        self._version.set(config.version)
        self._since.set(config.used_s)
        self._good.set(not config.faults)
        self._faults.set(config.faults)

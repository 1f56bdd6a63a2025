"""The transparency log: what calls give it, and how far it is."""

from __future__ import annotations

from typing import Final

from sovereign_ext.telemetry.facts import Appended
from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.readings import Readings

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Log:
    """Entries of calls only; those of changes over the management API are not counted, but they are entries."""

    def __init__(self, making: Making) -> None:
        make = making.instruments
        self._appends = make.histogram(
            "sovereign_log_append_duration_seconds",
            "Until an entry of a call is durable, or the attempt has failed.",
            SECONDS,
            ("kind",),
        )
        self._failures = make.counter(
            "sovereign_log_append_failures_total", "Entries of calls not known to be durable.", ("kind",)
        )
        self._entries = make.gauge("sovereign_log_entries", "Durable entries.")
        self._published = make.gauge(
            "sovereign_log_published_entries", "Entries that the newest checkpoint covers."
        )
        self._healthy = make.gauge(
            "sovereign_log_healthy", "1 unless the last commit or the last publication failed."
        )
        self._leads = make.gauge("sovereign_log_leader", "1 if this process makes the log's checkpoints.")

    def hears(self) -> Hears:
        return {Appended: self._appended}

    def _appended(self, fact: Appended) -> None:
        self._appends.add((fact.kind,), fact.seconds)
        if not fact.durable:
            self._failures.add((fact.kind,))

    def read(self, readings: Readings) -> None:
        log = readings.log
        self._entries.set(log.entries)
        self._published.set(log.published)
        self._healthy.set(log.healthy)
        self._leads.set(log.leads)

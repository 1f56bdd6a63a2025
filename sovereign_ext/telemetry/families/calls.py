"""Calls: how many came to which end, how long they took, how many are under way."""

from __future__ import annotations

from typing import Final

from sovereign_ext.telemetry.facts import CallEnded, TurnedAway
from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.labels import NONE, code, status_class
from sovereign_ext.telemetry.readings import Readings

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

UNLOGGED: Final = "log_unavailable"


class Calls:
    """Counted when they are over, also those that the log did not take: they are failures with its code."""

    def __init__(self, making: Making) -> None:
        make = making.instruments
        self._tenant = making.tenants
        self._calls = make.counter(
            "sovereign_calls_total",
            "Calls of the model API that are over.",
            ("tenant", "endpoint", "result", "status_class", "code"),
        )
        self._duration = make.histogram(
            "sovereign_call_duration_seconds",
            "From a call's headers to the end of its answer, its entry in the log included.",
            SECONDS,
            ("endpoint", "stream", "result"),
        )
        self._in_flight = make.gauge("sovereign_calls_in_flight", "Calls under way.")

    def hears(self) -> Hears:
        return {CallEnded: self._ended, TurnedAway: self._turned_away}

    def _ended(self, fact: CallEnded) -> None:
        facts = fact.facts
        endpoint, result, status, why = facts.endpoint, facts.result.value, facts.status, facts.error_code
        if not fact.durable:
            result, why = "failed", UNLOGGED
            status = status if facts.stream else 503  # of a stream the status has gone out before
        self._calls.add((self._tenant(facts.tenant), endpoint, result, status_class(status), code(why)))
        seconds = max(0, facts.finished_ms - facts.started_ms) / 1000
        self._duration.add((endpoint, "true" if facts.stream else "false", result), seconds)

    def _turned_away(self, fact: TurnedAway) -> None:
        self._calls.add((NONE, fact.endpoint, "denied", status_class(fact.status), code(fact.code)))

    def read(self, readings: Readings) -> None:
        self._in_flight.set(readings.in_flight)

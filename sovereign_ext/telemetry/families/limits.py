"""Refusals by rate limits and spend caps, and the store that several routers count in, where there is one."""

from __future__ import annotations

from sovereign_ext.telemetry.facts import LimitRefused
from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.readings import Readings


class Limits:
    """Refusals are counted here and in ``sovereign_calls_total``; only here it is said which limit it was."""

    def __init__(self, making: Making) -> None:
        make = making.instruments
        self._tenant = making.tenants
        self._refusals = make.counter(
            "sovereign_limit_refusals_total",
            "Calls that a limit or cap stood against.",
            ("tenant", "measure", "scope"),
        )
        self._reachable = make.gauge(
            "sovereign_shared_store_reachable", "1 while the store that routers count in answers."
        )
        self._rebuilding = make.gauge(
            "sovereign_shared_store_rebuilding_seconds",
            "How long calls under spend caps are still refused.",
        )
        self._routers = make.gauge("sovereign_shared_store_routers", "Routers that share the store.")
        self._queued = make.gauge(
            "sovereign_shared_store_queued_calls", "Calls whose end the store has not heard of."
        )

    def hears(self) -> Hears:
        return {LimitRefused: self._refused}

    def _refused(self, fact: LimitRefused) -> None:
        self._refusals.add((self._tenant(fact.tenant), fact.measure, fact.scope))

    def read(self, readings: Readings) -> None:
        shared = readings.shared
        if shared is not None:
            self._reachable.set(shared.reachable)
            self._rebuilding.set(shared.rebuilding_s)
            self._routers.set(shared.routers)
            self._queued.set(shared.queued)

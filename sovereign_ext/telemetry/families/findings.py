"""Credentials in prompts, by kind, and what the search for them takes."""

from __future__ import annotations

from typing import Final

from sovereign_ext.telemetry.facts import Scanned
from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.readings import Readings

SECONDS: Final = (0.00001, 0.000025, 0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1, 2.5)


class Findings:
    """Counted as they are found, so also where the call is then refused, or its entry cannot be made."""

    def __init__(self, making: Making) -> None:
        make = making.instruments
        self._making = making
        self._findings = make.counter(
            "sovereign_findings_total",
            "Places of credentials in requests.",
            ("tenant", "kind", "action", "policy"),
        )
        self._duration = make.histogram(
            "sovereign_scan_duration_seconds",
            "Search of one request for credentials, with the wait for its turn.",
            SECONDS,
        )
        self._bytes = make.counter("sovereign_scan_bytes_total", "Bytes of requests that were searched.")

    def hears(self) -> Hears:
        return {Scanned: self._scanned}

    def _scanned(self, fact: Scanned) -> None:
        self._duration.add((), fact.seconds)
        self._bytes.add((), fact.size)
        for kind in fact.kinds:
            tenant, policy = self._making.tenants(fact.tenant), self._making.policies(fact.policy)
            self._findings.add((tenant, kind, fact.action, policy))

    def read(self, readings: Readings) -> None:
        pass

"""Attempts: each try at a provider. Durations under OpenTelemetry's name for them.

Semantic conventions for generative AI, 1.37 and later (status: development): the gateway is the client of a provider.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.telemetry.facts import CallEnded
from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.families.genai import operation, provider_name
from sovereign_ext.telemetry.labels import NONE, outcome
from sovereign_ext.telemetry.readings import Readings

SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
"""The boundaries that the conventions advise: 10 ms to 82 s."""


class Attempts:
    """Counted when the call is over."""

    def __init__(self, making: Making) -> None:
        make = making.instruments
        self._making = making
        self._attempts = make.counter(
            "sovereign_attempts_total",
            "Tries at a deployment, by what came of them.",
            ("provider", "deployment", "outcome"),
        )
        self._duration = make.histogram(
            "gen_ai_client_operation_duration_seconds",
            "Time that a provider took, failed attempts included.",
            SECONDS,
            ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"),
        )

    def hears(self) -> Hears:
        return {CallEnded: self._ended}

    def _ended(self, fact: CallEnded) -> None:
        making, named = self._making, operation(fact.facts.endpoint)
        for attempt in fact.facts.attempts:
            came = outcome(attempt.outcome)
            provider, deployment = making.providers(attempt.provider), making.deployments(attempt.deployment)
            self._attempts.add((provider, deployment, came))
            model, kind = making.deployed(attempt.deployment)
            labels = (named, provider_name(kind), making.models(model), NONE if came == "ok" else came)
            self._duration.add(labels, attempt.duration_ms / 1000)

    def read(self, readings: Readings) -> None:
        pass

"""A ``Metrics`` and what it is told, read back by the parser of prometheus-client, which shares no code with ours."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from sovereign_ext.attest.facts import AttemptFact, CallFacts, Digests, Result
from sovereign_ext.telemetry.families.base import UNKNOWN, Deployed
from sovereign_ext.telemetry.metrics import Metrics
from sovereign_ext.telemetry.readings import ConfigReading, DeploymentReading, LogReading, Readings

DEPLOYED = {"m.one": Deployed("m", "bedrock"), "m.two": Deployed("m", "openai")}

CALL = CallFacts(
    decision_id="dec-1",
    tenant="acme",
    endpoint="chat.completions",
    stream=False,
    result=Result.ANSWERED,
    status=200,
    error_code=None,
    started_ms=1_000,
    finished_ms=1_420,
    policy="p",
    policy_digest=None,
    model="m",
    model_hash=None,
    model_hash_basis="none",
    deployment="m.two",
    provider="two",
    tier_required="open",
    tier_observed="open",
    tier_reasons=(),
    attempts=(
        AttemptFact("m.one", "one", "status_503", 503, 1_000, 30),
        AttemptFact("m.two", "two", "ok", 200, 1_030, 380),
    ),
    prompt_tokens=900,
    completion_tokens=17,
    digests=Digests(),
    cached_tokens=64,
    cost_nano_usd=2_000_000,
    billed_nano_usd=3_000_000,
)

READINGS = Readings(
    in_flight=2,
    ready=True,
    log=LogReading(10, 8, healthy=True, leads=True),
    config=ConfigReading(3, 1_700_000_000.5, 0),
    deployments=[DeploymentReading("m.one", "one", False), DeploymentReading("m.two", "two", True)],
    shared=None,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def metrics() -> Metrics:
    return Metrics(lambda deployment: DEPLOYED.get(deployment, UNKNOWN))


def text_of(found: Metrics, **readings: Any) -> str:
    return asyncio.run(found.exposition(lambda: replace(READINGS, **readings))).decode()


def parsed(text: str) -> Samples:
    """Value of each series by name and sorted labels. Two of one identity fail."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """Of the series with exactly these labels; empty ones may be left out."""
    named = {key: text for key, text in labels.items() if text}
    (found,) = (
        amount
        for (other, theirs), amount in samples.items()
        if other == name and {key: text for key, text in theirs if text} == named
    )
    return found

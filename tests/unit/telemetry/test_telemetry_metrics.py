"""What is counted of facts, and that whatever a client or a provider chose never becomes a label."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.parser import text_string_to_metric_families
from telemetry_world import CALL, metrics, parsed, text_of, value

from sovereign_ext import __version__
from sovereign_ext.attest.facts import AttemptFact, Result
from sovereign_ext.telemetry import labels
from sovereign_ext.telemetry.exposition import Exposition
from sovereign_ext.telemetry.facts import (
    Appended,
    CallEnded,
    LimitRefused,
    Reloaded,
    Scanned,
    TurnedAway,
)
from sovereign_ext.telemetry.instruments import Instruments
from sovereign_ext.telemetry.metrics import CONTENT_TYPE
from sovereign_ext.telemetry.readings import SharedReading


def test_an_answered_call_after_a_fallback() -> None:
    """One call, two attempts, tokens, money, each by what it is counted by."""
    found = metrics()
    found.tell(CallEnded(CALL, True))
    samples = parsed(text_of(found))
    call = {"tenant": "acme", "endpoint": "chat.completions", "result": "answered", "status_class": "2xx"}
    assert value(samples, "sovereign_calls_total", **call) == 1
    took = {"endpoint": "chat.completions", "stream": "false", "result": "answered"}
    assert value(samples, "sovereign_call_duration_seconds_sum", **took) == pytest.approx(0.42)
    assert value(samples, "sovereign_call_duration_seconds_bucket", **took, le="0.25") == 0
    assert value(samples, "sovereign_call_duration_seconds_bucket", **took, le="0.5") == 1
    assert value(samples, "sovereign_call_duration_seconds_bucket", **took, le="+Inf") == 1
    for labelled in (
        {"provider": "one", "deployment": "m.one", "outcome": "status_503"},
        {"provider": "two", "deployment": "m.two", "outcome": "ok"},
    ):
        assert value(samples, "sovereign_attempts_total", **labelled) == 1
    named = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "m"}
    duration = "gen_ai_client_operation_duration_seconds"
    failed = named | {"gen_ai_provider_name": "aws.bedrock", "error_type": "status_503"}
    assert value(samples, duration + "_sum", **failed) == pytest.approx(0.03)
    good = named | {"gen_ai_provider_name": "openai"}
    assert value(samples, duration + "_sum", **good) == pytest.approx(0.38)
    for direction, count in (("input", 900), ("output", 17)):
        assert value(samples, "gen_ai_client_token_usage_sum", **good, gen_ai_token_type=direction) == count
        assert value(samples, "sovereign_tokens_total", tenant="acme", type=direction) == count
    assert value(samples, "sovereign_tokens_total", tenant="acme", type="cached_input") == 64
    assert value(samples, "sovereign_cost_usd_total", provider="two") == pytest.approx(0.002)
    assert value(samples, "sovereign_billed_usd_total", tenant="acme") == pytest.approx(0.003)


@pytest.mark.parametrize(("stream", "status"), [(False, "5xx"), (True, "2xx")])
def test_a_call_that_the_log_did_not_take_is_a_failure_and_not_billed(stream: bool, status: str) -> None:
    """The client was given a 503 instead of the answer; of a stream the status had gone out."""
    found = metrics()
    found.tell(CallEnded(replace(CALL, stream=stream), False))
    found.tell(Appended("outcome", 0.2, False))
    samples = parsed(text_of(found))
    call = {"tenant": "acme", "endpoint": "chat.completions", "result": "failed"}
    assert value(samples, "sovereign_calls_total", **call, status_class=status, code="log_unavailable") == 1
    assert value(samples, "sovereign_log_append_failures_total", kind="outcome") == 1
    assert not [
        name for name, _ in samples if name in ("sovereign_tokens_total", "sovereign_billed_usd_total")
    ]


def test_every_place_of_a_finding_counts() -> None:
    """More places than an entry tells of one by one, of several kinds."""
    found = metrics()
    found.tell(Scanned("acme", "p", "redacted", 2_000, 0.0002, ["aws-access-key"] * 150 + ["github-token"]))
    found.tell(Scanned("acme", "p", "redacted", 500, 0.00001, []))
    samples = parsed(text_of(found))
    labelled = {"tenant": "acme", "policy": "p", "action": "redacted"}
    assert value(samples, "sovereign_findings_total", **labelled, kind="aws-access-key") == 150
    assert value(samples, "sovereign_findings_total", **labelled, kind="github-token") == 1
    assert value(samples, "sovereign_scan_bytes_total") == 2_500
    assert value(samples, "sovereign_scan_duration_seconds_count") == 2


def test_who_is_turned_away_has_no_tenant() -> None:
    found = metrics()
    found.tell(TurnedAway("chat.completions", 401, "invalid_api_key"))
    found.tell(TurnedAway("", 404, "unknown_url"))
    found.tell(LimitRefused("acme", "tokens_in", "key"))
    samples = parsed(text_of(found))
    labelled = {"endpoint": "chat.completions", "result": "denied", "status_class": "4xx"}
    assert value(samples, "sovereign_calls_total", **labelled, code="invalid_api_key") == 1
    assert (
        value(samples, "sovereign_calls_total", result="denied", status_class="4xx", code="unknown_url") == 1
    )
    assert (
        value(samples, "sovereign_limit_refusals_total", tenant="acme", measure="tokens_in", scope="key") == 1
    )


def test_gauges_are_what_is_read_now() -> None:
    """Deployments that are gone have no series any more; without a shared store there is none of it."""
    found = metrics()
    samples = parsed(text_of(found))
    assert value(samples, "sovereign_deployment_available", deployment="m.one", provider="one") == 0
    assert value(samples, "sovereign_deployment_available", deployment="m.two", provider="two") == 1
    assert not [name for name, _ in samples if name.startswith("sovereign_shared_store")]
    assert value(samples, "sovereign_config_reloads_total", result="failed") == 0
    found.tell(Reloaded(False))
    samples = parsed(text_of(found, deployments=[], in_flight=7, shared=SharedReading(False, 1.5, 3, 2)))
    assert not [name for name, _ in samples if name == "sovereign_deployment_available"]
    assert value(samples, "sovereign_calls_in_flight") == 7
    assert value(samples, "sovereign_config_reloads_total", result="failed") == 1
    assert value(samples, "sovereign_shared_store_reachable") == 0
    assert value(samples, "sovereign_shared_store_rebuilding_seconds") == 1.5


def test_a_fault_of_a_metric_is_no_call_s_fault(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, once, and the next fact counts."""
    found = metrics()
    broken: Any = replace(CALL, attempts=None)
    with caplog.at_level(logging.ERROR):
        found.tell(CallEnded(broken, True))
        found.tell(CallEnded(broken, True))
    assert len(caplog.records) == 1
    found.tell(CallEnded(CALL, True))
    labelled = {"provider": "two", "deployment": "m.two", "outcome": "ok"}
    assert value(parsed(text_of(found)), "sovereign_attempts_total", **labelled) == 1


def test_names_beyond_the_bound_share_one() -> None:
    names = labels.Names(most=2)
    assert [names(each) for each in ("a", "b", "c", "a", "", "d")] == ["a", "b", "other", "a", "", "other"]


def test_a_name_is_made_once() -> None:
    """Two families cannot count under one name."""
    make = Instruments()
    make.counter("sovereign_x_total", "x")
    with pytest.raises(ValueError, match="sovereign_x_total"):
        make.gauge("sovereign_x_total", "x")


def test_the_type_that_is_told_is_the_library_s() -> None:
    assert CONTENT_TYPE == CONTENT_TYPE_PLAIN_0_0_4


def test_the_process_is_in_it() -> None:
    """By the library's own names."""
    samples = parsed(text_of(metrics()))
    assert value(samples, "sovereign_build_info", version=__version__) == 1
    if sys.platform == "linux":
        assert value(samples, "process_resident_memory_bytes") > 1e6


@given(value=st.floats(0, 1e9, allow_subnormal=False))
def test_a_value_is_in_the_first_bucket_that_holds_it(value: float) -> None:
    make = Instruments()
    made = make.histogram("sovereign_x_seconds", "x", (0.1, 1, 10))
    made.add((), value)
    families = text_string_to_metric_families(Exposition(make).text().decode())
    samples = [sample for family in families for sample in family.samples]
    upto = {each.labels["le"]: each.value for each in samples if each.name == "sovereign_x_seconds_bucket"}
    assert [each.value for each in samples if each.name == "sovereign_x_seconds_sum"] == [
        pytest.approx(value)
    ]
    assert upto == {text: float(value <= float(text)) for text in ("0.1", "1.0", "10.0", "+Inf")}


CLOSED = {
    "tenant": {"acme", ""},
    "endpoint": {"chat.completions", "embeddings", ""},
    "result": {*Result, "ok"},
    "status_class": {"none", "1xx", "2xx", "3xx", "4xx", "5xx"},
    "code": labels.CODES | {"", "other"},
    "outcome": labels.OUTCOMES | {f"status_{status}" for status in range(100, 600)} | {"other"},
    "gen_ai_request_model": {"m", ""},
    "gen_ai_provider_name": {"aws.bedrock", "openai", ""},
    "gen_ai_operation_name": {"chat", "embeddings"},
    "provider": {"one", "two"},
    "deployment": {"m.one", "m.two"},
}
CLOSED["error_type"] = CLOSED["outcome"] | {""}

anything = st.text(max_size=20)


@settings(max_examples=60)
@given(
    code=st.one_of(st.none(), anything, st.sampled_from(sorted(labels.CODES))),
    model=anything,
    outcome=st.one_of(anything, st.integers(-5, 2_000).map(lambda number: f"status_{number}")),
    status=st.integers(-1, 10_000),
    result=st.sampled_from(Result),
    endpoint=st.sampled_from(["chat.completions", "embeddings"]),
    durable=st.booleans(),
)
def test_labels_are_of_closed_sets(
    code: str | None, model: str, outcome: str, status: int, result: Result, endpoint: str, durable: bool
) -> None:
    """Codes of providers, names of models that do not exist, odd statuses: none of it gets in as it is."""
    found = metrics()
    attempts = (AttemptFact("m.one", "one", outcome, status, 1, -1),)
    facts = replace(
        CALL, error_code=code, model=model, status=status, result=result, endpoint=endpoint, attempts=attempts
    )
    found.tell(CallEnded(facts, durable))
    found.tell(TurnedAway(endpoint, status, code))
    for family in text_string_to_metric_families(text_of(found)):
        for sample in family.samples:
            assert not math.isnan(sample.value)
            for name, text in sample.labels.items():
                assert text in CLOSED.get(name, {text}), (sample.name, name)

"""Metrics through real Envoy: what calls count, read by the parser of Prometheus' own client, and who may see it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import wire
from prometheus_client.parser import text_string_to_metric_families
from stack import HELLO, ConfigFile, Stack, eventually

from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "scanner"))
from makers_six import MAKERS

pytestmark = pytest.mark.dataplane

MODES = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
LABELS = tuple[tuple[str, str], ...]
CALLS = "sovereign_calls_total"


class Samples(dict[tuple[str, LABELS], float]):
    """Every series of one scrape."""

    @classmethod
    def of(cls, text: str) -> Samples:
        found = cls()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, tuple(sorted((name, v) for name, v in sample.labels.items() if v))
                assert key not in found, key
                found[key] = sample.value
        return found

    def since(self, before: Samples) -> Samples:
        """What has been counted since."""
        grown = {key: value - before.get(key, 0) for key, value in self.items()}
        return Samples((key, value) for key, value in grown.items() if value)

    def all(self, name: str) -> dict[LABELS, float]:
        return {labels: value for (other, labels), value in self.items() if other == name}

    def one(self, name: str, **labels: str) -> float:
        """The value of the one series with at least these labels."""
        (found,) = (v for theirs, v in self.all(name).items() if set(labels.items()) <= set(theirs))
        return found


@dataclass(frozen=True)
class World:
    stack: Stack
    mocks: dict[str, RunningMock]
    port: int
    poor: str  # the key of a tenant with a limit

    def scrape(self) -> Samples:
        reply = httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).raise_for_status()
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        return Samples.of(reply.text)

    def counted(self, before: Samples, calls: int = 1) -> Samples:
        """What was counted since, once so many calls are: a stream's end is counted as it is sent."""

        def enough() -> Samples | None:
            found = self.scrape().since(before)
            return found if sum(found.all(CALLS).values()) >= calls else None

        found: Samples = eventually(enough, f"{calls} calls counted")
        assert sum(found.all(CALLS).values()) == calls
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as running:
        config = ConfigFile()
        mocks = {name: running.enter_context(RunningMock("openai")) for name in ("one", "two")}
        for name, mock in mocks.items():
            config.provider(name, "openai", mock.url)
        config.policy("default", list(mocks))
        config.policy("block", list(mocks), redaction={"action": "block"})
        for model in ("plain", "walk.json", "walk.sse"):  # health is kept by deployment
            config.model(model, list(mocks))
        (poor,) = config.tenant("poor", limits=[{"per": "hour", "requests": 1}])
        port = free_ports(1)[0]
        options = ["--metrics-listen", str(port)]
        yield World(running.enter_context(Stack(config, processor_options=options)), mocks, port, poor)


@pytest.fixture(autouse=True)
def _clear(world: World) -> None:
    for mock in world.mocks.values():
        mock.clear()


@MODES
def test_an_answer(world: World, stream: bool) -> None:
    """One call with its time, its attempt and the tokens that the provider reported."""
    before = world.scrape()
    reply = world.stack.chat("plain", stream=stream)
    assert reply.status == 200
    found = world.counted(before)
    call = {"tenant": "t", "endpoint": "chat.completions", "result": "answered", "status_class": "2xx"}
    assert found.one(CALLS, **call) == 1
    took = {"stream": str(stream).lower(), "result": "answered"}
    assert found.one("sovereign_call_duration_seconds_count", **took) == 1
    assert found.all("sovereign_attempts_total") == {
        (("deployment", "plain.one"), ("outcome", "ok"), ("provider", "one")): 1
    }
    said = world.stack.row_of(reply).predicate
    named = {
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "plain",
        "gen_ai_operation_name": "chat",
    }
    for direction, member in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        assert said[member] > 0
        assert found.one("sovereign_tokens_total", tenant="t", type=direction) == said[member]
        usage = named | {"gen_ai_token_type": direction}
        assert found.one("gen_ai_client_token_usage_sum", **usage) == said[member]
    assert found.one("gen_ai_client_operation_duration_seconds_count", **named) == 1
    assert found.one("sovereign_scan_duration_seconds_count") == 1
    assert found.one("sovereign_log_append_duration_seconds_count", kind="outcome") == 1
    assert found.one("sovereign_log_entries") == 1
    assert found.all("sovereign_findings_total") == {}


@MODES
def test_a_fallback(world: World, stream: bool) -> None:
    """One call, an attempt that failed and one that did not."""
    before = world.scrape()
    world.mocks["one"].fault(Fault(status=503))
    model = "walk.sse" if stream else "walk.json"
    assert world.stack.chat(model, stream=stream).status == 200
    found = world.counted(before)
    assert found.one(CALLS, result="answered") == 1
    attempts = found.all("sovereign_attempts_total")
    assert {dict(labels)["provider"]: dict(labels)["outcome"] for labels in attempts} == {
        "one": "status_503", "two": "ok"
    }  # fmt: skip
    assert found.one("gen_ai_client_operation_duration_seconds_count", error_type="status_503") == 1


def test_denials(world: World) -> None:
    """By their codes; nothing of what the client made up is a label."""
    before, stack = world.scrape(), world.stack
    body = {"model": "no/such-model", "messages": HELLO}
    assert stack.chat("no/such-model").error["code"] == "model_not_found"
    assert wire.call(stack.port, key="sk-router-nobody", body=body).status == 401
    assert wire.call(stack.port, "/v1/made-up", key=stack.config.key, body=body).status == 404
    found = world.counted(before, 3)
    labels = {"result": "denied", "status_class": "4xx"}
    assert found.one(CALLS, tenant="t", code="model_not_found", **labels) == 1
    nobody = {key for key in found.all(CALLS) if "tenant" not in dict(key)}
    assert {dict(key)["code"] for key in nobody} == {"invalid_api_key", "unknown_url"}
    assert not found.all("sovereign_attempts_total")
    assert "such-model" not in repr(found)
    assert "made-up" not in repr(found)


def test_a_code_of_the_provider_s_is_other(world: World) -> None:
    """A provider's 400 is passed on with its code, which may be anything."""
    before = world.scrape()
    world.mocks["one"].fault(Fault(status=400, error_code="made_up_by_them", error_message="no"))
    assert world.stack.chat("plain").error["code"] == "made_up_by_them"
    found = world.counted(before)
    assert found.one(CALLS, code="other") == 1
    assert "made_up_by_them" not in repr(found)


def test_findings_by_kind(world: World) -> None:
    """As many as the entry says, by what was done about them."""
    source, before = random.Random("metrics"), world.scrape()
    token, key = (MAKERS[kind](source).decode() for kind in ("github-token", "aws-access-key"))
    messages = [{"role": "user", "content": f"{token} and {key}, again {token}"}]
    reply = world.stack.chat("plain", messages=messages)
    assert reply.attestation["findings"] == 3
    blocked = world.stack.chat("plain", messages=messages, headers={"x-sf-policy": "block"})
    assert blocked.error["code"] == "credential_detected"
    found = world.counted(before, 2)
    counts = {
        (dict(labels)["kind"], dict(labels)["action"], dict(labels)["policy"]): count
        for labels, count in found.all("sovereign_findings_total").items()
    }
    assert counts == {
        (kind, action, policy): count
        for kind, count in (("github-token", 2), ("aws-access-key", 1))
        for action, policy in (("redacted", "default"), ("blocked", "block"))
    }
    assert found.one("sovereign_log_append_duration_seconds_count", kind="finding") == 2


def test_a_limit(world: World) -> None:
    """Which one it was."""
    before = world.scrape()
    body = {"model": "plain", "messages": HELLO}
    assert [wire.call(world.stack.port, key=world.poor, body=body).status for _ in range(2)] == [200, 429]
    found = world.counted(before, 2)
    limit = {"tenant": "poor", "measure": "requests", "scope": "tenant"}
    assert found.one("sovereign_limit_refusals_total", **limit) == 1
    assert found.one(CALLS, tenant="poor", code="rate_limit_exceeded") == 1


def test_a_call_under_way(world: World) -> None:
    """Counted as in flight while it lasts, as a call only then."""
    before = world.scrape()
    world.mocks["one"].fault(Fault(tokens=1_000, pace_ms=50))
    with world.stack.open_chat("plain") as running:
        running.read_until(b"data: ")
        assert world.scrape().one("sovereign_calls_in_flight") == 1
        running.hang_up()
    found = world.counted(before)
    assert found.one(CALLS, tenant="t", result="truncated") == 1
    assert found.one("sovereign_attempts_total", outcome="client_gone") == 1
    eventually(lambda: world.scrape().one("sovereign_calls_in_flight") == 0, "none in flight")


def test_a_faulty_edit_shows(world: World) -> None:
    """The last good configuration stays, and since when is told; a good edit ends it."""
    stack, before = world.stack, world.scrape()
    since = "sovereign_config_last_reload_success_timestamp_seconds"
    assert before.one("sovereign_config_last_reload_successful") == 1
    good = stack.config_file.read_text()
    stack.config_file.write_text(good + "\nunknown_member: 1\n")
    eventually(
        lambda: world.scrape().one("sovereign_config_last_reload_successful") == 0, "the fault is a metric"
    )
    faulty = world.scrape()
    assert faulty.one("sovereign_config_reloads_total", result="failed") == 1
    assert (faulty.one(since), faulty.one("sovereign_config_faults")) == (before.one(since), 1)
    stack.config_file.write_text(good + "\n# mended\n")
    eventually(
        lambda: world.scrape().one("sovereign_config_last_reload_successful") == 1,
        "the mended file is in use",
    )
    assert world.scrape().one(since) > before.one(since)


def test_who_may_see_them(world: World) -> None:
    """With an operator's key through Envoy, the same text; a tenant's key and none at all are refused."""
    stack = world.stack
    reply = wire.call(stack.port, "/sf/v1/metrics", key=stack.config.admin_key, method="GET")
    assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    over_api, scraped = Samples.of(reply.body.decode()), world.scrape()
    assert {name for name, _ in over_api} == {name for name, _ in scraped}
    assert over_api.all(CALLS) == scraped.all(CALLS)
    assert wire.call(stack.port, "/sf/v1/metrics", key=stack.config.key, method="GET").status == 403
    assert wire.call(stack.port, "/sf/v1/metrics", key=None, method="GET").status == 401


def test_nothing_listens_unless_it_is_asked_for() -> None:
    """Envoy is the only one with a port."""
    with RunningMock("openai") as mock:
        config = ConfigFile()
        config.provider("one", "openai", mock.url)
        config.model("m", ["one"])
        stack = Stack(config)
        try:
            config.write(stack.config_file)
            stack.start_processor()
            connections = psutil.Process(stack.processor.pid).net_connections(kind="inet")
            assert [each for each in connections if each.status == psutil.CONN_LISTEN] == []
        finally:
            stack.stop()

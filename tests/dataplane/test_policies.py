"""Policies on the running gateway: the dry run says what calls then do, caps refuse before anything is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import wire
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

LIMIT = {"max_tokens": 100}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """``dear`` and ``cheap`` serve the model, ``free`` does too and has no price."""
    with ExitStack() as running:
        mocks = {name: running.enter_context(RunningMock("openai")) for name in ("dear", "cheap", "free")}
        config = ConfigFile()
        for name, mock in mocks.items():
            config.provider(name, "openai", mock.url)
        config.policy("default", ["dear", "cheap", "free"], shadows=["capped"])
        config.policy("capped", ["dear", "cheap", "free"], cost_cap_usd="0.001")
        config.policy("quick", ["dear", "cheap"], latency_cap_ms=600)
        config.policy("never", condition="tier == 'sealed' && tenant == 'nobody'")
        config.model("chat", mocks)
        for deployment, price in zip(config.deployments, (10, 1), strict=False):
            deployment["price"] = {"input_per_mtok": price, "output_per_mtok": 2 * price}
        yield Gateway(running.enter_context(Stack(config)), mocks)


def evaluate(stack: Stack, policy: str, key: str | None = None, **question: Any) -> wire.Reply:
    body = json.dumps({"model": "chat", **question}).encode()
    return wire.call(
        stack.port, f"/sf/v1/policies/{policy}:evaluate", key=key or stack.config.admin_key, body=body
    )


def chat(stack: Stack, policy: str, **more: Any) -> wire.Reply:
    return stack.chat("chat", headers={"x-sf-policy": policy}, **more)


def received(gateway: Gateway) -> int:
    return sum(len(mock.requests()) for mock in gateway.mocks.values())


def test_the_dry_run_says_what_the_call_then_does(gateway: Gateway) -> None:
    """The same deployment, the same failed rules, the same estimate; and asking sends and writes nothing."""
    stack = gateway.stack
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], **LIMIT}
    before = received(gateway), len(stack.rows())
    found = evaluate(stack, "capped", request=body).json
    assert (received(gateway), len(stack.rows())) == before
    assert found["order"] == ["chat.cheap"]
    reply = chat(stack, "capped", messages=body["messages"], **LIMIT)
    assert (reply.status, reply.headers["x-sf-provider"]) == (200, "cheap")
    facts = stack.row_of(reply).predicate
    assert found["policy_digest"] == facts["policy_digest"]
    assert int(found["request"]["prompt_tokens"]) == facts["request"]["prompt_tokens"]
    assert {each["deployment"]: each["failed"] for each in facts["candidates"]} == {
        each["deployment"]: [failure["rule"] for failure in each["failed"]] for each in found["deployments"]
    }
    used = facts["prompt_tokens"] * 1000 + facts["completion_tokens"] * 2000
    assert facts["cost_nano_usd"] == used


def test_a_call_beyond_the_cap_is_refused_before_anybody_is_asked(gateway: Gateway) -> None:
    """In the words that the dry run had for it."""
    stack = gateway.stack
    before = received(gateway)
    reply = chat(stack, "capped", max_tokens=5_000)
    assert (reply.status, reply.json["error"]["code"]) == (403, "no_eligible_deployment")
    assert "an estimate of at most 0.001 USD" in reply.json["error"]["message"]
    refusal = evaluate(stack, "capped", prompt_tokens=10, max_tokens=5_000).json["refusal"]
    assert (refusal["status"], refusal["message"]) == (403, reply.json["error"]["message"])
    assert received(gateway) == before
    assert {tuple(each["failed"]) for each in stack.row_of(reply).predicate["candidates"]} == {("cost",)}


def test_a_shadow_is_written_down_and_not_obeyed(gateway: Gateway) -> None:
    stack = gateway.stack
    reply = chat(stack, "default", **LIMIT)
    assert reply.headers["x-sf-provider"] == "dear"
    (shadow,) = stack.row_of(reply).predicate["shadows"]
    assert shadow["policy"] == "capped"
    assert shadow["eligible"] == ["chat.cheap"]
    assert shadow["plan_changes"] == 1


def test_a_tenant_is_told_less(gateway: Gateway) -> None:
    """What is expected; neither what came nor prices. Methods and names that do not exist are refused."""
    stack = gateway.stack
    found = evaluate(stack, "never", key=stack.config.key).json
    assert [failure["rule"] for failure in found["deployments"][0]["failed"]] == ["condition"]
    assert found["deployments"][0]["failed"][0]["actual"] == ""
    assert "cost_nano_usd" not in found["deployments"][0]
    assert evaluate(stack, "nope").status == 404
    assert evaluate(stack, "never", key="sk-router-nonsense").status == 401
    assert evaluate(stack, "never", prompt_tokens="many").status == 400
    put = wire.call(
        stack.port, "/sf/v1/policies/never:evaluate", key=stack.config.key, method="PUT", body=b"{}"
    )
    assert put.status == 405
    listed = wire.call(stack.port, "/sf/v1/policies", key=stack.config.key, method="GET").json
    assert [policy["name"] for policy in listed["policies"]] == [
        "policies/capped", "policies/default", "policies/never", "policies/quick",
    ]  # fmt: skip
    assert listed["policies"][0]["document"]["cost_cap_usd"] == "0.001"


@pytest.mark.parametrize("stream", [False, True])
def test_a_latency_cap_bounds_all_attempts_together(gateway: Gateway, stream: bool) -> None:
    """A provider that hangs costs the cap and no more, though its own limits are minutes; nobody is asked after it."""
    stack, mocks = gateway.stack, [gateway.mocks[name] for name in ("dear", "cheap")]
    for mock in mocks:
        mock.fault(Fault(slow_headers_ms=20_000))
    try:
        began = time.monotonic()
        reply = chat(stack, "quick", stream=stream, **LIMIT)
        took_s = time.monotonic() - began
    finally:
        for mock in mocks:
            mock.clear()
    assert (reply.status, reply.json["error"]["code"]) == (504, "provider_timeout")
    assert 0.5 < took_s < 5
    attempts = stack.row_of(reply).predicate["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["first_byte_timeout", "latency_cap"]
    assert 500 <= attempts[0]["duration_ms"] < 5_000
    assert attempts[1]["status"] == 0  # the first left nothing, so it was sent nothing


def test_a_provider_that_was_slow_is_not_asked(gateway: Gateway) -> None:
    """Its p95 is above the cap, so it is excluded, whatever its health."""
    stack, dear = gateway.stack, gateway.mocks["dear"]
    dear.fault(Fault(delay_ms=900))
    try:
        assert chat(stack, "default", **LIMIT).headers["x-sf-provider"] == "dear"
    finally:
        dear.clear()
    reply = chat(stack, "quick", **LIMIT)
    assert (reply.status, reply.headers["x-sf-provider"]) == (200, "cheap")
    judged = {each["deployment"]: each for each in stack.row_of(reply).predicate["candidates"]}
    assert judged["chat.dear"]["failed"] == ["latency"]
    assert judged["chat.dear"]["p95_ms"] > 600


def test_the_command_asks_the_running_gateway(gateway: Gateway) -> None:
    """Exit code 0 when somebody would be asked, 1 when not."""
    stack = gateway.stack
    for policy, code, line in (
        ("capped", 0, "would ask: chat.cheap"),
        ("never", 1, "would refuse: 403 no_eligible_deployment"),
    ):
        options = ["--policy", policy, "--model", "chat", "--prompt-tokens", "9", "--max-tokens", "100"]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "sovereign_ext.cli.main", "policy", "evaluate", *options,
             "--url", f"http://127.0.0.1:{stack.port}"],
            env={**os.environ, "SF_ADMIN_KEY": stack.config.admin_key},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout.splitlines()[-1:]) == (code, [line]), done.stdout + done.stderr

"""Limits and spend caps through real Envoy, with openai-python: what they count, what a client sees, what survives.

Every test has a tenant of its own on a stack that they share; windows are so long that nothing fills up meanwhile,
unless a test is about that.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
import wire
from stack import HELLO, ConfigFile, Row, Stack, eventually

from sovereign_ext.mock.faults import Fault, Stall
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

PROMPT = 16
"""Tokens of ``HELLO`` by the estimate: 24 bytes and a message."""
MOST = 84
"""``max_tokens`` of every call, so that its estimate is 100 tokens."""
TOKEN_NANO = 10_000
"""What a token costs."""
ESTIMATE = (PROMPT + MOST) * TOKEN_NANO
"""A thousandth of a dollar: 1,000,000."""


def usd(calls: float) -> str:
    """So many estimates, in dollars."""
    return f"{calls * ESTIMATE / 1e9:.9f}"


def hourly(**amounts: int) -> dict[str, Any]:
    return {"per": "hour", **amounts}


@dataclass
class World:
    """The stack, its provider, and the keys by tenant."""

    stack: Stack
    mock: RunningMock
    keys: dict[str, list[str]] = field(default_factory=dict)

    def call(
        self, tenant: str, model: str = "chat", *, key: int = 0, most: int = MOST, **more: Any
    ) -> wire.Reply:
        body = {"model": model, "messages": HELLO, "max_tokens": most, **more}
        headers = body.pop("headers", {})
        return wire.call(self.stack.port, key=self.keys[tenant][key], body=body, headers=headers)

    def opened(self, tenant: str, **more: Any) -> wire.Running:
        body = {"model": "chat", "messages": HELLO, "max_tokens": MOST, "stream": True, **more}
        return wire.open_call(self.stack.port, key=self.keys[tenant][0], body=body)

    def client(self, tenant: str, **options: Any) -> openai.OpenAI:
        url = f"http://127.0.0.1:{self.stack.port}/v1"
        return openai.OpenAI(base_url=url, api_key=self.keys[tenant][0], **options)

    def rows(self, tenant: str) -> list[Row]:
        return self.stack.rows("tenant = ?", tenant)

    def uses(self, tokens: int) -> None:
        """Every answer from now on uses the prompt and so many tokens."""
        self.mock.clear()
        self.mock.fault(Fault(usage=_usage(tokens)))


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": PROMPT, "completion_tokens": tokens, "total_tokens": PROMPT + tokens}


TENANTS: dict[str, dict[str, Any]] = {
    "rated": {"limits": [hourly(requests=3)]},
    "modelled": {"limits": [hourly(requests=9), hourly(requests=1, model="second")]},
    "windows": {"limits": [{"per": "second", "requests": 1}, hourly(requests=3)]},
    "tokens": {"limits": [hourly(tokens_in=1000, tokens_out=200)]},
    "failed": {"limits": [hourly(requests=5, tokens_in=1000, tokens_out=100)]},
    "patient": {"limits": [{"per": "second", "requests": 1}]},
    "busy": {"limits": [{"concurrent": 2}]},
    "crowd": {"spend_caps": [{"usd": usd(20), "per": "total"}]},
    "margin": {"spend_caps": [{"usd": usd(3)}], "margin_percent": 50},
    "poor": {"spend_caps": [{"usd": usd(0.5), "per": "day"}]},
    "leaver": {
        "spend_caps": [{"usd": usd(1), "per": "day"}, {"usd": usd(100)}],
        "limits": [{"concurrent": 1}],
    },
    "unlogged": {"spend_caps": [{"usd": usd(2), "per": "total"}], "limits": [{"concurrent": 1}]},
    "stopped": {"spend_caps": [{"usd": usd(1), "per": "total"}], "limits": [{"concurrent": 1}]},
    "killed": {"spend_caps": [{"usd": usd(2.5), "per": "total"}], "limits": [{"concurrent": 1}]},
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ExitStack() as running:
        config = ConfigFile()
        mock = running.enter_context(RunningMock("openai"))
        config.policy("standard")
        config.policy("strict", audit="strict")
        config.provider("one", "openai", mock.url)
        for model in ("chat", "second", "unpriced"):
            config.model(model, ["one"])
        for deployment in config.deployments[:2]:
            deployment["price"] = {"input_per_mtok": 10, "output_per_mtok": 10}
        keys = {name: config.tenant(name, **terms) for name, terms in TENANTS.items()}
        keys["keyed"] = config.tenant(
            "keyed",
            {"limits": [hourly(requests=2)]},
            {"spend_caps": [{"usd": usd(1)}]},
            {},
            limits=[hourly(requests=5)],
        )
        made = World(running.enter_context(Stack(config)), mock, keys)
        made.uses(MOST)
        yield made


@pytest.fixture(autouse=True)
def normal(world: World) -> None:
    world.uses(MOST)


def refused(reply: wire.Reply, status: int, code: str, kind: str, retry: str) -> None:
    assert (reply.status, reply.error["code"], reply.error["type"]) == (status, code, kind), reply.body
    assert reply.headers["x-should-retry"] == retry
    assert "x-sf-rekor-index" in reply.headers


# -- rates ---------------------------------------------------------------------------------------------------


def test_requests_of_a_tenant(world: World) -> None:
    """3 an hour; the fourth is refused, has its entry, and no provider heard of it. Asking about models is free."""
    before = len(world.mock.requests())
    replies = []
    for _ in range(3):
        assert (
            wire.call(world.stack.port, "/v1/models", key=world.keys["rated"][0], method="GET").status == 200
        )
        replies.append(world.call("rated"))
    assert [reply.status for reply in replies] == [200] * 3
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["2", "1", "0"]
    assert replies[0].headers["x-ratelimit-limit-requests"] == "3"
    assert replies[0].headers["x-ratelimit-reset-requests"].startswith(("20m", "19m59"))
    assert "x-ratelimit-limit-tokens" not in replies[0].headers
    reply = world.call("rated")
    refused(reply, 429, "rate_limit_exceeded", "requests", "false")  # nobody waits 20 minutes
    assert 1_100 < int(reply.headers["retry-after"]) <= 1_200
    assert 1_100_000 < int(reply.headers["retry-after-ms"]) <= 1_200_000
    assert "3 requests per hour" in reply.error["message"]
    assert len(world.mock.requests()) == before + 3
    row = world.stack.row_of(reply)
    assert (row.predicate["result"], row.predicate["status"]) == ("denied", 429)
    assert row.predicate["error_code"] == "rate_limit_exceeded"
    assert row.predicate["key"] == "rated-1"
    assert "billed_nano_usd" not in row.predicate


def test_a_stream_has_the_headers_too(world: World) -> None:
    reply = world.call("modelled", stream=True)
    assert reply.done
    assert reply.headers["x-ratelimit-remaining-requests"] == "8"


def test_limits_of_a_model_hold_beside_the_others(world: World) -> None:
    assert world.call("modelled", "second").status == 200
    reply = world.call("modelled", "second")
    refused(reply, 429, "rate_limit_exceeded", "requests", "false")
    assert "of the model `second`" in reply.error["message"]
    assert world.call("modelled").status == 200


def test_limits_of_keys_hold_beside_the_tenant_s(world: World) -> None:
    """One key has 2, another a cap for one call, the third nothing of its own, all together 5."""
    assert [world.call("keyed", key=0).status for _ in range(3)] == [200, 200, 429]
    assert [world.call("keyed", key=1).status for _ in range(2)] == [200, 402]
    assert [world.call("keyed", key=2).status for _ in range(3)] == [200, 200, 429]
    assert Counter(row.predicate["key"] for row in world.rows("keyed")) == {
        "keyed-1": 3,
        "keyed-2": 2,
        "keyed-3": 3,
    }


def test_several_windows_hold_at_once(world: World) -> None:
    """One a second and three an hour. A refused call takes nothing of either."""
    assert world.call("windows").status == 200
    reply = world.call("windows")
    refused(reply, 429, "rate_limit_exceeded", "requests", "true")
    assert int(reply.headers["retry-after-ms"]) <= 1_000
    for _ in range(2):
        eventually(lambda: world.call("windows").status == 200, "a second is over")

    def second() -> dict[str, Any]:
        limits = world.stack.management("/sf/v1/limits?tenant=windows")["limits"]
        return next(each for each in limits if each["window"] == "second")

    # So that the smaller window cannot be what refuses.
    eventually(lambda: second().get("remaining") == second()["capacity"], "the second's limit is whole again")
    reply = world.call("windows")
    refused(reply, 429, "rate_limit_exceeded", "requests", "false")
    assert reply.headers["x-ratelimit-limit-requests"] == "3"


def test_tokens_are_estimated_and_corrected(world: World) -> None:
    """84 may come, 10 do: the rest is given back. A provider that generates more overdraws."""
    world.uses(10)
    reply = world.call("tokens")
    assert reply.headers["x-ratelimit-remaining-tokens"] == str(200 - MOST)
    assert world.call("tokens").headers["x-ratelimit-remaining-tokens"] == str(190 - MOST)
    world.uses(300)
    assert world.call("tokens").headers["x-ratelimit-remaining-tokens"] == str(180 - MOST)
    reply = world.call("tokens", most=1)
    refused(reply, 429, "rate_limit_exceeded", "tokens", "false")
    assert reply.headers["x-ratelimit-remaining-tokens"] == "0"
    assert 2_000 < int(reply.headers["retry-after"]) <= 2_200  # 121 of 200 in an hour
    reply = world.call("tokens", most=201)
    refused(reply, 429, "rate_limit_exceeded", "tokens", "false")
    assert "retry-after" not in reply.headers


def test_a_call_that_nobody_answers_gives_its_tokens_back(world: World) -> None:
    """The request stays counted."""
    world.mock.clear()
    world.mock.fault(Fault(status=400, error_message="no"))
    assert world.call("failed").status == 400
    world.uses(10)
    reply = world.call("failed")
    assert reply.headers["x-ratelimit-remaining-tokens"] == str(100 - MOST)
    assert reply.headers["x-ratelimit-remaining-requests"] == "3"


def test_the_sdk_waits_as_it_is_told(world: World) -> None:
    """openai-python's own retries: the 429 is asked again after the time it names, and then answered."""
    client = world.client("patient", max_retries=2)
    began = time.monotonic()
    for _ in range(2):
        assert client.chat.completions.create(model="chat", messages=HELLO, max_tokens=MOST).usage  # type: ignore[call-overload]
    assert 0.5 < time.monotonic() - began < 6
    assert [row.predicate["status"] for row in world.rows("patient")] == [200, 429, 200]


def test_the_sdk_does_not_repeat_what_money_refuses(world: World) -> None:
    """One attempt at a 402, and one at a 429 that no waiting helps."""
    client = world.client("poor", max_retries=2)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="chat", messages=HELLO, max_tokens=MOST)  # type: ignore[call-overload]
    assert caught.value.status_code == 402
    assert (caught.value.code, caught.value.type) == ("spend_cap_exceeded", "insufficient_quota")
    assert [row.predicate["status"] for row in world.rows("poor")] == [402]
    before = len(world.rows("tokens"))
    with pytest.raises(openai.RateLimitError):
        world.client("tokens", max_retries=2).chat.completions.create(
            model="chat", messages=HELLO, max_tokens=999
        )  # type: ignore[call-overload]
    assert len(world.rows("tokens")) == before + 1


def test_calls_at_once(world: World) -> None:
    """Two places. They are free again when a client leaves, as when an answer is complete."""
    world.mock.clear()
    world.mock.fault(Fault(tokens=3, stall=Stall(at=1)))
    with world.opened("busy") as one, world.opened("busy") as two:
        one.read_until(b'"content"')
        two.read_until(b'"content"')
        reply = world.call("busy")
        refused(reply, 429, "concurrency_limit_exceeded", "requests", "true")
        assert reply.headers["retry-after"] == "1"
        world.uses(5)
        one.hang_up()
        eventually(lambda: world.call("busy").status == 200, "the place is free again")
        two.hang_up()


# -- spend ---------------------------------------------------------------------------------------------------


def test_a_cap_lets_exactly_so_many_calls_through(world: World) -> None:
    """50 clients at once, 3 calls each, against a cap for 20: 20 are answered, not 21."""

    def client(_: int) -> list[int]:
        return [world.call("crowd").status for _ in range(3)]

    with ThreadPoolExecutor(50) as pool:
        found = Counter(itertools.chain.from_iterable(pool.map(client, range(50))))
    assert found == {200: 20, 402: 130}
    billed = [row.predicate.get("billed_nano_usd", 0) for row in world.rows("crowd")]
    assert sum(billed) == 20 * ESTIMATE
    reply = world.call("crowd")
    refused(reply, 402, "spend_cap_exceeded", "insufficient_quota", "false")
    assert "retry-after" not in reply.headers


def test_estimates_that_were_too_high_are_given_back(world: World) -> None:
    """A cap for three calls, with the margin of 50 % for two; each in fact uses a quarter of its estimate."""
    world.uses(9)
    for _ in range(5):
        assert world.call("margin").status == 200
    rows = world.rows("margin")
    assert [row.predicate["cost_nano_usd"] for row in rows] == [25 * TOKEN_NANO] * 5
    assert [row.predicate["billed_nano_usd"] for row in rows] == [375_000] * 5
    assert {row.predicate["margin_percent"] for row in rows} == {"50"}
    refused(world.call("margin"), 402, "spend_cap_exceeded", "insufficient_quota", "false")  # 1.125 are left


def test_what_has_no_price_is_not_used_under_a_cap(world: World) -> None:
    reply = world.call("poor", "unpriced")
    refused(reply, 403, "price_unknown", "invalid_request_error", "false")
    assert world.call("modelled", "unpriced").status == 200


def test_a_client_that_leaves_pays_for_what_came(world: World) -> None:
    """In the middle of a stream: the place is free, the rest of the reservation is, and the entry says what is owed."""
    world.mock.clear()
    world.mock.fault(Fault(tokens=30, stall=Stall(at=5)))
    with world.opened("leaver") as running:
        running.read_until(b'"content"')
        refused(world.call("leaver"), 402, "spend_cap_exceeded", "insufficient_quota", "false")
        running.hang_up()
    (row,) = eventually(
        lambda: [r for r in world.rows("leaver") if r.predicate["result"] == "truncated"], "its entry"
    )
    assert row.predicate["estimated"] == 1
    before = row.predicate["attempts"][0]["duration_ms"] // 10  # 100 tokens a second
    most = min((PROMPT + before + 6) * TOKEN_NANO, ESTIMATE)
    assert PROMPT * TOKEN_NANO < row.predicate["billed_nano_usd"] <= most
    world.uses(1)
    assert eventually(lambda: world.call("leaver", most=50).status == 200, "the rest is free")


def test_a_log_that_fails_holds_nothing(world: World) -> None:
    """No entry, no bill; the place and the reservation are free when the log is back."""
    blocker = sqlite3.connect(world.stack.state_dir / "log" / "log.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        reply = world.call("unlogged")
        assert (reply.status, reply.error["code"]) == (503, "log_unavailable")
    finally:
        blocker.rollback()
        blocker.close()
    eventually(lambda: world.call("unlogged", most=10).status == 200, "calls are answered again")


def test_a_router_that_is_killed_loses_no_money(world: World) -> None:
    """kill -9 while a provider is at work: the next start writes the call down, at its estimate, which is spent.

    Under strict audit as well: the outcome then follows its decision. Calls that were over stay as they were.
    """
    stack = world.stack
    world.uses(9)
    assert world.call("killed").status == 200
    for policy in ("standard", "strict"):
        world.mock.clear()
        world.mock.fault(Fault(tokens=30, stall=Stall(at=5)))
        before = len(world.mock.requests())
        with wire.open_call(
            stack.port,
            key=world.keys["killed"][0],
            body={"model": "chat", "messages": HELLO, "max_tokens": MOST, "stream": True},
            headers={"x-sf-policy": policy},
        ) as running:
            running.read_until(b'"content"')
            assert len(world.mock.requests()) == before + 1
            stack.processor.kill()
        stack.start_processor()
        stack.wait_serving()
    rows = world.rows("killed")
    assert [row.predicate["result"] for row in rows] == ["answered", "lost", "lost"]
    assert [row.predicate["billed_nano_usd"] for row in rows] == [25 * TOKEN_NANO, ESTIMATE, ESTIMATE]
    assert [row.predicate["estimated"] for row in rows] == [0, 1, 1]
    assert [row.predicate["error_code"] for row in rows[1:]] == ["call_lost"] * 2
    assert "decision_index" not in rows[1].predicate
    assert rows[2].predicate["decision_index"] < rows[2].index
    world.uses(9)
    reply = world.call("killed")  # 0.25 of 2.5 are left, and the place is free
    refused(reply, 402, "spend_cap_exceeded", "insufficient_quota", "false")
    assert world.call("killed", most=9).status == 200
    assert _usage_sum(stack, "killed") == 2 * ESTIMATE + 50 * TOKEN_NANO
    stack.fsck()
    stack.monitor()


def test_a_router_that_is_stopped_settles_what_is_under_way(world: World) -> None:
    """SIGTERM: the call is cut off after the time of grace, and written down as any other; nothing is lost."""
    stack = world.stack
    world.mock.clear()
    world.mock.fault(Fault(tokens=30, stall=Stall(at=5)))
    with world.opened("stopped") as running:
        running.read_until(b'"content"')
        stack.processor.end()
    stack.start_processor()
    stack.wait_serving()
    (row,) = world.rows("stopped")
    assert row.predicate["result"] == "truncated"
    before = row.predicate["attempts"][0]["duration_ms"] // 10  # 100 tokens a second
    most = min((PROMPT + before + 6) * TOKEN_NANO, ESTIMATE)
    assert PROMPT * TOKEN_NANO < row.predicate["billed_nano_usd"] <= most
    world.uses(1)
    assert world.call("stopped", most=50).status == 200


def test_nothing_is_left_in_the_journal(world: World) -> None:
    """Whatever happened before: what is there is settled."""

    def pending() -> set[str]:
        left: set[str] = set()
        for line in (world.stack.state_dir / "reservations.jsonl").read_text().splitlines():
            entry = json.loads(line)
            left = left - {entry["over"]} if "over" in entry else left | {entry["call"]}
        return left

    assert eventually(lambda: not pending(), "every reservation is settled")


def _usage_sum(stack: Stack, tenant: str) -> int:
    database = sqlite3.connect(f"file:{stack.state_dir / 'log' / 'log.db'}?mode=ro", uri=True, timeout=5)
    try:
        return int(
            database.execute(
                "SELECT sum(billed_nano) FROM usage_hours WHERE tenant = ?", (tenant,)
            ).fetchone()[0]
        )
    finally:
        database.close()

"""What a call draws on once it is decided, and what its caller is told: OpenAI's headers, statuses and codes."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.attest.facts import Result
from sovereign_ext.config.load import parse
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import CallerError
from sovereign_ext.exchange.admission import GRACE_MS, demanded, duration, limit_headers, refusal
from sovereign_ext.exchange.decide import decide, receive
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.lost import decode
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.openai.envelope import error_headers
from sovereign_ext.openai.request import Endpoint
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.routing.health import Health
from sovereign_ext.tenants.ledger import Draw, Measure, Refused, Remaining, Reserve, Scope, Slot
from sovereign_ext.tenants.resolve import Identity

NOW_MS = 1_790_000_000_000
START = Moment(100.0, NOW_MS)


def priced(dollars: str | None) -> dict[str, Any]:
    return {} if dollars is None else {"price": {"input_per_mtok": dollars, "output_per_mtok": dollars}}


def decided(
    prices: tuple[str | None, ...],
    *,
    audit: str = "standard",
    attempts: int = 9,
    body: dict[str, Any] | None = None,
    **tenant: Any,
) -> Exchange:
    """A call of a tenant so limited, with a deployment for each price in dollars for a million tokens."""
    names = [f"p{number}" for number in range(len(prices))]
    config = parse(
        json.dumps(
            {
                "version": 1,
                "tenants": [{"id": "t", "policies": ["p"], "default_policy": "p", **tenant}],
                "policies": [
                    {"id": "p", "providers": names, "audit": audit, "fallback": {"max_attempts": attempts}}
                ],
                "models": [{"id": "m"}],
                "providers": [
                    {"id": name, "kind": "openai", "endpoint": f"http://{name}.example:1/v1"}
                    for name in names
                ],
                "deployments": [
                    {
                        "id": f"m.{name}",
                        "model": "m",
                        "provider": name,
                        "upstream_model": "up",
                        **priced(price),
                    }
                    for name, price in zip(names, prices, strict=True)
                ],
            }
        )
    )
    snapshot = Snapshot.from_config(config, version=1, digest="d", routable=routable)
    exchange = Exchange(
        f"dec-{0:032x}", START, Endpoint.CHAT, Identity(config.tenants[0], "k"), snapshot, bytes(32)
    )
    asked = {
        "model": "m",
        "messages": [{"role": "user", "content": "x" * 6}],
        "max_tokens": 90,
        **(body or {}),
    }
    received = receive(exchange, json.dumps(asked).encode(), None)
    exchange.decision = decide(exchange, *received, Health(), ADAPTERS, START)
    return exchange


def drawn(exchange: Exchange) -> Any:
    assert exchange.decision is not None
    return demanded(exchange, exchange.decision, 30_000)


CAP = {"spend_caps": [{"usd": 1, "per": "total"}]}


def test_the_estimate_is_the_dearest_of_the_plan_with_the_margin() -> None:
    """100 tokens at 1, 3 and 2 dollars for a million, and 12.5 % on top, rounded up."""
    exchange = decided(("1", "3", "2"), **CAP, margin_percent="12.5")
    demand = drawn(exchange)
    assert [reserve.amount_nano for reserve in demand.reserves] == [337_500]
    assert demand.expires_ms == NOW_MS + 30_000 + GRACE_MS
    assert demand.call == exchange.decision_id
    assert not demand.strict
    assert drawn(decided(("0.0000007",), **CAP)).reserves[0].amount_nano == 1  # never nothing for something


def test_what_is_kept_of_a_call_is_its_entry_to_be() -> None:
    """Under strict audit too; nothing is kept where no money is reserved."""
    exchange = decided(("2",), audit="strict", **CAP, margin_percent="10")
    demand = drawn(exchange)
    assert demand.strict
    facts = decode(demand.lost).ended(NOW_MS + 5, 7).facts
    assert (facts.result, facts.status, facts.error_code) == (Result.LOST, 0, "call_lost")
    assert (facts.billed_nano_usd, facts.margin_percent, facts.estimated) == (220_000, "10", True)
    assert (facts.started_ms, facts.finished_ms, facts.decision_index) == (NOW_MS, NOW_MS + 5, 7)
    assert (facts.key, facts.policy, facts.model, facts.audit) == ("k", "p", "m", "strict")
    decision = exchange.decided(START)
    assert list(facts.candidates) == [dict(each) for each in decision.candidates]
    assert facts.request == decision.request
    assert facts.digests.client_request == decision.client_request
    assert not exchange.settled
    assert drawn(decided(("2",), limits=[{"concurrent": 1}])).lost == b""
    assert drawn(decided(("2",))) is None


def test_a_deployment_without_a_price_is_not_used_under_a_cap() -> None:
    """The next one that has a price is, although the policy allows a single attempt; without one it is a 403."""
    assert [each.deployment.id for each in decided((None, "1"), attempts=1).decision.plan] == ["m.p0"]  # type: ignore[union-attr]
    exchange = decided((None, "1"), attempts=1, **CAP)
    assert [each.deployment.id for each in exchange.decision.plan] == ["m.p1"]  # type: ignore[union-attr]
    with pytest.raises(CallerError) as caught:
        decided((None, None), **CAP)
    assert (caught.value.status, caught.value.code, caught.value.retry) == (403, "price_unknown", False)


# -- what the caller is told -----------------------------------------------------------------------------------


def draw(measure: Measure = Measure.REQUESTS, *, model: str = "", key: str = "", window_s: int = 60) -> Draw:
    return Draw(Scope("t", key, model), measure, 5, window_s, 1)


DAY_MS = 86_400_000
DAY_CAP = Reserve(Scope("t"), "day", NOW_MS, NOW_MS + DAY_MS, 500_000_000, 20_000_000)


@pytest.mark.parametrize(
    ("refused", "status", "kind", "code", "retry", "wait"),
    [
        (Refused(draw(), 7.6), 429, "requests", "rate_limit_exceeded", True, ("8", "7600")),
        (Refused(draw(), 60.0), 429, "requests", "rate_limit_exceeded", True, ("60", "60000")),
        (Refused(draw(), 60.001), 429, "requests", "rate_limit_exceeded", False, ("61", "60001")),
        (Refused(draw(), 0.02), 429, "requests", "rate_limit_exceeded", True, ("1", "20")),
        (Refused(draw(Measure.TOKENS_IN), 1.0), 429, "tokens", "rate_limit_exceeded", True, ("1", "1000")),
        (Refused(draw(Measure.TOKENS_OUT), None), 429, "tokens", "rate_limit_exceeded", False, None),
        (
            Refused(Slot(Scope("t"), 3), 1.0),
            429,
            "requests",
            "concurrency_limit_exceeded",
            True,
            ("1", "1000"),
        ),
        (Refused(DAY_CAP, 9.0), 402, "insufficient_quota", "spend_cap_exceeded", False, None),
    ],
)
def test_refusals(
    refused: Refused, status: int, kind: str, code: str, retry: bool, wait: tuple[str, str] | None
) -> None:
    error = refusal(refused, NOW_MS)
    assert (error.status, error.type, error.code, error.retry) == (status, kind, code, retry)
    headers = dict(error_headers(error))
    assert headers["x-should-retry"] == str(retry).lower()
    assert (None if wait is None else (headers["retry-after"], headers["retry-after-ms"])) == wait
    assert ("retry-after" in headers) is (wait is not None)


def test_messages_say_what_to_do() -> None:
    """Whose limit, how much, of what; never another tenant's or key's name."""
    found = Refused(draw(model="m", key="k"), 7.66, (Remaining(draw(model="m", key="k"), 0, 9.0),))
    assert refusal(found, NOW_MS).message == (
        "Rate limit reached: This API key may use 5 requests per minute of the model `m`. Remaining 0, requested 1. "
        "Please try again in 7.66s."
    )
    assert refusal(Refused(draw(Measure.TOKENS_IN), None), NOW_MS).message.endswith("ask for less.")
    spent = refusal(Refused(DAY_CAP, 86_400.0), NOW_MS).message
    assert "The tenant may spend 0.5 USD per day" in spent
    assert "up to 0.02 USD" in spent
    assert re.search(r"The next day begins at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\.$", spent)
    total = refusal(Refused(Reserve(Scope("t", "k"), "total", 0, 0, 1, 2), None), NOW_MS).message
    assert "This API key may spend 0.000000001 USD in all" in total
    assert "begins" not in total


def test_headers_are_those_of_the_tightest_bucket() -> None:
    minute, day = draw(), draw(window_s=86_400)
    into, out = draw(Measure.TOKENS_IN), draw(Measure.TOKENS_OUT)
    found = dict(
        limit_headers(
            (
                Remaining(minute, 4, 12.0),
                Remaining(day, 2, 51_840.5),
                Remaining(into, 3, 0.5),
                Remaining(out, 5, 0.0),
            )
        )
    )
    assert found == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "14h24m0.5s",
        "x-ratelimit-limit-tokens": "5",
        "x-ratelimit-remaining-tokens": "3",
        "x-ratelimit-reset-tokens": "500ms",
    }
    assert limit_headers(()) == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"), (0.0004, "1ms"), (0.12, "120ms"), (1, "1s"), (7.66, "7.66s"), (59.9999, "1m0s"),
        (360, "6m0s"), (3_600, "1h0m0s"), (86_341, "23h59m1s"), (-1, "0ms"),
    ],
)  # fmt: skip
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.integers(0, 10**9))
def test_durations_say_the_exact_time(milliseconds: int) -> None:
    text = duration(milliseconds / 1000)
    units = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", text)
    assert "".join(number + unit for number, unit in parts) == text
    assert sum(Decimal(number) * units[unit] for number, unit in parts) == milliseconds

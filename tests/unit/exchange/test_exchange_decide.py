"""From a request to a plan: the order of refusals, and what the exchange remembers of a denied call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_world import KEY, START
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.attest import commit
from sovereign_ext.attest.facts import Result
from sovereign_ext.config.load import parse
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import ApiError, CallerError, ServiceError
from sovereign_ext.exchange.decide import decide, receive
from sovereign_ext.exchange.exchange import Decision, Exchange
from sovereign_ext.openai.request import Endpoint
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.routing.health import Health, Verdict
from sovereign_ext.tenants.resolve import Identity

SNAPSHOT = Snapshot.from_config(
    parse("""\
version: 1
tenants: [{id: t, policies: [any, sealed, first], default_policy: any}]
policies:
  - {id: any, providers: [b, a]}
  - {id: sealed, required_tier: sealed}
  - {id: first, fallback: {enabled: false}}
models: [{id: m}, {id: e}]
providers:
  - {id: a, kind: openai, endpoint: "http://a.example:1/v1"}
  - {id: b, kind: ollama, endpoint: "http://b.example:1"}
deployments:
  - {id: m.a, model: m, provider: a, upstream_model: up}
  - {id: m.b, model: m, provider: b, upstream_model: up}
  - {id: e.a, model: e, provider: a, upstream_model: up, capabilities: [embeddings]}
"""),
    version=1,
    digest="sha256:x",
    routable=routable,
)
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()


def call(endpoint: Endpoint = Endpoint.CHAT) -> Exchange:
    return Exchange("dec-1", START, endpoint, Identity(SNAPSHOT.config.tenants[0], "t-1"), SNAPSHOT, KEY)


def health() -> Health:
    made = Health()
    made.follow(SNAPSHOT)
    return made


def decided(
    exchange: Exchange, body: bytes = BODY, policy: str | None = None, kept: Health | None = None
) -> Decision:
    return decide(exchange, *receive(exchange, body, policy), kept or health(), ADAPTERS, START)


def refused(exchange: Exchange, body: bytes = BODY, policy: str | None = None) -> ApiError:
    with pytest.raises(CallerError) as caught:
        decided(exchange, body, policy)
    return caught.value


def test_a_plan():
    """The policy's chain in its order, each with its provider and adapter."""
    exchange = call()
    decision = decided(exchange)
    assert [planned.deployment.id for planned in decision.plan] == ["m.b", "m.a"]
    assert [planned.adapter.kind for planned in decision.plan] == ["ollama", "openai"]
    assert decision.policy_digest == SNAPSHOT.policy_digests["any"]
    assert (exchange.model, exchange.policy_name) == ("m", "any")
    assert exchange.client_request == commit.commit(KEY, commit.CLIENT_REQUEST, BODY)


def test_no_fallback():
    """Without fallback one is asked."""
    assert len(decided(call(), policy="first").plan) == 1


@pytest.mark.parametrize(
    ("body", "policy", "status", "code", "known"),
    [
        (b"{", None, 400, "invalid_json", ("", "")),
        (BODY.replace(b'"m"', b"5"), "nope", 400, "invalid_type", ("", "")),
        (BODY, "nope", 403, "policy_not_allowed", ("m", "")),
        (BODY.replace(b'"m"', b'"x"'), "nope", 403, "policy_not_allowed", ("", "")),
        (BODY.replace(b'"m"', b'"x"'), None, 404, "model_not_found", ("x", "any")),
        (BODY, "sealed", 403, "no_eligible_deployment", ("m", "sealed")),
        (BODY.replace(b'"m"', b'"e"'), None, 403, "no_eligible_deployment", ("e", "any")),
    ],
)
def test_refusals(body: bytes, policy: str | None, status: int, code: str, known: tuple[str, str]):
    """What is wrong with the request comes first, then the policy, then the model; the entry says what was
    known by then."""
    exchange = call()
    error = refused(exchange, body, policy)
    assert (error.status, error.code) == (status, code)
    assert (exchange.model, exchange.policy_name) == known
    assert exchange.client_request == commit.commit(KEY, commit.CLIENT_REQUEST, body)
    facts = exchange.settle(START, Result.DENIED, status=status, error_code=code)
    assert facts is not None
    assert (facts.model, facts.policy, facts.status) == (*known, status)
    assert facts.policy_digest == SNAPSHOT.policy_digests.get(known[1])


def test_rejections_are_written_down():
    """A denial for want of eligible deployments names each of them with its failed rules in the entry."""
    exchange = call()
    refused(exchange, policy="sealed")
    facts = exchange.settle(START, Result.DENIED, status=403)
    assert facts is not None
    assert [(each["deployment"], each["failed"]) for each in facts.candidates] == [
        ("m.a", ["tier"]),
        ("m.b", ["tier"]),
    ]


def test_everybody_cooling_down():
    """When every eligible deployment rests, the answer is 429 with the time to wait, and 503 otherwise."""
    limited = health()
    for deployment in SNAPSHOT.deployments_by_model["m"]:
        limited.report(
            deployment, Verdict.FAILURE, START.mono, reason="status_429", status=429, retry_after_s=9.0
        )
    with pytest.raises(ServiceError) as caught:
        decided(call(), kept=limited)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.retry_after_s == pytest.approx(9.0)


@given(st.binary(max_size=80), st.none() | st.text(max_size=8), st.sampled_from(Endpoint))
def test_any_input(body: bytes, policy: str | None, endpoint: Endpoint):
    """Whatever comes, it is decided or refused as an ``ApiError``."""
    exchange = call(endpoint)
    outcome: Any
    try:
        outcome = decided(exchange, body, policy)
    except ApiError as error:
        outcome = error
    assert isinstance(outcome, Decision | CallerError)

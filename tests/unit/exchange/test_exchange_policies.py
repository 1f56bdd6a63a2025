"""Caps, shadows and the promise itself: what a policy excludes is in no plan, whatever health says."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from exchange_world import KEY, START
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.attest.facts import Result
from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Capability, Config, Deployment, Policy
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.standing import Peer, Standing, Vouch
from sovereign_ext.config.trust import Drift, Tier
from sovereign_ext.errors import ApiError, CallerError
from sovereign_ext.exchange.decide import decide, receive
from sovereign_ext.exchange.exchange import Decision, Exchange
from sovereign_ext.openai.request import Endpoint
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.policy.rules.base import RequestFacts
from sovereign_ext.providers.base import Usage
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.routing.health import Health, State, Verdict
from sovereign_ext.tenants.resolve import Identity

pytestmark = pytest.mark.services

TEXT = """\
version: 1
tenants: [{id: t, policies: [cheap, watched, none], default_policy: watched}]
policies:
  - {id: cheap, cost_cap_usd: 0.001}
  - {id: watched, providers: [a, b, c], shadows: [cheap, turned, none]}
  - {id: turned, providers: [c, b, a]}
  - {id: none, required_tier: sealed, shadows: [cheap]}
models: [{id: m, context_window: 1000}]
providers:
  - {id: a, kind: mock, endpoint: "http://a.example:1"}
  - {id: b, kind: mock, endpoint: "http://b.example:1"}
  - {id: c, kind: mock, endpoint: "http://c.example:1"}
deployments:
  - {id: m.a, model: m, provider: a, upstream_model: u,
     price: {input_per_mtok: 1, output_per_mtok: 2, cached_input_per_mtok: 0.5, cache_write_per_mtok: 0.75}}
  - {id: m.b, model: m, provider: b, upstream_model: u, price: {input_per_mtok: 0.1, output_per_mtok: 0.2}}
  - {id: m.c, model: m, provider: c, upstream_model: u}
"""


class Known:
    """An assessor that was told everything."""

    def __init__(self, standings: dict[str, Standing]) -> None:
        self.standings = standings

    def assess(self, deployment: Deployment, now_s: float, peer: Peer | None = None) -> Standing:
        return self.standings.get(deployment.id, Standing())


def snapshot(config: Config, standings: dict[str, Standing] | None = None) -> Snapshot:
    return Snapshot.from_config(
        config, version=1, digest="sha256:x", routable=routable, trust=Known(standings or {})
    )


SNAPSHOT = snapshot(parse(TEXT))


def call(of: Snapshot = SNAPSHOT) -> Exchange:
    return Exchange("dec-1", START, Endpoint.CHAT, Identity(of.config.tenants[0], "t-1"), of, KEY)


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **members}).encode()


def decided(exchange: Exchange, policy: str, health: Health | None = None, **members: Any) -> Decision:
    return decide(exchange, *receive(exchange, body(**members), policy), health or Health(), ADAPTERS, START)


def ids(decision: Decision) -> list[str]:
    return [planned.deployment.id for planned in decision.plan]


# -- the cost cap --------------------------------------------------------------------------------------------------


def test_a_request_that_may_cost_too_much_is_not_sent_there() -> None:
    """9 tokens of prompt: 491 more cost 991 micro-dollars at a, 496 cost 1001; without a price it is never sent."""
    assert ids(decided(call(), "cheap", max_tokens=495)) == ["m.a", "m.b"]
    assert ids(decided(call(), "cheap", max_tokens=496)) == ["m.b"]
    assert ids(decided(call(), "cheap", max_tokens=100, n=5)) == ["m.b"]
    assert ids(decided(call(), "cheap")) == ["m.b"]  # what the window leaves
    with pytest.raises(CallerError) as caught:
        decided(call(), "cheap", max_tokens=100_000)
    assert caught.value.code == "no_eligible_deployment"
    assert "cost (expected an estimate of at most 0.001 USD)" in caught.value.message


def test_the_entry_has_the_estimates_and_what_it_really_cost() -> None:
    exchange = call()
    exchange.decision = decided(exchange, "cheap", max_tokens=10)
    facts = exchange.settle(
        START, Result.ANSWERED, status=200, answered=exchange.decision.plan[0], usage=Usage(8, 3)
    )
    assert facts is not None
    assert facts.request == {"capability": "chat", "prompt_tokens": 9, "max_tokens": 10}
    assert [each.get("cost_nano_usd") for each in facts.candidates] == [29_000, 2_900, None]
    assert [each["failed"] for each in facts.candidates] == [[], [], ["cost"]]
    assert (facts.cost_nano_usd, facts.price_source) == (14_000, "configured")


def test_without_usage_the_cost_is_not_known_and_our_own_count_is_billed() -> None:
    """9 tokens of prompt by the estimate; the price that this rests on is named."""
    exchange = call()
    exchange.decision = decided(exchange, "cheap", max_tokens=10)
    facts = exchange.settle(START, Result.ANSWERED, status=200, answered=exchange.decision.plan[0])
    assert facts is not None
    assert (facts.cost_nano_usd, facts.price_source) == (None, "configured")
    assert (facts.billed_nano_usd, facts.margin_percent, facts.estimated) == (9_000, "0", True)


def test_the_entry_has_the_parts_of_the_usage() -> None:
    exchange = call()
    exchange.decision = decided(exchange, "cheap", max_tokens=10)
    usage = Usage(8, 3, cached_tokens=4, cache_write_tokens=2, reasoning_tokens=1)
    facts = exchange.settle(
        START, Result.ANSWERED, status=200, answered=exchange.decision.plan[0], usage=usage
    )
    assert facts is not None
    assert (facts.cached_tokens, facts.cache_write_tokens, facts.reasoning_tokens) == (4, 2, 1)
    assert facts.cost_nano_usd == 2 * 1_000 + 4 * 500 + 2 * 750 + 3 * 2_000


# -- shadows -------------------------------------------------------------------------------------------------------


def test_shadows_are_reported_and_change_nothing() -> None:
    """Each with who would have been eligible, who not and why, and whether the plan would have been another."""
    exchange = call()
    decision = decided(exchange, "watched", max_tokens=1)
    assert ids(decision) == ["m.a", "m.b", "m.c"]
    assert exchange.considered is not None
    cheap, turned, none = exchange.considered.shadows
    assert (cheap.policy, cheap.eligible, cheap.rejected) == ("cheap", ("m.a", "m.b"), (("m.c", ("cost",)),))
    assert (turned.eligible, turned.rejected) == (("m.a", "m.b", "m.c"), ())
    assert [name for name, _ in none.rejected] == ["m.a", "m.b", "m.c"]
    assert [each.plan_changes for each in (cheap, turned, none)] == [True, True, True]
    exchange.decision = decision
    facts = exchange.settle(START, Result.FAILED, status=503)
    assert facts is not None
    assert facts.shadows[0] == {
        "policy": "cheap",
        "policy_digest": "sha256:" + SNAPSHOT.policy_digests["cheap"].hex(),
        "eligible": ["m.a", "m.b"],
        "rejected": [{"deployment": "m.c", "rules": ["cost"]}],
        "plan_changes": 1,
    }


def test_the_two_entries_of_a_call_have_one_account_of_what_was_considered() -> None:
    """Made once: with many deployments it costs more than the rules do."""
    exchange = call()
    exchange.decision = decided(exchange, "watched", max_tokens=1)
    exchange.client_request = bytes(32)
    before = exchange.decided(START)
    after = exchange.settle(START, Result.FAILED, status=503)
    assert after is not None
    assert before.request is after.request
    assert before.candidates is after.candidates
    assert before.shadows is after.shadows
    assert [each["deployment"] for each in before.candidates] == ["m.a", "m.b", "m.c"]
    assert [each["policy"] for each in before.shadows] == ["cheap", "turned", "none"]


def test_a_shadow_that_would_have_done_the_same_says_so() -> None:
    config = parse(TEXT.replace("shadows: [cheap, turned, none]", "shadows: [same]")
                   .replace("  - {id: turned,", "  - {id: same, providers: [a, b, c]}\n  - {id: turned,"))  # fmt: skip
    exchange = call(snapshot(config))
    decided(exchange, "watched")
    assert exchange.considered is not None
    assert [each.plan_changes for each in exchange.considered.shadows] == [False]


def test_shadows_of_a_denied_call_are_reported_too() -> None:
    """The most interesting case: the new policy would have let it through."""
    exchange = call()
    with pytest.raises(CallerError):
        decided(exchange, "none", max_tokens=1)
    facts = exchange.settle(START, Result.DENIED, status=403)
    assert facts is not None
    assert [(each["eligible"], each["plan_changes"]) for each in facts.shadows] == [(["m.a", "m.b"], 1)]


def test_shadows_claim_no_probe() -> None:
    """A half-open deployment has its one probe from the call itself, and shadows see it as the call did."""
    health = Health()
    health.follow(SNAPSHOT)
    for deployment in SNAPSHOT.config.deployments:
        health.report(deployment, Verdict.FAILURE, START.mono, reason="x", status=429, retry_after_s=1.0)
    later = START._replace(mono=START.mono + 2)
    exchange = call()
    decision = decide(exchange, *receive(exchange, body(max_tokens=1), "watched"), health, ADAPTERS, later)
    assert ids(decision) == ["m.a", "m.b", "m.c"]
    assert [probe.deployment for probe in exchange.probes] == ["m.a", "m.b", "m.c"]
    assert exchange.considered is not None
    assert exchange.considered.shadows[1].plan_changes  # not an empty order, as with claimed probes
    for probe in exchange.probes:
        health.release(probe)
    assert all(health.blocked(each.id, later.mono) is None for each in SNAPSHOT.config.deployments)
    assert {each.state for each in health.snapshot_view(later.mono)} == {State.HALF_OPEN}


# -- the promise ---------------------------------------------------------------------------------------------------

PROVIDERS = ("a", "b", "c", "d")
ORIGINS = ({}, {"country": "DE"}, {"country": "US"}, {"organisation": "example-org"})
origins = st.sampled_from(ORIGINS)
dollars, days = st.integers(0, 50), st.integers(0, 3)
prices = st.none() | st.fixed_dictionaries({"input_per_mtok": dollars, "output_per_mtok": dollars})
CONDITIONS = ("p95_ms < 100 || region == 'eu'", "tier in ['sealed', 'witnessed']", "cost_usd < 0.002")
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "required_tier": st.sampled_from([tier.value for tier in Tier]),
    "required_scopes": st.lists(st.sampled_from(["fda", "hipaa"]), min_size=1, unique=True),
    "allowed_origins": st.lists(
        st.sampled_from(["DE", "US", "example-org"]), min_size=1, max_size=2, unique=True
    ),
    "max_drift": st.sampled_from(["stable", "watch", "drifted"]),
    "latency_cap_ms": st.sampled_from([20, 200, 2000]),
    "cost_cap_usd": st.sampled_from([0, 0.001, 0.01]),
    "data_handling": st.fixed_dictionaries(
        {"no_training": st.booleans()}, optional={"max_retention_days": days}
    ),
    "condition": st.sampled_from(CONDITIONS),
    "providers": st.lists(st.sampled_from(PROVIDERS), max_size=3, unique=True),
}
"""One field of a policy, drawn so that it often makes the difference."""

fallbacks = st.fixed_dictionaries({"enabled": st.booleans(), "max_attempts": st.integers(1, 4)})
others = st.none() | st.sampled_from(sorted(FIELDS))
handlings = st.fixed_dictionaries({}, optional={"trains": st.booleans(), "retention_days": days})
standings = st.builds(
    Standing,
    tier=st.sampled_from(Tier),
    vouches=st.lists(st.sampled_from(["fda", "hipaa"]), unique=True).map(
        lambda scopes: tuple(Vouch("w", scope, "s") for scope in scopes)
    ),
    drift=st.sampled_from(Drift),
)
reports = st.lists(
    st.tuples(
        st.sampled_from(PROVIDERS),
        st.sampled_from(Verdict),
        st.sampled_from([0.001, 0.03, 0.3, 3.0]),  # seconds
        st.sampled_from([0, 429, 503]),
    ),
    max_size=25,
)


def allowed(
    policy: Policy,
    of: Snapshot,
    deployment: Deployment,
    standing: Standing,
    p95_ms: int | None,
    request: RequestFacts,
) -> bool:
    """What the documentation says of each field, written down a second time and differently."""
    provider, model = of.providers[deployment.provider], of.models[deployment.model]
    order = [tier.value for tier in Tier]
    cost: Decimal | None = None
    if deployment.price is not None:
        price = deployment.price
        millions = (
            request.prompt_tokens * price.input_per_mtok + (request.max_tokens or 0) * price.output_per_mtok
        )
        cost = millions / 1_000_000
    chain = {name for link in policy.providers for name in ([link] if isinstance(link, str) else link)}
    conditions = {
        CONDITIONS[0]: (p95_ms is not None and p95_ms < 100) or provider.region == "eu",
        CONDITIONS[1]: standing.tier in (Tier.SEALED, Tier.WITNESSED),
        CONDITIONS[2]: cost is not None and cost < Decimal("0.002"),
        None: True,
    }
    postures = ["stable", "watch", "drifted"]
    names = set(policy.allowed_origins)
    handling, wanted = provider.data_handling, policy.data_handling
    return all(
        (
            not chain or provider.id in chain,
            Capability.CHAT in deployment.capabilities,
            order.index(standing.tier) >= order.index(policy.required_tier),
            {vouch.scope for vouch in standing.vouches} >= set(policy.required_scopes),
            not names or (set(provider.origin.names) & names and set(model.origin.names) & names),
            policy.max_drift is None or standing.drift in postures[: postures.index(policy.max_drift) + 1],
            policy.latency_cap_ms is None or p95_ms is None or p95_ms <= policy.latency_cap_ms,
            policy.cost_cap_usd is None or (cost is not None and cost <= policy.cost_cap_usd),
            not wanted.no_training or handling.trains is False,
            wanted.max_retention_days is None
            or (handling.retention_days is not None and handling.retention_days <= wanted.max_retention_days),
            conditions[policy.condition],
        )
    )


@pytest.mark.parametrize("field", sorted(FIELDS))
@given(st.data())
def test_what_the_policy_excludes_is_in_no_plan(field: str, data: st.DataObject) -> None:
    """Random policies, registries, prices and histories: health orders and drops, it never brings anybody back."""
    document = {
        "id": "p",
        "shadows": ["other"],
        "fallback": data.draw(fallbacks),
        field: data.draw(FIELDS[field]),
    }
    if (other := data.draw(others)) is not None and other != field:
        document[other] = data.draw(FIELDS[other])
    config = {
        "version": 1,
        "tenants": [{"id": "t", "policies": ["p", "other"], "default_policy": "p"}],
        "policies": [document, {"id": "other", "required_tier": "attested"}],
        "trust": {"witnesses": [{"id": "w", "key_file": "w.pem", "scopes": ["fda", "hipaa"]}]},
        "models": [{"id": "m", "origin": data.draw(origins)}],
        "providers": [
            {
                "id": name, "kind": "mock", "endpoint": f"http://{name}.example:1", "origin": data.draw(origins),
                "data_handling": data.draw(handlings), **({"region": "eu"} if data.draw(st.booleans()) else {}),
            }
            for name in PROVIDERS
        ],
        "deployments": [
            {
                "id": f"m.{name}", "model": "m", "provider": name, "upstream_model": "u",
                "capabilities": data.draw(st.sampled_from([["chat"], ["embeddings"], ["chat", "embeddings"]])),
                **({"price": price} if (price := data.draw(prices)) else {}),
            }
            for name in PROVIDERS
        ],
    }  # fmt: skip
    known = {f"m.{name}": data.draw(standings) for name in PROVIDERS}
    of = snapshot(Config.model_validate(config), known)
    health, now = Health(), START.mono
    health.follow(of)
    for name, verdict, latency_s, status in data.draw(reports):
        now += data.draw(st.sampled_from([0.0, 0.4, 2.0]))
        health.report(
            of.deployments[f"m.{name}"], verdict, now, latency_s=latency_s, reason="x", status=status
        )
    at = START._replace(mono=now + data.draw(st.sampled_from([0.0, 1.5, 40.0])))
    exchange = call(of)
    try:
        decision = decide(
            exchange,
            *receive(exchange, body(max_tokens=data.draw(st.integers(1, 2000))), "p"),
            health,
            ADAPTERS,
            at,
        )
        planned = [each.deployment for each in decision.plan]
    except ApiError:
        planned = []
    policy = of.policies["p"]
    if exchange.considered is None:
        assert not of.reachable["p"] | of.reachable["other"]  # the model could never be routed to
        return
    request = exchange.considered.request
    may = {
        each.id: allowed(policy, of, each, known[each.id], health.p95_ms(each.id, at.mono), request)
        for each in of.config.deployments
    }
    assert all(may[each.id] for each in planned)
    evaluation = exchange.considered.evaluation
    assert {each.deployment.id for each in evaluation.eligible} == {
        name for name, passes in may.items() if passes
    }
    assert (
        len(planned) == len(set(planned)) <= (policy.fallback.max_attempts if policy.fallback.enabled else 1)
    )

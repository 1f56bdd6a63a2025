"""The verifier's own evaluation of a policy agrees with the gateway's, and refuses what it does not know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sovereign_ext.attest.reevaluate import (
    RULES,
    PolicyDocument,
    at_least,
    read_policy,
    reevaluate,
)
from sovereign_ext.attest.reevaluate import (
    Candidate as Recorded,
)
from sovereign_ext.canonical import canonical_json
from sovereign_ext.condition import Condition, recorded_values
from sovereign_ext.config.model import Capability, Deployment, Model, Policy, Provider
from sovereign_ext.config.snapshot import policy_document
from sovereign_ext.config.standing import Standing, Vouch
from sovereign_ext.config.trust import DigestBasis, Drift, Tier
from sovereign_ext.errors import VerificationError
from sovereign_ext.policy import registry
from sovereign_ext.policy.evaluate import evaluate
from sovereign_ext.policy.facts import evaluation_facts, request_facts
from sovereign_ext.policy.rules.base import Candidate, RequestFacts

PROVIDERS = ("cloud-a", "cloud-b", "laptop")
SCOPES = ("fda", "hipaa")
COUNTRIES = (None, "US", "DE")
ORGANISATIONS = (None, "mayo", "acme")
CONDITIONS = (
    None,
    "tier == 'sealed' || p95_ms < 500",
    "cost_usd < 0.5 && tenant == 'mayo'",
    "region == 'eu'",
)
some = st.sampled_from

origins = st.builds(dict, country=some(COUNTRIES), organisation=some(ORGANISATIONS))
dollars = st.integers(0, 3_000_000_000).map(lambda nano: f"{nano // 10**9}.{nano % 10**9:09d}")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Each field is often left out, and else one that some candidates pass."""
    fields = {
        "required_tier": some(list(Tier)),
        "required_scopes": st.lists(some(SCOPES), unique=True),
        "allowed_origins": st.lists(some(("US", "DE", "mayo", "acme")), unique=True),
        "max_drift": some((Drift.STABLE, Drift.WATCH, Drift.DRIFTED)),
        "latency_cap_ms": st.integers(1, 2_000),
        "cost_cap_usd": dollars,
        "data_handling": st.builds(
            dict, no_training=st.booleans(), max_retention_days=st.none() | st.integers(0, 60)
        ),
        "condition": some(CONDITIONS),
        "providers": st.lists(some((*PROVIDERS, ["cloud-a", "laptop"])), max_size=2),
    }
    chosen = {name: draw(value) for name, value in fields.items() if draw(st.booleans())}
    return Policy.model_validate({"id": "p", **chosen})


@st.composite
def candidates(draw: st.DrawFn, number: int) -> Candidate:
    provider = draw(some(PROVIDERS))
    return Candidate(
        Deployment.model_validate(
            {
                "id": f"d{number}",
                "model": "m",
                "provider": provider,
                "upstream_model": "m",
                "capabilities": draw(st.lists(some(list(Capability)), min_size=1, unique=True)),
            }
        ),
        Provider.model_validate(
            {
                "id": provider,
                "kind": "mock",
                "endpoint": "http://127.0.0.1/v1",
                "origin": draw(origins),
                "region": draw(some((None, "us", "eu"))),
                "data_handling": {
                    "trains": draw(some((None, True, False))),
                    "retention_days": draw(st.none() | st.integers(0, 60)),
                },
            }
        ),
        Model.model_validate({"id": "m", "origin": draw(origins)}),
        Standing(
            tier=draw(some(list(Tier))),
            reasons=("no_tls",),
            model_hash=draw(some((None, "sha256:" + "a" * 64))),
            model_hash_basis=DigestBasis.MEASURED,
            vouches=tuple(Vouch("w", scope, "sha256:" + "b" * 64) for scope in draw(st.sets(some(SCOPES)))),
            drift=draw(some(list(Drift))),
            documents=("sha256:" + "c" * 64,),
        ),
        p95_ms=draw(st.none() | st.integers(0, 2_000)),
        cost_nano_usd=draw(st.none() | st.integers(0, 3_000_000_000)),
    )


requests = st.builds(
    RequestFacts,
    capability=some(list(Capability)),
    prompt_tokens=st.integers(0, 10_000),
    max_tokens=st.none() | st.integers(1, 10_000),
    choices=st.just(1),
    tenant=st.just("mayo"),
)
decided = st.integers(0, 4).flatmap(lambda n: st.tuples(*(candidates(number) for number in range(n))))


def cel(text: str, predicate: Mapping[str, Any], candidate: Mapping[str, Any]) -> bool:
    """The condition by the library, over what was recorded."""
    condition = Condition(text)
    values = recorded_values(
        condition.names, candidate, predicate["request"], tenant=predicate["tenant"], model=predicate["model"]
    )
    return condition.failure(values) is None


@pytest.mark.services
@settings(max_examples=400, deadline=None)
@given(policies(), decided, requests)
def test_it_agrees_with_the_gateway(
    policy: Policy, asked: tuple[Candidate, ...], request: RequestFacts
) -> None:
    """For any policy, request and candidates: the same deployments are eligible and fail the same rules; with a
    changed fact in the record that matters, it does not go through."""
    evaluation = evaluate(policy, asked, request)
    predicate = json.loads(
        json.dumps(
            {
                "tenant": "mayo",
                "model": "m",
                "request": request_facts(request),
                "candidates": evaluation_facts(evaluation),
            }
        )
    )
    document = read_policy(canonical_json(policy_document(policy)))
    for condition in (None, cel):
        found = reevaluate(document, predicate, condition)
        assert found.eligible == {each.deployment.id for each in evaluation.eligible}
        assert found.rejected == {each.candidate.deployment.id for each in evaluation.rejections}
        assert found.taken == (condition is None and policy.condition is not None and bool(asked))
    for candidate in predicate["candidates"]:
        changed = {**predicate, "candidates": [{**candidate, "failed": _other(candidate["failed"])}]}
        with pytest.raises(VerificationError, match=f"deployment {candidate['deployment']} fails"):
            reevaluate(document, changed)


def _other(failed: list[str]) -> list[str]:
    """As if one rule had gone the other way."""
    return failed[1:] if failed and failed[0] != "condition" else ["tier", *failed]


def test_it_knows_every_rule_of_the_gateway() -> None:
    """A rule that is added there must be added here."""
    assert [*RULES, "condition"] == [rule.name for rule in registry.RULES]


def test_it_knows_every_field_of_a_policy_and_of_a_record() -> None:
    """So no field of a real document is refused, and none is overlooked."""
    assert set(PolicyDocument.__struct_fields__) == set(policy_document(Policy(id="p")))
    plain = Candidate(
        Deployment(id="d", model="m", provider="p", upstream_model="m"),
        Provider.model_validate(
            {
                "id": "p",
                "kind": "mock",
                "endpoint": "http://h/v1",
                "region": "r",
                "data_handling": {"trains": True, "retention_days": 1},
            }
        ),
        Model(id="m"),
        Standing(model_hash="sha256:x"),
        1,
        1,
    )
    facts = evaluation_facts(evaluate(Policy(id="p"), [plain], RequestFacts(Capability.CHAT)))[0]
    assert set(Recorded.__struct_fields__) == set(facts)
    assert set(facts) == {name for name in Recorded.__struct_fields__ if facts.get(name) is not None}


CANDIDATE = {
    "deployment": "d",
    "provider": "p",
    "capabilities": ["chat"],
    "tier": "open",
    "failed": [],
}
REQUEST = {"capability": "chat", "prompt_tokens": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": 3},
        {"candidates": [3]},
        {"request": None},
        {"request": {**REQUEST, "surprise": 1}},
        {"candidates": [{**CANDIDATE, "surprise": 1}]},
        {"candidates": [{**CANDIDATE, "tier": "none"}]},
        {"candidates": [{**CANDIDATE, "p95_ms": "fast"}]},
        {"candidates": [{**CANDIDATE, "p95_ms": 1.5}]},
        {"candidates": [{**CANDIDATE, "trains": True}]},
        {"candidates": [{**CANDIDATE, "failed": ["tier"]}]},
        {"candidates": [{**CANDIDATE, "failed": ["unheard_of"]}]},
        {"candidates": [CANDIDATE, CANDIDATE]},
    ],
)
def test_malformed_records_are_refused(change: dict[str, Any]) -> None:
    """Nothing is guessed: what is not as documented cannot be judged."""
    policy = read_policy(b'{"id":"p"}')
    assert reevaluate(policy, {"request": REQUEST, "candidates": [CANDIDATE]}).eligible == {"d"}
    with pytest.raises(VerificationError):
        reevaluate(policy, {"request": REQUEST, "candidates": [CANDIDATE], **change})


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"id":"p","new_rule":1}', b'{"id":"p","cost_cap_usd":"much"}', b"[" * 100_000,
     b'{"id":"p","required_tier":"none"}', b'{"id":"p","max_drift":"unknown"}'],
)  # fmt: skip
def test_policies_it_does_not_know_are_refused(document: bytes) -> None:
    """A member from a later release could forbid what this one would allow."""
    with pytest.raises(VerificationError, match="not one this verifier knows"):
        read_policy(document)


def test_tiers_are_ordered() -> None:
    """What is no tier satisfies nothing."""
    assert at_least("sealed", "witnessed")
    assert at_least("open", "open")
    assert not at_least("open", "attested")
    assert not at_least("none", "open")
    assert not at_least("perfect", "open")

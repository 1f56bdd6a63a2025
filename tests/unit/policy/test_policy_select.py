"""The denials: which policy, which model, and nothing eligible."""

from __future__ import annotations

import pytest

from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Capability
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import CallerError
from sovereign_ext.policy.evaluate import evaluate, routable
from sovereign_ext.policy.rules.base import Candidate, RequestFacts
from sovereign_ext.policy.select import choose_policy, deployments_of, require_eligible

SNAPSHOT = Snapshot.from_config(
    parse("""\
version: 1
tenants:
  - {id: acme, policies: [any, east, strict], default_policy: east}
  - {id: other, policies: [west], default_policy: west}
policies:
  - {id: any}
  - {id: east, providers: [p-east]}
  - {id: west, providers: [p-west]}
  - {id: strict, required_tier: sealed, providers: [p-east]}
models: [{id: m}, {id: only-east}, {id: nowhere}]
providers:
  - {id: p-east, kind: mock, endpoint: "http://internal-east.example:1"}
  - {id: p-west, kind: mock, endpoint: "http://internal-west.example:2"}
deployments:
  - {id: d-west, model: m, provider: p-west, upstream_model: u}
  - {id: d-east, model: m, provider: p-east, upstream_model: u}
  - {id: d-only, model: only-east, provider: p-east, upstream_model: u}
"""),
    version=1,
    digest="sha256:x",
    routable=routable,
)
ACME, OTHER = SNAPSHOT.config.tenants


def of_m() -> list[Candidate]:
    return [
        Candidate(each, SNAPSHOT.providers[each.provider], SNAPSHOT.models[each.model])
        for each in deployments_of(SNAPSHOT, ACME, "m")
    ]


def test_the_default_holds_when_no_policy_is_named() -> None:
    """The header's absence, and only that."""
    assert choose_policy(SNAPSHOT, ACME, None).id == "east"


@pytest.mark.parametrize("named", ["any", "strict", " any ", "east\t"])
def test_a_policy_of_the_tenants_own_may_be_named(named: str) -> None:
    """Space around a header value is no part of it."""
    assert choose_policy(SNAPSHOT, ACME, named).id == named.strip()


def test_unknown_and_forbidden_policies_are_answered_alike() -> None:
    """Names of other tenants' policies do not leak, and neither falls back to the default."""
    answers = set()
    for named in ("west", "no-such", "", "ANY", "any,east"):
        with pytest.raises(CallerError) as caught:
            choose_policy(SNAPSHOT, ACME, named)
        error = caught.value
        answers.add((error.status, error.code, error.message, error.retry))
    assert len(answers) == 1
    assert answers.pop()[:2] == (403, "policy_not_allowed")


def test_candidates_are_all_deployments_of_the_model_in_file_order() -> None:
    """Before any rule: the evaluation has to record the rejected ones too."""
    assert [each.id for each in deployments_of(SNAPSHOT, ACME, "m")] == ["d-west", "d-east"]


def test_unknown_hidden_and_undeployed_models_are_answered_alike() -> None:
    """In the words of OpenAI, with the model the caller sent."""
    for tenant, model in ((ACME, "no-such"), (OTHER, "only-east"), (ACME, "nowhere"), (ACME, "")):
        with pytest.raises(CallerError) as caught:
            deployments_of(SNAPSHOT, tenant, model)
        error = caught.value
        assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
        assert error.message == f"The model `{model}` does not exist or you do not have access to it."


def test_an_endless_model_name_is_cut_in_the_answer() -> None:
    """The caller's text is repeated, but not megabytes of it."""
    with pytest.raises(CallerError) as caught:
        deployments_of(SNAPSHOT, ACME, "x" * 100_000)
    assert len(caught.value.message) < 300


def test_no_eligible_deployment_names_the_rules_and_what_they_expect() -> None:
    """Each once, and neither deployment nor endpoint."""
    policy = choose_policy(SNAPSHOT, ACME, "strict")
    evaluation = evaluate(policy, of_m(), RequestFacts(Capability.EMBEDDINGS))
    with pytest.raises(CallerError) as caught:
        require_eligible(evaluation, policy, "m")
    error = caught.value
    assert (error.status, error.code, error.param, error.retry) == (
        403,
        "no_eligible_deployment",
        "model",
        False,
    )
    assert error.message == (
        "No deployment of the model `m` satisfies the policy `strict`: provider (expected one of p-east); "
        "capability (expected embeddings); tier (expected at least sealed)."
    )


def test_what_is_eligible_is_handed_on() -> None:
    """One is enough."""
    policy = choose_policy(SNAPSHOT, ACME, None)
    evaluation = evaluate(policy, of_m(), RequestFacts(Capability.CHAT))
    assert [each.deployment.id for each in require_eligible(evaluation, policy, "m")] == ["d-east"]

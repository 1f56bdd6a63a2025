"""Conditions: what compiles, where a fault is, what never passes, and that evaluation ends."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.condition import VARIABLES, Condition, Value, recorded_values
from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Capability, Deployment, Model, Policy, Provider, ProviderKind
from sovereign_ext.config.standing import Standing, Vouch
from sovereign_ext.config.trust import Drift, Origin, Tier
from sovereign_ext.errors import ConfigErrors
from sovereign_ext.policy.facts import candidate_facts, request_facts
from sovereign_ext.policy.rules.base import Candidate, RequestFacts
from sovereign_ext.policy.rules.condition import _VALUES


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("provider ==", "line 1, column 12: Syntax error: mismatched input '<EOF>'"),
        ("tier == 'open' &&\n  nobody == 1", "line 2, column 3: undeclared reference to 'nobody'"),
        (
            "provider + 1 == 2",
            "line 1, column 10: found no matching overload for '_+_' applied to '(string, int)'",
        ),
        ("request == 1", "line 1, column 1: undeclared reference to 'request'"),
        ("now() > 1", "line 1, column 4: undeclared reference to 'now'"),
        ("provider", "is not true or false, but of type string"),
        ("dyn(true)", "is not true or false, but of type dyn"),
        ("(" * 40 + "true" + ")" * 40, "Expression recursion limit exceeded. limit: 32"),
    ],
)
def test_faults_are_found_when_it_is_compiled(text: str, reason: str) -> None:
    """With the place within the expression; an expression that could be something else than a bool is a fault."""
    with pytest.raises(ValueError) as caught:
        Condition(text)
    assert str(caught.value).startswith(reason)


def test_a_fault_of_the_file_names_policy_field_and_place() -> None:
    """Line of the file, the policy's field, and where in the expression."""
    text = "version: 1\npolicies:\n  - id: odd\n    condition: tier = 'open'\n"
    with pytest.raises(ConfigErrors) as caught:
        parse(text)
    (fault,) = caught.value.faults
    assert (fault.line, fault.field) == (4, "policies[0].condition")
    assert "line 1, column 6" in fault.reason


@pytest.mark.parametrize("value", [1, 0, True, [], 1e300, {"a": 1}])
def test_values_of_the_wrong_type_never_pass(value: Any) -> None:
    """The values are ours; were one wrong, the condition would fail in a defined way."""
    failure = Condition("provider.startsWith('a') || !provider.startsWith('a')").failure({"provider": value})
    assert failure is not None
    assert failure.startswith("error: ")


def test_evaluation_ends() -> None:
    """An expression may be foolish, a call must not wait for it."""
    ones = "[" + ",".join("1" * 200) + "]"
    condition = Condition(f"{ones}.all(x, {ones}.all(y, {ones}.all(z, x + y + z < 9)))")
    began = time.perf_counter()
    failure = condition.failure({})
    assert failure is not None
    assert failure.startswith("error: ")
    assert "budget" in failure
    assert time.perf_counter() - began < 1


def test_only_the_variables_it_names_are_wanted() -> None:
    assert Condition("request . prompt_tokens < 5 && tier == 'open'").names == (
        "tier",
        "request.prompt_tokens",
    )
    assert Condition("true").names == ()


def test_a_configuration_without_conditions_does_not_load_the_library() -> None:
    code = "import sys, sovereign_ext.app; sys.exit('cel_expr_python' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


texts = st.sampled_from(["a", "b-1", "eu", ""])


@given(
    texts,
    st.none() | texts,
    st.sampled_from(Tier),
    st.none() | st.integers(0, 10**15),
    st.none() | st.integers(0, 10**6),
    st.sampled_from(Capability),
)
def test_an_entry_gives_the_values_that_the_rule_saw(
    provider: str,
    region: str | None,
    tier: Tier,
    cost: int | None,
    number: int | None,
    capability: Capability,
) -> None:
    """What a verifier evaluates again is what was decided on."""
    candidate = Candidate(
        Deployment.model_construct(id="d", capabilities=(capability,)),
        Provider.model_construct(
            id=provider, kind=ProviderKind.MOCK, region=region, origin=Origin(country="DE"),
        ),
        Model(id="m", origin=Origin(organisation="example-org")),
        Standing(tier=tier, drift=Drift.WATCH, vouches=(Vouch("w", "z", "s"), Vouch("w", "a", "s"))),
        number,
        cost,
    )  # fmt: skip
    request = RequestFacts(capability, 7, number, 1, "t")
    seen = {name: _VALUES[name](candidate, request) for name in VARIABLES}
    recorded = recorded_values(
        VARIABLES, candidate_facts(candidate), request_facts(request), tenant="t", model="m"
    )
    assert recorded == {name: value for name, value in seen.items() if value is not None}


def test_every_variable_has_a_value_of_its_type() -> None:
    """The table of the rule and the declarations cannot drift apart."""
    assert set(_VALUES) == set(VARIABLES)
    assert set(VARIABLES.values()) <= {"string", "int", "double", "list(string)"}
    assert len(get_args(Value)) == 4
    for name, kind in VARIABLES.items():
        literal = {"string": "''", "int": "0", "double": "0.0", "list(string)": "['']"}[kind]
        assert Condition(f"{name} == {literal}").names[0] in VARIABLES
    assert Policy(id="p", condition="tier == 'open'").compiled_condition is not None

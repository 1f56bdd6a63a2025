"""What every rule of the registry promises, whichever rules there are."""

from __future__ import annotations

import ast
import importlib
import itertools
import pkgutil
import re
from decimal import Decimal
from typing import Any

import pytest
from policy_world import candidate, check

from sovereign_ext.config.model import Capability, Policy
from sovereign_ext.config.trust import DataHandling, DataRequirement, Drift, Tier
from sovereign_ext.policy import rules
from sovereign_ext.policy.registry import RULES
from sovereign_ext.policy.rules.base import DependsOn, RequestFacts, Rule, RuleFailure

every_rule = pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])

POLICIES = [
    Policy(id="open"),
    Policy(id="one", providers=("a",)),
    Policy(id="groups", providers=(("a", "b"), "c"), required_tier=Tier.ATTESTED),
    Policy(id="sealed", required_tier=Tier.SEALED),
    Policy(id="scoped", required_scopes=("fda", "hipaa")),
    Policy(id="home", allowed_origins=("DE", "example-org")),
    Policy(id="steady", max_drift=Drift.WATCH),
    Policy(id="quick", latency_cap_ms=800),
    Policy(id="cheap", cost_cap_usd=Decimal("0.05")),
    Policy(id="private", data_handling=DataRequirement(no_training=True, max_retention_days=30)),
    Policy(id="asked", condition="request.prompt_tokens < 100 && (tier != 'open' || p95_ms < 500)"),
]
SERVED: list[tuple[str, dict[str, Any]]] = [
    ("a", {"capabilities": (Capability.CHAT,), "provider_origin": {"country": "DE"}}),
    ("a", {"capabilities": (Capability.EMBEDDINGS,), "model_origin": {"country": "DE"}}),
    ("b", {"provider_origin": {"country": "DE"}, "model_origin": {"organisation": "example-org"}}),
    ("z", {"handling": DataHandling(trains=False, retention_days=30), "region": "eu"}),
    ("z", {"handling": DataHandling(trains=True, retention_days=31)}),
]
"""What the file says."""
EVIDENCE: list[dict[str, Any]] = [
    *({"tier": tier} for tier in Tier),
    {"tier": Tier.OPEN, "reasons": ("no_tls", "no_manifest")},
    {"scopes": ("fda",)},
    {"scopes": ("fda", "hipaa", "gdpr")},
    *({"drift": drift} for drift in Drift),
    {"p95_ms": 500},
    {"p95_ms": 801, "cost_nano_usd": 50_000_000},
    {"cost_nano_usd": 50_000_001},
]
"""What may change while the file does not."""
CANDIDATES = [candidate(provider, **said, **evidence) for provider, said in SERVED for evidence in EVIDENCE]
REQUESTS = [
    *(RequestFacts(capability, 10) for capability in Capability),
    RequestFacts(Capability.CHAT, 100, 50, 1, "acme"),
]
CASES = list(itertools.product(POLICIES, CANDIDATES, REQUESTS))


def test_names_are_unique_and_fit_into_rows() -> None:
    """Names are written into the log for ever."""
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z_]{1,30}", name) for name in names)


def test_every_module_of_rules_is_registered() -> None:
    """A rule that nobody asks protects nothing."""
    modules = {info.name for info in pkgutil.iter_modules(rules.__path__)} - {"base"}
    assert {type(rule).__module__.rpartition(".")[2] for rule in RULES} == modules


@every_rule
def test_the_answer_is_nothing_or_a_failure_of_that_rule(rule: Rule) -> None:
    """Expected and actual are always told, and differ."""
    for case in CASES:
        failure = check(rule, *case)
        if failure is not None:
            assert isinstance(failure, RuleFailure)
            assert failure.rule == rule.name
            assert failure.expected
            assert failure.actual
            assert failure.expected != failure.actual


@every_rule
def test_a_rule_can_pass_and_can_fail(rule: Rule) -> None:
    """A rule that always says the same is none. A new rule adds the cases it needs above."""
    outcomes = {check(rule, *case) is None for case in CASES}
    assert outcomes == {True, False}


@every_rule
def test_a_rule_is_pure(rule: Rule) -> None:
    """The same question has the same answer: decisions are evaluated again by verifiers."""
    assert [check(rule, *case) for case in CASES] == [check(rule, *case) for case in reversed(CASES)][::-1]


@every_rule
def test_a_rule_depends_on_what_it_says(rule: Rule) -> None:
    """Visibility of models rests on it: a rule of the file must not look at evidence or request."""
    for policy, (provider, said) in itertools.product(POLICIES, SERVED):
        known = [candidate(provider, **said, **evidence) for evidence in EVIDENCE]
        by_evidence = {check(rule, policy, each, REQUESTS[0]) is None for each in known}
        by_request = {check(rule, policy, known[0], request) is None for request in REQUESTS}
        assert len(by_evidence) == 1 or rule.depends_on is not DependsOn.CONFIG
        assert len(by_request) == 1 or rule.depends_on is DependsOn.REQUEST


@every_rule
def test_what_is_expected_does_not_tell_about_deployments(rule: Rule) -> None:
    """It goes to the caller, so it may only follow from policy and request."""
    expected: dict[tuple[str, Capability], set[str]] = {}
    for policy, each, request in CASES:
        failure = check(rule, policy, each, request)
        if failure is not None:
            expected.setdefault((policy.id, request.capability), set()).add(failure.expected)
    assert all(len(texts) == 1 for texts in expected.values())


@every_rule
def test_a_rule_that_does_not_apply_passes_everything(rule: Rule) -> None:
    """Such rules are not asked, so asking them must not have made a difference."""
    for policy, each, request in CASES:
        assert rule.applies(policy) or rule.check(policy, each, request) is None


@every_rule
def test_no_policy_without_requirements_is_failed_but_for_what_is_asked(rule: Rule) -> None:
    """What a policy leaves out requires nothing."""
    assert rule.name == "capability" or not rule.applies(Policy(id="open"))


@every_rule
def test_what_came_never_names_an_endpoint(rule: Rule) -> None:
    """Neither half of a failure does, so both may be shown to whoever may see the policy."""
    for case in CASES:
        failure = check(rule, *case)
        assert failure is None or "secret-endpoint" not in failure.expected + failure.actual


@every_rule
def test_a_rule_does_no_io(rule: Rule) -> None:
    """Its module imports nothing that could."""
    module = importlib.import_module(type(rule).__module__)
    assert module.__file__ is not None
    with open(module.__file__) as source:
        tree = ast.parse(source.read())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert not {name.partition(".")[0] for name in imported} & {
        "os",
        "time",
        "random",
        "asyncio",
        "socket",
        "httpx",
    }

"""A declarative file beside what a router has: the steps, their order, and that export and apply undo each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from test_config_merge import PEM, PLACES, WHOLE

from sovereign_ext.config.desired import (
    MODELS,
    Action,
    Thing,
    as_file,
    plan,
    section_of,
    shown,
    strangers,
    wanted,
)
from sovereign_ext.config.merge import SECTIONS, items_of
from sovereign_ext.config.yamlwrite import rendered
from sovereign_ext.errors import ConfigError
from sovereign_ext.management.models import ModelKind
from sovereign_ext.management.policies import PolicyKind
from sovereign_ext.management.providers import DeploymentKind, ProviderKind
from sovereign_ext.management.tenants import TenantKind
from sovereign_ext.management.trust import ObserverKind, PublisherKind, WitnessKind
from sovereign_ext.management.watchers import AnchorKind, MirrorKind

KINDS: dict[str, Any] = {
    kind.noun: kind
    for kind in (
        *(ModelKind, PolicyKind, ProviderKind, DeploymentKind, PublisherKind, WitnessKind, ObserverKind),
        *(AnchorKind, MirrorKind),
    )
}


def some(places: set[tuple[str, int]]) -> dict[str, Any]:
    """Those items of ``WHOLE``."""
    data: dict[str, Any] = {"version": 1}
    for section in SECTIONS:
        here = data
        for step in section.path[:-1]:
            here = here.setdefault(step, {})
        items = items_of(WHOLE, section)
        here[section.path[-1]] = [item for at, item in enumerate(items) if (section.kind, at) in places]
    return data


def of_api(thing: Thing, *, declared: bool = False) -> dict[str, Any]:
    """The thing in the JSON that the API would show, empty fields too."""
    kind = KINDS[thing.kind]()
    model = MODELS[thing.kind].model_validate(thing.document)
    message = kind.write(model)
    message.name, message.declared, message.etag = thing.name, declared, "7"
    shown_json = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.loads(json.dumps(shown_json))  # type: ignore[no-any-return]


@given(st.sets(st.sampled_from(PLACES)))
def test_apply_of_export_changes_nothing(places: set[tuple[str, int]]) -> None:
    """What the API shows, written out and read again, is what is there: no step."""
    there = [shown(thing.kind, of_api(thing)) for thing in wanted(some(places))]
    again = wanted(yaml.safe_load(rendered(as_file(there))))
    assert plan(again, there, frozenset(MODELS)) == []
    assert sorted(thing.name for thing in again) == sorted(thing.name for thing in there)


@given(st.sets(st.sampled_from(PLACES)), st.sets(st.sampled_from(PLACES)))
def test_after_the_steps_it_is_as_wanted(before: set[tuple[str, int]], after: set[tuple[str, int]]) -> None:
    """With prune, exactly; each step after those that it needs."""
    there = {thing.name: thing for thing in wanted(some(before))}
    things = {thing.name: thing for thing in wanted(some(after))}
    kinds = list(MODELS)
    made, gone = [], []
    for step in plan(things.values(), list(there.values()), frozenset(MODELS)):
        if step.action is Action.DELETE:
            del there[step.name]
            gone.append(kinds.index(step.kind))
        else:
            assert step.wanted is not None
            assert not gone
            there[step.name] = step.wanted
            made.append(kinds.index(step.kind))
    assert there == things
    assert made == sorted(made)
    assert gone == sorted(gone, reverse=True)


def test_a_policy_comes_behind_those_it_shadows_with() -> None:
    """Else the API would refuse it."""
    policies = [{"id": "a", "shadows": ["b"]}, {"id": "b", "shadows": ["c"]}, {"id": "c"}]
    steps = plan(wanted({"policies": policies}), [])
    assert [step.name for step in steps] == ["policies/c", "policies/b", "policies/a"]


def test_differences_are_told_field_by_field() -> None:
    """Defaults that are written out are none."""
    there = wanted({"policies": [{"id": "p", "latency_cap_ms": 900, "fallback": {"max_attempts": 2}}]})
    new = {"id": "p", "audit": "standard", "fallback": {"enabled": True, "max_attempts": 3}}
    (step,) = plan(wanted({"policies": [new]}), there)
    assert [(each.path, each.before, each.after) for each in step.differences] == [
        ("fallback.max_attempts", 2, 3),
        ("latency_cap_ms", 900, None),
    ]


def test_what_is_declared_is_never_deleted() -> None:
    """It is not the database's."""
    (policy,) = wanted({"policies": [{"id": "p"}]})
    there = [Thing(policy.name, policy.kind, policy.document, declared=True)]
    assert plan([], there, frozenset(MODELS)) == []


def test_tenants() -> None:
    """Amounts keep their digits; keys are no part of it."""
    tenant = {
        "id": "acme",
        "policies": ["p"],
        "default_policy": "p",
        "limits": [{"per": "minute", "requests": 10**12}],
        "spend_caps": [{"usd": 12.5}],
        "margin_percent": "1.25",
    }
    (thing,) = wanted({"tenants": [tenant]})
    message = TenantKind.__new__(TenantKind).write(MODELS["tenant"].model_validate(tenant))
    message.name = "tenants/acme"  # type: ignore[attr-defined]
    json_of = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert plan([thing], [shown("tenant", json_of)]) == []
    with pytest.raises(ConfigError, match="keys are made with"):
        wanted({"tenants": [{**tenant, "keys": [{"id": "x", "hash": "y"}]}]})


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"policies": [{"id": "p", "audits": 1}]}, "policies[0].audits: unknown field; did you mean audit?"),
        ({"policies": ["p"]}, "policies[0]: expected a mapping of fields"),
        (
            {"providers": [{"id": "a", "credential": {"env": "X"}}]},
            "providers[0].credential: cannot be applied: it names something of the router's machine",
        ),
        ({"trust": {"witnesses": [{"id": "w", "key": PEM}]}}, "trust.witnesses[0].scopes: is required"),
    ],
)
def test_faults_have_their_place(data: dict[str, Any], fault: str) -> None:
    """As in ``sovereign.yaml``."""
    with pytest.raises(ConfigError) as caught:
        wanted(data)
    assert str(caught.value).startswith(fault)


def test_what_cannot_be_applied_is_named() -> None:
    """Nobody shall believe that it was."""
    data = {"version": 1, "origin": "x", "trust": {"witnesses": [], "min_witnesses": 2}, "log": {"quorum": 1}}
    assert list(strangers(data)) == ["origin", "trust.min_witnesses", "log.quorum"]


def test_every_section_has_a_model() -> None:
    """And the other way round."""
    assert {section.kind for section in SECTIONS} | {"tenant"} == set(MODELS)
    assert all(section_of(kind).kind == kind for kind in MODELS)

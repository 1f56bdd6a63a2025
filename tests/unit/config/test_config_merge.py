"""File and database become one configuration, checked as one; each fault names the line or the resource."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.live import Follower
from sovereign_ext.config.load import Loaded, again, decode
from sovereign_ext.config.merge import BY_KIND, NOTHING, SECTIONS, Change, Stored, items_of, merge, name_of
from sovereign_ext.errors import ConfigError
from sovereign_ext.registry.build import build

PEM = (
    Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)

WHOLE: dict[str, Any] = {
    "version": 1,
    "trust": {
        "publishers": [{"id": "pub", "key": PEM}],
        "witnesses": [{"id": "fda", "key": PEM, "scopes": ["fda", "ce"], "organisation": "fda"}],
        "observers": [{"id": "lab", "key": PEM}],
    },
    "log": {
        "mirrors": [{"url": "https://m.example", "key": "m.example+01234567+BGJlbGll"}],
        "anchors": [{"id": "rekor", "url": "https://rekor.example", "key": PEM}],
    },
    "tenants": [{"id": "acme", "policies": ["strict"], "default_policy": "strict"}],
    "policies": [
        {"id": "strict", "required_scopes": ["fda"], "providers": ["a", ["b"]], "shadows": ["loose"]},
        {"id": "loose"},
    ],
    "models": [{"id": "org/med:8b", "publisher": "pub"}, {"id": "chat"}],
    "providers": [
        {"id": "a", "kind": "openai", "endpoint": "https://a.example/v1"},
        {"id": "b", "kind": "ollama", "endpoint": "http://b.example"},
    ],
    "deployments": [
        {"id": "chat.a", "model": "chat", "provider": "a", "upstream_model": "x"},
        {"id": "med.b", "model": "org/med:8b", "provider": "b", "upstream_model": "y"},
    ],
}


def stored_of(*items: tuple[str, dict[str, Any]], revision: int = 1) -> Stored:
    names = [name_of(BY_KIND[kind], document) or "" for kind, document in items]
    assert all(names)
    return NOTHING.changed(
        Change(name, kind, document, revision) for name, (kind, document) in zip(names, items, strict=True)
    )


def decoded(data: dict[str, Any], stored: Stored = NOTHING) -> Loaded:
    return decode(yaml.safe_dump(data).encode(), "sovereign.yaml", stored)


def faults(data: dict[str, Any], stored: Stored) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        decoded(data, stored)
    return [str(fault) for fault in caught.value.faults]


def parted(moved: set[tuple[str, int]]) -> tuple[dict[str, Any], Stored]:
    """``WHOLE`` with the items at those places in the database."""
    data = json.loads(json.dumps(WHOLE))
    items = []
    for section in SECTIONS:
        held = items_of(data, section)
        assert isinstance(held, list) or not held
        kept = [item for at, item in enumerate(held) if (section.kind, at) not in moved]
        items += [(section.kind, item) for at, item in enumerate(held) if (section.kind, at) in moved]
        here = data
        for step in section.path[:-1]:
            here = here[step]
        here[section.path[-1]] = kept
    return data, stored_of(*items)


PLACES = [(section.kind, at) for section in SECTIONS for at in range(len(items_of(WHOLE, section)))]


@pytest.mark.services
@given(st.sets(st.sampled_from(PLACES)))
def test_it_does_not_matter_where_a_thing_is(moved: set[tuple[str, int]]) -> None:
    """Whatever is moved from the file to the database, the configuration has the same things in it."""
    data, stored = parted(moved)
    whole, loaded = decoded(WHOLE), decoded(data, stored)
    for section in SECTIONS:
        path = section.path
        found = [
            {item.id: item for item in getattr(getattr(config, path[0]) if path[1:] else config, path[-1])}
            for config in (whole.config, loaded.config)
        ]
        assert found[0] == found[1]
    assert sorted(loaded.owners.values()) == sorted(stored.documents)
    assert (loaded.digest == loaded.file_digest) == (not moved)
    assert loaded.file_digest == decoded(data, stored).file_digest


@pytest.mark.services
@given(st.sets(st.sampled_from(PLACES)), st.sets(st.sampled_from(PLACES)))
def test_the_same_file_with_other_resources(
    before: set[tuple[str, int]], after: set[tuple[str, int]]
) -> None:
    """``again`` is what reading the file anew would be, faults included."""
    data, _ = parted(before | after)
    _, first = parted(before | after)
    _, second = parted(after)
    loaded = decoded(data, first)
    assert outcome(lambda: again(loaded, second)) == outcome(lambda: decoded(data, second))


def outcome(made: Callable[[], Loaded]) -> Loaded | str:
    """What comes of it, or what is wrong with it."""
    try:
        return made()
    except ConfigError as error:
        return str(error)


def test_the_files_own_data_stay_as_they_were() -> None:
    """Merging copies what it adds to."""
    data, stored = parted(set(PLACES))
    before = json.dumps(data)
    merge(data, stored)
    assert json.dumps(data) == before


def test_order_is_that_of_the_names() -> None:
    """However they came into the database, every replica makes the same of them."""
    items = [("model", {"id": name}) for name in ("zeta", "alpha", "mid")]
    one, two = stored_of(*items), stored_of(*reversed(items))
    assert [model.id for model in decoded({"version": 1}, one).config.models] == ["alpha", "mid", "zeta"]
    assert decoded({"version": 1}, one).digest == decoded({"version": 1}, two).digest


def test_faults_name_the_resource() -> None:
    """A reference to nothing, a field of a wrong type and an unknown field, each in its resource."""
    stored = stored_of(
        ("policy", {"id": "clinical", "required_scopes": ["fda"]}),
        ("model", {"id": "m", "context_window": "4", "size": 1}),
    )
    assert faults({"version": 1}, stored) == [
        "models/m: context_window: expected a whole number, got text",
        "models/m: size: unknown field",
        "policies/clinical: required_scopes[0]: no witness may vouch for 'fda'",
    ]


def test_a_name_in_both_is_a_fault_of_the_file() -> None:
    """What the database has was there before this file."""
    data = {"version": 1, "models": [{"id": "other"}, {"id": "chat"}]}
    (fault,) = faults(data, stored_of(("model", {"id": "chat", "owned_by": "x"})))
    assert fault == "sovereign.yaml:3: models[1]: models/chat is in the database, too; delete one of the two"


def test_an_edit_of_the_file_that_breaks_a_resource_is_a_fault() -> None:
    """The fault is in the resource, and stops the edit."""
    data, stored = parted({("policy", 0)})
    data["trust"]["witnesses"] = []
    assert faults(data, stored) == ["policies/strict: required_scopes[0]: no witness may vouch for 'fda'"]


@pytest.mark.parametrize(
    ("kind", "document", "field"),
    [
        ("witness", {"id": "w", "key_file": "/etc/shadow", "scopes": ["fda"]}, "key_file"),
        ("model", {"id": "m", "manifest": "/etc/shadow"}, "manifest"),
        ("provider", {"credential": {"env": "MASTER_KEY"}}, "credential"),
        ("provider", {"credential": {"file": "/etc/shadow"}}, "credential"),
        ("provider", {"tls_ca_file": "x"}, "tls_ca_file"),
        (
            "provider",
            {"aws": {"region": "eu-west-1", "web_identity_token_file": "x"}},
            "aws.web_identity_token_file",
        ),
        ("provider", {"evidence": {"jwks_file": "x"}}, "evidence.jwks_file"),
    ],
)
def test_a_resource_names_nothing_of_the_routers_machine(
    kind: str, document: dict[str, Any], field: str
) -> None:
    """Else whoever may write one could have any file of the router sent to an endpoint of theirs."""
    base = {"id": "x", "kind": "openai", "endpoint": "https://x.example"} if kind == "provider" else {}
    found = faults({"version": 1}, stored_of((kind, {**base, **document})))
    assert any(f": {field}: names " in fault for fault in found)


def test_faults_of_documents_name_the_resource() -> None:
    """A text that is no key, and a statement that says nothing, found by the registry."""
    envelope = "{}"
    stored = stored_of(
        ("witness", {"id": "w", "key": "no key", "scopes": ["fda"]}), ("statement", {"envelope": envelope})
    )
    loaded = decoded({"version": 1}, stored)
    with pytest.raises(ConfigError) as caught:
        build(loaded.config, loaded.documents, 0.0)
    (statement,) = [name for name in stored.documents if name.startswith("statements/")]
    told = [(fault.file, fault.field) for fault in loaded.named(caught.value).faults]
    assert told == [("witnesses/w", "key"), (statement, "envelope.payloadType")]


def test_deleting() -> None:
    """The revision goes on, the name is gone."""
    stored = stored_of(("provider", {"id": "a"}), ("deployment", {"id": "d", "provider": "a"}))
    left = stored.changed([Change("providers/a", "provider", None, 9)])
    assert (list(left.documents), list(left.kinds)) == (["providers/a/deployments/d"],) * 2
    assert (left.revision, stored.revision) == (9, 1)


def test_a_file_with_faults_is_looked_at_again_when_the_database_changes(tmp_path: Path) -> None:
    """What was missing may have come; nothing about the file itself has changed."""
    file = tmp_path / "sovereign.yaml"
    file.write_text("version: 1\ntenants: [{id: t, policies: [p], default_policy: p}]\n")
    stored = NOTHING
    follower = Follower(file, None, lambda: stored)
    assert isinstance(follower.poll(), ConfigError)
    stored = stored_of(("policy", {"id": "another"}))
    assert follower.poll() is None
    stored = stored_of(("policy", {"id": "p"}))
    outcome = follower.poll()
    assert isinstance(outcome, Loaded)
    assert outcome.config.policies[0].id == "p"
    stored = stored_of(("policy", {"id": "p"}))
    assert follower.poll() is None

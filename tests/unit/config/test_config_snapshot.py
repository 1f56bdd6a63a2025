"""The indexed view that a call works with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import MutableMapping
from decimal import Decimal
from typing import Any, cast

import pytest

from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Policy
from sovereign_ext.config.snapshot import Snapshot, policy_digest, policy_document
from sovereign_ext.config.trust import Drift, Tier
from sovereign_ext.policy.evaluate import routable

TEXT = f"""\
version: 1
admins: [{{id: ops, keys: [{{id: ops-1, hash: "sha256:{"a" * 64}"}}]}}]
tenants:
  - id: acme
    keys:
      - {{id: k, hash: "sha256:{"b" * 64}", expires_at: 2027-01-31, revoked_at: 2026-01-01T00:00:00+01:00}}
    policies: [east-only, sealed-west]
    default_policy: east-only
  - {{id: wide, policies: [any], default_policy: any}}
  - {{id: none, policies: [empty], default_policy: empty}}
policies:
  - {{id: any}}
  - {{id: east-only, providers: [east]}}
  - {{id: sealed-west, providers: [west], required_tier: sealed}}
  - {{id: empty, providers: [idle]}}
models: [{{id: m1}}, {{id: m2}}, {{id: m3}}, {{id: undeployed}}]
providers:
  - {{id: east, kind: mock, endpoint: "http://127.0.0.1:1"}}
  - {{id: west, kind: mock, endpoint: "http://127.0.0.1:2"}}
  - {{id: north, kind: mock, endpoint: "http://127.0.0.1:3"}}
  - {{id: idle, kind: mock, endpoint: "http://127.0.0.1:4"}}
deployments:
  - {{id: m2-east, model: m2, provider: east, upstream_model: u, capabilities: [embeddings]}}
  - {{id: m1-east, model: m1, provider: east, upstream_model: u}}
  - {{id: m1-west, model: m1, provider: west, upstream_model: u}}
  - {{id: m3-north, model: m3, provider: north, upstream_model: u}}
"""


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return Snapshot.from_config(parse(TEXT), version=7, digest="sha256:x", routable=routable)


def test_everything_is_found_by_its_id(snapshot: Snapshot) -> None:
    """Lookups while a call runs are dictionary lookups."""
    assert snapshot.version == 7
    assert snapshot.policies["east-only"].providers == ("east",)
    assert snapshot.providers["west"].endpoint == "http://127.0.0.1:2"
    assert [each.id for each in snapshot.deployments_by_model["m1"]] == ["m1-east", "m1-west"]
    assert "undeployed" not in snapshot.deployments_by_model


def test_who_may_use_policies_sees_what_one_of_them_could_route_to(snapshot: Snapshot) -> None:
    """Request and evidence do not matter for visibility, the policy's providers do, in file order."""
    seen = {
        tenant.id: [model.id for model in snapshot.visible(tenant.policies).models]
        for tenant in snapshot.config.tenants
    }
    assert seen == {"acme": ["m1", "m2"], "wide": ["m1", "m2", "m3"], "none": []}
    assert snapshot.visible(("east-only", "sealed-west")).ids == {"m1", "m2"}


def test_a_policy_that_is_gone_shows_nothing(snapshot: Snapshot) -> None:
    """Tenants of the database may name policies that the file has lost."""
    assert snapshot.visible(("gone",)).models == ()
    assert snapshot.visible(("gone", "east-only")).ids == {"m1", "m2"}


def test_what_a_set_of_policies_sees_is_worked_out_once(snapshot: Snapshot) -> None:
    """However many tenants have it; and the memory for it is bounded."""
    one = snapshot.visible(("any", "empty"))
    assert snapshot.visible(("any", "empty")) is one
    for number in range(10_000):
        snapshot.visible((f"p{number}",))
    assert len(snapshot._views) <= 4096
    assert snapshot.visible(("any", "empty")) == one


def test_a_snapshot_cannot_be_changed(snapshot: Snapshot) -> None:
    """A call that took a snapshot sees one configuration from beginning to end."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.version = 8  # type: ignore[misc]
    with pytest.raises(TypeError):
        cast(MutableMapping[str, Any], snapshot.policies)["x"] = None


def test_the_policy_digest_is_sha256_of_the_canonical_document() -> None:
    """Written out by hand, so that a change of form (and of every digest) does not go unnoticed."""
    policy = Policy(
        id="p",
        required_tier=Tier.ATTESTED,
        providers=("a", ("b", "c")),
        required_scopes=("fda",),
        max_drift=Drift.WATCH,
        cost_cap_usd=Decimal("0.05"),
    )
    document = (
        '{"allowed_origins":[],"audit":"standard","condition":null,"cost_cap_usd":"0.05",'
        '"data_handling":{"max_retention_days":null,"no_training":false},'
        '"fallback":{"enabled":true,"max_attempts":4},"id":"p","latency_cap_ms":null,"max_drift":"watch",'
        '"providers":["a",["b","c"]],"redaction":{"action":"redact","detect":[],"ignore":[]},'
        '"required_scopes":["fda"],"required_tier":"attested","shadows":[]}'
    )
    assert json.loads(document) == policy_document(policy)
    assert policy_digest(policy) == hashlib.sha256(document.encode()).digest()


def test_only_a_change_of_meaning_changes_the_policy_digest(snapshot: Snapshot) -> None:
    """Layout and spelled-out defaults do not matter; another field value does."""
    spelled_out = parse(
        TEXT.replace("{id: any}", "{id: any, required_tier: open, fallback: {enabled: true}}")
    )
    assert policy_digest(spelled_out.policies[0]) == snapshot.policy_digests["any"]
    assert len(set(snapshot.policy_digests.values())) == 4

"""The indexed view that a call works with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
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
    assert snapshot.tenants["acme"].default_policy == "east-only"
    assert snapshot.providers["west"].endpoint == "http://127.0.0.1:2"
    assert [each.id for each in snapshot.deployments_by_model["m1"]] == ["m1-east", "m1-west"]
    assert "undeployed" not in snapshot.deployments_by_model


def test_keys_lead_to_their_owner_with_times_in_seconds(snapshot: Snapshot) -> None:
    """What a key opens, and until when, is known without parsing dates per call."""
    grant = snapshot.tenant_keys["sha256:" + "b" * 64]
    assert (grant.owner.id, grant.key.id) == ("acme", "k")
    assert (grant.expires_at, grant.revoked_at) == (1801353600.0, 1767222000.0)
    admin = snapshot.admin_keys["sha256:" + "a" * 64]
    assert (admin.owner.id, admin.expires_at, admin.revoked_at) == ("ops", math.inf, math.inf)
    assert admin.key.hash not in snapshot.tenant_keys


def test_a_tenant_sees_what_some_policy_of_its_own_could_route_to(snapshot: Snapshot) -> None:
    """Request and evidence do not matter for visibility, the policy's providers do, in file order."""
    seen = {tenant: [model.id for model in models] for tenant, models in snapshot.visible_models.items()}
    assert seen == {"acme": ["m1", "m2"], "wide": ["m1", "m2", "m3"], "none": []}
    assert snapshot.visible_model_ids["acme"] == {"m1", "m2"}


def test_a_snapshot_cannot_be_changed(snapshot: Snapshot) -> None:
    """A call that took a snapshot sees one configuration from beginning to end."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.version = 8  # type: ignore[misc]
    with pytest.raises(TypeError):
        cast(MutableMapping[str, Any], snapshot.tenants)["x"] = None


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
        '"providers":["a",["b","c"]],"required_scopes":["fda"],"required_tier":"attested","shadows":[]}'
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

"""What a tier rests on, taken away piece by piece, on real Envoy with real TLS, signatures and evidence.

Each piece that is missing lowers the tier with its reason. A policy that requires the higher tier refuses before a
byte is sent; one that requires less is answered, and the attestation says how far trust went.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from stack import ConfigFile, Stack, eventually
from trust_world import TrustWorld

from sovereign_ext.config.trust import Drift

pytestmark = pytest.mark.dataplane

TIERS = ("open", "attested", "witnessed", "sealed")

EVIDENCE: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"expired": True}, "evidence_expired"),
    "for-another-key": ({"other_key": True}, "evidence_other_key"),
    "bound-to-no-key": ({"unbound": True}, "evidence_unbound"),
    "in-debug-mode": ({"debug": True}, "evidence_debug"),
    "of-another-image": ({"measurement": "00" * 32}, "evidence_measurement"),
    "from-another-issuer": ({"wrong_issuer": True}, "no_evidence"),
    "with-another-nonce": ({"wrong_nonce": True}, "no_evidence"),
    "signed-by-a-stranger": ({"foreign_signature": True}, "no_evidence"),
    "not-signed": ({"alg_none": True}, "no_evidence"),
    "unavailable": ({"down": True}, "no_evidence"),
}
"""Evidence spoilt in one way, and the reason code for it."""


WORDS = {
    "expired": "witness_expired",
    "not-yet": "witness_not_yet_valid",
    "revoked": "witness_revoked",
    "other-digest": "witness_other_digest",
    "friendly": "witness_not_independent",
    "wrong-scope": "witness_without_scope",
    "drifted": "drift_exceeded",
    "unmeasured": "drift_unknown",
}
"""What witness or observer said, spoilt in one way, and the reason code for it."""


@dataclass(frozen=True)
class Scene:
    """The stack and what it trusts."""

    stack: Stack
    world: TrustWorld


def _spoil_words(world: TrustWorld) -> None:
    """Models of ``WORDS``, each with one thing missing, and one that is whole until a test revokes it."""
    names = (*WORDS, "superfluous")
    for name in names:
        world.model(f"word-{name}", ["good"])
        if name != "unmeasured":
            world.drift(f"word-{name}", Drift.DRIFTED if name == "drifted" else Drift.STABLE)
    world.drift("word-unmeasured", since_s=-100, valid_s=50)
    for name in ("drifted", "unmeasured", "superfluous"):
        world.vouch(f"word-{name}")
    world.vouch("word-expired", until_s=-1, since_s=-100)
    world.vouch("word-not-yet", since_s=3600)
    world.revoke("fda", world.vouch("word-revoked"))
    world.vouch("word-other-digest", digest=world.digests["good-model"])
    world.vouch("word-friendly", "friend")
    world.vouch("word-wrong-scope", "ocr", "fda")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    config = ConfigFile()
    with ExitStack() as running:
        world = TrustWorld(tmp_path_factory.mktemp("trust"), config, running)
        for tier in TIERS:
            config.policy(tier, required_tier=tier)
        config.policy(
            "clinical-strict",
            required_tier="sealed",
            required_scopes=["fda"],
            allowed_origins=["US"],
            max_drift="watch",
            audit="strict",
        )
        config.policy("hipaa", required_scopes=["hipaa"])
        world.provider("good")
        config.provider(
            "cheap", "openai", world.mocks["good"].url, tls_ca_file=str(world.directory / "root.pem")
        )
        world.model("good-model", ["good"])
        config.deployments.insert(
            0,
            {"id": "cheap.good-model", "model": "good-model", "provider": "cheap", "upstream_model": "cheap"},
        )
        for name, (behaviour, _) in EVIDENCE.items():
            world.provider(f"p-{name}", **behaviour)
        world.provider("spare")
        world.provider("two-keys", pins=[world.identities["spare"].spki_pin], shows="spare")
        for name in ("json", "sse"):  # health is kept by deployment: each test needs its own
            world.model(f"two-keys-{name}", ["two-keys", "good"])
        world.model("two-keys-alone", ["two-keys"])
        for name in EVIDENCE:
            world.model(f"only-{name}", [f"p-{name}"])
        for model in tuple(world.digests):
            world.vouch(model)
            world.drift(model)
        _spoil_words(world)
        scene = Scene(running.enter_context(Stack(config)), world)
        yield scene
        scene.stack.monitor()


def chat(scene: Scene, model: str, policy: str, *, stream: bool = False) -> Any:
    return scene.stack.chat(model, stream=stream, headers={"x-sf-policy": policy})


def sent(scene: Scene, upstream: str) -> int:
    """How many requests for ``upstream`` reached any provider."""
    return sum(1 for mock in scene.world.mocks.values() for each in mock.requests() if each.model == upstream)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_the_strictest_policy_is_answered_by_the_sealed_provider(scene: Scene, stream: bool) -> None:
    """Not by the cheaper one that comes first; the answer says who vouched and how far trust went."""
    cheap = sent(scene, "cheap")
    reply = chat(scene, "good-model", "clinical-strict", stream=stream)
    assert reply.status == 200
    attestation = reply.stream_attestation if stream else reply.attestation
    assert attestation["tier_required"] == attestation["tier_observed"] == "sealed"
    assert attestation["tier_reasons"] == []
    assert attestation["provider_id"] == "good"
    assert attestation["model_hash"] == scene.world.digests["good-model"]
    assert attestation["model_hash_basis"] == "signed_manifest"
    assert [(each["witness"], each["scope"]) for each in attestation["witnesses"]] == [("fda", "fda")]
    assert sent(scene, "cheap") == cheap
    assert sent(scene, "up-good-model") >= 1


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence_that_does_not_hold(scene: Scene, name: str) -> None:
    """The deployment is no more than witnessed, with the reason; who requires more is refused, nothing is sent."""
    model, reason = f"only-{name}", EVIDENCE[name][1]
    before = sent(scene, f"up-{model}")
    refused = chat(scene, model, "sealed")
    assert (refused.status, refused.error["code"]) == (403, "no_eligible_deployment")
    assert sent(scene, f"up-{model}") == before
    (candidate,) = scene.stack.row_of(refused).predicate["candidates"]
    assert (candidate["tier"], candidate["failed"]) == ("witnessed", ["tier"])
    assert reason in candidate["tier_reasons"]
    answered = chat(scene, model, "witnessed")
    assert answered.status == 200
    assert answered.attestation["tier_observed"] == "witnessed"
    assert reason in answered.attestation["tier_reasons"]


@pytest.mark.parametrize("name", WORDS)
def test_a_witness_statement_or_drift_report_that_does_not_count(scene: Scene, name: str) -> None:
    """The deployment is no more than attested, with the reason; who requires more is refused, nothing is sent."""
    model, reason = f"word-{name}", WORDS[name]
    before = sent(scene, f"up-{model}")
    refused = chat(scene, model, "witnessed")
    assert (refused.status, refused.error["code"]) == (403, "no_eligible_deployment")
    assert sent(scene, f"up-{model}") == before
    answered = chat(scene, model, "attested")
    assert answered.status == 200
    assert answered.attestation["tier_observed"] == "attested"
    assert reason in answered.attestation["tier_reasons"]


def test_a_scope_nobody_vouched_for(scene: Scene) -> None:
    """However high the tier: without the scope the model is not used."""
    refused = chat(scene, "good-model", "hipaa")
    assert (refused.status, refused.error["code"]) == (403, "no_eligible_deployment")
    assert "scopes" in refused.error["message"]


@pytest.mark.parametrize("mode", ["json", "sse"])
def test_an_answer_from_another_key_than_the_evidence_says_is_withheld(scene: Scene, mode: str) -> None:
    """Both keys are pinned, so the connection comes about; the sealed enclave is behind the other one."""
    reply = chat(scene, f"two-keys-{mode}", "sealed", stream=mode == "sse")
    assert reply.status == 200
    row = scene.stack.row_of(reply)
    assert [(each["provider"], each["outcome"]) for each in row.predicate["attempts"]] == [
        ("two-keys", "tier_not_observed"),
        ("good", "ok"),
    ]


def test_nobody_shows_the_tier(scene: Scene) -> None:
    """An answer there is, but it stays with the gateway."""
    refused = chat(scene, "two-keys-alone", "sealed")
    assert (refused.status, refused.error["code"]) == (502, "tier_not_observed")
    assert scene.stack.row_of(refused).predicate["tier_observed"] == "none"


def test_a_revocation_counts_from_the_moment_it_is_read(scene: Scene) -> None:
    """A statement that held a moment ago is gone with the reload, without a restart."""
    model = "word-superfluous"
    assert chat(scene, model, "witnessed").status == 200
    statement = scene.stack.row_of(chat(scene, model, "witnessed")).predicate["witnesses"][0]["statement"]
    scene.world.revoke("fda", statement)
    eventually(lambda: chat(scene, model, "witnessed").status == 403, "the revocation counts")
    assert "witness_revoked" in chat(scene, model, "attested").attestation["tier_reasons"]

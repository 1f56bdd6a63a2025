"""The product's promise, from `sovereign up` on the first day: the strict policy, the sealed provider, the proof.

The receipt is judged by other people's software: Sigstore's verifiers in JavaScript and Python, and Go's C2SP notes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from demo_world import HELLO, Gateway, sovereign
from judging import sigstore_js, sigstore_python
from stack import eventually

from sovereign_ext.cli.supervise.probe import free_ports, get_json

pytestmark = pytest.mark.dataplane

MODEL = "mayo-jhu/meridian-med-13b-v2"
STRICT = {"X-SF-Policy": "clinical-strict"}


@dataclass(frozen=True)
class Proven:
    """One strict call on a running demo: what was asked, what came, and its receipt."""

    gateway: Gateway
    response: Path
    attestation: dict[str, Any]
    receipt: Path


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proven]:
    directory = tmp_path_factory.mktemp("proven")
    gateway = Gateway(directory / "state", free_ports(1)[0])
    started = gateway.up()
    try:
        assert started.returncode == 0, started.stderr
        raw = gateway.client().chat.completions.with_raw_response.create(
            model=MODEL, messages=HELLO, extra_headers=STRICT
        )
        response, receipt = directory / "response.json", directory / "receipt.json"
        response.write_bytes(raw.content)
        attestation = json.loads(raw.content)["_sf_attestation"]
        receipt.write_text(json.dumps(gateway.receipt(attestation["rekor_index"])))
        yield Proven(gateway, response, attestation, receipt)
    finally:
        gateway.down()


def test_the_product_pages_example(proven: Proven) -> None:
    """The very first call: answered by the sealed provider, with a log index and a mirror."""
    attestation = proven.attestation
    assert attestation["model"] == MODEL
    assert attestation["provider_id"] == "mayo-internal"
    assert attestation["tier_observed"] == attestation["tier_required"] == "sealed"
    assert attestation["rekor_index"] >= 1
    assert attestation["mirror_id"] == "sovereign.local/demo-mirror"
    assert {each["scope"] for each in attestation["witnesses"]} == {"fda", "hipaa"}


def test_the_cheaper_deployment_is_only_for_those_who_do_not_ask(proven: Proven) -> None:
    """Under the default policy the same model is answered by the cloud."""
    reply = proven.gateway.client().chat.completions.create(model=MODEL, messages=HELLO)
    assert reply.model_extra["_sf_attestation"]["provider_id"] == "cloud-a"


def test_our_verifier(proven: Proven) -> None:
    """Receipt, response and keys, offline."""
    public = proven.gateway.state_dir / "log" / "public"
    shown = sovereign(
        "verify", proven.receipt, "--response", proven.response, "--keys", public / "log-keys.json", "--json"
    )
    assert shown.returncode == 0, shown.stdout
    steps = {each["name"]: each["status"] for each in json.loads(shown.stdout)["checks"]}
    for name in (
        "envelope",
        "entry",
        "inclusion",
        "checkpoint",
        "promise",
        "documents",
        "policy",
        "response",
    ):
        assert steps[name] == "ok", steps


@pytest.mark.parametrize("judge", [sigstore_js, sigstore_python], ids=["sigstore-js", "sigstore-python"])
def test_sigstores_own_verifiers(proven: Proven, judge: Any, tmp_path: Path) -> None:
    """Two implementations that know nothing of us accept the receipt under the published trusted root."""
    receipt = json.loads(proven.receipt.read_text())
    key = tmp_path / "key.pem"
    encoded = receipt["log"]["keys"]["envelope"]
    key.write_text(f"-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n")
    root = proven.gateway.state_dir / "log" / "public" / "trusted_root.json"
    said = judge(str(proven.receipt), str(root), str(key))
    assert (said.returncode, said.stdout) == (0, "verified\n"), said.stderr


def test_gos_reader_of_c2sp_logs(proven: Proven, go_judge: Any) -> None:
    """Go's sumdb opens the published checkpoint and proves the entry by the published tiles."""
    log = proven.gateway.state_dir / "log"
    key = json.loads((log / "public" / "log-keys.json").read_text())["keys"]["checkpoint"]
    said = go_judge("log", str(log / "tiles"), key, str(proven.attestation["rekor_index"]))
    assert said.returncode == 0, said.stderr


def test_the_receipt_says_how_far_the_entry_has_come(proven: Proven) -> None:
    """The mirror follows on its own; soon it holds the entry."""
    index = proven.attestation["rekor_index"]
    receipt = eventually(
        lambda: (found := proven.gateway.receipt(index))["log"]["state"] == "mirrored" and found,
        "the mirror holds the entry",
    )
    (mirror,) = receipt["log"]["mirrors"]
    assert mirror["size"] > index
    kinds = {document["kind"] for document in receipt["documents"].values()}
    assert kinds == {
        "policy",
        "witness-statement",
        "provider-statement",
        "drift-report",
        "manifest",
        "evidence",
    }


def test_monitor_and_fsck_find_nothing(proven: Proven) -> None:
    """Every row of the demo's log obeys its policy."""
    for command in ("fsck", "monitor"):
        shown = sovereign("log", command, "--state-dir", proven.gateway.state_dir)
        assert shown.returncode == 0, shown.stdout + shown.stderr


def test_status_shows_tiers_and_mirror(proven: Proven) -> None:
    """As an operator looks for them."""
    text = sovereign("status", "--state-dir", proven.gateway.state_dir).stdout
    assert "sovereign.local/demo-mirror holds" in text
    (line,) = [each for each in text.splitlines() if each.strip().startswith("mayo-internal")]
    assert "sealed" in line


def test_without_the_witness_the_same_call_is_refused(proven: Proven) -> None:
    """As the README says: take the statement away, and within a moment nobody may answer."""
    (proven.gateway.state_dir / "trust" / "statements" / "demo-fda-clearance.json").unlink()

    def refused() -> str | None:
        try:
            proven.gateway.client().chat.completions.create(model=MODEL, messages=HELLO, extra_headers=STRICT)
        except openai.PermissionDeniedError as error:
            return str(error)
        except (
            openai.InternalServerError
        ) as error:  # decided before the statement was missed, answered after it
            if error.code not in ("no_longer_eligible", "tier_not_observed"):
                raise
        return None

    message = eventually(refused, "the statement is missed")
    assert "scopes (expected all of fda)" in message
    key = proven.gateway.env()["SF_ADMIN_KEY"]
    _, log = get_json(proven.gateway.port, "/sf/v1/log", key)
    assert log["healthy"] is True

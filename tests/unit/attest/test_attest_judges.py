"""Sigstore's own implementations, in JavaScript and Python, verify our receipts' bundles and refuse damaged
ones."""

from __future__ import annotations

import copy
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from attest_world import Issued, write_json
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from judging import sigstore_js, sigstore_python

from sovereign_ext.attest.keys import spki

pytestmark = pytest.mark.services

JUDGES = {"js": sigstore_js, "python": sigstore_python}
Judge = Callable[..., "CompletedProcess[str]"]


def ask(judge: Judge, document: dict[str, Any], issued: Issued, tmp_path: Path, key: bytes = b"") -> str:
    """What a judge says about a receipt, given our trusted root and an envelope key."""
    public = load_der_public_key(key or issued.keys.envelope)
    (tmp_path / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    receipt = write_json(tmp_path / "receipt.json", document)
    result = judge(receipt, str(issued.public / "trusted_root.json"), str(tmp_path / "key.pem"))
    assert result.stderr == ""
    assert (result.returncode == 0) == (result.stdout == "verified\n")
    return result.stdout.strip()


@pytest.mark.parametrize("name", JUDGES)
def test_sigstore_verifies_a_receipt(name: str, issued: Issued, tmp_path: Path) -> None:
    """The bundle of an untouched receipt verifies under the published trusted root."""
    assert ask(JUDGES[name], issued.json, issued, tmp_path) == "verified"
    assert ask(JUDGES[name], issued.stream, issued, tmp_path) == "verified"


def damage_payload(bundle: dict[str, Any]) -> None:
    payload = json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["predicate"]["provider"] = "somebody-else"
    bundle["dsseEnvelope"]["payload"] = b64encode(json.dumps(payload).encode()).decode()


def damage_proof(bundle: dict[str, Any]) -> None:
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    entry["inclusionProof"]["hashes"][0] = b64encode(bytes(32)).decode()


def damage_checkpoint(bundle: dict[str, Any]) -> None:
    checkpoint = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]
    checkpoint["envelope"] = checkpoint["envelope"].replace("\n4\n", "\n5\n")


@pytest.mark.parametrize("damage", [damage_payload, damage_proof, damage_checkpoint])
@pytest.mark.parametrize("name", JUDGES)
def test_sigstore_refuses_a_damaged_receipt(
    name: str, damage: Callable[[dict[str, Any]], None], issued: Issued, tmp_path: Path
) -> None:
    """So the judges do look: another payload, proof or checkpoint is refused."""
    document = copy.deepcopy(issued.json)
    damage(document["bundle"])
    assert ask(JUDGES[name], document, issued, tmp_path).startswith("refused: ")


@pytest.mark.parametrize("name", JUDGES)
def test_sigstore_refuses_another_signer(name: str, issued: Issued, tmp_path: Path) -> None:
    """Under another envelope key the bundle does not verify."""
    stranger = spki(ec.generate_private_key(ec.SECP256R1()))
    assert ask(JUDGES[name], issued.json, issued, tmp_path, stranger).startswith("refused: ")

"""Sigstore's JavaScript implementation, which shares no code with ours, verifies the bundle of an anchor."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from anchor_world import KINDS, anchored_log, private_key, target, until
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from rekor_server import Rekor, b64, running

from sovereign_ext.attest.rekor import V1

pytestmark = pytest.mark.services

JUDGE = Path(__file__).parents[2] / "judges/node"


def trusted_root(rekor: Rekor, kind: str, key_type: str) -> dict[str, Any]:
    """As the external log's operator would publish it."""
    details = {"ed25519": "PKIX_ED25519", "p256": "PKIX_ECDSA_P256_SHA_256"}[key_type]
    tlog = {
        "baseUrl": f"https://{rekor.name}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": b64(rekor.spki),
            "keyDetails": details,
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        },
        "logId": {"keyId": b64(rekor.log_id(1 if kind == V1 else 2))},
    }
    media_type = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    return {"mediaType": media_type, "tlogs": [tlog], "certificateAuthorities": [], "ctlogs": []}


@pytest.mark.parametrize(("kind", "key_type"), KINDS)
def test_sigstore_verifies_an_anchor_by_itself(kind: str, key_type: str, tmp_path: Path) -> None:
    """The artefact is the checkpoint; another one, or a changed signature or proof, is refused."""

    async def scenario(rekor: Rekor) -> tuple[Any, bytes]:
        async with anchored_log(tmp_path / "log", target(rekor, kind), entries=3) as (log, anchors):
            await until(lambda: anchors.covering(0))
            (anchor,) = (await log.receipt(0, None, 10))["anchors"]
            signer = load_der_public_key(log.public_keys.envelope)
            return anchor, signer.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    with running(Rekor(private_key(key_type))) as rekor:
        rekor.fill(5)
        anchor, pem = asyncio.run(scenario(rekor))

    def judge(bundle: Any, artefact: str) -> str:
        files = {"receipt": json.dumps({"bundle": bundle}), "artefact": artefact}
        files |= {"root": json.dumps(trusted_root(rekor, kind, key_type)), "key": pem.decode()}
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        names = [str(tmp_path / name) for name in ("receipt", "root", "key", "artefact")]
        argv = ["node", str(JUDGE / "judge.mjs"), *names]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout

    good = json.dumps(anchor["bundle"])
    assert judge(json.loads(good), anchor["checkpoint"]) == "verified\n"
    assert judge(json.loads(good), anchor["checkpoint"] + "x").startswith("refused")
    changed = json.loads(good)
    proof = changed["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    proof["hashes"] = [b64(bytes(32)) for _ in proof["hashes"]]
    assert judge(changed, anchor["checkpoint"]).startswith("refused")

"""What the demo's trust is made of, all made at first start: keys, a model, its signatures, certificates.

Nothing in it is a flag that says how far somebody is trusted: the provider's certificate is pinned, the model's
manifest, the witness's statement, the provider's statement and the drift report are signed, each with a key of its
own. The confidential-computing evidence comes from a verifier that runs. Private keys stay in ``keys``, so that
whoever tries the demo can sign more.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from sovereign_ext.cli.keyfiles import write_key_pair, write_new
from sovereign_ext.cli.supervise.certificates import make_root, make_server
from sovereign_ext.cli.supervise.sealed import MODEL, PROVIDER, SPIFFE_ID, Places
from sovereign_ext.config.trust import Drift
from sovereign_ext.registry.envelope import seal
from sovereign_ext.registry.manifest import Resource, manifest_of, sign_manifest
from sovereign_ext.registry.statements import (
    DriftReport,
    ProviderStatement,
    Statement,
    WitnessStatement,
    payload_of,
)

_SIGNATORIES: Final = ("mayo-jhu", "demo-fda", "demo-ocr", PROVIDER, "demo-drift-lab")
_DAY_S: Final = 86_400
_VALID_S: Final = 365 * _DAY_S
_MODEL_FILES: Final = {
    "config.json": b'{"architectures": ["DemoForCausalLM"], "hidden_size": 4}\n',
    "model.safetensors": bytes(range(256)) * 16,
    "tokenizer.json": b'{"model": {"type": "WordLevel", "vocab": {}}}\n',
}


@dataclass(frozen=True, slots=True)
class TrustKit:
    """What a configuration says of it: the model's root digest and the pin of the provider's key."""

    model_digest: str
    spki_pin: str


def make(directory: Path, now_s: int) -> TrustKit:
    """Make everything in ``directory``, which must be new. Raises ``OSError`` where that cannot be done."""
    places = Places(directory)
    for part in (
        directory,
        directory / "keys",
        directory / "tls",
        directory / "model",
        directory / "statements",
    ):
        part.mkdir(mode=0o700)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in (*_SIGNATORIES, "demo-verifier")}
    for name, key in keys.items():
        # A state directory is its owner's alone, whatever is in it.
        write_key_pair(
            directory / "keys" / f"{name}.pem", directory / f"{name}.pub.pem", key, public_mode=0o600
        )
    root_now = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    root = make_root("SovereignRouter demo root", root_now)
    server = make_server(root, PROVIDER, root_now, uri=SPIFFE_ID)
    places.root.write_bytes(root.certificate_pem)
    places.certificate.write_bytes(server.certificate_pem)
    write_new(places.certificate_key, server.key_pem, mode=0o600)
    resources = []
    for name, data in _MODEL_FILES.items():
        (directory / "model" / name).write_bytes(data)
        resources.append(Resource(name, hashlib.sha256(data).hexdigest()))
    manifest = manifest_of("meridian-med-13b-v2", resources)
    (directory / "meridian.sigstore.json").write_bytes(sign_manifest(manifest, keys["mayo-jhu"]))
    for name, (signer, statement) in _statements(manifest.digest, server.spki_pin, now_s).items():
        sealed = seal(payload_of(statement), keys[signer])
        (directory / "statements" / f"{name}.json").write_bytes(sealed)
    return TrustKit(manifest.digest, server.spki_pin)


def _statements(digest: str, pin: str, now_s: int) -> dict[str, tuple[str, Statement]]:
    """By file name: who signs, and what."""
    start, end = now_s - 60, now_s + _VALID_S

    def vouched(witness: str, scope: str, basis: str) -> tuple[str, Statement]:
        use = "decision support for clinicians, in the demo"
        return witness, WitnessStatement(MODEL, digest, witness, scope, basis, use, start, end)

    return {
        "demo-fda-clearance": vouched("demo-fda", "fda", "demo clearance K000000"),
        "demo-ocr-hipaa": vouched("demo-ocr", "hipaa", "demo audit of 2026"),
        "mayo-internal-serves": (
            PROVIDER,
            ProviderStatement(MODEL, digest, PROVIDER, (pin,), SPIFFE_ID, start, end),
        ),
        "drift-meridian": (
            "demo-drift-lab",
            DriftReport(MODEL, digest, "demo-drift-lab", None, "demo-bench", Drift.STABLE, start, _VALID_S),
        ),
    }

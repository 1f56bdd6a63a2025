"""A registry in miniature: one model, one provider, everybody's keys, and a document for each thing they sign.

``World()`` is a deployment that reaches ``sealed`` at ``NOW``; tests change one thing and see what falls.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.config.documents import Document
from sovereign_ext.config.model import Config
from sovereign_ext.config.standing import Peer, Standing
from sovereign_ext.config.trust import Drift, EvidenceKind
from sovereign_ext.registry.build import build
from sovereign_ext.registry.envelope import PrivateKey, seal
from sovereign_ext.registry.evidence import VerifiedEvidence
from sovereign_ext.registry.manifest import Manifest, Resource, manifest_of, sign_manifest
from sovereign_ext.registry.registry import Registry
from sovereign_ext.registry.statements import (
    DriftReport,
    ProviderStatement,
    Revocation,
    Statement,
    WitnessStatement,
    payload_of,
)

NOW = 1_800_000_000
DAY = 86_400
MODEL = "acme/med-13b"
PIN = "A" * 43 + "="
OTHER_PIN = "B" * 43 + "="
CERTIFICATE = "ab" * 32
SPIFFE = "spiffe://example.org/med"
TOKEN = "sha256:" + "7" * 64

MANIFEST: Manifest = manifest_of(
    "med-13b", [Resource("weights", "11" * 32), Resource("config.json", "22" * 32)]
)
DIGEST = MANIFEST.digest
OTHER_DIGEST = "sha256:" + "9" * 64


@functools.cache
def key(name: str) -> PrivateKey:
    """A key of that name: Ed25519 where the name ends in ``ed``, else P-256."""
    if name.endswith("ed"):
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    number = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") >> 1
    return ec.derive_private_key(number, ec.SECP256R1())


def pem(name: str) -> bytes:
    """Its public half."""
    return key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def witness(**changes: Any) -> WitnessStatement:
    """Witness ``fda`` vouches for the model, from a day ago to in a month."""
    made = WitnessStatement(
        MODEL, DIGEST, "fda", "clinical", "evaluation 7", "triage", NOW - DAY, NOW + 30 * DAY
    )
    return replace(made, **changes)


def provider(**changes: Any) -> ProviderStatement:
    """The provider serves the model behind the pinned key."""
    made = ProviderStatement(MODEL, DIGEST, "own", (PIN,), None, NOW - DAY, NOW + 30 * DAY)
    return replace(made, **changes)


def drift(**changes: Any) -> DriftReport:
    """Observer ``lab`` found it stable an hour ago."""
    made = DriftReport(MODEL, DIGEST, "lab", None, "accuracy", Drift.STABLE, NOW - 3_600, 7 * DAY)
    return replace(made, **changes)


def revocation(*digests: str, by: str = "fda", **changes: Any) -> Revocation:
    """``by`` takes it back, an hour ago."""
    return replace(Revocation(by, digests, NOW - 3_600, "wrong"), **changes)


def evidence(**changes: Any) -> VerifiedEvidence:
    """Fresh, production mode, allowed, bound to the pinned key."""
    made = VerifiedEvidence(EvidenceKind.EAT, TOKEN, NOW - 10, NOW + 600, "m-1", False, PIN, None)
    return replace(made, **changes)


PEER = Peer(CERTIFICATE, "", "TLSv1.3")


@dataclass
class Source:
    """An ``EvidenceSource`` with what it is given."""

    token: VerifiedEvidence | None = field(default_factory=evidence)
    certificates: dict[str, str] = field(default_factory=lambda: {CERTIFICATE: PIN})
    why: str = ""

    def current(self, provider_id: str) -> VerifiedEvidence | None:
        return self.token if provider_id == "own" else None

    def why_none(self, provider_id: str) -> str:
        return self.why

    def spki_of(self, certificate_sha256_hex: str) -> str | None:
        return self.certificates.get(certificate_sha256_hex)


def sealed(path: str, statement: Statement, by: str) -> Document:
    """A statement file signed with the key ``by``."""
    return Document(path, seal(payload_of(statement), key(by)), statement=True)


def signed_manifest(manifest: Manifest = MANIFEST, by: str = "publisher") -> Document:
    return Document("manifest.json", sign_manifest(manifest, key(by)))


class World:
    """The configuration as plain data, documents by path, and where evidence comes from."""

    def __init__(self) -> None:
        self.source = Source()
        self.data: dict[str, Any] = {
            "version": 1,
            "trust": {
                "publishers": [{"id": "acme", "key_file": "publisher.pem", "organisation": "acme"}],
                "witnesses": [
                    {"id": "fda", "key_file": "fda.pem", "organisation": "fda", "scopes": ["clinical"]},
                    {
                        "id": "tuv",
                        "key_file": "tuv-ed.pem",
                        "organisation": "tuv",
                        "scopes": ["clinical", "iso"],
                    },
                ],
                "observers": [{"id": "lab", "key_file": "lab.pem"}],
                "statements": ["statements/*.json"],
                "organisation": "hospital",
            },
            "models": [
                {
                    "id": MODEL,
                    "publisher": "acme",
                    "digest": DIGEST,
                    "digest_basis": "signed_manifest",
                    "manifest": "manifest.json",
                }
            ],
            "providers": [
                {
                    "id": "own",
                    "kind": "vllm",
                    "endpoint": "https://llm.example.org/v1",
                    "origin": {"organisation": "cloud"},
                    "key_file": "provider.pem",
                    "tls": {"spki_pins": [PIN]},
                    "evidence": {
                        "url": "https://llm.example.org/evidence",
                        "jwks_file": "jwks.json",
                        "measurements": ["m-1"],
                    },
                }
            ],
            "deployments": [{"id": "dep", "model": MODEL, "provider": "own", "upstream_model": "m"}],
            "policies": [],
        }
        self.documents: dict[str, Document] = {}
        for name in ("publisher", "fda", "tuv-ed", "lab", "provider"):
            self.put(Document(f"{name}.pem", pem(name)))
        self.put(signed_manifest())
        self.sign("w1", witness(), "fda")
        self.sign("p1", provider(), "provider")
        self.sign("d1", drift(), "lab")

    def put(self, document: Document) -> Document:
        self.documents[document.path] = document
        return document

    def sign(self, name: str, statement: Statement, by: str) -> str:
        """Add a statement; returns the digest of its document."""
        return self.put(sealed(f"statements/{name}.json", statement, by)).digest

    def drop(self, name: str) -> None:
        del self.documents[f"statements/{name}.json"]

    def digest(self, name: str) -> str:
        return self.documents[f"statements/{name}.json"].digest

    @property
    def trust(self) -> dict[str, Any]:
        return self.data["trust"]  # type: ignore[no-any-return]

    @property
    def model(self) -> dict[str, Any]:
        return self.data["models"][0]  # type: ignore[no-any-return]

    @property
    def provider(self) -> dict[str, Any]:
        return self.data["providers"][0]  # type: ignore[no-any-return]

    @property
    def config(self) -> Config:
        return Config.model_validate(self.data)

    def build(self, now_s: float = NOW) -> Registry:
        return build(self.config, self.documents.values(), now_s, evidence=self.source)

    def standing(self, now_s: float = NOW, peer: Peer | None = None) -> Standing:
        return self.build().assess(self.config.deployments[0], now_s, peer)

"""Somebody to trust: signatories with keys, providers with TLS and evidence, and models with signed words about them.

Everything is real: certificates, DSSE envelopes, manifests, tokens from verifiers that run. A test spoils one thing.
"""

from __future__ import annotations

import datetime
import hashlib
import ssl
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from stack import ConfigFile

from sovereign_ext.cli.supervise.certificates import Identity, make_root, make_server
from sovereign_ext.config.trust import Drift
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.mock.verifier import MEASUREMENT, Behaviour, Verifier
from sovereign_ext.mock.verifier_thread import RunningVerifier
from sovereign_ext.registry.envelope import seal
from sovereign_ext.registry.manifest import Resource, manifest_of, sign_manifest
from sovereign_ext.registry.statements import (
    DriftReport,
    ProviderStatement,
    Revocation,
    Statement,
    WitnessStatement,
    payload_of,
)

WITNESSES = {"fda": ("us-fda", ["fda"]), "ocr": ("us-ocr", ["hipaa"]), "friend": ("vendor", ["fda"])}
YEAR_S = 365 * 86_400


class TrustWorld:
    """Writes below ``directory`` and into ``config``; servers run until ``running`` is closed."""

    def __init__(self, directory: Path, config: ConfigFile, running: ExitStack) -> None:
        self.directory = directory
        self.config = config
        self.running = running
        self.now_s = int(time.time())
        self.mocks: dict[str, RunningMock] = {}
        self.verifiers: dict[str, RunningVerifier] = {}
        self.identities: dict[str, Identity] = {}
        self.digests: dict[str, str] = {}
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self._root = make_root("test root", self._moment)
        self._root_file = directory / "root.pem"
        self._root_file.write_bytes(self._root.certificate_pem)
        (directory / "statements").mkdir()
        config.trust = {
            "organisation": "gateway-operator",
            "publishers": [{"id": "lab", "key_file": self._public("lab"), "organisation": "lab"}],
            "witnesses": [
                {"id": name, "key_file": self._public(name), "organisation": organisation, "scopes": scopes}
                for name, (organisation, scopes) in WITNESSES.items()
            ],
            "observers": [{"id": "drift-lab", "key_file": self._public("drift-lab")}],
            "statements": [str(directory / "statements" / "*.json")],
        }

    def provider(
        self, name: str, *, pins: Iterable[str] = (), shows: str | None = None, **behaviour: Any
    ) -> None:
        """A provider on TLS whose evidence is bound to its key and shows ``behaviour``.

        ``pins`` are further keys it may have; ``shows`` is whose certificate its server presents instead.
        """
        identity = self.identities[name] = make_server(self._root, name, self._moment)
        shown = self.identities[shows] if shows is not None else identity
        file = self.directory / f"{name}-tls.pem"
        file.write_bytes(shown.key_pem + shown.certificate_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        mock = self.mocks[name] = self.running.enter_context(RunningMock("openai", tls=context))
        made = Verifier(identity.certificate_pem, behaviour=Behaviour(**behaviour))
        verifier = self.verifiers[name] = self.running.enter_context(RunningVerifier(made))
        self.config.provider(
            name,
            "openai",
            mock.url,
            tls_ca_file=str(self._root_file),
            tls={"spki_pins": [identity.spki_pin, *pins]},
            origin={"country": "US", "organisation": "vendor"},
            key_file=self._public(f"provider-{name}"),
            evidence={
                "url": verifier.attest_url,
                "jwks_url": verifier.jwks_url,
                "issuer": "urn:sovereign:mock-verifier",
                "measurements": [MEASUREMENT],
            },
        )

    def model(self, name: str, providers: Iterable[str], **more: Any) -> str:
        """A model with a signed manifest and its providers' words that they serve it; its digest."""
        providers = tuple(providers)
        manifest = manifest_of(name, [Resource("weights", hashlib.sha256(name.encode()).hexdigest())])
        file = self.directory / f"{name}.sigstore.json"
        file.write_bytes(sign_manifest(manifest, self._key("lab")))
        self.digests[name] = manifest.digest
        self.config.model(
            name,
            providers,
            publisher="lab",
            digest=manifest.digest,
            digest_basis="signed_manifest",
            manifest=str(file),
            origin={"country": "US", "organisation": "lab"},
            **more,
        )
        for provider in providers:
            pins = next(each["tls"]["spki_pins"] for each in self.config.providers if each["id"] == provider)
            start, end = self.now_s - 60, self.now_s + YEAR_S
            self.sign(
                f"provider-{provider}",
                ProviderStatement(name, manifest.digest, provider, tuple(pins), None, start, end),
            )
        return manifest.digest

    def vouch(
        self,
        model: str,
        witness: str = "fda",
        scope: str = "fda",
        *,
        digest: str | None = None,
        since_s: int = -60,
        until_s: int = YEAR_S,
    ) -> str:
        """A witness's statement about a model, valid from and until so many seconds from now; its digest."""
        about = digest or self.digests[model]
        start, end = self.now_s + since_s, self.now_s + until_s
        return self.sign(
            witness, WitnessStatement(model, about, witness, scope, "510(k)", "testing", start, end)
        )

    def drift(
        self, model: str, posture: Drift = Drift.STABLE, *, since_s: int = -60, valid_s: int = YEAR_S
    ) -> str:
        """A drift report about a model; its digest."""
        report = DriftReport(
            model, self.digests[model], "drift-lab", None, "bench", posture, self.now_s + since_s, valid_s
        )
        return self.sign("drift-lab", report)

    def revoke(self, signer: str, digest: str) -> str:
        """Take a statement back, as of now."""
        by = signer.removeprefix("provider-")
        return self.sign(signer, Revocation(by, (digest,), int(time.time()), "testing"))

    def sign(self, signer: str, statement: Statement) -> str:
        """Put a signed statement where the configuration finds it; ``sha256:…`` of the file."""
        raw = seal(payload_of(statement), self._key(signer))
        digest = hashlib.sha256(raw).hexdigest()
        temporary = self.directory / f"{digest}.tmp"
        temporary.write_bytes(raw)
        temporary.replace(self.directory / "statements" / f"{digest}.json")
        return f"sha256:{digest}"

    @property
    def _moment(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.now_s, datetime.UTC)

    def _key(self, name: str) -> ec.EllipticCurvePrivateKey:
        return self._keys.setdefault(name, ec.generate_private_key(ec.SECP256R1()))

    def _public(self, name: str) -> str:
        file = self.directory / f"{name}.pub.pem"
        key = self._key(name).public_key()
        file.write_bytes(
            key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return str(file)

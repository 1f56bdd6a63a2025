"""The demo's sealed provider: what it is called and where its files are. ``trustkit`` makes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODEL: Final = "mayo-jhu/meridian-med-13b-v2"
PROVIDER: Final = "mayo-internal"
DEPLOYMENT: Final = "meridian-mayo"
SPIFFE_ID: Final = "spiffe://mayo.example/inference"
ISSUER: Final = "urn:sovereign:demo-verifier"
MEASUREMENT: Final = hashlib.sha256(b"SovereignRouter demo: the image that mayo-internal runs").hexdigest()


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files that processes are given are. ``directory`` is the kit's."""

    directory: Path

    @property
    def root(self) -> Path:
        """The root that signed the provider's certificate, PEM."""
        return self.directory / "tls" / "root.pem"

    @property
    def certificate(self) -> Path:
        """The provider's certificate, PEM."""
        return self.directory / "tls" / f"{PROVIDER}.pem"

    @property
    def certificate_key(self) -> Path:
        return self.directory / "keys" / f"{PROVIDER}-tls.pem"

    @property
    def verifier_key(self) -> Path:
        """What the demo's attestation verifier signs with, PEM."""
        return self.directory / "keys" / "demo-verifier.pem"

"""What the parts of the keystore promise each other: how a credential is found by (tenant, provider) (ADR 0011).

A ``Source`` is one link of the chain and knows only stored text; a ``Minter`` turns stored text into what a call is
authorised with; the ``Keystore`` is what calls ask. None of them ever shows a secret: not in errors, reprs or logs.
What may be shown of a secret is its ``fingerprint``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final, Protocol

from sovereign_ext.config.model import Provider
from sovereign_ext.credentials import ProviderCredential
from sovereign_ext.secret import Secret

SHARED: Final = "*"
"""The tenant of a key that every tenant may use who has none of its own."""

FINGERPRINT_HEX: Final = 12
"""Length of a fingerprint: 48 bits tell keys apart and help nobody to guess one."""

_FINGERPRINT_CONTEXT: Final = b"SovereignRouter provider key fingerprint v1\n"


class CredentialMissingError(Exception):
    """No source has the credential; the text says where it was looked for, never a value."""


class CredentialUnavailableError(Exception):
    """A source could not be asked, so whether it has the credential is not known.

    ``reason`` is a short code: ``denied``, ``throttled``, ``unreachable``, ``timeout``, ``damaged``. The text names
    the source and what it was asked for, never a value.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Source(Protocol):
    """One link of the chain: ``local``, ``env``, ``aws-secrets-manager``, ``gcp-secret-manager``, ``vault-kv``, ..."""

    name: str

    async def find(self, tenant: str, provider: str) -> Secret | None:
        """What is stored for exactly this pair; ``tenant`` is ``SHARED`` when the shared key is asked for.

        ``None``: it is not there, ask on. Raises ``CredentialUnavailableError`` when that cannot be told. Caches
        nothing that outlives a rotation: the chain caches.
        """


class KeyWrap(Protocol):
    """Wraps the master key of the local file: ``aws-kms``, ``gcp-kms``, ``vault-transit``."""

    name: str

    async def wrap(self, plain: bytes) -> bytes:
        """``plain`` sealed by the KMS. Raises ``CredentialUnavailableError``."""

    async def unwrap(self, wrapped: bytes) -> bytes:
        """What ``wrap`` was given. Raises ``CredentialUnavailableError``; ``damaged`` if it is not this key's."""


@dataclass(frozen=True, slots=True)
class Minted:
    """What a call uses, and until when (Unix seconds; ``None``: for as long as what it was made from)."""

    credential: ProviderCredential = field(repr=False)
    expires_s: float | None


class Minter(Protocol):
    """Turns what is stored into what a call uses, by provider kind: AWS STS, Google access tokens."""

    async def mint(self, provider: Provider, stored: Secret | None) -> Minted:
        """``stored`` is ``None`` where no source has anything and the platform's own identity is to be used.

        Raises ``CredentialMissingError`` if that is not enough, ``CredentialUnavailableError`` (``damaged`` if the
        stored text is not what this kind wants).
        """


@dataclass(frozen=True, slots=True)
class Found:
    """What a call is authorised with. All ``None``: the provider takes none.

    ``fingerprint`` is that of the stored secret, ``source`` the name of the link that had it; both may be logged.
    ``own``: the key is this tenant's alone, so that what the provider says about it (401, 429) is no news for others.
    """

    credential: ProviderCredential | None = field(repr=False)
    fingerprint: str | None
    source: str | None
    own: bool = False


class Keystore(Protocol):
    """Finds credentials for calls, and keeps them for a while."""

    def ready(self, tenant: str, provider: Provider) -> Found | None:
        """What is known and fresh, without IO; ``None``: ask ``fetch``. Called once per attempt and must be cheap."""

    async def fetch(self, tenant: str, provider: Provider) -> Found:
        """The same, asking the sources if need be. Ends within the configured time.

        Raises ``CredentialMissingError`` or ``CredentialUnavailableError``.
        """

    def refused(self, tenant: str, provider: Provider, found: Found) -> None:
        """The provider did not accept ``found`` (401, 403): get it anew for the next call."""


def fingerprint(secret: Secret) -> str:
    """The first 12 hex digits of SHA-256 over a fixed context and the secret.

    The context keeps it from being looked up in, or compared with, anything else that hashes keys. It hides only
    secrets that cannot be guessed, as provider keys are.
    """
    digest = hashlib.sha256(_FINGERPRINT_CONTEXT + secret.reveal().encode("utf-8"))
    return digest.hexdigest()[:FINGERPRINT_HEX]

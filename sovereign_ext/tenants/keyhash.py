"""The keyed hash that the database keeps of a key: HMAC-SHA256 (RFC 2104, FIPS 198-1) under a secret of the gateway.

Who can read the database, or a backup of it, can neither use a key nor test guesses at one, and who can write there
cannot make a key that opens anything, without the secret. It is written ``hmac-sha256:ID:HEX``; the id is derived from
the secret, so that a hash says under which of several secrets it was made. Secrets are bytes that the caller read
somewhere; nothing here makes them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sovereign_ext.secret import Secret

SECRET_BYTES: Final = 32
"""At least so many bytes a secret has; more do no harm."""

SCHEME: Final = "hmac-sha256"

_BLOCK_BYTES: Final = 64  # of SHA-256
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_ID_LABEL: Final = b"sovereign-router key hash id"


class KeyHash:
    """HMAC-SHA256 under one secret. ``id`` is 8 hex digits and gives nothing of the secret away.

    The states of both hashes after the padded secret are kept and copied, which halves the time of a call to
    ``hmac.digest``.
    """

    __slots__ = ("_inner", "_outer", "id")

    def __init__(self, secret: bytes) -> None:
        """Raises ``ValueError`` for a secret that is too short."""
        if len(secret) < SECRET_BYTES:
            raise ValueError(f"a secret has at least {SECRET_BYTES} bytes, got {len(secret)}")
        block = secret if len(secret) <= _BLOCK_BYTES else hashlib.sha256(secret).digest()
        block = block.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))
        self.id = hmac.digest(secret, _ID_LABEL, "sha256")[:4].hex()

    def __repr__(self) -> str:
        return f"KeyHash({self.id})"

    def digest(self, key: bytes) -> bytes:
        """The 32 bytes for a key."""
        inner = self._inner.copy()
        inner.update(key)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


class KeyHashes:
    """The secret that new keys are hashed under, and earlier ones whose keys still count, the current one first."""

    __slots__ = ("by_id", "current")

    def __init__(self, current: KeyHash, previous: Sequence[KeyHash] = ()) -> None:
        self.current = current
        self.by_id: Mapping[str, KeyHash] = MappingProxyType({each.id: each for each in (current, *previous)})

    @classmethod
    def from_text(cls, text: Secret) -> KeyHashes:
        """Secrets, one a line, each at least 32 bytes of text: first the one for new keys, then earlier ones.

        Raises ``ValueError``, which shows nothing of them.
        """
        lines = [line.strip().encode() for line in text.reveal().splitlines() if line.strip()]
        if not lines:
            raise ValueError("expected a secret, got nothing")
        for number, line in enumerate(lines, start=1):
            if len(line) < SECRET_BYTES:
                raise ValueError(f"line {number} has {len(line)} bytes; a secret has at least {SECRET_BYTES}")
        first, *others = map(KeyHash, lines)
        return cls(first, others)

    def stored(self, key: Secret) -> str:
        """What the database keeps of a new key."""
        return f"{SCHEME}:{self.current.id}:{self.current.digest(key.reveal().encode()).hex()}"


def split(stored: str) -> tuple[str, bytes]:
    """The secret's id and the 32 bytes of ``hmac-sha256:ID:HEX``. Raises ``ValueError``."""
    scheme, secret_id, digest = stored.split(":")
    if scheme != SCHEME or len(digest) != 2 * hashlib.sha256().digest_size:
        raise ValueError(f"expected {SCHEME}:ID:HEX")
    return secret_id, bytes.fromhex(digest)

"""Hiding commitments to the bytes of a call: SHA-256(nonce ‖ bytes), one nonce per item.

The nonces come from one 32-byte key per call, nonce = HMAC-SHA256(key, item name), so that revealing one
item's nonce opens that item only. Whoever has the key and the bytes can check a commitment with
``sha256sum``; without the key the digest says nothing, not even for guessable bytes. Choosing the key is
the caller's matter.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

CLIENT_REQUEST: Final = "client-request"
REDACTED_REQUEST: Final = "redacted-request"
SENT_REQUEST: Final = "sent-request"
PROVIDER_RESPONSE: Final = "provider-response"
DELIVERED_RESPONSE: Final = "delivered-response"

ITEMS: Final = (CLIENT_REQUEST, REDACTED_REQUEST, SENT_REQUEST, PROVIDER_RESPONSE, DELIVERED_RESPONSE)
"""Every item a call may commit to, in the order in which the bytes come into being."""

KEY_BYTES: Final = 32

_BLOCK: Final = 64  # SHA-256's
_IPAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OPAD: Final = bytes(byte ^ 0x5C for byte in range(256))


def nonce(key: bytes, item: str) -> bytes:
    """The 32-byte nonce of ``item``: HMAC-SHA256(key, item name). ``key`` is 32 bytes."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
    # RFC 2104 spelled out: OpenSSL's one-shot HMAC lets go of the interpreter lock, and winning it back from
    # busy threads costs many times the two hashes.
    block = key.ljust(_BLOCK, b"\0")
    inner = sha256(block.translate(_IPAD) + item.encode()).digest()
    return sha256(block.translate(_OPAD) + inner).digest()


def commit(key: bytes, item: str, data: bytes) -> bytes:
    """The commitment (32 bytes) to ``data``, all at once."""
    return sha256(nonce(key, item) + data).digest()


class Commitment:
    """A commitment to bytes that arrive in pieces."""

    __slots__ = ("_hash",)

    def __init__(self, key: bytes, item: str) -> None:
        self._hash = sha256(nonce(key, item))

    def update(self, data: bytes) -> None:
        """Add the next piece."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """The commitment (32 bytes) to everything added so far."""
        return self._hash.digest()

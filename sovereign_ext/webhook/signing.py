"""Signatures of Standard Webhooks 1.0 (https://www.standardwebhooks.com), the symmetric ``v1``: HMAC-SHA256.

What is signed is id, time and body, joined by full stops, so that nobody can send an old body as a new event. Only
bytes in and out: which secrets, and what time it is, is for others to say.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

from sovereign_ext.secret import Secret

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how secrets begin
KEY_BYTES: Final = range(24, 65)
"""How long a key may be, as the specification says."""


def signing_key(secret: Secret) -> bytes:
    """The key of a secret as the specification writes it, ``whsec_`` and base64.

    Raises ``ValueError`` with what is wrong, which shows nothing of it.
    """
    prefix, _, encoded = secret.reveal().partition("_")
    if prefix + "_" != SECRET_PREFIX:
        raise ValueError(f"does not begin with {SECRET_PREFIX}")
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is not base64 after {SECRET_PREFIX}") from None
    if len(key) not in KEY_BYTES:
        raise ValueError(f"holds {len(key)} bytes, must hold 24 to 64")
    return key


def signed_headers(keys: Sequence[bytes], id_: str, time_s: int, body: bytes) -> dict[str, str]:
    """The three headers of an event with this body, one signature a key. ``time_s`` is in Unix seconds."""
    signed = b".".join((id_.encode(), str(time_s).encode(), body))
    signatures = (b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(time_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }

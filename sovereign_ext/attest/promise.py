"""The promise: a signature that an index was given to a leaf, checkable by anyone who later reads the log.

The Ed25519 promise key signs these five lines of UTF-8, each ended by one newline (0x0A)::

    urn:sovereign:promise:v1
    <origin of the log>
    <index, decimal, no leading zeros>
    <leaf hash, standard base64 of 32 bytes>
    <time at which the index was given, Unix milliseconds, decimal>

No field can hold a newline and their number is fixed, so two different promises never share an encoding.
The first line keeps the signature from being taken for anything else. If the log's tree at that index holds
another leaf, or a checkpoint of a much later time does not reach the index, promise and checkpoint together
prove misbehaviour.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sovereign_ext.errors import VerificationError

CONTEXT: Final = "urn:sovereign:promise:v1"


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised. ``leaf_hash`` is 32 bytes, ``time_ms`` Unix milliseconds."""

    origin: str
    index: int
    leaf_hash: bytes
    time_ms: int

    def encode(self) -> bytes:
        """The bytes that are signed."""
        leaf = b64encode(self.leaf_hash).decode()
        return f"{CONTEXT}\n{self.origin}\n{self.index}\n{leaf}\n{self.time_ms}\n".encode()


def verify_promise(promise: Promise, signature: bytes, spki: bytes) -> None:
    """Check the 64-byte ``signature`` by the Ed25519 key in ``spki`` (DER). Raises ``VerificationError``."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise VerificationError("promise key is not a DER public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise VerificationError("promise key is not an Ed25519 key")
    try:
        key.verify(signature, promise.encode())
    except InvalidSignature:
        raise VerificationError(f"the promise for index {promise.index} has a bad signature") from None

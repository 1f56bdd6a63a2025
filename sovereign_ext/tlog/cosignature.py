"""Cosignatures: a witness's dated statement that a checkpoint extends every earlier one it saw of that log.

https://c2sp.org/tlog-cosignature, ``cosignature/v1`` with Ed25519 (type 0x04); ML-DSA-44 (type 0x06) is not made
and its lines are ignored like those of any unknown key. A cosignature is a signature line of a note, so
``note.open_note`` takes ``CosignerKey`` beside the log's key. Pure: the time is an argument, whether enough
witnesses signed is the ``Quorum``'s answer (``policyfile`` has one).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from sovereign_ext.tlog.note import (
    Note,
    Signature,
    Verifier,
    check_key,
    encode_vkey,
    key_id,
    parse_note,
    parse_vkey,
    verify_ed25519,
)

COSIGNATURE_V1: Final = 0x04
"""Signature type byte of timestamped Ed25519 witness cosignatures."""

MAX_TIME_S: Final = (1 << 63) - 1
_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """The public half of a cosigner: its name and the raw 32-byte Ed25519 key."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_key(self.name, self.public_key)

    @property
    def key_id(self) -> bytes:
        """4 bytes: SHA-256(name ‖ 0x0A ‖ 0x04 ‖ key)[:4]."""
        return key_id(self.name, COSIGNATURE_V1, self.public_key)

    def encode(self) -> str:
        """The verifier key string ``name+keyid+base64(0x04 ‖ key)``."""
        return encode_vkey(self.name, COSIGNATURE_V1, self.public_key)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a timestamped signature over a checkpoint's text; raises ``VerificationError``."""
        time_s, raw = _split(self.name, signature)
        if not verify_ed25519(self.public_key, signed_message(message, time_s), raw):
            raise VerificationError(f"bad cosignature by {self.name} ({self.key_id.hex()})")


@dataclass(frozen=True, slots=True, repr=False)
class Cosigner:
    """A cosigner's public half and the function that makes its raw 64-byte Ed25519 signatures."""

    key: CosignerKey
    sign: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A cosignature that was verified. ``time_s`` is the cosigner's clock, Unix seconds."""

    key: CosignerKey
    time_s: int


class Quorum(Protocol):
    """Says whether the cosignatures of ``keys`` are enough."""

    def met(self, keys: Collection[CosignerKey]) -> bool: ...


@dataclass(frozen=True, slots=True)
class MirrorAck:
    """A mirror's word that it holds the first ``size`` entries (C2SP tlog-mirror). ``time_s`` is its clock, Unix
    seconds; ``note`` is the checkpoint that says so, signed by the log and by the mirror called ``name``."""

    name: str
    size: int
    time_s: int
    note: bytes


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What the cosignatures of a checkpoint come to. ``quorum`` is ``None`` when nobody said what is enough."""

    cosignatures: tuple[Cosignature, ...]
    quorum: bool | None


def parse_cosigner_key(text: str) -> CosignerKey:
    """Read a verifier key string of type 0x04. Raises ``VerificationError``."""
    return CosignerKey(*parse_vkey(text, COSIGNATURE_V1, "a witness's verifier key"))


def signed_message(text: bytes, time_s: int) -> bytes:
    """What a cosigner signs at ``time_s``: two header lines and the note's text, final newline included."""
    return b"cosignature/v1\ntime %d\n" % time_s + text


def cosign(text: str, cosigner: Cosigner, time_s: int) -> Signature:
    """The signature line of ``cosigner`` under the checkpoint ``text``. ``time_s`` is Unix seconds, not 0."""
    if not 0 < time_s <= MAX_TIME_S:
        raise ValueError(f"expected a positive time below 2^63, got {time_s}")
    raw = cosigner.sign(signed_message(text.encode(), time_s))
    return Signature(cosigner.key.name, cosigner.key.key_id, time_s.to_bytes(_TIME_BYTES, "big") + raw)


def find_cosignature(note: Note, key: CosignerKey) -> tuple[Signature, Cosignature] | None:
    """The first line of ``key`` in ``note``, verified; ``None`` without one. Raises ``VerificationError``."""
    for line in note.signatures:
        if (line.name, line.key_id) == (key.name, key.key_id):
            key.verify(note.text.encode(), line.signature)
            return line, Cosignature(key, _split(line.name, line.signature)[0])
    return None


def verify_cosignatures(note: Note, keys: Iterable[CosignerKey], quorum: Quorum | None = None) -> Witnessed:
    """Verify the lines of ``keys`` in a checkpoint note whose log signature was verified already.

    Keys without a line are left out; two names of one public key count once. Raises ``VerificationError`` when a
    line of a known key does not verify: such a note is malformed as a whole (C2SP signed-note).
    """
    found: dict[bytes, Cosignature] = {}
    for key in keys:
        if (line := find_cosignature(note, key)) is not None:
            found.setdefault(key.public_key, line[1])
    cosignatures = tuple(found.values())
    met = None if quorum is None else quorum.met([cosignature.key for cosignature in cosignatures])
    return Witnessed(cosignatures, met)


def read_ack(note: bytes, name: str) -> MirrorAck:
    """What the line of ``name`` in a mirror's checkpoint says, unverified. Raises ``VerificationError``."""
    opened = parse_note(note)
    for line in opened.signatures:
        if line.name == name and len(line.signature) == _TIME_BYTES + _SIGNATURE_BYTES:
            return MirrorAck(name, parse_checkpoint(opened.text).size, _split(name, line.signature)[0], note)
    raise VerificationError(f"the mirror's checkpoint has no cosignature by {name}")


def verify_ack(note: bytes, log: Verifier, key: CosignerKey) -> tuple[Checkpoint, MirrorAck]:
    """Verify a mirror's checkpoint: the log's signature and the mirror's. Raises ``VerificationError``."""
    checkpoint, opened = open_checkpoint(note, log.name, [log])
    found = find_cosignature(opened, key)
    if found is None:
        raise VerificationError(f"the mirror's checkpoint is not signed by {key.name}")
    return checkpoint, MirrorAck(key.name, checkpoint.size, found[1].time_s, note)


def _split(name: str, signature: bytes) -> tuple[int, bytes]:
    if len(signature) != _TIME_BYTES + _SIGNATURE_BYTES:
        raise VerificationError(f"cosignature by {name} has {len(signature)} bytes, expected 72")
    time_s = int.from_bytes(signature[:_TIME_BYTES], "big")
    if time_s > MAX_TIME_S:
        raise VerificationError(f"cosignature by {name} has a time beyond 2^63")
    return time_s, signature[_TIME_BYTES:]

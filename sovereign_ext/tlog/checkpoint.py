"""Checkpoints as C2SP tlog-checkpoint defines them: a signed note of origin, tree size and root hash.

https://c2sp.org/tlog-checkpoint. Values and bytes only; which checkpoint is the current one is the
integrator's matter. Extension lines are read and kept, none are written.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.hashing import HASH_SIZE
from sovereign_ext.tlog.note import Note, Signer, Verifier, open_note, sign_note

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head. ``size`` counts leaves, ``root`` is 32 bytes, ``extensions`` are further lines of the
    text."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The text of the note."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "".join(line + "\n" for line in lines)


def origin_hash(origin: str) -> str:
    """The name of a log in paths, below a mirror's monitoring prefix (C2SP tlog-mirror): SHA-256 in hex."""
    return sha256(origin.encode()).hexdigest()


def sign_checkpoint(checkpoint: Checkpoint, signers: Iterable[Signer]) -> bytes:
    """The signed note of a checkpoint."""
    return sign_note(checkpoint.text(), tuple(signers)).encode()


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint note. Raises ``VerificationError``."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise VerificationError("malformed checkpoint: expected origin, size and root, a line each")
    origin, size, encoded, *extensions = lines[:-1]
    try:
        root = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        root = b""
    if not origin or not _SIZE.fullmatch(size) or len(root) != HASH_SIZE or not all(extensions):
        raise VerificationError("malformed checkpoint: bad origin, size, root or extension line")
    checkpoint = Checkpoint(origin, int(size), root, tuple(extensions))
    if checkpoint.text() != text:
        raise VerificationError("malformed checkpoint: root is not in canonical base64")
    return checkpoint


def open_checkpoint(data: bytes, origin: str, verifiers: Iterable[Verifier]) -> tuple[Checkpoint, Note]:
    """Verify a checkpoint note for ``origin``, signed by one of ``verifiers``. Raises
    ``VerificationError``."""
    note = open_note(data, verifiers)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != origin:
        raise VerificationError(f"checkpoint is of log {checkpoint.origin!r}, expected {origin!r}")
    return checkpoint, note

"""The messages of C2SP tlog-witness ``add-checkpoint``: what a log sends to a witness, and what comes back.

https://c2sp.org/tlog-witness. Values and bytes; who sends them is ``witnessing``'s matter, who judges them the
mirror's. Nothing is verified here but the form.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.hashing import HASH_SIZE
from sovereign_ext.tlog.note import Note, parse_note

MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = 256 * 1024
"""Room for a note with dozens of post-quantum signatures."""

SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of a 409: the size of the checkpoint that the witness cosigned last."""

_SIZE: Final = re.compile(rb"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request. ``old`` is the size that the witness is thought to have cosigned last, ``proof`` the consistency
    proof from there (32-byte hashes), ``note`` the signed checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The body of the request."""
        lines = b"".join(b64encode(hash_) + b"\n" for hash_ in self.proof)
        return b"old %d\n" % self.old + lines + b"\n" + self.note


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Read a request's body; the note is not looked into. Raises ``VerificationError`` on any deviation."""
    head, blank, note = body.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    if not blank or not first.startswith(b"old "):
        raise VerificationError(
            "malformed request: expected 'old SIZE', proof lines, an empty line, a checkpoint"
        )
    if len(lines) > MAX_PROOF_LINES:
        raise VerificationError(
            f"request has {len(lines)} proof lines, at most {MAX_PROOF_LINES} are allowed"
        )
    return AddCheckpoint(_size(first[4:]), tuple(_hash(line) for line in lines), note)


def encode_size(size: int) -> bytes:
    """The body of a 409."""
    return b"%d\n" % size


def parse_size(body: bytes) -> int:
    """Read the body of a 409. Raises ``VerificationError``."""
    if not body.endswith(b"\n"):
        raise VerificationError("malformed tree size: expected decimal digits and a newline")
    return _size(body[:-1])


def with_lines(text: str, lines: bytes) -> Note:
    """The note that a checkpoint's ``text`` makes with the signature ``lines`` of a witness's answer.

    Raises ``VerificationError`` unless they are signature lines and nothing else.
    """
    if not lines.startswith("— ".encode()) or b"\n\n" in lines:
        raise VerificationError("malformed answer: expected signature lines")
    return parse_note(text.encode() + b"\n" + lines)


def _size(digits: bytes) -> int:
    if not _SIZE.fullmatch(digits) or (size := int(digits)) >= 1 << 63:
        raise VerificationError("malformed tree size: expected decimal digits without leading zeroes")
    return size


def _hash(line: bytes) -> bytes:
    try:
        raw = b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != HASH_SIZE or b64encode(raw) != line:
        raise VerificationError("malformed proof line: expected the base64 of 32 bytes")
    return raw

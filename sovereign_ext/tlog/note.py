"""Signed notes as C2SP signed-note defines them: a text, a blank line, and signature lines.

https://c2sp.org/signed-note. Only Ed25519 (type 0x01) signatures are made here; lines of unknown keys are kept
and ignored. ``cosignature`` brings the key type of witnesses. What the text means is not known here
(``checkpoint`` does).
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sovereign_ext.errors import VerificationError

ED25519: Final = 0x01
"""Signature type byte of plain Ed25519 signatures over the note's text."""

MAX_NOTE_BYTES: Final = 1_000_000
MAX_SIGNATURES: Final = 100
_KEY_ID_BYTES: Final = 4
_MARK: Final = "— "


class NoteVerifier(Protocol):
    """A public key of some signature type, under a name."""

    @property
    def name(self) -> str: ...
    @property
    def key_id(self) -> bytes:
        """4 bytes."""
        ...

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check one signature over a note's text; raises ``VerificationError``."""
        ...


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line. ``key_id`` is 4 bytes; ``signature`` is what follows them in the base64 field."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """The line with its newline."""
        return f"{_MARK}{self.name} {b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note. ``text`` ends with a newline and is what the signatures cover."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The note as bytes, ready to be published."""
        return (self.text + "\n" + "".join(s.line() for s in self.signatures)).encode()


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and its name. ``public_key`` is the raw 32-byte Ed25519 key."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_key(self.name, self.public_key)

    @property
    def log_id(self) -> bytes:
        """The whole SHA-256 of which the key id is the beginning; Rekor v2 names logs by it."""
        return key_digest(self.name, ED25519, self.public_key)

    @property
    def key_id(self) -> bytes:
        """4 bytes: SHA-256(name ‖ 0x0A ‖ 0x01 ‖ key)[:4]."""
        return key_id(self.name, ED25519, self.public_key)

    def encode(self) -> str:
        """The verifier key string ``name+keyid+base64(type ‖ key)``."""
        return encode_vkey(self.name, ED25519, self.public_key)

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check one signature; raises ``VerificationError``."""
        if not verify_ed25519(self.public_key, message, signature):
            raise VerificationError(f"bad signature by {self.name} ({self.key_id.hex()})")


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """A verifier and the function that makes its raw 64-byte Ed25519 signatures."""

    verifier: Verifier
    sign: Callable[[bytes], bytes]


def key_digest(name: str, kind: int, public_key: bytes) -> bytes:
    """SHA-256(name ‖ 0x0A ‖ type ‖ key), whose first four bytes are the key id."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()


def key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """The 4 bytes by which signature lines name a key."""
    return key_digest(name, kind, public_key)[:_KEY_ID_BYTES]


def check_key(name: str, public_key: bytes) -> None:
    """Raise ``ValueError`` unless these can be the name and the raw bytes of an Ed25519 key."""
    if not valid_name(name):
        raise ValueError(f"invalid key name {name!r}")
    if len(public_key) != 32:
        raise ValueError(f"expected 32 bytes of Ed25519 key, got {len(public_key)}")


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is by the raw ``public_key`` over ``message`` (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def valid_name(name: str) -> bool:
    """Whether ``name`` can name a key: not empty, printable, without white space and plus signs."""
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " for c in name) and _utf8(name)


def parse_verifier(text: str) -> Verifier:
    """Read a verifier key string (Ed25519 only). Raises ``VerificationError``."""
    return Verifier(*parse_vkey(text, ED25519, "an Ed25519 verifier key"))


def parse_vkey(text: str, kind: int, what: str) -> tuple[str, bytes]:
    """Name and raw key of a verifier key string of signature type ``kind``. Raises ``VerificationError``."""
    name, _, rest = text.strip().partition("+")
    given, _, encoded = rest.partition("+")
    key = _decode(encoded)
    if key is None or len(key) != 33 or key[0] != kind or not valid_name(name):
        raise VerificationError(f"not {what}: expected name+keyid+base64 of type 0x{kind:02x} and 32 bytes")
    expected = key_id(name, kind, key[1:]).hex()
    if given != expected:
        raise VerificationError(f"verifier key {name} has id {given!r}, expected {expected}")
    return name, key[1:]


def encode_vkey(name: str, kind: int, public_key: bytes) -> str:
    """The verifier key string ``name+keyid+base64(type ‖ key)``."""
    encoded = b64encode(bytes([kind]) + public_key).decode()
    return f"{name}+{key_id(name, kind, public_key).hex()}+{encoded}"


def sign_note(text: str, signers: Sequence[Signer]) -> Note:
    """Sign ``text`` (which must end with a newline) with every signer, in order."""
    if not text.endswith("\n") or not _valid_text(text):
        raise ValueError("the text of a note must end with a newline and hold no control characters")
    message = text.encode()
    return Note(text, tuple(Signature(s.verifier.name, s.verifier.key_id, s.sign(message)) for s in signers))


def parse_note(data: bytes) -> Note:
    """Take a note apart without judging its signatures. Raises ``VerificationError`` on any deviation."""
    if len(data) > MAX_NOTE_BYTES:
        raise VerificationError(f"note has {len(data)} bytes, at most {MAX_NOTE_BYTES} are read")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise VerificationError("note is not UTF-8") from None
    # The last blank line divides: the text itself may hold blank lines, signature lines cannot.
    cut = whole.rfind("\n\n")
    if cut < 0 or not whole.endswith("\n") or not _valid_text(whole):
        raise VerificationError("malformed note: expected text, a blank line and signature lines")
    lines = whole[cut + 2 :].split("\n")[:-1]
    if not lines or len(lines) > MAX_SIGNATURES:
        raise VerificationError(f"note has {len(lines)} signature lines, expected 1 to {MAX_SIGNATURES}")
    return Note(whole[: cut + 1], tuple(_parse_signature(line) for line in lines))


def open_note(data: bytes, verifiers: Iterable[NoteVerifier]) -> Note:
    """Parse a note and require a good signature by at least one of ``verifiers``.

    A bad signature under a known key is an error even beside a good one, as in Go's ``note.Open``.
    Raises ``VerificationError``.
    """
    note = parse_note(data)
    known = {(v.name, v.key_id): v for v in verifiers}
    message = note.text.encode()
    verified = 0
    for signature in note.signatures:
        if (verifier := known.pop((signature.name, signature.key_id), None)) is not None:
            verifier.verify(message, signature.signature)
            verified += 1
    if not verified:
        names = ", ".join(f"{s.name} ({s.key_id.hex()})" for s in note.signatures)
        raise VerificationError(f"note has no signature by a known key; it is signed by {names}")
    return note


def _parse_signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    raw = _decode(encoded)
    if not line.startswith(_MARK) or not valid_name(name):
        raise VerificationError("malformed signature line: expected '— name base64'")
    if raw is None or len(raw) <= _KEY_ID_BYTES:
        raise VerificationError(f"malformed signature by {name}: expected base64 of key id and signature")
    return Signature(name, raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


def _decode(text: str) -> bytes | None:
    """Standard base64, accepted only in its one canonical spelling."""
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if b64encode(raw).decode() == text else None


def _valid_text(text: str) -> bool:
    """No ASCII control characters but newline, and encodable."""
    return not any(c < " " and c != "\n" for c in text) and _utf8(text)


def _utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

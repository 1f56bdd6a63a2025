"""PyPI's API tokens: ``pypi-`` and a macaroon in base64url.

Format: libmacaroons' binary format, version 2, as pypi.org and test.pypi.org serialise it: a version, a
packet with the location, one with the identifier, caveats, and a signature of 32 bytes. The token ends where
its signature does. A token of which the end is missing is no longer one; of which some caveat cannot be read,
all the base64url counts. Deliberately does not verify a signature, and looks for no other site's macaroons.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import entropy

REACH: Final = 2048
_PREFIX: Final = len(b"pypi-")
_TOKEN: Final = re.compile(rb"pypi-((?:AgEIcHlwaS5vcmc|AgENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{70,}+)")
"""``02 01``, the length, and ``pypi.org`` or ``test.pypi.org``; the shortest token has 85 bytes."""

_END, _SIGNATURE, _SIGNATURE_BYTES = 0, 6, 32
_LEAST_ENTROPY: Final = 4.0


def find(text: bytes, at: int) -> Span | None:
    """The token that begins at ``at``."""
    found = _TOKEN.match(text, at, min(len(text), at + REACH))
    if found is None:
        return None
    letters = found[1]
    raw = base64.urlsafe_b64decode(letters[: len(letters) // 4 * 4] + _rest(letters))
    size = _size(raw)
    if size is None:
        return Span(*found.span()) if entropy(letters) >= _LEAST_ENTROPY else None
    return Span(at, at + _PREFIX + (size * 4 + 2) // 3) if size <= len(raw) else None


def _rest(letters: bytes) -> bytes:
    """The last letters, filled up; a single one holds no byte."""
    rest = letters[len(letters) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


def _size(macaroon: bytes) -> int | None:
    """Bytes up to the end of the signature, which may lie beyond what is there; ``None`` if this is no macaroon."""
    at = 1
    while at < len(macaroon):
        kind = macaroon[at]
        if kind == _END:
            at += 1
            continue
        size, body = _varint(macaroon, at + 1)
        if kind == _SIGNATURE:
            cut_off = at + 1 >= len(macaroon)
            return body + _SIGNATURE_BYTES if size == _SIGNATURE_BYTES or cut_off else None
        if kind > _SIGNATURE:
            return None
        at = body + size
    return at + 1


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` of up to two bytes, and where it ends."""
    low = raw[at] if at < len(raw) else 0
    if low < 0x80:
        return low, at + 1
    return low & 0x7F | (raw[at + 1] if at + 1 < len(raw) else 0) << 7, at + 2


PYPI: Final = (
    Detector(
        kind="pypi-token",
        family="pypi",
        version=1,
        about="API tokens of pypi.org and test.pypi.org",
        anchors=(b"pypi-AgE",),
        find=find,
        reach=REACH,
        tail=(rb"[0-9A-Za-z_-]", 32),
    ),
)

"""JSON Web Tokens: signed ones of three parts and encrypted ones of five (RFC 7515, RFC 7516, RFC 7519).

What makes one certain is its header: base64url of a JSON object with ``alg``. A token with ``alg`` ``none``
proves nothing and is left, and so is one without its signature. Deliberately looks at neither claims nor
expiry: an expired token still tells whose it was.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.extent import begins_line, sized

REACH: Final = 16 * 1024
"""Bytes of canonical text; servers take headers of 8 KB, seldom of 16."""

_HEADER: Final = re.compile(rb"([A-Za-z0-9_-]{12,4096}+)\.")
_SIGNED: Final = re.compile(rb"[A-Za-z0-9_-]{2,}+\.")
_ENCRYPTED: Final = re.compile(rb"[A-Za-z0-9_-]*+\.[A-Za-z0-9_-]{8,64}+\.[A-Za-z0-9_-]+\.")
"""All between the header and the last part."""

_LAST: Final = re.compile(rb"[A-Za-z0-9_-]{1,1024}+")
_SIGNATURES: Final = (43, 64, 86, 128, 171, 176, 342, 512, 683)
"""Letters of HMACs of 256 to 512 bits, of ECDSA and EdDSA, of RSA with 1024 to 4096 bits."""

_TAGS: Final = (22, 32, 43)
_LEAST: Final = 20
_PART_LETTER: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_NO_ALGORITHM: Final = "none"


def find(text: bytes, at: int) -> Span | None:
    """The token that begins at ``at``, and not in the middle of other base64url."""
    if at and text[at - 1] in _PART_LETTER and not begins_line(text, at):
        return None
    end = token_end(text, at, min(len(text), at + REACH))
    return Span(at, end) if end is not None else None


def token_end(text: bytes, at: int, limit: int) -> int | None:
    """Where the token that begins at ``at`` ends, or ``None`` where none begins."""
    head = _HEADER.match(text, at, limit)
    if head is None:
        return None
    header = _object(head[1])
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm.lower() == _NO_ALGORITHM:
        return None
    middle, sizes = (_ENCRYPTED, _TAGS) if "enc" in header else (_SIGNED, _SIGNATURES)
    rest = middle.match(text, head.end(), limit)
    return sized(text, rest.end(), _LAST, sizes, _LEAST) if rest else None


def _object(part: bytes) -> dict[str, object]:
    """The JSON object that ``part`` is base64url of; an empty one if it is not."""
    try:
        raw = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
        value = msgspec.json.decode(raw)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


JWT: Final = (
    Detector(
        kind="jwt",
        family="jwt",
        version=1,
        about="JSON Web Tokens, signed or encrypted, whose header names an algorithm",
        anchors=(b"eyJ", b"eyAi", b"ewog", b"ewoJ", b"ew0K"),
        find=find,
        back=1,
        reach=REACH,
        tail=(rb"[0-9A-Za-z_-]", 8),
    ),
)

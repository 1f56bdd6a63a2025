"""The format of the keys this gateway hands out, and the hash that is kept of them.

``sk-router-`` (tenants) or ``sk-admin-`` (management), 43 base62 characters of 256 random bits, and 6 base62
characters of the CRC-32 of everything before. The checksum lets secret scanners and people tell a mistyped
key from an unknown one without asking; it protects nothing. Random bytes are an argument: nothing here makes
them.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from enum import StrEnum
from typing import Final

from sovereign_ext.secret import Secret

RANDOM_BYTES: Final = 32
RANDOM_CHARS: Final = 43  # 62^43 > 2^256
CHECKSUM_CHARS: Final = 6  # 62^6 > 2^32

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(r"(sk-(?:router|admin)-[0-9A-Za-z]{43})([0-9A-Za-z]{6})", re.ASCII)


class KeyKind(StrEnum):
    """What a key is for; the value is its prefix."""

    TENANT = "sk-router-"
    ADMIN = "sk-admin-"


def mint(kind: KeyKind, random_bytes: bytes) -> Secret:
    """A new key from 32 bytes of a cryptographic random source. Raises ``ValueError`` for any other
    length.
    """
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"a key takes {RANDOM_BYTES} random bytes, got {len(random_bytes)}")
    body = kind.value + _base62(int.from_bytes(random_bytes, "big"), RANDOM_CHARS)
    return Secret(body + _checksum(body))


def hash_key(text: str) -> str:
    """``sha256:`` and the hex SHA-256 of the whole key, as the configuration file keeps it."""
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def has_form(text: str) -> bool:
    """Whether ``text`` has one of our prefixes, so that the checksum says something about it."""
    return text.startswith(tuple(KeyKind))


def checksum_ok(text: str) -> bool:
    """Whether ``text`` is a whole key of ours, not mistyped or cut. Says nothing about what it opens."""
    match = _FORM.fullmatch(text)
    return match is not None and _checksum(match[1]) == match[2]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), CHECKSUM_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))

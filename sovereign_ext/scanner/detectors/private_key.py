"""Private keys in PEM: RSA, EC, DSA, OpenSSH, PKCS#8 (encrypted or not) and PGP.

Specs: RFC 7468 (textual encodings of PKIX structures), RFC 1421 (the headers of encrypted keys), RFC 9580
section 6 (PGP armor). The secret is the whole block from BEGIN to END, however its lines are broken: by line
breaks, by spaces, indented, quoted, or as strings of a program. Of a block that is cut off, it is what is
there. Deliberately does not decode the key: one with a wrong byte tells as much. Public keys and certificates
are no secrets and have other labels.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import entropy

REACH: Final = 16 * 1024
"""Bytes of canonical text from BEGIN; an RSA key of 16384 bits has 13 KB."""

_BEGIN: Final = re.compile(
    rb"-----BEGIN\s(?:[A-Z0-9]{1,12}\s){0,3}PRIVATE\sKEY(?:\sBLOCK)?-----"
    rb"(?:[\s>|#*]*(?:Proc-Type:\s?4,ENCRYPTED|DEK-Info:\s?[A-Z0-9-]{1,32},[0-9A-Fa-f]{1,64}"
    rb"|(?:Version|Comment|Hash|Charset|MessageID):[^\n]{0,200}))*+"
)
_END: Final = re.compile(rb"-----END\s(?:[A-Z0-9]{1,12}\s){0,3}PRIVATE\sKEY(?:\sBLOCK)?-----")
_BODY: Final = re.compile(rb"[A-Za-z0-9+/=\s\"'>#|\\,;*]*+")
"""Base64, and what editors, mail, shells and programs put around its lines."""

_CHUNK: Final = re.compile(rb"[A-Za-z0-9+/=]+")
_DIGIT: Final = re.compile(rb"[0-9+/]")
_ENCODED: Final = re.compile(rb"[0-9+/=]|[a-z][A-Z]")
"""What the end of a line of base64 has, and a word of a language has not."""

_LEAST_BODY: Final = 40
"""Letters of base64; an Ed25519 key in PKCS#8, the shortest there is, has 64."""

_LEAST_ENTROPY: Final = 4.3
"""Bits for each letter; forty random letters have 4.4 or more, prose 4.2."""

_LEAST_LINE: Final = 16
"""Letters of base64 in a line that is not the last of a block that is cut off."""


def find(text: bytes, at: int) -> Span | None:
    """The block whose BEGIN stands at ``at``."""
    limit = min(len(text), at + REACH)
    begin = _BEGIN.match(text, at, limit)
    if begin is None:
        return None
    body = _BODY.match(text, begin.end(), limit)
    assert body is not None  # the pattern matches nothing as well
    end = _END.match(text, body.end(), limit)
    body_end = body.end() if end else _cut(text, begin.end(), body.end())
    letters = b"".join(_CHUNK.findall(text, begin.end(), body_end))
    if len(letters) < _LEAST_BODY or not _DIGIT.search(letters) or entropy(letters) < _LEAST_ENTROPY:
        return None
    return Span(at, end.end() if end else body_end)


def _cut(text: bytes, start: int, stop: int) -> int:
    """Where the base64 that begins at ``start`` ends when no END says it.

    It ends with the first line that is shorter than those before, which counts where it cannot be a word.
    """
    end, width = start, 0
    for chunk in _CHUNK.finditer(text, start, stop):
        size = chunk.end() - chunk.start()
        short = size < max(width, _LEAST_LINE)
        if short and not (width and _ENCODED.search(text, chunk.start(), chunk.end())):
            break
        end, width = chunk.end(), max(width, size)
        if short:
            break
    return end


PRIVATE_KEY: Final = (
    Detector(
        kind="private-key",
        family="private-key",
        version=1,
        about="PEM blocks of private keys (RSA, EC, DSA, OpenSSH, PKCS#8, PGP), also cut off",
        anchors=(b"-----BEGIN ",),
        find=find,
        boundary=False,
        reach=REACH,
        wraps=False,
    ),
)

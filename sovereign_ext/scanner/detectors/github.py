"""GitHub's tokens: ``gh?_`` with a checksum, ``github_pat_`` with a structure, and installation tokens that are JWTs.

Formats: GitHub's post "Behind GitHub's new authentication token formats" (2021; 30 base62 characters and six of their
CRC-32, refresh tokens with 70), and the notice of April 2026 on stateless installation tokens (``ghs_APPID_JWT``, about
520 characters). The older 40 hexadecimal digits are left out: nothing tells them from a commit's name.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random, sealed
from sovereign_ext.scanner.extent import sized

_PREFIX: Final = len(b"ghp_")
_SIZES: Final = (36, 76)
_OPAQUE: Final = re.compile(rb"[0-9A-Za-z]{36,251}+")
_STATELESS: Final = re.compile(rb"[0-9A-Za-z]{1,40}+_eyJ[0-9A-Za-z_-]{8,400}+\.eyJ[0-9A-Za-z_-]{16,1200}+\.")
_SIGNATURE: Final = re.compile(rb"[0-9A-Za-z_-]{1,700}+")
_SIGNATURES: Final = (43, 86, 342, 512, 683)  # characters: HS256, ES256, RS256 of 2048, 3072 and 4096 bits
_FINE_GRAINED: Final = re.compile(rb"github_pat_([0-9A-Za-z]{22})_([0-9A-Za-z]{59})")


def _token(text: bytes, at: int) -> Span | None:
    """A token whose checksum is right, at any length it may have; what stands behind is not looked at."""
    start = at + _PREFIX
    run = _OPAQUE.match(text, start)
    if run is not None:
        sizes = (run.end() - start, *_SIZES)
        size = next(
            (size for size in sizes if start + size <= run.end() and sealed(text[start : start + size])), None
        )
        return None if size is None else Span(at, start + size)
    stateless = _STATELESS.match(text, start)
    if stateless is None:
        return None
    end = sized(text, stateless.end(), _SIGNATURE, _SIGNATURES, _SIGNATURES[0])
    return None if end is None else Span(at, end)


def _fine_grained(text: bytes, at: int) -> Span | None:
    match = _FINE_GRAINED.match(text, at)
    if match is None or not made_at_random(match[1] + match[2], 62):
        return None
    return Span(*match.span())


GITHUB: Final = (
    Detector(
        kind="github-token",
        family="github",
        version=1,
        about="GitHub personal, OAuth, user, installation and refresh tokens: ghp_ gho_ ghu_ ghs_ ghr_, by checksum; "
        "installation tokens in the form of a JWT",
        anchors=(b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"),
        find=_token,
        reach=2400,
        tail=(rb"[0-9A-Za-z_-]", 13),
    ),
    Detector(
        kind="github-fine-grained-token",
        family="github",
        version=1,
        about="GitHub fine-grained personal access tokens: github_pat_, 22 and 59 characters",
        anchors=(b"github_pat_",),
        find=_fine_grained,
        reach=128,
        tail=(rb"[0-9A-Za-z_]", 32),
    ),
)

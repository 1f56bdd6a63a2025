"""GitLab's tokens, each kind with its prefix, in the fixed form and in the routable one.

Formats: GitLab's token overview (prefixes) and the design of routable tokens:
``<prefix><payload>.<length><crc32>``, the payload base64url, its length two and the CRC-32 of all before it
seven digits of base36. That checksum makes a routable token certain, also behind the prefix of an instance
(``acme-glpat-``). Tokens of the fixed form have none: length and spread decide. Session cookies and tokens
from before 2021, which have no prefix, are not looked for.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.detectors.jwt import token_end
from sovereign_ext.scanner.evidence import made_at_random
from sovereign_ext.scanner.extent import ends

INSTANCE: Final = 20
"""Bytes that the prefix of an instance may have."""

REACH: Final = 8192
"""Job tokens can be JSON Web Tokens."""

_FRIENDLY: Final = rb"[A-Za-z0-9_-]{20}"
_FIXED: Final[dict[bytes, bytes]] = {
    b"glpat-": _FRIENDLY,
    b"gldt-": _FRIENDLY,
    b"glrt-": rb"(?:t\d_)?" + _FRIENDLY,
    b"glrtr-": rb"(?:t\d_)?" + _FRIENDLY,
    b"glcbt-": rb"[0-9a-f]{1,6}_" + _FRIENDLY,
    b"glptt-": rb"[0-9a-f]{40}|" + _FRIENDLY,
    b"glft-": rb"[0-9a-f]{64}-\d{1,12}|" + _FRIENDLY,
    b"glimt-": rb"[a-z0-9]{25}",
    b"glagent-": rb"[A-Za-z0-9_-]{50}",
    b"glwt-": _FRIENDLY,
    b"gloas-": rb"[0-9a-f]{64}",
    b"glsoat-": _FRIENDLY,
    b"glffct-": _FRIENDLY,
    b"GR1348941": _FRIENDLY,
}
"""What follows each prefix; the last is that of registration tokens, which runners still take."""

_SHAPES: Final = {prefix: re.compile(prefix + b"(" + body + b")") for prefix, body in _FIXED.items()}
_PREFIX: Final = re.compile(b"|".join(_FIXED))
_ROUTABLE: Final = re.compile(rb"[a-z]{4,7}-(?:t\d_)?([A-Za-z0-9_-]{27,300}+)\.([0-9a-z]{2})([0-9a-z]{7})")
_INSTANCE: Final = re.compile(rb"[A-Za-z0-9_+-]{0,20}\Z")
_FURTHER: Final = re.compile(rb"[A-Za-z0-9_-]")


def find(text: bytes, at: int) -> Span | None:
    """The token whose prefix stands at ``at``."""
    routable = _ROUTABLE.match(text, at)
    if routable is not None and int(routable[2], 36) == len(routable[1]):
        start = _checked_from(text, at, routable)
        return Span(start, routable.end()) if start is not None else None
    if text.startswith(b"glcbt-ey", at):
        end = token_end(text, at + len(b"glcbt-"), min(len(text), at + REACH))
        return Span(at, end) if end is not None else None
    prefix = _PREFIX.match(text, at)
    fixed = _SHAPES[prefix[0]].match(text, at) if prefix else None
    is_whole = fixed is not None and ends(text, fixed.end(), _FURTHER)
    return Span(at, fixed.end()) if fixed and is_whole and _spread(fixed[1]) else None


def _checked_from(text: bytes, at: int, token: re.Match[bytes]) -> int | None:
    """Where the routable token begins: at its prefix, or before that at its instance's."""
    checksum, covered = int(token[3], 36), token.start(3)
    if zlib.crc32(text[at:covered]) == checksum:
        return at
    before = _INSTANCE.search(text[max(0, at - INSTANCE) : at])
    width = len(before[0]) if before else 0
    starts = range(at - width, at)
    return next((start for start in starts if zlib.crc32(text[start:covered]) == checksum), None)


def _spread(body: bytes) -> bool:
    return made_at_random(body)


GITLAB: Final = (
    Detector(
        kind="gitlab-token",
        family="gitlab",
        version=1,
        about="GitLab tokens: personal, project, deploy, runner, job, trigger, feed, agent, SCIM and others",
        anchors=tuple(_FIXED),
        find=find,
        back=INSTANCE,
        reach=REACH,
        tail=(rb"[0-9A-Za-z_-]", 12),
    ),
)

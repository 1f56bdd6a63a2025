"""npm's access tokens, by their checksum or by the setting of ``.npmrc`` that holds them.

Format: GitHub's announcement of 2021: ``npm_``, thirty characters of base62, and their CRC-32 as six digits
of base62. Not all sources agree on whether the prefix is covered, so both are taken. After ``_authToken=``
the place says what it is: there a token counts whatever its checksum, and so do the older ones, which are
UUIDs.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random, sealed
from sovereign_ext.scanner.extent import ends

_PREFIX: Final = len(b"npm_")
_TOKEN: Final = re.compile(rb"npm_([A-Za-z0-9]{36})")
_FURTHER: Final = re.compile(rb"[A-Za-z0-9]")
_SETTING: Final = re.compile(
    rb"_authToken[\"']?\s?[=:]\s?[\"']?"
    rb"(npm_[A-Za-z0-9]{36}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
)


def find_token(text: bytes, at: int) -> Span | None:
    """The token that begins at ``at``, if its checksum is right."""
    found = _TOKEN.match(text, at)
    if found is None or not (sealed(found[1]) or sealed(found[0])):
        return None
    return Span(*found.span()) if ends(text, found.end(), _FURTHER) else None


def find_setting(text: bytes, at: int) -> Span | None:
    """The value of the ``_authToken`` at ``at``."""
    found = _SETTING.match(text, at)
    if found is None or not made_at_random(found[1].removeprefix(b"npm_").replace(b"-", b""), 16):
        return None
    return Span(*found.span(1)) if ends(text, found.end(), _FURTHER) else None


NPM: Final = (
    Detector(
        kind="npm-token",
        family="npm",
        version=1,
        about="npm access tokens, by their checksum",
        anchors=(b"npm_",),
        find=find_token,
        reach=64,
        tail=(rb"[0-9A-Za-z]", 32),
    ),
    Detector(
        kind="npm-auth-token",
        family="npm",
        version=1,
        about="npm access tokens, also older ones, by their name in .npmrc",
        anchors=(b"_authToken",),
        find=find_setting,
        reach=96,
    ),
)

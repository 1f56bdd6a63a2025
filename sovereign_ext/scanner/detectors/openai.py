"""OpenAI's keys: ``sk-`` and 48 characters, and the longer ones of projects, service accounts and administrators.

All that are known carry the marker ``T3BlbkFJ`` ("OpenAI" in base64) in their middle, with as many characters before it
as after it: 20, 58 or 74. That symmetry decides where a key ends, since ``-`` and ``_`` belong to the alphabet of the
longer ones. Keys without the marker are found too, where prefix, length and randomness leave no other reading.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random
from sovereign_ext.scanner.extent import ends, sized, unsized

_MARKER: Final = b"T3BlbkFJ"
_LEGACY: Final = 20  # characters on either side of the marker
_SIDES: Final = (20, 58, 74)
_SHORT: Final = 8  # fewer characters than this are no name and no half of a key
_SIZES: Final = tuple(2 * side + len(_MARKER) for side in _SIDES)
_PREFIX: Final = re.compile(rb"sk-(?:proj|svcacct|service|None)-")
_ADMIN: Final = re.compile(rb"sk-admin-")
_RUN_LETTERS: Final = rb"[0-9A-Za-z_-]"
_RUN: Final = re.compile(_RUN_LETTERS + rb"{1,300}+")
_LEGACY_LETTERS: Final = re.compile(rb"[0-9A-Za-z]{48}")
_BEGINS: Final = rb"(?:proj|svcacct|service|None|admin|ant|router)-|[0-9A-Za-z]{48}|.*" + _MARKER
"""What may stand behind ``sk-``; the last three names are of other kinds, which are met here when broken up further."""


def _key(text: bytes, at: int) -> Span | None:
    prefix = _PREFIX.match(text, at)
    if prefix is not None:
        return _long(text, at, prefix.end(), least=40)
    start = at + len(b"sk-")
    run = _RUN.match(text, start)
    if run is None or _ADMIN.match(text, at) is not None:
        return None
    marker = text.find(_MARKER, start, run.end())
    if marker < 0:
        return _unmarked(text, at, start)
    # sk-NAME-… was the form of a service account for some weeks of 2024: only the last 20 characters are random
    half = marker - _LEGACY
    named = half > start and text[half - 1 : half] == b"-"
    if half != start and not named:
        return None
    return _marked(text, at, half, marker, run.end())


def _admin_key(text: bytes, at: int) -> Span | None:
    prefix = _ADMIN.match(text, at)
    # Our own management keys begin alike and are shorter (49 characters): without the marker, nothing that short.
    return None if prefix is None else _long(text, at, prefix.end(), least=80)


def _long(text: bytes, at: int, start: int, least: int) -> Span | None:
    """A key whose prefix ends at ``start``: with the marker, or without it from ``least`` characters on."""
    run = _RUN.match(text, start)
    if run is None:
        return None
    marker = text.find(_MARKER, start + _SHORT, run.end())
    if marker >= 0:
        return _marked(text, at, start, marker, run.end())
    end = sized(text, start, _RUN, _SIZES, least)
    if end is None:
        return None
    body = text[start:end]
    return Span(at, end) if made_at_random(body, 64) and _mixed(body) else None


def _marked(text: bytes, at: int, start: int, marker: int, limit: int) -> Span | None:
    """A key with its marker: as long behind it as before it where that is a known length, else as far as it goes."""
    side = marker - start
    after = marker + len(_MARKER)
    if min(side, limit - after) < (side if side in _SIDES else _LEGACY):
        return None
    end = after + side if side in _SIDES else unsized(text, after, _RUN) or limit
    if not (made_at_random(text[start:marker], 62) and made_at_random(text[after:end], 62)):
        return None
    return Span(at, end)


def _unmarked(text: bytes, at: int, start: int) -> Span | None:
    """A key of 48 letters and digits and no other length."""
    letters = _LEGACY_LETTERS.match(text, start)
    if letters is None or not ends(text, letters.end(), _RUN):
        return None
    return Span(at, letters.end()) if made_at_random(letters[0], 62) and _mixed(letters[0]) else None


def _mixed(body: bytes) -> bool:
    """Whether there are capitals and small letters: no hexadecimal number, no file's name."""
    return body != body.lower() and body != body.upper()


OPENAI: Final = (
    Detector(
        kind="openai-admin-key",
        family="openai",
        version=1,
        about="OpenAI admin keys: sk-admin-, by the marker T3BlbkFJ or their length",
        anchors=(b"sk-admin-",),
        find=_admin_key,
        reach=320,
        tail=(rb"[0-9A-Za-z_-]", 32),
    ),
    Detector(
        kind="openai-api-key",
        family="openai",
        version=1,
        about="OpenAI API keys: sk-, sk-proj-, sk-svcacct-, sk-None-, by the marker T3BlbkFJ or their length",
        anchors=(b"sk-",),
        find=_key,
        reach=320,
        tail=(rb"[0-9A-Za-z_-]", 32),
        begins=(_RUN_LETTERS, _BEGINS),
    ),
)

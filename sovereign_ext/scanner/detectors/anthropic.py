"""Anthropic's keys and tokens: ``sk-ant-``, the kind with a version, and 95 characters of URL-safe base64.

API and admin keys end in ``AA``. OAuth access and refresh tokens and session keys have the same length where they were
seen; Anthropic documents none. So another length is taken as well where there are 80 characters or more and they look
random: the prefix says the rest.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random

_SIZE: Final = 95
_FEW: Final = 80
_TAIL: Final = b"AA"
_BODY: Final = rb"[0-9]{0,4}-([0-9A-Za-z_-]{80,200}+)"
_API: Final = re.compile(rb"sk-ant-api" + _BODY)
_ADMIN: Final = re.compile(rb"sk-ant-admin" + _BODY)
_TOKEN: Final = re.compile(rb"sk-ant-(?:oat|ort|sid|[a-z]{3,8})" + _BODY)


def _api_key(text: bytes, at: int) -> Span | None:
    return _span(_API.match(text, at))


def _admin_key(text: bytes, at: int) -> Span | None:
    return _span(_ADMIN.match(text, at))


def _token(text: bytes, at: int) -> Span | None:
    if _API.match(text, at) is not None or _ADMIN.match(text, at) is not None:
        return None
    return _span(_TOKEN.match(text, at))


def _span(match: re.Match[bytes] | None) -> Span | None:
    """The secret of a match: 95 characters where the 95th ends one or the text goes on in another word, else all."""
    if match is None:
        return None
    body = match[1]
    if body[_SIZE - len(_TAIL) : _SIZE] == _TAIL or body[_SIZE : _SIZE + 1] in (b"-", b"_"):
        body = body[:_SIZE]
    if not made_at_random(body, 64) or body == body.lower():
        return None
    return Span(match.start(), match.start(1) + len(body))


ANTHROPIC: Final = (
    Detector(
        kind="anthropic-api-key",
        family="anthropic",
        version=1,
        about="Anthropic API keys: sk-ant-api03-, 95 characters",
        anchors=(b"sk-ant-api",),
        find=_api_key,
        reach=256,
    ),
    Detector(
        kind="anthropic-admin-key",
        family="anthropic",
        version=1,
        about="Anthropic admin keys: sk-ant-admin01-, 95 characters",
        anchors=(b"sk-ant-admin",),
        find=_admin_key,
        reach=256,
    ),
    Detector(
        kind="anthropic-token",
        family="anthropic",
        version=1,
        about="Anthropic OAuth access and refresh tokens and session keys: sk-ant-oat01-, sk-ant-ort01-, sk-ant-sid01-",
        anchors=(b"sk-ant-",),
        find=_token,
        reach=256,
    ),
)

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
from sovereign_ext.scanner.extent import sized

_SIZE: Final = 95
_FEW: Final = 80
_TAIL: Final = b"AA"

_API: Final = re.compile(rb"sk-ant-api[0-9]{0,4}-")
_ADMIN: Final = re.compile(rb"sk-ant-admin[0-9]{0,4}-")
_TOKEN: Final = re.compile(rb"sk-ant-(?!api|admin)[a-z]{3,8}[0-9]{0,4}-")
_BODY: Final = re.compile(rb"[0-9A-Za-z_-]{1,200}+")


def _api_key(text: bytes, at: int) -> Span | None:
    return _span(text, _API.match(text, at))


def _admin_key(text: bytes, at: int) -> Span | None:
    return _span(text, _ADMIN.match(text, at))


def _token(text: bytes, at: int) -> Span | None:
    return _span(text, _TOKEN.match(text, at))


def _span(text: bytes, prefix: re.Match[bytes] | None) -> Span | None:
    if prefix is None:
        return None
    start = prefix.end()
    end = sized(text, start, _BODY, (_SIZE,), _FEW)
    if end is None:
        return None
    if end - start > _SIZE and text[start + _SIZE - len(_TAIL) : start + _SIZE] == _TAIL:
        end = start + _SIZE
    body = text[start:end]
    return Span(prefix.start(), end) if made_at_random(body, 64) and body != body.lower() else None


ANTHROPIC: Final = (
    Detector(
        kind="anthropic-api-key",
        family="anthropic",
        version=1,
        about="Anthropic API keys: sk-ant-api03-, 95 characters",
        anchors=(b"sk-ant-api",),
        find=_api_key,
        reach=256,
        tail=(rb"[0-9A-Za-z_-]", 32),
    ),
    Detector(
        kind="anthropic-admin-key",
        family="anthropic",
        version=1,
        about="Anthropic admin keys: sk-ant-admin01-, 95 characters",
        anchors=(b"sk-ant-admin",),
        find=_admin_key,
        reach=256,
        tail=(rb"[0-9A-Za-z_-]", 32),
    ),
    Detector(
        kind="anthropic-token",
        family="anthropic",
        version=1,
        about="Anthropic OAuth access and refresh tokens and session keys: sk-ant-oat01-, sk-ant-ort01-, sk-ant-sid01-",
        anchors=(b"sk-ant-",),
        find=_token,
        reach=256,
        tail=(rb"[0-9A-Za-z_-]", 32),
    ),
)

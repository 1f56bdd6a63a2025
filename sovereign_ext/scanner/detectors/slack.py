"""Slack's tokens and webhook addresses.

Formats: Slack's pages on token types and token rotation, and what is in use: ``xoxb-``, ``xoxp-``, ``xoxa-``,
``xoxr-``, ``xoxs-``, ``xoxo-``, ``xoxc-`` with one to four numbers and a secret, ``xoxd-`` (a browser's cookie),
``xoxe-`` (files, and refresh tokens in base64), ``xoxe.xoxb-`` and ``xoxe.xoxp-`` (rotated tokens in base64),
``xapp-`` (application level). Of a webhook's address only the last part is secret, and only that is found: the host,
the team and the webhook stay readable.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random
from sovereign_ext.scanner.extent import encoded, sized

_ROTATED: Final = b"xoxe."
_REFRESH: Final = b"xoxe-"
_SURE: Final = 3  # numbers that make even a short secret certain: some old ones had ten characters
_LONG: Final = 18
_LEAST_WEBHOOK: Final = 20

_NUMBERED: Final = re.compile(rb"xox[abceoprs]-(?:[0-9]-)?((?:[0-9]{8,15}-){1,4}+)")
_NUMBERED_SECRET: Final = re.compile(rb"[0-9A-Za-z]{1,64}+")
_NUMBERED_SIZES: Final = (10, 24, 32, 64)
_ENCODED: Final = re.compile(rb"xox[bpe]-[0-9]-([0-9A-Za-z]{100,400}+)")
_INNER: Final = re.compile(rb"[0-9]-(?:[0-9]-)?(?:[0-9]{6,16}-){1,6}[0-9a-f]{64}")
_COOKIE: Final = re.compile(rb"xoxd-(?=[0-9A-Za-z/+]{60})")
_BASE64: Final = re.compile(rb"[0-9A-Za-z/+]{1,400}+")
_APP: Final = re.compile(rb"xapp-[0-9]-[0-9A-Z]{8,14}-[0-9]{9,15}-([0-9a-f]{64})")
_WEBHOOK: Final = re.compile(
    rb"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/(?:[0-9A-Za-z]{6,24}/){2,3}+"
)
_WEBHOOK_SIZES: Final = (24, 32)


def _token(text: bytes, at: int) -> Span | None:
    numbered = _NUMBERED.match(text, at)
    if numbered is not None:
        start = numbered.end()
        least = _NUMBERED_SIZES[0] if numbered[1].count(b"-") >= _SURE else _LONG
        end = sized(text, start, _NUMBERED_SECRET, _NUMBERED_SIZES, least)
        if end is None or not made_at_random(text[start:end]):
            return None
        return Span(at, end)
    encoded = _ENCODED.match(text, at)
    if encoded is not None:
        return _rotated(text, at, encoded)
    cookie = _COOKIE.match(text, at)
    return None if cookie is None else _cookie(text, at, cookie.end())


def _rotated(text: bytes, at: int, match: re.Match[bytes]) -> Span | None:
    """A token in base64, which says how long it is: numbers, and 64 hexadecimal digits at its end."""
    body = match[1]
    inner = _INNER.match(base64.b64decode(body + b"A" * (-len(body) % 4)))
    if inner is None:
        return None
    begin = at - len(_ROTATED) if text[max(0, at - len(_ROTATED)) : at] == _ROTATED else at
    if begin == at and not text.startswith(_REFRESH, at):
        return None  # its first line is missing
    end = match.start(1) + -(-inner.end() * 4 // 3)
    return Span(begin, end) if end <= match.end(1) else None  # its last line is missing


def _cookie(text: bytes, at: int, start: int) -> Span | None:
    end = encoded(text, start, _BASE64)
    if end is None or not made_at_random(text[start:end], 62):
        return None
    return Span(at, end)


def _app_token(text: bytes, at: int) -> Span | None:
    match = _APP.match(text, at)
    return None if match is None or not made_at_random(match[1], 16) else Span(*match.span())


def _webhook(text: bytes, at: int) -> Span | None:
    match = _WEBHOOK.match(text, at)
    if match is None:
        return None
    start = match.end()
    end = sized(text, start, _NUMBERED_SECRET, _WEBHOOK_SIZES, _LEAST_WEBHOOK)
    if end is None or not made_at_random(text[start:end]):
        return None
    return Span(start, end)


SLACK: Final = (
    Detector(
        kind="slack-token",
        family="slack",
        version=1,
        about="Slack bot, user, workspace, browser and rotated tokens: xoxb- xoxp- xoxa- xoxr- xoxs- xoxo- xoxc- xoxd- "
        "xoxe- xoxe.xoxb- xoxe.xoxp-",
        anchors=tuple(b"xox%c-" % kind for kind in b"abcdeoprs"),
        find=_token,
        back=len(_ROTATED),
        reach=416,
        tail=(rb"[0-9A-Za-z/+-]", 19),
    ),
    Detector(
        kind="slack-app-token",
        family="slack",
        version=1,
        about="Slack application-level tokens: xapp-, application, number and 64 hexadecimal digits",
        anchors=(b"xapp-",),
        find=_app_token,
        reach=128,
        tail=(rb"[0-9A-Za-z-]", 32),
    ),
    Detector(
        kind="slack-webhook",
        family="slack",
        version=1,
        about="the secret part of Slack webhook addresses: hooks.slack.com/services/T…/B…/…, workflows and triggers",
        anchors=(b"hooks.slack.com/", b"hooks.slack-gov.com/"),
        find=_webhook,
        reach=192,
    ),
)

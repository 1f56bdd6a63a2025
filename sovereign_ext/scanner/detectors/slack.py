"""Slack's tokens and webhook addresses.

Formats: Slack's pages on token types and token rotation, and what is in use: ``xoxb-``, ``xoxp-``, ``xoxa-``,
``xoxr-``, ``xoxs-``, ``xoxo-``, ``xoxc-`` with one to four numbers and a secret, ``xoxd-`` (a browser's cookie),
``xoxe-`` (files, and refresh tokens in base64), ``xoxe.xoxb-`` and ``xoxe.xoxp-`` (rotated tokens in base64),
``xapp-`` (application level). Of a webhook's address only the last part is secret, and only that is found: the host,
the team and the webhook stay readable.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import entropy, made_at_random, typed

_ROTATED: Final = b"xoxe."
_SURE: Final = 3  # numbers that make even a short secret certain: some old ones had ten characters
_LONG: Final = 18

_LEAST_ENTROPY: Final = 3.5  # of base64 of numbers and hexadecimal digits, which is no uniform draw

_NUMBERED: Final = re.compile(rb"xox[abceoprs]-(?:[0-9]-)?((?:[0-9]{8,15}-){1,4}+)([0-9A-Za-z]{10,64}+)")
_ENCODED: Final = re.compile(rb"xox[bpe]-[0-9]-([0-9A-Za-z]{100,300}+)")
_COOKIE: Final = re.compile(rb"xoxd-([0-9A-Za-z/+]{60,400}+)={0,2}")
_APP: Final = re.compile(rb"xapp-[0-9]-[0-9A-Z]{8,14}-[0-9]{9,15}-([0-9a-f]{64})")
_WEBHOOK: Final = re.compile(
    rb"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/(?:[0-9A-Za-z]{6,24}/){2,3}+([0-9A-Za-z]{20,64}+)"
)


def _token(text: bytes, at: int) -> Span | None:
    numbered = _NUMBERED.match(text, at)
    if numbered is not None:
        few = numbered[1].count(b"-") < _SURE
        if (few and len(numbered[2]) < _LONG) or not made_at_random(numbered[2]):
            return None
        return Span(*numbered.span())
    match = _ENCODED.match(text, at) or _COOKIE.match(text, at)
    if match is None or entropy(match[1]) < _LEAST_ENTROPY or typed(match[1]):
        return None
    rotated = text[max(0, at - len(_ROTATED)) : at] == _ROTATED
    return Span(at - len(_ROTATED) if rotated else at, match.end())


def _app_token(text: bytes, at: int) -> Span | None:
    match = _APP.match(text, at)
    return None if match is None or not made_at_random(match[1], 16) else Span(*match.span())


def _webhook(text: bytes, at: int) -> Span | None:
    match = _WEBHOOK.match(text, at)
    return None if match is None or not made_at_random(match[1]) else Span(*match.span(1))


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
    ),
    Detector(
        kind="slack-app-token",
        family="slack",
        version=1,
        about="Slack application-level tokens: xapp-, application, number and 64 hexadecimal digits",
        anchors=(b"xapp-",),
        find=_app_token,
        reach=128,
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

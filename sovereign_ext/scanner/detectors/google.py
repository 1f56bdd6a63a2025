"""Google's API keys, OAuth client secrets and tokens, and the keys of service accounts.

Formats: API keys are ``AIza`` and 35 characters of base64url; since 2026 AI Studio gives out authorization
keys instead, ``AQ.Ab`` and 48. Client secrets are ``GOCSPX-`` and 28. OAuth access tokens begin with
``ya29.``, refresh tokens with ``1//0``; their length is not fixed. The JSON file of a service account holds
the private key in PEM, which is the secret, and its id, which names the key to be revoked. None has a
checksum that is public: length and spread decide.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.detectors import private_key
from sovereign_ext.scanner.evidence import made_at_random
from sovereign_ext.scanner.extent import ends, unsized

_SIZES: Final = {b"AIza": 35, b"AQ.Ab": 48, b"GOCSPX-": 28}
"""Characters behind each beginning."""

_LETTERS: Final = re.compile(rb"[A-Za-z0-9_-]{1,128}+")
_TOKEN: Final = re.compile(rb"ya29\.(?:[a-z]\.)?|1//0")
_TOKEN_LETTERS: Final = re.compile(rb"[A-Za-z0-9_-]{40,480}+")
_JUDGED: Final = 40
"""Letters of a token that are looked at for spread."""

_NAME: Final = re.compile(rb"private_key[\"']\s{0,8}[:=]\s{0,8}[\"']?")
_KEY_ID: Final = re.compile(rb"private_key_id[\"']?\s{0,8}[:=]\s{0,8}[\"']?([0-9a-f]{40})")
_ACCOUNT: Final = re.compile(rb"private_key_id|service_account|gserviceaccount")
_BEFORE, _AFTER = 512, 256
"""Bytes around a ``private_key`` in which a service account shows itself."""

REACH: Final = private_key.REACH + 64 + _AFTER


def find_fixed(text: bytes, at: int) -> Span | None:
    """The key or client secret that begins at ``at``."""
    beginning = next(one for one in _SIZES if text.startswith(one, at))
    start = at + len(beginning)
    end = start + _SIZES[beginning]
    run = _LETTERS.match(text, start, end)
    if run is None or run.end() != end or not ends(text, end, _LETTERS):
        return None
    return Span(at, end) if made_at_random(run[0], 64) else None


def find_token(text: bytes, at: int) -> Span | None:
    """The OAuth token that begins at ``at``."""
    found = _TOKEN.match(text, at)
    end = unsized(text, found.end(), _TOKEN_LETTERS, _JUDGED) if found else None
    if found is None or end is None or not made_at_random(text[found.end() :][:_JUDGED], 64):
        return None
    return Span(at, end)


def find_account_key(text: bytes, at: int) -> Span | None:
    """The PEM block that is the ``private_key`` at ``at``, among other members of a service account."""
    name = _NAME.match(text, at)
    block = private_key.find(text, name.end()) if name else None
    if block is None:
        return None
    around = _ACCOUNT.search(text, max(0, at - _BEFORE), at) or _ACCOUNT.search(
        text, block.end, min(len(text), block.end + _AFTER)
    )
    return block if around else None


def find_key_id(text: bytes, at: int) -> Span | None:
    """The value of the ``private_key_id`` at ``at``."""
    found = _KEY_ID.match(text, at)
    if found is None or not made_at_random(found[1], 16):
        return None
    if not ends(text, found.end(), _LETTERS):
        return None
    return Span(*found.span(1))


GOOGLE: Final = (
    Detector(
        kind="google-api-key",
        family="google",
        version=1,
        about="Google API keys, of the older form and AI Studio's authorization keys",
        anchors=(b"AIza", b"AQ.Ab"),
        find=find_fixed,
        reach=64,
        tail=(rb"[0-9A-Za-z_-]", 32),
    ),
    Detector(
        kind="google-oauth-client-secret",
        family="google",
        version=1,
        about="Google OAuth client secrets",
        anchors=(b"GOCSPX-",),
        find=find_fixed,
        reach=64,
        tail=(rb"[0-9A-Za-z_-]", 28),
    ),
    Detector(
        kind="google-oauth-token",
        family="google",
        version=1,
        about="Google OAuth access and refresh tokens",
        anchors=(b"ya29.", b"1//0"),
        find=find_token,
        tail=(rb"[0-9A-Za-z_.-]", 32),
    ),
    Detector(
        kind="google-service-account-key",
        family="google",
        version=1,
        about="the private key in the JSON of a Google service account",
        anchors=(b'private_key"', b"private_key'"),
        find=find_account_key,
        back=_BEFORE,
        reach=REACH,
        wraps=False,
    ),
    Detector(
        kind="google-private-key-id",
        family="google",
        version=1,
        about="the id of a private key in the JSON of a Google service account",
        anchors=(b"private_key_id",),
        find=find_key_id,
        reach=96,
    ),
)

"""Stripe's secret, restricted and organisation keys and webhook signing secrets, of live and of test mode.

Formats: Stripe's pages on API keys; 24 characters in old keys, about 100 in newer ones. Publishable keys (``pk_``) are
no secret. ``whsec_`` secrets in base64 are those of the Standard Webhooks specification, which others use too (OpenAI's
webhooks among them). The example keys of Stripe's documentation cannot be told from others and are found.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random
from sovereign_ext.scanner.extent import sized

_KEY: Final = re.compile(rb"(?:[sr]k_(?:live|test)|sk_org(?:_live|_test)?)_")
_KEY_BODY: Final = re.compile(rb"[0-9A-Za-z]{1,247}+")
_KEY_SIZES: Final = (24, 99)
_WEBHOOK: Final = re.compile(rb"whsec_")
_WEBHOOK_BODY: Final = re.compile(rb"[0-9A-Za-z/+]{1,88}+")
_PADDING: Final = re.compile(rb"={1,2}")
_WEBHOOK_SIZES: Final = (32, 43, 64, 86)  # before the padding, where it is base64


def _key(text: bytes, at: int) -> Span | None:
    return _span(text, _KEY.match(text, at), _KEY_BODY, _KEY_SIZES)


def _webhook_secret(text: bytes, at: int) -> Span | None:
    span = _span(text, _WEBHOOK.match(text, at), _WEBHOOK_BODY, _WEBHOOK_SIZES)
    if span is None:
        return None
    padding = _PADDING.match(text, span.end)
    return span if padding is None else Span(span.start, padding.end())


def _span(
    text: bytes, prefix: re.Match[bytes] | None, body: re.Pattern[bytes], sizes: tuple[int, ...]
) -> Span | None:
    """A key of at least the shortest of ``sizes`` that looks random."""
    if prefix is None:
        return None
    end = sized(text, prefix.end(), body, sizes, sizes[0])
    if end is None or not made_at_random(text[prefix.end() : end]):
        return None
    return Span(prefix.start(), end)


STRIPE: Final = (
    Detector(
        kind="stripe-secret-key",
        family="stripe",
        version=1,
        about="Stripe secret keys: sk_live_, sk_test_, sk_org_, 24 characters and more",
        anchors=(b"sk_live_", b"sk_test_", b"sk_org_"),
        find=_key,
        reach=272,
        tail=(rb"[0-9A-Za-z_]", 24),
    ),
    Detector(
        kind="stripe-restricted-key",
        family="stripe",
        version=1,
        about="Stripe restricted keys: rk_live_, rk_test_, 24 characters and more",
        anchors=(b"rk_live_", b"rk_test_"),
        find=_key,
        reach=272,
        tail=(rb"[0-9A-Za-z]", 24),
    ),
    Detector(
        kind="stripe-webhook-secret",
        family="stripe",
        version=1,
        about="webhook signing secrets of Stripe and of Standard Webhooks: whsec_, 32 characters and more",
        anchors=(b"whsec_",),
        find=_webhook_secret,
        reach=112,
        tail=(rb"[0-9A-Za-z/+]", 32),
    ),
)

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

_KEY: Final = re.compile(rb"(?:[sr]k_(?:live|test)|sk_org(?:_live|_test)?)_([0-9A-Za-z]{24,247}+)")
_WEBHOOK: Final = re.compile(rb"whsec_([0-9A-Za-z/+]{32,88}+)={0,2}")


def _key(text: bytes, at: int) -> Span | None:
    return _span(_KEY.match(text, at))


def _webhook_secret(text: bytes, at: int) -> Span | None:
    return _span(_WEBHOOK.match(text, at))


def _span(match: re.Match[bytes] | None) -> Span | None:
    return None if match is None or not made_at_random(match[1]) else Span(*match.span())


STRIPE: Final = (
    Detector(
        kind="stripe-secret-key",
        family="stripe",
        version=1,
        about="Stripe secret keys: sk_live_, sk_test_, sk_org_, 24 characters and more",
        anchors=(b"sk_live_", b"sk_test_", b"sk_org_"),
        find=_key,
        reach=272,
    ),
    Detector(
        kind="stripe-restricted-key",
        family="stripe",
        version=1,
        about="Stripe restricted keys: rk_live_, rk_test_, 24 characters and more",
        anchors=(b"rk_live_", b"rk_test_"),
        find=_key,
        reach=272,
    ),
    Detector(
        kind="stripe-webhook-secret",
        family="stripe",
        version=1,
        about="webhook signing secrets of Stripe and of Standard Webhooks: whsec_, 32 characters and more",
        anchors=(b"whsec_",),
        find=_webhook_secret,
        reach=112,
    ),
)

"""Google's OAuth 2.0 token endpoint for service accounts: the JWT bearer grant of RFC 7523.

Checks what can be checked without the account's public key: shape, algorithm, key id, claims. Errors follow
RFC 6749, section 5.2.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from typing import Any

import msgspec

from sovereign_ext.mock.reply import Identity, Reply, json_reply

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME_S = 3600
_SKEW_S = 300


def grant(form: dict[str, Any], identity: Identity) -> Reply:
    """An access token for a well-formed assertion: the same one for the same assertion."""
    if form.get("grant_type") != _GRANT:
        return _refused("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
    assertion = str(form.get("assertion", ""))
    reason = _flaw(assertion, identity.created)
    if reason is not None:
        return _refused("invalid_grant", reason)
    token = "ya29.mock-" + sha256(assertion.encode()).hexdigest()
    return json_reply({"access_token": token, "expires_in": _LIFETIME_S - 1, "token_type": "Bearer"})


def _refused(error: str, description: str) -> Reply:
    return json_reply({"error": error, "error_description": description}, status=400)


def _flaw(assertion: str, now: int) -> str | None:
    """What Google would refuse about a JWT, or ``None``."""
    parts = assertion.split(".")
    if len(parts) != 3 or not all(parts):
        return "Invalid JWT: expected three parts"
    try:
        header, claims = (msgspec.json.decode(_unpadded(part), type=dict[str, Any]) for part in parts[:2])
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError):
        return "Invalid JWT: header or claims are not base64url JSON"
    if header.get("alg") != "RS256":
        return "Invalid JWT: expected alg RS256"
    return _claims_flaw(claims, now)


def _claims_flaw(claims: dict[str, Any], now: int) -> str | None:
    for name in ("iss", "aud", "scope", "iat", "exp"):
        if name not in claims:
            return f"Invalid JWT: claim {name} is missing"
    issued, expires = claims["iat"], claims["exp"]
    if not isinstance(issued, int) or not isinstance(expires, int):
        return "Invalid JWT: iat and exp are whole seconds"
    if issued > now + _SKEW_S or expires < now - _SKEW_S or not 0 < expires - issued <= _LIFETIME_S:
        return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    return None


def _unpadded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

"""Whose call is this: ``Authorization`` header → identity, or the 401/403 to answer with.

RFC 6750 §2.1 bearer tokens. Costs one SHA-256 and one dictionary lookup. Looking the hash up in a dictionary
is safe against timing: what leaks is at most a prefix of SHA-256(guess), and a guesser cannot choose keys
whose hashes share a prefix with a stored one any better than by guessing the key. The key itself is neither
kept nor shown, not even in part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from sovereign_ext.config.model import Admin, Tenant
from sovereign_ext.config.snapshot import Grant, Snapshot
from sovereign_ext.config.tenancy import Allowance
from sovereign_ext.errors import KeyRefused
from sovereign_ext.tenants.keys import checksum_ok, has_form, hash_key

MAX_HEADER_CHARS: Final = 4096
"""Longer than any key; saves hashing what cannot be one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The tenant that calls, the id of the key it showed, and what bounds that key besides the tenant's limits."""

    tenant: Tenant
    key_id: str
    allowance: Allowance = Allowance()


@dataclass(frozen=True, slots=True)
class AdminIdentity:
    """The admin that calls the management API and the id of the key it showed."""

    admin: Admin
    key_id: str


def resolve(authorization: str | bytes | None, snapshot: Snapshot, now: float) -> Identity:
    """The tenant behind the header of a model API call. ``now`` is Unix seconds.

    Raises ``KeyRefused``: 401 ``invalid_api_key`` (none, malformed, unknown), ``expired_api_key``,
    ``revoked_api_key``; 403 ``admin_key_not_allowed``. The middle two carry ``tenant`` and ``key_id`` for our
    log when the key was a tenant's.
    """
    token = _token(authorization)
    digest = hash_key(token)
    grant = snapshot.tenant_keys.get(digest)
    if grant is not None:
        _still_valid(grant, now)
        return Identity(grant.owner, grant.key.id, grant.key)
    admin = snapshot.admin_keys.get(digest)
    if admin is None:
        raise _unknown(token)
    _still_valid(admin, now)
    raise KeyRefused(
        403,
        "This is an admin key: it opens the management API only. Models take a tenant key (sk-router-...).",
        code="admin_key_not_allowed",
    )


def authorize_admin(authorization: str | bytes | None, snapshot: Snapshot, now: float) -> AdminIdentity:
    """The admin behind the header of a management call; as ``resolve``, with 403 ``admin_key_required``."""
    token = _token(authorization)
    digest = hash_key(token)
    grant = snapshot.admin_keys.get(digest)
    if grant is not None:
        _still_valid(grant, now)
        return AdminIdentity(grant.owner, grant.key.id)
    tenant = snapshot.tenant_keys.get(digest)
    if tenant is None:
        raise _unknown(token)
    _still_valid(tenant, now)
    raise KeyRefused(
        403,
        "This is a tenant key. The management API takes an admin key (sk-admin-...).",
        code="admin_key_required",
        tenant=tenant.owner.id,
        key_id=tenant.key.id,
    )


OwnerT = TypeVar("OwnerT", Tenant, Admin)


def _still_valid(grant: Grant[OwnerT], now: float) -> None:
    if now >= grant.revoked_at:
        text, code = "This API key has been revoked.", "revoked_api_key"
    elif now >= grant.expires_at:
        text, code = "This API key has expired.", "expired_api_key"
    else:
        return
    if isinstance(grant.owner, Admin):
        raise KeyRefused(401, text, code=code)  # an admin may have the id of a tenant, whose call it is not
    raise KeyRefused(401, text, code=code, tenant=grant.owner.id, key_id=grant.key.id)


def _token(authorization: str | bytes | None) -> str:
    if isinstance(authorization, bytes):
        authorization = authorization.decode("utf-8", "surrogateescape")
    text = (authorization or "").strip(" \t")
    if not text:
        raise KeyRefused(
            401,
            "No API key was sent. Put one into the header: Authorization: Bearer YOUR_KEY.",
            code="invalid_api_key",
        )
    scheme, _, token = text.partition(" ")
    token = token.strip(" \t")
    if scheme.lower() != "bearer" or not token or len(text) > MAX_HEADER_CHARS:
        raise KeyRefused(
            401,
            "The Authorization header holds no bearer token. Expected: Authorization: Bearer YOUR_KEY.",
            code="invalid_api_key",
        )
    return token


def _unknown(token: str) -> KeyRefused:
    if has_form(token) and not checksum_ok(token):
        return KeyRefused(401, "The API key is mistyped or not complete.", code="invalid_api_key")
    return KeyRefused(401, "The API key is not known here.", code="invalid_api_key")

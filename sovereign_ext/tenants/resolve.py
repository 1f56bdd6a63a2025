"""Whose call is this: ``Authorization`` header, or a workload's identity → who calls, or the 401/403 to answer with.

RFC 6750 §2.1 bearer tokens. Costs a hash and a dictionary lookup (see ``directory``, also for what its time gives
away). The key itself is neither kept nor shown, not even in part.

A verified workload identity (a SPIFFE id, see ``xfcc``) stands for a key where none comes, or where the placeholder
``workload-identity`` comes in its place, for clients that cannot do without one. A key that does come decides alone,
and has to be good; but a workload that belongs to one tenant cannot use a key of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sovereign_ext.config.model import Tenant
from sovereign_ext.config.tenancy import Allowance, Operator
from sovereign_ext.errors import KeyRefused
from sovereign_ext.tenants.directory import NOTHING_SET, Directory, Grant
from sovereign_ext.tenants.keys import KeyKind, checksum_ok, has_form

MAX_HEADER_CHARS: Final = 4096
"""Longer than any key; saves hashing what cannot be one."""

PLACEHOLDER: Final = "workload-identity"
"""What a client sends as its key when its certificate shall count instead."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The tenant that calls, and the id of the key it showed; for a workload its SPIFFE id.

    ``allowance`` is the key's own, beside the tenant's; ``key_policies`` are those that the key is confined to, empty
    where the tenant's hold.
    """

    tenant: Tenant
    key_id: str
    allowance: Allowance = NOTHING_SET
    key_policies: tuple[str, ...] = ()

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies that the call may name: the tenant's, as far as the key goes."""
        if not self.key_policies:
            return self.tenant.policies
        return tuple(policy for policy in self.key_policies if policy in self.tenant.policies)

    @property
    def default_policy(self) -> str:
        """The tenant's, or the key's first where that is not among the key's; empty when the key has none left."""
        policies = self.policies
        if self.tenant.default_policy in policies:
            return self.tenant.default_policy
        return policies[0] if policies else ""


@dataclass(frozen=True, slots=True)
class OperatorIdentity:
    """The operator that calls the management API and the id of the key it showed."""

    operator: Operator
    key_id: str


def resolve(
    authorization: str | bytes | None, directory: Directory, now: float, workload: str | None = None
) -> Identity:
    """The tenant behind a model API call. ``now`` is Unix seconds, ``workload`` a verified SPIFFE id.

    Raises ``KeyRefused``: 401 ``invalid_api_key`` (none, malformed, unknown), ``expired_api_key``,
    ``revoked_api_key``; 403 ``admin_key_not_allowed``, ``identity_mismatch``. Where the key was a tenant's they carry
    ``tenant`` and ``key_id`` for our log.
    """
    found = identify(authorization, directory, now, workload)
    if isinstance(found, Identity):
        return found
    raise KeyRefused(
        403,
        "This is an admin key: it opens the management API only. Models take a tenant key (sk-router-...).",
        code="admin_key_not_allowed",
    )


def identify(
    authorization: str | bytes | None, directory: Directory, now: float, workload: str | None = None
) -> Identity | OperatorIdentity:
    """Who calls, by whichever kind of key. Raises the 401s of ``resolve``, and 403 ``identity_mismatch``."""
    tenant = None if workload is None else directory.workload(workload)
    if tenant is not None and workload is not None and _stands_for_key(authorization):
        return Identity(tenant, workload)
    found = _by_key(_token(authorization), directory, now)
    if tenant is not None and isinstance(found, Identity) and found.tenant.id != tenant.id:
        raise KeyRefused(
            403,
            "This API key belongs to another tenant than the workload that sends it.",
            code="identity_mismatch",
            tenant=found.tenant.id,
            key_id=found.key_id,
        )
    return found


def _by_key(token: str, directory: Directory, now: float) -> Identity | OperatorIdentity:
    grant = directory.grant(token)
    if grant is None:
        raise _unknown(token)
    if grant.kind is KeyKind.TENANT:
        tenant = directory.tenant(grant.owner)
        if tenant is None:  # its tenant was deleted, or is still to come
            raise _unknown(token)
        _still_valid(grant, now)
        return Identity(tenant, grant.key_id, grant.allowance, grant.policies)
    operator = directory.operator(grant.owner)
    if operator is None:
        raise _unknown(token)
    _still_valid(grant, now)
    return OperatorIdentity(operator, grant.key_id)


def _still_valid(grant: Grant, now: float) -> None:
    if now >= grant.revoked_at:
        text, code = "This API key has been revoked.", "revoked_api_key"
    elif now >= grant.expires_at:
        text, code = "This API key has expired.", "expired_api_key"
    else:
        return
    if grant.kind is KeyKind.ADMIN:
        # Without its owner: an operator may have the id of a tenant, whose call it is not.
        raise KeyRefused(401, text, code=code)
    raise KeyRefused(401, text, code=code, tenant=grant.owner, key_id=grant.key_id)


def _stands_for_key(authorization: str | bytes | None) -> bool:
    """Whether the header leaves it to the workload's identity who calls."""
    if not authorization:
        return True
    scheme, _, token = _text(authorization).partition(" ")
    return not scheme or (scheme.lower() == "bearer" and token.strip(" \t") == PLACEHOLDER)


def _text(authorization: str | bytes | None) -> str:
    if isinstance(authorization, bytes):
        authorization = authorization.decode("utf-8", "surrogateescape")
    return (authorization or "").strip(" \t")


def _token(authorization: str | bytes | None) -> str:
    text = _text(authorization)
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

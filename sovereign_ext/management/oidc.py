"""Who calls by an OpenID Connect token: RFC 7519 claims under RFC 7515 signatures, as strict as RFC 8725 advises.

A token is checked in this order; the first that fails ends it with a 401 which does not say what a forger could use:

1. **form**: three parts, at most 16 KiB, ``typ`` absent, ``JWT`` or ``at+jwt``.
2. **issuer**: ``iss`` is, byte for byte, one that the configuration names. It decides whose keys count, nothing else.
3. **algorithm**: one that is configured for this issuer; the key must be of its type.
4. **signature**: by the one key of the issuer that the header names.
5. **claims**: ``aud`` has our audience, ``exp`` is there and ahead, ``nbf`` and ``iat`` are not, ``sub`` is text.
6. **role**: the first grant whose claim has its value; without any the answer is 403.

Keys are fetched when they are needed and kept (``jwks``). No token is kept, and none is written anywhere.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sovereign_ext.attest.changes import Actor
from sovereign_ext.config.oidc import Grant, Issuer
from sovereign_ext.config.tenancy import Role
from sovereign_ext.config.trust import IDENTIFIER_PATTERN
from sovereign_ext.errors import CallerError, KeyRefused, VerificationError
from sovereign_ext.registry.jose import KeySet, read_unverified, verify_compact

_log = logging.getLogger(__name__)

MAX_TOKEN_CHARS: Final = 16 * 1024
MAX_SUBJECT_CHARS: Final = 255
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_TOKEN: Final = re.compile(r"bearer +([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)", re.IGNORECASE)
_IDENTIFIER: Final = re.compile(IDENTIFIER_PATTERN)


class KeySource(Protocol):
    """The keys of one issuer (``jwks``)."""

    def same_as(self, other: KeySource) -> bool:
        """Whether ``other``, newly made, would find the same in the same way: then what is known is kept."""
        ...

    async def keys(self, kid: str | None) -> KeySet:
        """Those to check a token by that names the key ``kid``. Raises ``ServiceError`` (503) if there are none."""
        ...


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a token stands for. ``tenant`` is the id that the role is bound to, ``None`` for all."""

    actor: Actor
    role: Role
    tenant: str | None


Issuers = Mapping[str, tuple[Issuer, KeySource]]
"""By their ``iss``."""


class Tokens:
    """Checks tokens. ``now`` gives Unix seconds. Without issuers no token is one."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._issuers: Issuers = {}
        self._skew_s = 0

    def use(self, issuers: Issuers, clock_skew_s: int) -> None:
        """Check by these from now on. The keys of issuers that stay the same are kept."""
        before = self._issuers
        self._issuers = {
            name: (issuer, before[name][1] if name in before and before[name][1].same_as(keys) else keys)
            for name, (issuer, keys) in issuers.items()
        }
        self._skew_s = clock_skew_s

    def token(self, authorization: str | None) -> str | None:
        """The token in the header, if it holds one and any issuer is configured: keys have no dots."""
        match = _TOKEN.fullmatch((authorization or "").strip(" \t")) if self._issuers else None
        return None if match is None else match[1]

    async def bearer(self, token: str) -> Bearer:
        """Whom ``token`` stands for.

        Raises ``KeyRefused`` (401 ``invalid_token``, ``expired_token``), 403 ``permission_denied`` for a token that
        gives no role, 503 ``issuer_unavailable`` while there are no keys to check it by.
        """
        try:
            issuer, source = self._issuer(token)
            header, _ = read_unverified(token.encode())
            keys = await source.keys(header.get("kid"))
            claims = verify_compact(token.encode(), keys)
            subject = self._check(claims, issuer)
        except VerificationError as error:
            _log.info("a token was refused: %s", str(error)[:200])
            raise KeyRefused(401, "The token is not valid here.", code="invalid_token") from None
        return _granted(claims, issuer, subject)

    def _issuer(self, token: str) -> tuple[Issuer, KeySource]:
        if len(token) > MAX_TOKEN_CHARS:
            raise VerificationError(f"it is longer than {MAX_TOKEN_CHARS} characters")
        header, claims = read_unverified(token.encode())
        kind = header.get("typ", "jwt")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise VerificationError("its typ is that of another kind of token")
        name = claims.get("iss")
        found = self._issuers.get(name) if isinstance(name, str) else None
        if found is None:
            raise VerificationError("its issuer is not configured")
        if header.get("alg") not in found[0].algorithms:
            raise VerificationError(f"its algorithm is not configured for {found[0].issuer}")
        return found

    def _check(self, claims: Mapping[str, Any], issuer: Issuer) -> str:
        """The subject. Raises ``VerificationError``, ``KeyRefused`` if the token has expired."""
        if claims.get("iss") != issuer.issuer:
            raise VerificationError("its issuer is another one")
        audience = claims.get("aud")
        audiences = [audience] if isinstance(audience, str) else audience
        if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
            raise VerificationError("its aud is neither text nor a list of texts")
        if issuer.audience not in audiences:
            raise VerificationError("it is for another audience")
        now = self._now()
        if now >= _number(claims, "exp") + self._skew_s:
            raise KeyRefused(401, "The token has expired.", code="expired_token")
        for name in ("nbf", "iat"):
            if name in claims and _number(claims, name) > now + self._skew_s:
                raise VerificationError(f"its {name} is ahead of us")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS:
            raise VerificationError("its sub is not a text")
        if not subject.isprintable():
            raise VerificationError("its sub is not printable")
        return subject


def _granted(claims: Mapping[str, Any], issuer: Issuer, subject: str) -> Bearer:
    for grant in issuer.grants:
        held = _at(claims, grant.claim)
        if held != grant.value and not (isinstance(held, list) and grant.value in held):
            continue
        tenant = _tenant(claims, grant)
        if tenant is not None or grant.tenant_claim is None:
            return Bearer(Actor(subject, issuer.issuer), grant.role, tenant)
    raise CallerError(403, "Your token gives you no role here.", code="permission_denied")


def _tenant(claims: Mapping[str, Any], grant: Grant) -> str | None:
    if grant.tenant_claim is None:
        return grant.tenant
    named = _at(claims, grant.tenant_claim)
    return named if isinstance(named, str) and _IDENTIFIER.fullmatch(named) else None


def _at(claims: Mapping[str, Any], path: str | Sequence[str]) -> Any:
    here: Any = claims
    for name in (path,) if isinstance(path, str) else path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return here


def _number(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519 §2)."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise VerificationError(f"its {name} is not a number of seconds")
    return float(value) if abs(value) < 1e15 else math.copysign(1e15, value)

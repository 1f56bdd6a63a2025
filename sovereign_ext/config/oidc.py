"""The part of ``sovereign.yaml`` that lets operators in by OpenID Connect tokens: who issues them, and what they give.

Only the shape. How a token is checked is ``management.oidc``'s matter.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from sovereign_ext.config.tenancy import Role
from sovereign_ext.config.trust import Frozen, Identifier, KeySetUrl

ClaimName = Annotated[str, Field(min_length=1, max_length=200)]


class Algorithm(StrEnum):
    """What a token may be signed with (RFC 7518, RFC 8037). ``none`` and shared secrets cannot be asked for."""

    RS256 = "RS256"
    PS256 = "PS256"
    ES256 = "ES256"
    ES384 = "ES384"
    EDDSA = "EdDSA"


class Grant(Frozen):
    """A role for whose token has ``value`` in ``claim``: as text, or in a list of texts.

    ``claim`` is a name, or a list of them that leads into nested claims. ``tenant`` binds the role to one tenant,
    ``tenant_claim`` to the one whose id that claim holds.
    """

    claim: ClaimName | tuple[ClaimName, ...]
    value: str = Field(min_length=1, max_length=500)
    role: Role
    tenant: Identifier | None = None
    tenant_claim: ClaimName | tuple[ClaimName, ...] | None = None

    @model_validator(mode="after")
    def _tenant_fits(self) -> Grant:
        bound = (self.tenant is not None) + (self.tenant_claim is not None)
        if bound > 1:
            raise ValueError("give tenant or tenant_claim, not both")
        if self.role is Role.TENANT_ADMIN and not bound:
            raise ValueError("role tenant_admin takes tenant or tenant_claim")
        if self.role is Role.ADMIN and bound:
            raise ValueError("role admin holds for all tenants; tenant_admin takes a tenant")
        return self


class Issuer(Frozen):
    """Who issues tokens. ``issuer`` is their ``iss``, ``audience`` what their ``aud`` must have.

    The keys are at ``jwks_url``, asked for at most every ``refresh_s`` seconds unless a token names one that is not
    known, or in ``jwks_file``.
    """

    issuer: str = Field(min_length=1, max_length=500)
    audience: str = Field(min_length=1, max_length=500)
    jwks_url: KeySetUrl | None = None
    jwks_file: str | None = Field(default=None, min_length=1)
    ca_file: str | None = Field(default=None, min_length=1)
    algorithms: tuple[Algorithm, ...] = Field(
        default=(Algorithm.RS256, Algorithm.ES256, Algorithm.EDDSA), min_length=1
    )
    grants: tuple[Grant, ...] = Field(min_length=1)
    refresh_s: int = Field(default=300, ge=10, le=86_400)

    @model_validator(mode="after")
    def _one_source(self) -> Issuer:
        if (self.jwks_url is None) == (self.jwks_file is None):
            raise ValueError("give exactly one of jwks_url, jwks_file")
        return self


class Oidc(Frozen):
    """Tokens that open the management API beside keys. ``clock_skew_s`` is how far an issuer's clock may be off."""

    issuers: tuple[Issuer, ...] = Field(default=(), max_length=16)
    clock_skew_s: int = Field(default=30, ge=0, le=300)

    @field_validator("issuers")
    @classmethod
    def _each_once(cls, issuers: tuple[Issuer, ...]) -> tuple[Issuer, ...]:
        names = [each.issuer for each in issuers]
        if len(set(names)) != len(names):
            raise ValueError("two issuers have the same issuer")
        return issuers

"""How much a tenant or a key may use, and what for: rate limits, spend caps, margin, roles of operators.

Only the shape. What a limit does to a call is said in ``tenants.ledger``.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final

from pydantic import Field, StringConstraints, model_validator

from sovereign_ext.config.trust import SPIFFE_PATTERN, Frozen, Identifier, Usd, nano_usd

MAX_UNITS: Final = 10**15
"""The largest amount of a limit: sums of them stay exact where numbers are 64-bit floats (Lua's)."""

SpiffeId = Annotated[str, StringConstraints(pattern=SPIFFE_PATTERN, max_length=2048)]
"""A workload's identity (SPIFFE ID standard, section 2) as a verified client certificate shows it."""

Units = Annotated[int, Field(ge=1, le=MAX_UNITS)]


class Per(StrEnum):
    """The window of a rate limit."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def seconds(self) -> int:
        return _SECONDS[self]


_SECONDS: Final = {Per.SECOND: 1, Per.MINUTE: 60, Per.HOUR: 3_600, Per.DAY: 86_400}


class RateLimit(Frozen):
    """What may be used in a window, or at once. Without ``model`` it holds for all models together.

    ``requests``, ``tokens_in`` and ``tokens_out`` are token buckets that hold so many and fill up evenly in one
    window; ``concurrent`` counts calls in flight and has no window. Several limits hold at the same time.
    """

    per: Per | None = None
    requests: Units | None = None
    tokens_in: Units | None = None
    tokens_out: Units | None = None
    concurrent: Units | None = None
    model: str | None = Field(default=None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _limits_something(self) -> RateLimit:
        rates = (self.requests, self.tokens_in, self.tokens_out)
        if all(amount is None for amount in (*rates, self.concurrent)):
            raise ValueError("give at least one of requests, tokens_in, tokens_out, concurrent")
        if (self.per is None) != all(amount is None for amount in rates):
            raise ValueError("per goes with requests, tokens_in and tokens_out")
        return self


class SpendWindow(StrEnum):
    """A calendar window in UTC; weeks begin on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class SpendCap(Frozen):
    """The most that may be billed in a window, in US dollars, margin included."""

    usd: Usd
    per: SpendWindow = SpendWindow.MONTH

    @cached_property
    def nano_usd(self) -> int:
        """The cap in billionths of a dollar."""
        return nano_usd(self.usd)


class Allowance(Frozen):
    """What bounds the calls of a tenant, or of one of its keys."""

    limits: tuple[RateLimit, ...] = Field(default=(), max_length=32)
    spend_caps: tuple[SpendCap, ...] = Field(default=(), max_length=8)

    @model_validator(mode="after")
    def _said_once(self) -> Allowance:
        rates = [(limit.per, limit.model) for limit in self.limits]
        if len(set(rates)) != len(rates):
            raise ValueError("two limits have the same per and model; put them into one")
        windows = [cap.per for cap in self.spend_caps]
        if len(set(windows)) != len(windows):
            raise ValueError("two spend caps have the same per")
        return self


Margin = Annotated[Decimal, Field(ge=0, le=1_000, max_digits=8, decimal_places=4)]
"""Per cent that are billed on top of what a provider charges."""


class Role(StrEnum):
    """What an operator may do in the management API."""

    ADMIN = "admin"  # everything
    TENANT_ADMIN = "tenant_admin"  # its own tenant's keys, provider keys, usage and audit rows
    AUDITOR = "auditor"  # reads audit rows, receipts, usage and the log, of one tenant or of all


class Duty(Frozen):
    """A role and the tenant that it is bound to; without one it holds for all."""

    role: Role = Role.ADMIN
    tenant: Identifier | None = None

    @model_validator(mode="after")
    def _tenant_fits(self) -> Duty:
        if self.role is Role.TENANT_ADMIN and self.tenant is None:
            raise ValueError("role tenant_admin takes tenant")
        if self.role is Role.ADMIN and self.tenant is not None:
            raise ValueError("role admin holds for all tenants; tenant_admin takes a tenant")
        return self


class Operator(Duty):
    """Who may use the management API, as far as the role goes."""

    id: Identifier


class KeyRules(Frozen):
    """How long keys live that the management API makes, and how many one tenant or operator may have, dead ones too."""

    default_days: int = Field(default=90, ge=1, le=3_650)
    max_days: int | None = Field(default=None, ge=1, le=3_650)
    max_per_owner: int = Field(default=1_000, ge=1, le=100_000)

    @model_validator(mode="after")
    def _default_is_allowed(self) -> KeyRules:
        if self.max_days is not None and self.default_days > self.max_days:
            raise ValueError("default_days is more than max_days")
        return self

"""What a rule is and what it may look at.

A rule is a hard filter over one candidate. It holds no state, does no IO, and says nothing about preference:
scoring comes after all rules have passed and can never bring a candidate back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from sovereign_ext.config.model import Capability, Deployment, Model, Policy, Provider
from sovereign_ext.config.standing import Standing

UNKNOWN: Final = Standing()
"""Nothing is known."""


class Candidate(msgspec.Struct, frozen=True):
    """A deployment that may be asked, with all that is known of it at the moment of the decision.

    ``p95_ms``: rolling 95th percentile of its latency to first content, ``None`` without a sample;
    ``cost_nano_usd``: the estimate for this request in billionths of a dollar, ``None`` without a price.
    """

    deployment: Deployment
    provider: Provider
    model: Model
    standing: Standing = UNKNOWN
    p95_ms: int | None = None
    cost_nano_usd: int | None = None


class RequestFacts(msgspec.Struct, frozen=True):
    """What the rules need to know of the request. Never its content.

    ``prompt_tokens`` is the estimate of ``openai.tokens``; ``max_tokens`` the bound that the caller set on what
    is generated, for all ``choices`` together, ``None`` where the caller set none.
    """

    capability: Capability
    prompt_tokens: int = 0
    max_tokens: int | None = None
    choices: int = 1
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class RuleFailure:
    """One rule that a candidate fails.

    ``expected`` follows from policy and request alone, so it may be told to the caller; ``actual`` describes
    the candidate and is for the log and the operator.
    """

    rule: str
    expected: str
    actual: str


class DependsOn(StrEnum):
    """What the answer of a rule can change with, besides the policy and what the file says of the candidate."""

    CONFIG = "config"  # nothing: it holds as long as the file does
    EVIDENCE = "evidence"  # what is known or was measured of the candidate at this moment
    REQUEST = "request"  # the request, and what is known at this moment


class Rule(Protocol):
    """A promise of every rule: ``check`` is pure, total and cheap (about a microsecond when it passes)."""

    @property
    def name(self) -> str:
        """As denials, rows and the documentation call it; lower case, stable for ever."""

    @property
    def depends_on(self) -> DependsOn:
        """Rules that depend on the file alone decide which models a tenant can see."""

    def applies(self, policy: Policy) -> bool:
        """Whether any candidate can fail under ``policy``: a rule that cannot is not asked."""

    def check(self, policy: Policy, candidate: Candidate, request: RequestFacts) -> RuleFailure | None:
        """``None`` if ``candidate`` passes; otherwise what was expected and came. Only asked if it applies."""

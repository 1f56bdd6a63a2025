"""What a rule is and what it may look at.

A rule is a hard filter over one deployment. It holds no state, does no IO, and says nothing about preference:
scoring comes after all rules have passed and can never bring a deployment back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sovereign_ext.config.model import Capability, Deployment, Policy
from sovereign_ext.config.trust import Tier


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What the rules need to know of the request. Never its content."""

    capability: Capability


@dataclass(frozen=True, slots=True)
class RuleFailure:
    """One rule that a deployment fails.

    ``expected`` follows from policy and request alone, so it may be told to the caller; ``actual`` describes
    the deployment and is for the log and the operator.
    """

    rule: str
    expected: str
    actual: str


class DependsOn(StrEnum):
    """What the answer of a rule can change with, besides policy and deployment."""

    CONFIG = "config"  # nothing: it holds as long as the file does
    EVIDENCE = "evidence"  # what is known about the deployment at this moment
    REQUEST = "request"  # the request


class Rule(Protocol):
    """A promise of every rule: ``check`` is pure, total and cheap (about a microsecond when it passes)."""

    @property
    def name(self) -> str:
        """As denials, rows and the documentation call it; lower case, stable for ever."""

    @property
    def depends_on(self) -> DependsOn:
        """Rules that depend on the file alone decide which models a tenant can see."""

    def check(
        self, policy: Policy, deployment: Deployment, tier: Tier, request: RequestFacts
    ) -> RuleFailure | None:
        """``None`` if ``deployment``, expected to reach ``tier``, passes; otherwise what was expected and
        came.
        """

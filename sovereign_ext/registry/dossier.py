"""What is known of one deployment, ready to be judged: authentic statements and the times at which they hold.

Values only, made once for a configuration by ``build`` and judged at every moment by ``tiers``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from sovereign_ext.config.trust import Drift, Evidence, TlsIdentity
from sovereign_ext.registry.statements import DriftReport, ProviderStatement, WitnessStatement

StatementT_co = TypeVar("StatementT_co", covariant=True)


class State(Enum):
    """Of a statement, at one moment."""

    HOLDS = "holds"
    NOT_YET = "not yet"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Held(Generic[StatementT_co]):
    """An authentic statement and when it holds: Unix seconds, with the clocks' skew already allowed for.

    It holds from ``since`` until just before the earliest of the others. ``document`` is the digest of its file.
    """

    statement: StatementT_co
    document: str
    since: float
    until: float
    revoked: float = math.inf
    superseded: float = math.inf

    def state(self, now_s: float) -> State:
        """What the statement is worth; a revocation outweighs everything."""
        if now_s >= self.revoked:
            return State.REVOKED
        if now_s >= self.superseded:
            return State.SUPERSEDED
        if now_s < self.since:
            return State.NOT_YET
        return State.EXPIRED if now_s >= self.until else State.HOLDS

    @property
    def turns(self) -> tuple[float, ...]:
        """The moments at which ``state`` may change."""
        return self.since, self.until, self.revoked, self.superseded


@dataclass(frozen=True, slots=True)
class HeldManifest:
    """A model's manifest whose signature was checked at load. ``signs`` is whether it has the model's digest."""

    document: str
    signs: bool
    revoked: float = math.inf


@dataclass(frozen=True, slots=True)
class WitnessWord:
    """A witness statement about a model as the registry ranks its author.

    ``organisation`` is the witness's where it is independent, else ``None``. ``about_this`` is whether the
    statement's digest is the model's; ``in_scope`` whether the witness may attest that scope.
    """

    held: Held[WitnessStatement]
    organisation: str | None
    about_this: bool
    in_scope: bool


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that the configuration and the documents say about one deployment. Times as in ``Held``."""

    provider: str
    uses_tls: bool
    identity: TlsIdentity | None
    evidence: Evidence | None
    manifest: HeldManifest | None
    provider_words: tuple[Held[ProviderStatement], ...]
    witness_words: tuple[WitnessWord, ...]
    drift_words: tuple[Held[DriftReport], ...]
    min_witnesses: int
    max_drift: Drift
    clock_skew_s: int

    @property
    def turns(self) -> frozenset[float]:
        """The moments at which one of the rules may answer otherwise, evidence and peers apart."""
        held: list[Held[ProviderStatement] | Held[WitnessStatement] | Held[DriftReport]] = [
            *self.provider_words,
            *(word.held for word in self.witness_words),
            *self.drift_words,
        ]
        moments = {moment for item in held for moment in item.turns}
        if self.manifest is not None:
            moments.add(self.manifest.revoked)
        return frozenset(moment for moment in moments if moment != math.inf)

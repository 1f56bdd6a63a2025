"""What is known about a deployment at one moment: the value that registry makes and policy judges.

``Assessor`` is how the one is asked for it without the other knowing who answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sovereign_ext.config.model import Deployment
from sovereign_ext.config.trust import DigestBasis, Drift, Tier


@dataclass(frozen=True, slots=True)
class Peer:
    """The TLS peer of one answering connection, as Envoy saw it; empty where there was none.

    ``certificate_sha256`` is lower-case hex over the DER certificate.
    """

    certificate_sha256: str = ""
    uri_san: str = ""
    tls_version: str = ""


@dataclass(frozen=True, slots=True)
class Vouch:
    """A witness statement that holds: who, for which scope, and ``sha256:…`` of its envelope."""

    witness: str
    scope: str
    statement: str


@dataclass(frozen=True, slots=True)
class Standing:
    """One deployment at one moment.

    ``reasons`` are codes that say why the tier is not higher, in the order of the tiers; empty for ``sealed``.
    ``documents`` are the digests (``sha256:…``) of every envelope and token that the tier rests on.
    """

    tier: Tier = Tier.OPEN
    reasons: tuple[str, ...] = ()
    model_hash: str | None = None
    model_hash_basis: DigestBasis = DigestBasis.NONE
    vouches: tuple[Vouch, ...] = ()
    drift: Drift = Drift.UNKNOWN
    documents: tuple[str, ...] = ()

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that a valid statement covers."""
        return frozenset(vouch.scope for vouch in self.vouches)


class Assessor(Protocol):
    """Pure for one set of evidence: the same moment gives the same standing."""

    def assess(self, deployment: Deployment, now_s: float, peer: Peer | None = None) -> Standing:
        """The standing at ``now_s`` (Unix seconds).

        Without ``peer`` it is what to expect; with it, what the answering connection showed.
        """


class Unassessed:
    """Knows nothing of anybody: everything is ``open``."""

    def assess(self, deployment: Deployment, now_s: float, peer: Peer | None = None) -> Standing:
        """See ``Assessor.assess``."""
        return Standing(reasons=("no_evidence",))

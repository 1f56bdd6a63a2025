"""What is true about one finished call: the values that the exchange hands to the attestation.

Only values: no signing, no storage, no rendering. Every time is Unix milliseconds, every duration whole
milliseconds. Nothing in here holds a prompt, an answer, a key or a provider's URL.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How a call ended, as the row says it."""

    ANSWERED = "answered"  # the client was given a complete answer
    DENIED = "denied"  # refused before any provider was asked: bad request, policy, unknown model
    FAILED = "failed"  # providers were asked, none answered; the client was given an error
    TRUNCATED = "truncated"  # an answer had begun and was not finished, whoever broke it off


@dataclass(frozen=True, slots=True)
class AttemptFact:
    """One try at one deployment.

    ``outcome`` is a reason code (``ok``, ``connect_failure``, ``tls_failure``, ``reset``,
    ``first_byte_timeout``, ``idle_timeout``, ``status_503``, ``error_event``, ``cut``, … all of them are in
    docs/reference/errors.md); ``status`` is the
    provider's HTTP status, 0 when none came.
    """

    deployment: str
    provider: str
    outcome: str
    status: int
    started_ms: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """A deployment of the asked model that the policy ruled out, with the names of the failed rules."""

    deployment: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Digests:
    """SHA-256 (32 bytes) of the bytes behind each hiding commitment; ``None`` where no such bytes exist.

    These are already commitments: SHA-256(nonce ‖ bytes) with the per-item nonce of ``attest.commit``.
    """

    client_request: bytes | None = None
    redacted_request: bytes | None = None
    sent_request: bytes | None = None
    provider_response: bytes | None = None
    delivered_response: bytes | None = None


@dataclass(frozen=True, slots=True)
class CallFacts:
    """Everything the outcome entry of one call says."""

    decision_id: str
    tenant: str
    endpoint: str  # "chat.completions" or "embeddings"
    stream: bool
    result: Result
    status: int  # HTTP status the client was given; 0 when it was given none
    error_code: str | None
    started_ms: int
    finished_ms: int
    policy: str
    policy_digest: bytes | None  # SHA-256 over RFC 8785 canonical JSON of the policy document
    model: str
    model_hash: str | None
    model_hash_basis: str  # measured | signed_manifest | provider_asserted | none
    deployment: str | None  # the one that answered
    provider: str | None
    tier_required: str
    tier_observed: str  # "none" where no provider answered
    tier_reasons: tuple[str, ...]
    attempts: tuple[AttemptFact, ...]
    rejections: tuple[Rejection, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    digests: Digests

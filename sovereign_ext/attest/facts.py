"""What entries say: the facts of a decision, of a finished call, of a finding, of a key.

Only values: no signing, no storage, no rendering. Every time is Unix milliseconds, every duration whole
milliseconds. Nothing in here holds a prompt, an answer, a key or a provider's URL. Facts of request and
candidates are JSON objects of strings, integers and lists, as ``policy.facts`` makes them and ``reevaluate``
reads them; what is not known is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

JsonObject = Mapping[str, Any]
"""Strings, integers, lists and objects of them."""


class Result(StrEnum):
    """How a call ended, as the row says it."""

    ANSWERED = "answered"  # the client was given a complete answer
    DENIED = "denied"  # refused before any provider was asked: bad request, policy, unknown model
    FAILED = "failed"  # providers were asked, none answered; the client was given an error
    TRUNCATED = "truncated"  # an answer had begun and was not finished, whoever broke it off
    LOST = "lost"  # the gateway died while the call was under way; written down afterwards, nothing more is known


class AttemptFact(msgspec.Struct, frozen=True):
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


class Digests(msgspec.Struct, frozen=True):
    """SHA-256 (32 bytes) of the bytes behind each hiding commitment; ``None`` where no such bytes exist.

    These are already commitments: SHA-256(nonce ‖ bytes) with the per-item nonce of ``attest.commit``.
    """

    client_request: bytes | None = None
    redacted_request: bytes | None = None
    sent_request: bytes | None = None
    provider_response: bytes | None = None
    delivered_response: bytes | None = None


class CallFacts(msgspec.Struct, frozen=True):
    """Everything the outcome entry of one call says.

    ``witnesses`` are those of the answering deployment: who, for which scope, and ``sha256:…`` of the statement.
    ``evidence_documents`` are the digests (``sha256:…``) of every document that ``tier_observed`` rests on.
    ``decision_index`` is where the call's decision entry is, under a policy with strict audit. ``shadows`` say
    what the shadow policies would have done; they never change what is done.

    ``billed_nano_usd`` is what the tenant owes for the call, billionths of a US dollar: its cost and ``margin_percent``
    (a decimal number, ``"12.5"``) on top, rounded up. ``estimated`` says that the provider's own count was not to be
    had. Spend and usage count a call in the window in which it began (``started_ms``).
    """

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
    prompt_tokens: int | None
    completion_tokens: int | None
    digests: Digests
    audit: str = ""  # "standard" or "strict"; empty where no policy was chosen
    request: JsonObject = msgspec.field(
        default_factory=dict
    )  # what the rules knew of the request; empty: none looked
    candidates: tuple[JsonObject, ...] = ()  # every deployment of the model, each with the rules it fails
    witnesses: tuple[tuple[str, str, str], ...] = ()
    evidence_documents: tuple[str, ...] = ()
    cached_tokens: int | None = None  # part of prompt_tokens: read from the provider's cache
    cache_write_tokens: int | None = None  # part of prompt_tokens, disjoint from the former: written to it
    reasoning_tokens: int | None = None  # part of completion_tokens
    cost_nano_usd: int | None = (
        None  # what the answer cost by the deployment's price, billionths of a US dollar
    )
    price_source: str | None = None  # who says the price: "configured", or a price list with its version
    price: JsonObject | None = None  # by which it was charged, as policy.cost.price_terms says it
    decision_index: int | None = None
    shadows: tuple[JsonObject, ...] = ()
    findings: int = 0  # places of credentials in the request
    finding_index: int | None = None  # of the entry that tells of them
    key: str = ""  # id of the key that called
    billed_nano_usd: int | None = None  # None: nobody charges for the call, or no price is known
    margin_percent: str | None = None  # of which billed_nano_usd was made
    estimated: bool = False  # billed_nano_usd rests on our own count of tokens


class DecisionFacts(msgspec.Struct, frozen=True):
    """What the decision entry of a call says, before anything is sent to a provider.

    ``plan`` lists deployment ids in the order in which they would be asked. ``client_request`` is the commitment
    that the outcome of the same call repeats.
    """

    decision_id: str
    tenant: str
    endpoint: str
    model: str
    policy: str
    policy_digest: bytes  # SHA-256 over RFC 8785 canonical JSON of the policy document
    audit: str
    request: JsonObject
    candidates: tuple[JsonObject, ...]
    plan: tuple[str, ...]
    decided_ms: int
    client_request: bytes
    shadows: tuple[JsonObject, ...] = ()


class FoundFact(msgspec.Struct, frozen=True):
    """One place of a credential in a request, never its content.

    ``kind`` and ``version`` are the detector's. ``pointer`` (RFC 6901) leads to the string in the request as it was
    redacted. ``length`` is the credential's in bytes, ``number`` tells those of one kind in the request apart.
    ``fingerprint`` is hex HMAC-SHA256 under a key of the tenant: the same credential has the same one, and it gives
    nothing of it away.
    """

    kind: str
    version: int
    pointer: str
    length: int
    number: int
    fingerprint: str


class FindingFacts(msgspec.Struct, frozen=True):
    """What the finding entry of a call says: the credentials that were found in its request.

    ``action`` is what was done about them: ``redacted``, ``blocked`` or ``observed``. ``count`` is of all places,
    ``found`` tells of the first of them. ``client_request`` is the commitment that the outcome of the same call
    repeats, ``redacted_request`` the one to the body with the credentials replaced.
    """

    decision_id: str
    tenant: str
    key: str
    policy: str
    policy_digest: bytes
    action: str
    count: int
    found: tuple[FoundFact, ...]
    found_ms: int
    client_request: bytes
    redacted_request: bytes | None = None


class KeyEvent(StrEnum):
    """What happened to a key."""

    CREATED = "created"
    ROTATED = "rotated"  # a new key took the role; the old one still verifies
    RETIRED = "retired"  # nothing signed from now on counts


class KeyRole(StrEnum):
    """What a key signs or protects."""

    LOG = "log"
    ENVELOPE = "envelope"
    PROMISE = "promise"
    MIRROR = "mirror"
    ENCRYPTION = "encryption"


class KeyEventFacts(msgspec.Struct, frozen=True):
    """What a key-event entry says. ``spki`` is the public key (SubjectPublicKeyInfo, DER), ``key_id`` its name where
    it is used: base64 of the log id for the log's key, of SHA-256 over ``spki`` for the others."""

    event: KeyEvent
    role: KeyRole
    key_id: str
    spki: bytes
    at_ms: int

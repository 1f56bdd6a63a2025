"""The parts of ``sovereign.yaml`` that trust rests on: who may vouch for what, and how an endpoint is known.

Only the shape. Whether a statement holds, and what tier follows, is ``registry``'s matter.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from sovereign_ext.config.urls import is_protected

IDENTIFIER_PATTERN: Final = r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"
DIGEST_PATTERN: Final = r"^sha256:[0-9a-f]{64}$"
PIN_PATTERN: Final = r"^[A-Za-z0-9+/]{43}=$"
SPIFFE_PATTERN: Final = r"^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*$"
COUNTRY_PATTERN: Final = r"^[A-Z]{2}$"
URL_PATTERN: Final = r"^https?://[^/?#@\s]+(/[^#\s]*)?$"
VERIFIER_PATTERN: Final = r"^[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*$"

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]
"""Lower case, at most 64 characters, safe in a header."""

Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
"""``sha256:`` and 64 hex digits."""

Country = Annotated[str, StringConstraints(pattern=COUNTRY_PATTERN)]
"""ISO 3166-1 alpha-2, upper case."""

Pin = Annotated[str, StringConstraints(pattern=PIN_PATTERN)]
"""Base64 of the SHA-256 of a SubjectPublicKeyInfo, as RFC 7469 writes pins."""

VerifierKey = Annotated[str, StringConstraints(pattern=VERIFIER_PATTERN)]
"""``name+id+key`` as C2SP signed-note writes public keys."""


class Tier(StrEnum):
    """Trust tiers, lowest first. Only ``open`` can be reached without evidence."""

    OPEN = "open"
    ATTESTED = "attested"
    WITNESSED = "witnessed"
    SEALED = "sealed"

    @property
    def rank(self) -> int:
        """0 for ``open`` up to 3 for ``sealed``."""
        return _TIER_RANK[self]


_TIER_RANK: Final = {tier: rank for rank, tier in enumerate(Tier)}


class Drift(StrEnum):
    """What drift reports say, best first: the worst of the newest ones, of every observer, metric and deployment.

    ``unknown`` stands for no newest report that is still valid.
    """

    STABLE = "stable"
    WATCH = "watch"
    DRIFTED = "drifted"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """0 for ``stable``; ``unknown`` is behind everything, since it never passes."""
        return _DRIFT_RANK[self]


_DRIFT_RANK: Final = {posture: rank for rank, posture in enumerate(Drift)}


class DigestBasis(StrEnum):
    """How a model's digest is known."""

    MEASURED = "measured"  # the operator computed it over the files that are served
    SIGNED_MANIFEST = "signed_manifest"  # the publisher signed it
    PROVIDER_ASSERTED = "provider_asserted"  # the provider's word
    NONE = "none"


class EvidenceKind(StrEnum):
    """The format of confidential-computing evidence."""

    EAT = "eat"  # a JWT of an attestation service (RFC 9711), checked against its JWKS
    NITRO = "nitro"  # an AWS Nitro attestation document (COSE_Sign1)


def _unchangeable(url: str) -> str:
    if not is_protected(url):
        raise ValueError("must be https, or on this host: who changes keys on their way can sign anything")
    return url


KeySetUrl = Annotated[str, StringConstraints(pattern=URL_PATTERN), AfterValidator(_unchangeable)]
"""Where keys are fetched that signatures are checked by."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Origin(Frozen):
    """Where something comes from. A policy's ``allowed_origins`` names countries or organisations."""

    country: Country | None = None
    organisation: Identifier | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What ``allowed_origins`` can match."""
        return tuple(name for name in (self.country, self.organisation) if name is not None)


INLINE: Final = "inline:"
"""Begins the path of a document that is given in the configuration itself; no file is called so."""

InlineText = Annotated[str, StringConstraints(min_length=1, max_length=4_000_000)]
"""A document in the configuration itself, where another field could name its file."""


def document_path(file: str | None, text: str | None) -> str | None:
    """Under which path a document is kept: that of its file, or one made of the SHA-256 of its text."""
    if file is not None or text is None:
        return file
    return INLINE + hashlib.sha256(text.encode("utf-8")).hexdigest()


def at_most_one(file: str | None, text: str | None, names: str) -> None:
    """Raises ``ValueError`` where a document is both named and given."""
    if file is not None and text is not None:
        raise ValueError(f"give {names}, not both")


class Keyed(Frozen):
    """Who is known by one PEM public key, which is in ``key_file``, or is ``key``."""

    id: Identifier
    key_file: str | None = Field(default=None, min_length=1)
    key: InlineText | None = None

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if (self.key_file is None) == (self.key is None):
            raise ValueError("give exactly one of key_file, key")
        return self

    @cached_property
    def key_path(self) -> str:
        """Where the key's document is."""
        path = document_path(self.key_file, self.key)
        assert path is not None
        return path


class Signatory(Keyed):
    """Somebody whose signatures count. The key is P-256 or Ed25519."""

    organisation: Identifier | None = None


class Witness(Signatory):
    """A scope witness: may vouch for models within ``scopes``. Independence is judged by ``organisation``."""

    scopes: tuple[Identifier, ...] = Field(min_length=1)


class TlsIdentity(Frozen):
    """How the provider's endpoint proves who it is, beyond a certificate for its name. Envoy enforces it."""

    spki_pins: tuple[Pin, ...] = ()
    spiffe_id: Annotated[str, StringConstraints(pattern=SPIFFE_PATTERN)] | None = None

    @model_validator(mode="after")
    def _something(self) -> TlsIdentity:
        if not self.spki_pins and self.spiffe_id is None:
            raise ValueError("give spki_pins, spiffe_id or both")
        return self


class Evidence(Frozen):
    """Where an endpoint's confidential-computing evidence is fetched and what it must say.

    Exactly one of ``jwks_file``, ``jwks`` and ``jwks_url`` for ``eat``; ``root_file`` or ``root`` (PEM) for ``nitro``.
    """

    kind: EvidenceKind = EvidenceKind.EAT
    url: str = Field(pattern=URL_PATTERN)
    ca_file: str | None = Field(default=None, min_length=1)
    ca: InlineText | None = None
    jwks_file: str | None = Field(default=None, min_length=1)
    jwks: InlineText | None = None
    jwks_url: KeySetUrl | None = None
    root_file: str | None = Field(default=None, min_length=1)
    root: InlineText | None = None
    issuer: str | None = Field(default=None, min_length=1)
    measurements: tuple[str, ...] = Field(min_length=1)
    max_age_s: int = Field(default=300, ge=1, le=86_400)
    refresh_s: int = Field(default=60, ge=1, le=86_400)

    @model_validator(mode="after")
    def _roots(self) -> Evidence:
        keys = (self.jwks_file, self.jwks, self.jwks_url)
        if self.kind is EvidenceKind.EAT and sum(each is not None for each in keys) != 1:
            raise ValueError("evidence of kind eat takes exactly one of jwks_file, jwks, jwks_url")
        if self.kind is EvidenceKind.NITRO and self.root_path is None:
            raise ValueError("evidence of kind nitro takes root_file or root")
        at_most_one(self.root_file, self.root, "root_file or root")
        at_most_one(self.ca_file, self.ca, "ca_file or ca")
        if self.refresh_s > self.max_age_s:
            raise ValueError("refresh_s is longer than max_age_s, so evidence would lapse in between")
        return self

    @cached_property
    def ca_path(self) -> str | None:
        """Where the roots of its server are."""
        return document_path(self.ca_file, self.ca)

    @cached_property
    def jwks_path(self) -> str | None:
        """Where its verifier's keys are, unless they are fetched."""
        return document_path(self.jwks_file, self.jwks)

    @cached_property
    def root_path(self) -> str | None:
        """Where its root certificate is."""
        return document_path(self.root_file, self.root)


class DataHandling(Frozen):
    """What a provider does with what it is sent, by contract. ``None`` where nothing is known."""

    trains: bool | None = None
    retention_days: int | None = Field(default=None, ge=0, le=36_500)


class DataRequirement(Frozen):
    """What a policy wants of it. Unknown never passes."""

    no_training: bool = False
    max_retention_days: int | None = Field(default=None, ge=0, le=36_500)


Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9)]
"""US dollars, exact to a billionth: what is compared and logged are whole nano-dollars."""


def nano_usd(amount: Decimal) -> int:
    """``amount`` dollars in billionths."""
    return int(amount.scaleb(9))


class Price(Frozen):
    """US dollars for a million tokens. Input read from a cache or written to one costs as other input, unless said."""

    input_per_mtok: Usd
    output_per_mtok: Usd = Decimal(0)
    cached_input_per_mtok: Usd | None = None
    cache_write_per_mtok: Usd | None = None

    @cached_property
    def input_nano_usd(self) -> int:
        """Billionths of a dollar for a million tokens of input."""
        return nano_usd(self.input_per_mtok)

    @cached_property
    def output_nano_usd(self) -> int:
        """Billionths of a dollar for a million tokens of output."""
        return nano_usd(self.output_per_mtok)

    @cached_property
    def cached_input_nano_usd(self) -> int:
        """Billionths of a dollar for a million tokens that were read from a cache."""
        given = self.cached_input_per_mtok
        return self.input_nano_usd if given is None else nano_usd(given)

    @cached_property
    def cache_write_nano_usd(self) -> int:
        """Billionths of a dollar for a million tokens that were written to a cache."""
        given = self.cache_write_per_mtok
        return self.input_nano_usd if given is None else nano_usd(given)

    @property
    def source(self) -> str:
        """Who says so, as entries name it."""
        return "configured"


class ListPrice(Price):
    """A price that the file does not give. ``catalogue`` is the table that does, with its version."""

    catalogue: str

    @property
    def source(self) -> str:
        return self.catalogue


class Mirror(Frozen):
    """A log witness that is asked to cosign checkpoints (C2SP tlog-witness), and perhaps a mirror too.

    ``key`` is its witness key. ``mirror_key`` is the other key with which it says that it holds the entries (C2SP
    tlog-mirror); without one it is a witness only.
    """

    url: str = Field(pattern=URL_PATTERN)
    key: VerifierKey
    mirror_key: VerifierKey | None = None
    ca_file: str | None = Field(default=None, min_length=1)
    ca: InlineText | None = None

    @model_validator(mode="after")
    def _one_bundle(self) -> Mirror:
        at_most_one(self.ca_file, self.ca, "ca_file or ca")
        return self

    @property
    def id(self) -> str:
        """The id of its key, 8 hex digits (C2SP signed-note)."""
        return self.key.split("+")[1]

    @cached_property
    def ca_path(self) -> str | None:
        """Where the roots of its server are."""
        return document_path(self.ca_file, self.ca)


class AnchorKind(StrEnum):
    """The API of an external transparency log."""

    REKOR_V2 = "rekor-v2"
    REKOR_V1 = "rekor-v1"


class Anchor(Keyed):
    """An external log that checkpoints are written to every ``every_s`` seconds."""

    kind: AnchorKind = AnchorKind.REKOR_V2
    url: str = Field(pattern=URL_PATTERN)
    origin: str | None = Field(default=None, min_length=1)
    ca_file: str | None = Field(default=None, min_length=1)
    ca: InlineText | None = None
    every_s: int = Field(default=600, ge=1, le=86_400)

    @model_validator(mode="after")
    def _one_bundle(self) -> Anchor:
        at_most_one(self.ca_file, self.ca, "ca_file or ca")
        return self

    @cached_property
    def ca_path(self) -> str | None:
        """Where the roots of its server are."""
        return document_path(self.ca_file, self.ca)


class Log(Frozen):
    """Who watches the transparency log. ``quorum`` mirrors make a checkpoint cosigned; all when it is not given.

    ``policy_file`` is a C2SP tlog-policy that says it instead; its witnesses that have a URL are asked as well.
    """

    mirrors: tuple[Mirror, ...] = ()
    quorum: int | None = Field(default=None, ge=1, le=100)
    policy_file: str | None = Field(default=None, min_length=1)
    anchors: tuple[Anchor, ...] = ()

    @model_validator(mode="after")
    def _reachable(self) -> Log:
        if self.quorum is not None and self.policy_file is not None:
            raise ValueError("give quorum or policy_file, not both")
        if self.quorum is not None and self.quorum > len(self.mirrors):
            raise ValueError(f"quorum is {self.quorum}, there are {len(self.mirrors)} mirrors")
        return self

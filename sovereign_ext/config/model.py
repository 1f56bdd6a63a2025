"""The declarative file ``sovereign.yaml`` as frozen values.

Parsing YAML, line numbers and watching the file live in ``load`` and ``live``; here is only the shape and the
rules that a value must obey, so that the rest of the code can trust it. Unknown fields are refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sovereign_ext.condition import Condition
from sovereign_ext.config.findings import Findings, known_kinds
from sovereign_ext.config.ingress import Ingress
from sovereign_ext.config.keystore import KeystoreConfig
from sovereign_ext.config.media import Media
from sovereign_ext.config.oidc import Oidc
from sovereign_ext.config.storage import Storage
from sovereign_ext.config.tenancy import Allowance, KeyRules, Margin, Operator, SpiffeId
from sovereign_ext.config.trust import (
    INLINE,
    DataHandling,
    DataRequirement,
    Digest,
    DigestBasis,
    Drift,
    Evidence,
    Frozen,
    Identifier,
    InlineText,
    Log,
    Origin,
    Price,
    Signatory,
    Tier,
    TlsIdentity,
    Usd,
    Witness,
    at_most_one,
    document_path,
    nano_usd,
)

MODEL_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$"
KEY_HASH_PATTERN: Final = r"^sha256:[0-9a-f]{64}$"
KEYED_HASH_PATTERN: Final = r"^hmac-sha256:[0-9a-f]{8}:[0-9a-f]{64}$"
ENDPOINT_PATTERN: Final = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"
ORIGIN_PATTERN: Final = r"^[a-z0-9.-]+(/[A-Za-z0-9._~-]+)*$"
ENV_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"

ModelId = Annotated[str, StringConstraints(pattern=MODEL_ID_PATTERN)]
"""What a client sends as ``model``; may hold one or more slashes (``mayo-jhu/meridian-med-13b-v2``)."""

KeyHash = Annotated[str, StringConstraints(pattern=KEY_HASH_PATTERN)]
"""``sha256:`` and the hex SHA-256 of the whole key. Keys hold 256 random bits, so no salt or stretching is
needed.
"""

KeyedHash = Annotated[str, StringConstraints(pattern=KEYED_HASH_PATTERN)]
"""``hmac-sha256:``, the id of the secret, and the hex HMAC of the whole key under it (``tenants.keyhash``)."""


def _read_instant(value: object) -> object:
    # Only ISO 8601 text: pydantic would also take 20270131 for seconds since 1970, a key that is dead at
    # once.
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and "-" in value:
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            pass
    raise ValueError("expected a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z")


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:  # the first or last day there is, moved beyond the calendar
        raise ValueError("is outside the years 1 to 9999 in UTC") from None


Instant = Annotated[datetime, BeforeValidator(_read_instant), AfterValidator(_in_utc)]
"""A moment in UTC. Without an offset it is taken as UTC; a bare date means 00:00 UTC of that day."""


def _group_or_one(value: object) -> str:
    return "group" if isinstance(value, list | tuple) else "one"


Group = Annotated[tuple[Identifier, ...], Field(min_length=1)]
ChainLink = Annotated[
    Annotated[Identifier, Tag("one")] | Annotated[Group, Tag("group")], Discriminator(_group_or_one)
]
"""One step of a policy's chain: a provider, or a list of providers that are equally welcome."""


class Capability(StrEnum):
    """What a deployment can be asked for."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"


class ProviderKind(StrEnum):
    """The wire format a provider speaks."""

    OPENAI = "openai"
    VLLM = "vllm"
    OLLAMA = "ollama"
    ANTHROPIC = "anthropic"
    BEDROCK = "bedrock"
    VERTEX = "vertex"
    MOCK = "mock"


class KeyTerms(Allowance):
    """What a key opens, and until when. Its allowance holds beside the tenant's.

    ``policies`` are those of the tenant's that it may use; without any it may use all of them. Which one is the default
    is said in ``tenants.resolve``. An operator's key has neither policies nor an allowance.
    """

    id: Identifier
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    policies: tuple[Identifier, ...] = Field(default=(), max_length=256)


class Key(KeyTerms):
    """One tenant or admin key as the file declares it: by its hash only."""

    hash: KeyHash


class IssuedKey(KeyTerms):
    """One key that the management API made, as the database keeps it: by its keyed hash only.

    Without one, which is never stored, it opens nothing. ``replaces`` is the id of the key that it was made to replace.
    """

    hash: KeyedHash = ""
    replaces: Identifier | None = None


class Tenant(Allowance):
    """Who calls. ``policies`` may be named in ``X-SF-Policy``; ``default_policy`` is used when none is.

    ``identities`` are workloads whose verified client certificate stands for a key. ``margin_percent`` is billed on top
    of what providers charge.
    """

    id: Identifier
    keys: tuple[Key, ...] = ()
    policies: tuple[Identifier, ...] = Field(min_length=1)
    default_policy: Identifier
    identities: tuple[SpiffeId, ...] = ()
    margin_percent: Margin = Decimal(0)

    @field_validator("default_policy")
    @classmethod
    def _default_is_allowed(cls, value: str, info: ValidationInfo) -> str:
        policies = info.data.get("policies")  # absent when policies is itself at fault
        if policies is not None and value not in policies:
            raise ValueError("is not among this tenant's policies")
        return value


class Admin(Operator):
    """An operator as the file declares it."""

    keys: tuple[Key, ...] = Field(min_length=1)

    @field_validator("keys")
    @classmethod
    def _keys_are_plain(cls, value: tuple[Key, ...]) -> tuple[Key, ...]:
        if any(key.policies or key.limits or key.spend_caps for key in value):
            raise ValueError("an admin's key has no policies, limits or spend_caps")
        return value


class Fallback(Frozen):
    """Whether and how far the walk goes on after a failed attempt."""

    enabled: bool = True
    max_attempts: int = Field(default=4, ge=1, le=16)


class Audit(StrEnum):
    """When a call is written down."""

    STANDARD = "standard"  # one entry, when it is over
    STRICT = "strict"  # the decision too, durable before anything is sent to a provider


class LeakAction(StrEnum):
    """What is done about credentials in a request."""

    REDACT = "redact"  # they are replaced before anybody else sees them
    BLOCK = "block"  # the call is refused
    OBSERVE = "observe"  # it is written down, and they are sent


class Redaction(Frozen):
    """What is done about credentials in a request, and which are looked for: by kind (``github-token``) or family
    (``github``), all that ``detect`` names, or all there are, without those that ``ignore`` names."""

    action: LeakAction = LeakAction.REDACT
    detect: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    @field_validator("detect", "ignore")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_kinds(value)


class Policy(Frozen):
    """Which deployments may answer. ``providers`` is the preferred chain, an entry may be a group of equals.

    With an empty chain every provider may answer, as one group. A provider that a non-empty chain does not
    name never answers. What is left out requires nothing.
    """

    id: Identifier
    required_tier: Tier = Tier.OPEN
    required_scopes: tuple[Identifier, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_drift: Drift | None = None
    latency_cap_ms: int | None = Field(default=None, ge=1, le=86_400_000)
    cost_cap_usd: Usd | None = None
    data_handling: DataRequirement = DataRequirement()
    condition: str | None = Field(default=None, min_length=1, max_length=4_000)
    providers: tuple[ChainLink, ...] = ()
    fallback: Fallback = Fallback()
    audit: Audit = Audit.STANDARD
    shadows: tuple[Identifier, ...] = ()
    redaction: Redaction = Redaction()

    @cached_property
    def groups(self) -> tuple[frozenset[str], ...]:
        """The chain with every step as a set of provider ids; empty when every provider may answer."""
        return tuple(frozenset((link,) if isinstance(link, str) else link) for link in self.providers)

    @cached_property
    def places(self) -> dict[str, int]:
        """The first group of each provider that the chain names, counted from 0."""
        return {provider: at for at, group in reversed(list(enumerate(self.groups))) for provider in group}

    @cached_property
    def named_providers(self) -> frozenset[str] | None:
        """The provider ids the chain names; ``None`` when every provider may answer."""
        return frozenset().union(*self.groups) if self.providers else None

    @cached_property
    def cost_cap_nano_usd(self) -> int | None:
        """The cost cap in billionths of a dollar."""
        return None if self.cost_cap_usd is None else nano_usd(self.cost_cap_usd)

    @cached_property
    def compiled_condition(self) -> Condition | None:
        """The condition, ready to be evaluated."""
        return None if self.condition is None else Condition(self.condition)

    @field_validator("condition")
    @classmethod
    def _condition_compiles(cls, value: str | None) -> str | None:
        if value is not None:
            Condition(value)
        return value

    @field_validator("max_drift")
    @classmethod
    def _drift_is_known(cls, value: Drift | None) -> Drift | None:
        if value is Drift.UNKNOWN:
            raise ValueError("unknown never passes; leave max_drift out to require nothing")
        return value


class Model(Frozen):
    """A model as clients name it."""

    id: ModelId
    owned_by: str = "sovereign"
    created: int = Field(default=0, ge=0, description="Unix seconds, as /v1/models shows it")
    context_window: int | None = Field(default=None, ge=1, description="tokens")
    publisher: Identifier | None = None
    origin: Origin = Origin()
    digest: Digest | None = None
    digest_basis: DigestBasis = DigestBasis.NONE
    manifest: str | None = Field(default=None, min_length=1, description="file of the publisher's signature")
    manifest_bundle: InlineText | None = Field(default=None, description="the same, given here")

    @model_validator(mode="after")
    def _digest_has_a_basis(self) -> Model:
        if (self.digest is None) != (self.digest_basis is DigestBasis.NONE):
            raise ValueError("a digest and its digest_basis go together")
        if self.digest_basis is DigestBasis.SIGNED_MANIFEST and not (self.manifest_path and self.publisher):
            raise ValueError("digest_basis signed_manifest takes manifest and publisher")
        at_most_one(self.manifest, self.manifest_bundle, "manifest or manifest_bundle")
        return self

    @cached_property
    def manifest_path(self) -> str | None:
        """Where the manifest's document is."""
        return document_path(self.manifest, self.manifest_bundle)


class Credential(Frozen):
    """Where a provider key is found. The key itself is never in this file."""

    env: str | None = Field(default=None, pattern=ENV_PATTERN)
    file: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_source(self) -> Credential:
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of env, file")
        return self


class Aws(Frozen):
    """Where and as whom a provider of kind ``bedrock`` is called.

    With ``role_arn`` the credential found for the provider only assumes that role; with ``web_identity_token_file`` the
    role is assumed by that token, and no other credential is needed.
    """

    region: str = Field(pattern=r"^[a-z]{2}(-[a-z0-9]+)+-[0-9]$", description="signed into every request")
    role_arn: str | None = Field(default=None, pattern=r"^arn:[a-z-]+:iam::[0-9]{12}:role/.+$")
    external_id: str | None = Field(default=None, min_length=2, max_length=1224)
    session_name: str = Field(default="sovereign-router", pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$")
    web_identity_token_file: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _token_has_a_role(self) -> Aws:
        if self.web_identity_token_file is not None and self.role_arn is None:
            raise ValueError("web_identity_token_file takes role_arn")
        return self


class Google(Frozen):
    """Whose models, and where, a provider of kind ``vertex`` is asked for."""

    project: str = Field(pattern=r"^[a-z0-9.:-]{4,100}$")
    location: str = Field(pattern=r"^[a-z0-9-]{2,40}$", description="such as us-central1, eu or global")


class Timeouts(Frozen):
    """Limits of one attempt at this provider, in milliseconds."""

    connect_ms: int = Field(default=3_000, ge=1, le=600_000, description="TCP and TLS")
    first_byte_ms: int | None = Field(
        default=None,
        ge=1,
        le=3_600_000,
        description="request sent to first content; by default 60 s for streams, total_ms for whole answers",
    )
    idle_ms: int = Field(default=60_000, ge=1, le=3_600_000, description="between two chunks of a stream")
    total_ms: int = Field(default=600_000, ge=1, le=86_400_000, description="the whole attempt")

    def first_byte_limit_ms(self, *, stream: bool) -> int:
        """The first-byte limit that holds: a whole answer has its first byte only when it is complete."""
        if self.first_byte_ms is not None:
            return min(self.first_byte_ms, self.total_ms)
        return min(60_000, self.total_ms) if stream else self.total_ms


class Provider(Frozen):
    """An endpoint that serves models. ``endpoint`` is the base URL, API prefix included (``…/v1``)."""

    id: Identifier
    kind: ProviderKind
    endpoint: str = Field(pattern=ENDPOINT_PATTERN)
    credential: Credential | None = None
    organization: str | None = Field(default=None, description="OpenAI-Organization of our own account")
    project: str | None = Field(default=None, description="OpenAI-Project of our own account")
    aws: Aws | None = None
    google: Google | None = None
    tls_ca_file: str | None = Field(
        default=None, min_length=1, description="PEM roots instead of the system's"
    )
    tls_ca: InlineText | None = Field(default=None, description="the same, given here")
    origin: Origin = Origin()
    region: str | None = Field(default=None, min_length=1, max_length=100)
    tls: TlsIdentity | None = None
    key_file: str | None = Field(default=None, min_length=1, description="PEM key of its own statements")
    key: InlineText | None = Field(default=None, description="the same, given here")
    evidence: Evidence | None = None
    data_handling: DataHandling = DataHandling()
    timeouts: Timeouts = Timeouts()

    @model_validator(mode="after")
    def _has_what_its_kind_takes(self) -> Provider:
        if self.kind is ProviderKind.BEDROCK and self.aws is None:
            raise ValueError("a provider of kind bedrock takes aws")
        if self.kind is ProviderKind.VERTEX and self.google is None:
            raise ValueError("a provider of kind vertex takes google")
        at_most_one(self.tls_ca_file, self.tls_ca, "tls_ca_file or tls_ca")
        at_most_one(self.key_file, self.key, "key_file or key")
        return self

    @cached_property
    def key_path(self) -> str | None:
        """Where the document of its key is."""
        return document_path(self.key_file, self.key)


class Deployment(Frozen):
    """A model as one provider serves it."""

    id: Identifier
    model: ModelId
    provider: Identifier
    upstream_model: str = Field(min_length=1, max_length=200)
    capabilities: tuple[Capability, ...] = Field(default=(Capability.CHAT,), min_length=1)
    price: Price | None = None
    context_window: int | None = Field(default=None, ge=1, description="tokens, where it is not the model's")


class InlineStatement(Frozen):
    """A signed statement that is given in the configuration itself: its envelope's JSON text."""

    envelope: InlineText

    @cached_property
    def path(self) -> str:
        """Where its document is."""
        path = document_path(None, self.envelope)
        assert path is not None
        return path

    @property
    def id(self) -> str:
        """The hex SHA-256 of its text."""
        return self.path.removeprefix(INLINE)


class Trust(Frozen):
    """Whose word counts. ``statements`` are files or globs, relative to this file, or envelopes.

    ``min_witnesses`` is the k of tier ``witnessed``: so many independent witnesses must have vouched.
    ``clock_skew_s`` is how far another clock may be ahead.
    """

    publishers: tuple[Signatory, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    observers: tuple[Signatory, ...] = ()
    statements: tuple[str | InlineStatement, ...] = ()
    min_witnesses: int = Field(default=1, ge=1, le=100)
    max_drift: Drift = Drift.WATCH
    organisation: Identifier | None = None
    clock_skew_s: int = Field(default=60, ge=0, le=3_600)


class Limits(Frozen):
    """Sizes beyond which a message is refused."""

    max_request_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)
    max_response_bytes: int = Field(default=64 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024)
    max_event_bytes: int = Field(default=1024 * 1024, ge=1024, le=64 * 1024 * 1024)


class Config(Frozen):
    """The whole file. ``version`` is the schema's, always 1."""

    version: Literal[1]
    origin: Annotated[str, StringConstraints(pattern=ORIGIN_PATTERN)] = "sovereign.local/log"
    limits: Limits = Limits()
    ingress: Ingress = Ingress()
    storage: Storage = Storage()
    log: Log = Log()
    trust: Trust = Trust()
    keystore: KeystoreConfig = KeystoreConfig()
    media: Media = Media()
    findings: Findings = Findings()
    keys: KeyRules = KeyRules()
    oidc: Oidc = Oidc()
    admins: tuple[Admin, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    policies: tuple[Policy, ...] = ()
    models: tuple[Model, ...] = ()
    providers: tuple[Provider, ...] = ()
    deployments: tuple[Deployment, ...] = ()

"""The parts of ``sovereign.yaml`` that name services for provider keys: where keys are stored, what wraps a master key.

Only the shape, and how a stored secret is named. Services are asked in ``keystore.kms``; the file that is read here
never holds a secret, only where the gateway's own credentials for the service are found.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from sovereign_ext.config.trust import IDENTIFIER_PATTERN, Frozen
from sovereign_ext.config.urls import is_protected

AWS_REGION_PATTERN: Final = r"^[a-z]{2,8}(-[a-z]{1,20}){1,3}-[0-9]{1,2}$"
GOOGLE_PROJECT_PATTERN: Final = r"^([a-z0-9.-]{1,100}:)?[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$"
ENV_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
GCP_KEY_PATTERN: Final = (
    r"^projects/[a-z0-9.:-]{1,100}/locations/[a-z0-9-]{1,63}/keyRings/[A-Za-z0-9_-]{1,63}"
    r"/cryptoKeys/[A-Za-z0-9_-]{1,63}$"
)
VAULT_PATH_PATTERN: Final = r"^[A-Za-z0-9_-]+([./A-Za-z0-9_-]*[A-Za-z0-9_-])?$"

SHARED_NAME: Final = "SHARED"
"""What stands for the tenant in the name of a key that every tenant may use. No tenant is called so: ids have no
upper case."""

_PLACES: Final = ("{tenant}", "{provider}")
_NEVER_IN_AN_ID: Final = re.compile(r"[A-Z/+=@]")
_IDENTIFIER: Final = re.compile(IDENTIFIER_PATTERN)


def _protected(url: str) -> str:
    if not is_protected(url):
        raise ValueError("has to be https, or http on this host: secrets are sent over it")
    return url.rstrip("/")


def _unambiguous(template: str) -> str:
    if any(template.count(place) != 1 for place in _PLACES):
        raise ValueError("has to name {tenant} and {provider}, each once")
    tenant, provider = (template.index(place) for place in _PLACES)
    first = _PLACES[0] if tenant < provider else _PLACES[1]
    between = template[min(tenant, provider) + len(first) : max(tenant, provider)]
    if not _NEVER_IN_AN_ID.search(between):
        # Of tenants a-b and a, and providers c and b-c, two pairs would share the secret "a-b-c".
        raise ValueError(
            "needs a character between {tenant} and {provider} that no id has (upper case, /, +, =, @), "
            "or two pairs could share one secret"
        )
    return template


def secret_name(template: str, tenant: str | None, provider: str) -> str:
    """The name of what is stored for this pair; ``tenant`` is ``None`` for the key that all may use.

    Different pairs have different names. Raises ``ValueError`` for what is not an id of the configuration.
    """
    for name in (tenant, provider):
        if name is not None and not _IDENTIFIER.fullmatch(name):
            raise ValueError("not an id")
    filled = template.replace("{provider}", provider)
    return filled.replace("{tenant}", SHARED_NAME if tenant is None else tenant)


HttpsUrl = Annotated[
    str, StringConstraints(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"), AfterValidator(_protected)
]
"""Base URL of a service: https, or http on loopback."""

SlashTemplate = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9/_+=.@{}-]{1,300}$"),
    AfterValidator(_unambiguous),
]
"""A secret's name in AWS or Vault."""

GcpTemplate = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_{}-]{1,200}$"), AfterValidator(_unambiguous)
]
"""A secret's id in Google Secret Manager, where a dot of an id is written ``DOT``."""

Region = Annotated[str, StringConstraints(pattern=AWS_REGION_PATTERN)]
VaultPath = Annotated[str, StringConstraints(pattern=VAULT_PATH_PATTERN, max_length=300)]
Member = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Service(Frozen):
    """What every service has: roots instead of the system's (PEM), and the time for one answer with all tries."""

    ca_file: str | None = Field(default=None, min_length=1)
    timeout_ms: int = Field(default=5_000, ge=100, le=60_000)


class AwsService(Service):
    """An AWS service. ``endpoint`` instead of the public one. The gateway's own keys come from the environment,
    web identity, a shared credentials file (``credentials_file``, ``profile``) or the container."""

    region: Region
    endpoint: HttpsUrl | None = None
    credentials_file: str | None = Field(default=None, min_length=1)
    profile: str | None = Field(default=None, min_length=1, max_length=200)


class GcpService(Service):
    """A Google Cloud service. The gateway's own token comes from the service account in ``credentials_file``, of
    ``GOOGLE_APPLICATION_CREDENTIALS`` or of the metadata server. ``token_url`` instead of Google's."""

    endpoint: HttpsUrl | None = None
    credentials_file: str | None = Field(default=None, min_length=1)
    token_url: HttpsUrl | None = None


class AppRole(Frozen):
    """Vault's login for machines; the secret id is read from the file again for every login."""

    mount: VaultPath = "approle"
    role_id: str = Field(min_length=1, max_length=200)
    secret_id_file: str = Field(min_length=1)


class VaultService(Service):
    """HashiCorp Vault or OpenBao. At most one of ``token_env``, ``token_file``, ``approle``; by default the
    environment's ``VAULT_TOKEN`` or ``BAO_TOKEN``."""

    endpoint: HttpsUrl
    namespace: VaultPath | None = None
    token_env: str | None = Field(default=None, pattern=ENV_PATTERN)
    token_file: str | None = Field(default=None, min_length=1)
    approle: AppRole | None = None

    @model_validator(mode="after")
    def _one_login(self) -> VaultService:
        if sum(way is not None for way in (self.token_env, self.token_file, self.approle)) > 1:
            raise ValueError("give at most one of token_env, token_file, approle")
        return self


class AwsSecretsManager(AwsService):
    """Keys in AWS Secrets Manager; ``field`` is the member of a JSON secret that holds the key."""

    kind: Literal["aws-secrets-manager"]
    template: SlashTemplate = "sovereign/{tenant}/{provider}"
    field: Member | None = None


class GcpSecretManager(GcpService):
    """Keys in Google Secret Manager, each the latest version of its secret; ``field`` as for AWS."""

    kind: Literal["gcp-secret-manager"]
    project: Annotated[str, StringConstraints(pattern=GOOGLE_PROJECT_PATTERN)]
    template: GcpTemplate = "sovereign_TENANT_{tenant}_PROVIDER_{provider}"
    field: Member | None = None


class VaultKv(VaultService):
    """Keys in a KV version 2 engine. ``field`` holds the key; ``null`` takes the whole object as JSON."""

    kind: Literal["vault-kv"]
    mount: VaultPath = "secret"
    template: SlashTemplate = "sovereign/{tenant}/{provider}"
    field: Member | None = "value"


class AwsKms(AwsService):
    """A symmetric key of AWS KMS: its id, ARN or ``alias/…``. ``context`` is authenticated with what is wrapped."""

    kind: Literal["aws-kms"]
    key: str = Field(min_length=1, max_length=2_048, pattern=r"^[A-Za-z0-9:/_-]+$")
    context: dict[str, str] = Field(default={"purpose": "sovereign-router-keystore"}, max_length=32)


class GcpKms(GcpService):
    """A symmetric key of Cloud KMS, ``projects/…/locations/…/keyRings/…/cryptoKeys/…``; ``context`` as for AWS."""

    kind: Literal["gcp-kms"]
    key: str = Field(pattern=GCP_KEY_PATTERN)
    context: str = Field(default="sovereign-router-keystore", max_length=1_000)


class VaultTransit(VaultService):
    """A key of the transit engine."""

    kind: Literal["vault-transit"]
    mount: VaultPath = "transit"
    key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,200}$")]


SecretService = Annotated[AwsSecretsManager | GcpSecretManager | VaultKv, Field(discriminator="kind")]
"""A service that holds provider keys."""

WrapService = Annotated[AwsKms | GcpKms | VaultTransit, Field(discriminator="kind")]
"""A service that wraps the master key of the local file."""

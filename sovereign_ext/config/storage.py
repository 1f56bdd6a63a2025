"""The part of ``sovereign.yaml`` that says where the gateway keeps what it knows: embedded, or shared by replicas.

Without it everything is in the state directory (SQLite, files) and belongs to one process. With ``database`` several
processes share a PostgreSQL database; then all that they have in common has to be named, since a replica with a log
key, tiles or counters of its own would fork the log or let a cap be exceeded. Only the shape: URLs hold passwords, so
the file names a variable or a file that holds them, and ``sovereign_ext.storing`` reads those.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from sovereign_ext.config.trust import Frozen
from sovereign_ext.config.urls import is_protected

ENV_PATTERN: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
BUCKET_PATTERN: Final = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
PREFIX_PATTERN: Final = r"^([A-Za-z0-9._-]+/)+$"
REGION_PATTERN: Final = r"^[a-z0-9-]{1,40}$"
ENDPOINT_PATTERN: Final = r"^https?://[^/?#@\s]+$"

Variable = Annotated[str, StringConstraints(pattern=ENV_PATTERN)]
Path = Annotated[str, StringConstraints(min_length=1)]


class SecretSource(Frozen):
    """Where a secret is found: a variable of the environment, or a file. Relative to this file."""

    env: Variable | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> SecretSource:
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of env, file")
        return self


class UrlSource(Frozen):
    """Where a URL is found that holds a password: a variable of the environment, or a file."""

    url_env: Variable | None = None
    url_file: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.url_env is None) == (self.url_file is None):
            raise ValueError(
                "give exactly one of url_env, url_file; the URL itself does not belong into this file"
            )
        return self

    @property
    def source(self) -> SecretSource:
        """Where the URL is found."""
        return SecretSource(env=self.url_env, file=self.url_file)


class Database(UrlSource):
    """A PostgreSQL database by its URL (``postgresql://user:password@host/name``), which a variable or a file holds."""


class Shared(UrlSource):
    """A Valkey or Redis by its URL (``redis://`` or, with TLS, ``rediss://:password@host:port/0``).

    ``ca_file`` are PEM roots to trust instead of the system's.
    """

    ca_file: Path | None = None


class S3(Frozen):
    """A bucket of an S3-compatible store. Objects are named ``prefix`` and the tile's path.

    ``access_key_id`` and ``secret_access_key`` are found where they say; without them requests are signed with the
    gateway's own AWS keys, such as its role's. ``path_style`` puts the bucket into the path instead of the host name.
    """

    endpoint: str = Field(pattern=ENDPOINT_PATTERN)
    bucket: str = Field(pattern=BUCKET_PATTERN)
    prefix: str | None = Field(default=None, pattern=PREFIX_PATTERN, max_length=200)
    region: str = Field(default="us-east-1", pattern=REGION_PATTERN)
    access_key_id: SecretSource | None = None
    secret_access_key: SecretSource | None = None
    path_style: bool = True
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _secrets_travel_safely(self) -> S3:
        if not is_protected(self.endpoint):
            raise ValueError("endpoint has to be https, or http on this host")
        return self

    @model_validator(mode="after")
    def _a_pair_or_the_gateways_own(self) -> S3:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError(
                "give both access_key_id and secret_access_key, or neither: the gateway's own keys"
            )
        return self


class Tiles(Frozen):
    """Where the log's tiles are: one directory that all replicas see, or a bucket."""

    directory: Path | None = None
    s3: S3 | None = None

    @model_validator(mode="after")
    def _one(self) -> Tiles:
        if (self.directory is None) == (self.s3 is None):
            raise ValueError("give exactly one of directory, s3")
        return self


class Storage(Frozen):
    """Where state is kept. Nothing given: SQLite and files in the state directory, for one process.

    ``log_keys_dir`` holds the log's signing keys, the same for all replicas. ``key_hash`` is the secret behind the
    keyed hashes of tenants' keys; by default a file in the state directory, made at the first start.
    """

    database: Database | None = None
    shared: Shared | None = None
    tiles: Tiles | None = None
    log_keys_dir: Path | None = None
    key_hash: SecretSource | None = None

    @model_validator(mode="after")
    def _replicas_share_all_or_nothing(self) -> Storage:
        common = {name: getattr(self, name) for name in ("shared", "tiles", "log_keys_dir", "key_hash")}
        if self.database is not None:
            missing = [name for name, value in common.items() if value is None]
            if missing:
                raise ValueError(
                    f"with database, replicas have to share {', '.join(missing)} too: name "
                    f"{'it' if len(missing) == 1 else 'them'}"
                )
            return self
        # A secret from elsewhere does no harm to a single process; the rest would look shared and not be.
        alone = [name for name, value in common.items() if value is not None and name != "key_hash"]
        if alone:
            raise ValueError(
                f"{', '.join(alone)} without database: SQLite belongs to one process; give database too"
            )
        return self

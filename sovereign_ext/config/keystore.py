"""The part of ``sovereign.yaml`` that says where provider keys are found, and how long one is kept (ADR 0011).

Only the shape. The links are always asked in the order local file, environment, services; what ``kms`` and
``master_key.wrapped`` can name is in ``config.keystore_kms``.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from sovereign_ext.config.keystore_kms import ENV_PATTERN, SecretService, WrapService
from sovereign_ext.config.trust import Frozen


class MasterKeySource(Frozen):
    """Where the master key of the local file is found: exactly one of the three."""

    env: Annotated[str, StringConstraints(pattern=ENV_PATTERN)] | None = None
    file: str | None = Field(default=None, min_length=1)
    wrapped: WrapService | None = None

    @model_validator(mode="after")
    def _one(self) -> MasterKeySource:
        if sum(source is not None for source in (self.env, self.file, self.wrapped)) != 1:
            raise ValueError("give exactly one of env, file, wrapped")
        return self


class LocalKeys(Frozen):
    """An encrypted file on this machine. ``file`` is by default ``provider-keys.json`` in the state directory.

    ``previous`` are master keys that may still be in use; ``sovereign provider-keys rotate --master`` ends that.
    """

    file: str | None = Field(default=None, min_length=1)
    master_key: MasterKeySource
    previous: tuple[MasterKeySource, ...] = Field(default=(), max_length=8)


class KeystoreConfig(Frozen):
    """Where provider keys are found by tenant and provider, before what ``providers[].credential`` names.

    ``ttl_s`` is how long one is kept before it is asked for again, ``negative_ttl_s`` how long a failure is, and
    ``fetch_limit_ms`` how long a call waits for one.
    """

    local: LocalKeys | None = None
    env: bool = True
    kms: tuple[SecretService, ...] = Field(default=(), max_length=8)
    ttl_s: int = Field(default=300, ge=1, le=86_400)
    negative_ttl_s: int = Field(default=5, ge=1, le=300)
    fetch_limit_ms: int = Field(default=5_000, ge=50, le=60_000)

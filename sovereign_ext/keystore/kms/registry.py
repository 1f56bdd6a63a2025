"""Which services there are for stored keys and for wrapping: a line for each ``kind`` of the configuration.

A module is imported when a configuration asks for it. Building connects to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, Protocol

from sovereign_ext.config.keystore_kms import SecretService, WrapService
from sovereign_ext.keystore.base import KeyWrap, Source
from sovereign_ext.keystore.http import Surroundings

SOURCES: Final = {
    "aws-secrets-manager": "sovereign_ext.keystore.kms.aws:AwsSecretsManagerSource",
    "gcp-secret-manager": "sovereign_ext.keystore.kms.gcp:GcpSecretManagerSource",
    "vault-kv": "sovereign_ext.keystore.kms.vault:VaultKvSource",
}
WRAPS: Final = {
    "aws-kms": "sovereign_ext.keystore.kms.aws:AwsKmsWrap",
    "gcp-kms": "sovereign_ext.keystore.kms.gcp:GcpKmsWrap",
    "vault-transit": "sovereign_ext.keystore.kms.vault:VaultTransitWrap",
}


class KmsSource(Source, Protocol):
    """A ``Source`` that holds connections."""

    async def aclose(self) -> None:
        """Let go of them."""


class KmsWrap(KeyWrap, Protocol):
    """A ``KeyWrap`` that holds connections."""

    async def aclose(self) -> None:
        """Let go of them."""


def build_source(config: SecretService, around: Surroundings) -> KmsSource:
    """The source that ``config`` describes. Raises ``ConfigError`` for a ``ca_file`` that is none."""
    source: KmsSource = _class(SOURCES[config.kind]).from_config(config, around)
    return source


def build_wrap(config: WrapService, around: Surroundings) -> KmsWrap:
    """The wrapping that ``config`` describes. Raises ``ConfigError`` for a ``ca_file`` that is none."""
    wrap: KmsWrap = _class(WRAPS[config.kind]).from_config(config, around)
    return wrap


def _class(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)

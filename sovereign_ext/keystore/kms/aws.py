"""Provider keys in AWS Secrets Manager, and a master key wrapped by AWS KMS.

``secretsmanager.GetSecretValue`` of the current version; ``TrentService.Encrypt`` and ``Decrypt`` with a symmetric
key and an encryption context, without which KMS does not unwrap. Keys of the gateway's own that have expired on the
way are got anew once. Nothing is cached here.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from sovereign_ext.config.keystore_kms import AwsKms, AwsSecretsManager, AwsService, secret_name
from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.keystore.exchange.aws_api import OWN_KEYS_REFUSED, AwsApi, AwsRefused, endpoint_of
from sovereign_ext.keystore.exchange.aws_platform import PlatformKeys
from sovereign_ext.keystore.http import Answer, Hidden, Surroundings, decode
from sovereign_ext.keystore.kms.stored import named_tenant, stored_text
from sovereign_ext.secret import Secret

MAX_PLAIN_BYTES: Final = 4_096
"""What KMS's ``Encrypt`` takes."""


class _Signed:
    """An API and the keys that it is asked with."""

    def __init__(self, api: AwsApi, platform: PlatformKeys) -> None:
        self._api = api
        self._platform = platform

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._api.outbound.aclose()
        await self._platform.aclose()

    async def ask(self, action: str, body: Mapping[str, Any]) -> Answer:
        """Raises ``CredentialMissingError`` without keys, ``CredentialUnavailableError``, ``AwsRefused``."""
        keys = await self._platform.keys()
        try:
            return await self._api.outbound.ask(lambda: self._api.json(action, body, keys))
        except AwsRefused as error:
            if error.code not in OWN_KEYS_REFUSED:
                raise
            self._platform.refused(keys)
            fresh = await self._platform.keys()
            if fresh == keys:
                raise  # they are fixed, and would be refused again
        return await self._api.outbound.ask(lambda: self._api.json(action, body, fresh))


class AwsSecretsManagerSource(_Signed):
    """A ``Source`` over Secrets Manager."""

    name = "aws-secrets-manager"

    def __init__(self, config: AwsSecretsManager, api: AwsApi, platform: PlatformKeys) -> None:
        super().__init__(api, platform)
        self._config = config

    @classmethod
    def from_config(cls, config: AwsSecretsManager, around: Surroundings) -> AwsSecretsManagerSource:
        """Raises ``ConfigError`` for a ``ca_file`` that is none."""
        return cls(config, *_parts("secretsmanager", "AWS Secrets Manager", config, around))

    async def find(self, tenant: str, provider: str) -> Secret | None:
        name = secret_name(self._config.template, named_tenant(tenant), provider)
        try:
            answer = await self.ask("secretsmanager.GetSecretValue", {"SecretId": name})
        except AwsRefused as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise
        told = decode(answer, _SecretValue, self._api.outbound)
        stored = told.SecretString or _binary(told.SecretBinary or "", self._api)
        return stored_text(stored, self._config.field, self._api.outbound)


class AwsKmsWrap(_Signed):
    """A ``KeyWrap`` over KMS. What it wraps to is KMS's ciphertext blob."""

    name = "aws-kms"

    def __init__(self, config: AwsKms, api: AwsApi, platform: PlatformKeys) -> None:
        super().__init__(api, platform)
        self._key = {"KeyId": config.key, "EncryptionContext": config.context}

    @classmethod
    def from_config(cls, config: AwsKms, around: Surroundings) -> AwsKmsWrap:
        """Raises ``ConfigError`` for a ``ca_file`` that is none."""
        return cls(config, *_parts("kms", "AWS KMS", config, around))

    async def wrap(self, plain: bytes) -> bytes:
        if not 0 < len(plain) <= MAX_PLAIN_BYTES:
            raise ValueError(f"KMS wraps 1 to {MAX_PLAIN_BYTES} bytes")
        answer = await self._ask("Encrypt", {"Plaintext": b64encode(plain).decode()})
        return _binary(decode(answer, _Encrypted, self._api.outbound).CiphertextBlob, self._api)

    async def unwrap(self, wrapped: bytes) -> bytes:
        answer = await self._ask("Decrypt", {"CiphertextBlob": b64encode(wrapped).decode()})
        return _binary(decode(answer, _Decrypted, self._api.outbound).Plaintext, self._api)

    async def _ask(self, action: str, body: Mapping[str, str]) -> Answer:
        try:
            return await self.ask(f"TrentService.{action}", {**self._key, **body})
        except AwsRefused as error:
            if error.code == "NotFoundException":
                told = f"{self._api.outbound.service} has no key of the configured name"
                raise CredentialUnavailableError("missing", told) from None
            raise


class _SecretValue(Hidden):
    SecretString: str | None = None
    SecretBinary: str | None = None


class _Encrypted(Hidden):
    CiphertextBlob: str


class _Decrypted(Hidden):
    Plaintext: str


def _binary(text: str, api: AwsApi) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise api.outbound.damaged("its answer has no base64 where bytes belong")
    return data


def _parts(service: str, title: str, config: AwsService, around: Surroundings) -> tuple[AwsApi, PlatformKeys]:
    url = endpoint_of(service, config.region, around.environ, config.endpoint)
    outbound = around.outbound(title, timeout_s=config.timeout_ms / 1000, ca_file=config.ca_file)
    platform = PlatformKeys.from_environment(
        around, region=config.region, credentials_file=config.credentials_file, profile=config.profile
    )
    return AwsApi(service, config.region, url, outbound, around.clock), platform

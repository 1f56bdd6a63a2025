"""Provider keys in Google Secret Manager (v1), and a master key wrapped by Cloud KMS (v1), over their REST APIs.

``versions/latest:access`` and ``cryptoKeys:encrypt`` / ``:decrypt``. Bytes are checked with CRC-32C in both
directions, as Google asks of clients: a checksum that is missing from an answer is as bad as a wrong one. A token that
is refused is got anew once. Nothing is cached here.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

import msgspec

from sovereign_ext.config.keystore_kms import GcpKms, GcpSecretManager, GcpService, secret_name
from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.keystore.exchange.google_platform import GooglePlatform
from sovereign_ext.keystore.exchange.google_token import AccessToken
from sovereign_ext.keystore.http import Answer, Hidden, Outbound, Surroundings, TransientError, decode
from sovereign_ext.keystore.kms.crc32c import crc32c
from sovereign_ext.keystore.kms.stored import named_tenant, stored_text
from sovereign_ext.secret import Secret

SECRET_MANAGER: Final = "https://secretmanager.googleapis.com"  # noqa: S105 - an address
CLOUD_KMS: Final = "https://cloudkms.googleapis.com"
MAX_PLAIN_BYTES: Final = 64 * 1024
"""What Cloud KMS encrypts with a software key."""


class _Refused(CredentialUnavailableError):
    """An error answer that asking again does not change."""

    def __init__(self, reason: str, message: str, status: int) -> None:
        super().__init__(reason, message)
        self.status = status


class _Authorised:
    """A service and the token that it is asked with."""

    def __init__(self, endpoint: str, outbound: Outbound, platform: GooglePlatform) -> None:
        self._endpoint = endpoint
        self._outbound = outbound
        self._platform = platform

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._outbound.aclose()
        await self._platform.aclose()

    async def ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Answer:
        """A 200. Raises ``CredentialUnavailableError``."""
        token = await self._platform.token()
        try:
            return await self._outbound.ask(lambda: self._once(method, path, body, token))
        except _Refused as error:
            if error.status != 401:
                raise
        self._platform.refused(token)
        fresh = await self._platform.token()
        return await self._outbound.ask(lambda: self._once(method, path, body, fresh))

    async def _once(
        self, method: str, path: str, body: Mapping[str, str] | None, token: AccessToken
    ) -> Answer:
        headers = [("authorization", f"Bearer {token.token.reveal()}")]
        content = b""
        if body is not None:
            headers.append(("content-type", "application/json"))
            content = msgspec.json.encode(body)
        answer = await self._outbound.send(method, f"{self._endpoint}/v1/{path}", headers, content)
        if answer.status != 200:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: Answer) -> CredentialUnavailableError:
        told = f"{self._outbound.service} answered {answer.status}"
        if answer.status == 429:
            return TransientError("throttled", told, answer.retry_after_s)
        if answer.status >= 500:
            return TransientError("unreachable", told, answer.retry_after_s)
        return _Refused("missing" if answer.status == 404 else "denied", told, answer.status)

    def _checked(self, text: str, checksum: str | None) -> bytes:
        """Bytes of base64, if their checksum is right (a number of 64 bits, which JSON has as a text)."""
        try:
            data = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self._outbound.damaged("its answer has no base64 where bytes belong") from None
        if checksum != str(crc32c(data)):
            raise TransientError("damaged", f"{self._outbound.service}: bytes and checksum do not agree")
        return data


class GcpSecretManagerSource(_Authorised):
    """A ``Source`` over Secret Manager."""

    name = "gcp-secret-manager"

    def __init__(self, config: GcpSecretManager, outbound: Outbound, platform: GooglePlatform) -> None:
        super().__init__(config.endpoint or SECRET_MANAGER, outbound, platform)
        self._config = config

    @classmethod
    def from_config(cls, config: GcpSecretManager, around: Surroundings) -> GcpSecretManagerSource:
        """Raises ``ConfigError`` for a ``ca_file`` that is none."""
        return cls(config, *_parts("Google Secret Manager", config, around))

    async def find(self, tenant: str, provider: str) -> Secret | None:
        # Ids have dots, Google's names of secrets do not. No id has upper case, so DOT is nobody's own.
        name = secret_name(self._config.template, named_tenant(tenant), provider).replace(".", "DOT")
        path = f"projects/{self._config.project}/secrets/{name}/versions/latest:access"
        try:
            answer = await self.ask("GET", path)
        except _Refused as error:
            if error.status == 404:
                return None
            raise
        payload = decode(answer, _Accessed, self._outbound).payload
        data = self._checked(payload.data, payload.dataCrc32c)
        return stored_text(data, self._config.field, self._outbound)


class GcpKmsWrap(_Authorised):
    """A ``KeyWrap`` over Cloud KMS. What it wraps to is Cloud KMS's ciphertext."""

    name = "gcp-kms"

    def __init__(self, config: GcpKms, outbound: Outbound, platform: GooglePlatform) -> None:
        super().__init__(config.endpoint or CLOUD_KMS, outbound, platform)
        self._key = config.key
        self._context = _sent("additionalAuthenticatedData", config.context.encode())

    @classmethod
    def from_config(cls, config: GcpKms, around: Surroundings) -> GcpKmsWrap:
        """Raises ``ConfigError`` for a ``ca_file`` that is none."""
        return cls(config, *_parts("Google Cloud KMS", config, around))

    async def wrap(self, plain: bytes) -> bytes:
        if not 0 < len(plain) <= MAX_PLAIN_BYTES:
            raise ValueError(f"Cloud KMS wraps 1 to {MAX_PLAIN_BYTES} bytes")
        body = {**_sent("plaintext", plain), **self._context}
        told = decode(await self.ask("POST", f"{self._key}:encrypt", body), _Encrypted, self._outbound)
        if not (told.verifiedPlaintextCrc32c and told.verifiedAdditionalAuthenticatedDataCrc32c):
            raise self._outbound.damaged("what it encrypted is not what it was sent")
        return self._checked(told.ciphertext, told.ciphertextCrc32c)

    async def unwrap(self, wrapped: bytes) -> bytes:
        body = {**_sent("ciphertext", wrapped), **self._context}
        try:
            answer = await self.ask("POST", f"{self._key}:decrypt", body)
        except _Refused as error:
            if error.status == 400:  # INVALID_ARGUMENT: not of this key, or not with this context
                raise self._outbound.damaged("what is to be unwrapped is not this key's") from None
            raise
        told = decode(answer, _Decrypted, self._outbound)
        return self._checked(told.plaintext, told.plaintextCrc32c)


class _Payload(Hidden):
    data: str
    dataCrc32c: str | None = None  # noqa: N815 - Google's names


class _Accessed(Hidden):
    payload: _Payload


class _Encrypted(Hidden):
    ciphertext: str
    ciphertextCrc32c: str | None = None  # noqa: N815
    verifiedPlaintextCrc32c: bool = False  # noqa: N815
    verifiedAdditionalAuthenticatedDataCrc32c: bool = False  # noqa: N815


class _Decrypted(Hidden):
    plaintext: str
    plaintextCrc32c: str | None = None  # noqa: N815


def _sent(name: str, data: bytes) -> dict[str, str]:
    return {name: b64encode(data).decode(), f"{name}Crc32c": str(crc32c(data))}


def _parts(title: str, config: GcpService, around: Surroundings) -> tuple[Outbound, GooglePlatform]:
    outbound = around.outbound(title, timeout_s=config.timeout_ms / 1000, ca_file=config.ca_file)
    platform = GooglePlatform.from_environment(
        around,
        credentials_file=config.credentials_file,
        token_url=config.token_url,
        ca_file=config.ca_file if config.token_url is not None else None,
    )
    return outbound, platform

"""Provider keys in a KV version 2 engine of HashiCorp Vault or OpenBao, and a master key wrapped by its transit engine.

``GET {mount}/data/{path}`` for the latest version; ``POST {mount}/encrypt/{key}`` and ``decrypt``. What transit wraps
to is its own text, ``vault:v3:…``, which names the version of the key, so that a key may be rotated. Nothing is cached
here but the token.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

import msgspec

from sovereign_ext.config.keystore_kms import VaultKv, VaultService, VaultTransit, secret_name
from sovereign_ext.keystore.http import Answer, Hidden, Surroundings, decode
from sovereign_ext.keystore.kms.stored import named_tenant, stored_text
from sovereign_ext.keystore.kms.vault_token import VaultRefused, VaultToken, VaultWire, with_token
from sovereign_ext.secret import Secret

_CIPHERTEXT: Final = re.compile(r"vault:v[0-9]{1,9}:[A-Za-z0-9+/]+={0,2}")


class _Vault:
    def __init__(self, wire: VaultWire, token: VaultToken) -> None:
        self._wire = wire
        self._token = token

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._wire.outbound.aclose()

    async def ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Answer:
        """A 200. Raises ``CredentialMissingError``, ``CredentialUnavailableError``, ``VaultRefused``."""
        return await with_token(self._token, lambda token: self._wire.ask(method, path, token, body))


class VaultKvSource(_Vault):
    """A ``Source`` over KV version 2."""

    name = "vault-kv"

    def __init__(self, config: VaultKv, wire: VaultWire, token: VaultToken) -> None:
        super().__init__(wire, token)
        self._config = config

    @classmethod
    def from_config(cls, config: VaultKv, around: Surroundings) -> VaultKvSource:
        """Raises ``ConfigError`` for a ``ca_file`` that is none."""
        return cls(config, *_parts(config, around))

    async def find(self, tenant: str, provider: str) -> Secret | None:
        name = secret_name(self._config.template, named_tenant(tenant), provider)
        try:
            answer = await self.ask("GET", f"{self._config.mount}/data/{name}")
        except VaultRefused as error:
            if error.status == 404:  # never written, or its latest version deleted
                return None
            raise
        stored = decode(answer, _Read, self._wire.outbound).data.data
        return stored_text(msgspec.json.encode(stored), self._config.field, self._wire.outbound)


class VaultTransitWrap(_Vault):
    """A ``KeyWrap`` over transit."""

    name = "vault-transit"

    def __init__(self, config: VaultTransit, wire: VaultWire, token: VaultToken) -> None:
        super().__init__(wire, token)
        self._config = config

    @classmethod
    def from_config(cls, config: VaultTransit, around: Surroundings) -> VaultTransitWrap:
        """Raises ``ConfigError`` for a ``ca_file`` that is none."""
        return cls(config, *_parts(config, around))

    async def wrap(self, plain: bytes) -> bytes:
        told = decode(
            await self._ask("encrypt", {"plaintext": b64encode(plain).decode()}),
            _Encrypted,
            self._wire.outbound,
        )
        if not _CIPHERTEXT.fullmatch(told.data.ciphertext):
            raise self._wire.outbound.damaged("its answer is not a ciphertext of transit")
        return told.data.ciphertext.encode()

    async def unwrap(self, wrapped: bytes) -> bytes:
        try:
            ciphertext = wrapped.decode("ascii")
        except UnicodeDecodeError:
            ciphertext = ""
        if not _CIPHERTEXT.fullmatch(ciphertext):
            raise self._wire.outbound.damaged("what is to be unwrapped is not a ciphertext of transit")
        told = decode(await self._ask("decrypt", {"ciphertext": ciphertext}), _Decrypted, self._wire.outbound)
        try:
            return b64decode(told.data.plaintext, validate=True)
        except (binascii.Error, ValueError):
            raise self._wire.outbound.damaged("its answer has no base64 where bytes belong") from None

    async def _ask(self, action: str, body: Mapping[str, str]) -> Answer:
        try:
            return await self.ask("POST", f"{self._config.mount}/{action}/{self._config.key}", body)
        except VaultRefused as error:
            if error.status == 400 and error.reason == "denied" and action == "decrypt":
                raise self._wire.outbound.damaged("what is to be unwrapped is not this key's") from None
            raise


class _Object(Hidden):
    data: dict[str, object]


class _Read(Hidden):
    data: _Object


class _Ciphertext(Hidden):
    ciphertext: str


class _Encrypted(Hidden):
    data: _Ciphertext


class _Plaintext(Hidden):
    plaintext: str


class _Decrypted(Hidden):
    data: _Plaintext


def _parts(config: VaultService, around: Surroundings) -> tuple[VaultWire, VaultToken]:
    outbound = around.outbound("Vault", timeout_s=config.timeout_ms / 1000, ca_file=config.ca_file)
    wire = VaultWire(config, outbound)
    return wire, VaultToken(config, wire, around.environ, around.clock)

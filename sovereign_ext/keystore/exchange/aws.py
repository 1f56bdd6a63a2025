"""What calls to Bedrock are authorised with: stored keys as they are, a role assumed with them, or a bearer API key.

Stored is a JSON object ``{"access_key_id", "secret_access_key", "session_token"?}``, or a Bedrock API key as
plain text. With ``aws.role_arn`` the keys are those that STS gives for the role: asked with what is stored, with the
token in ``aws.web_identity_token_file`` (read again each time), or with the gateway's own keys where nothing is stored.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sovereign_ext.config.model import Provider
from sovereign_ext.credentials import AwsKeys, ProviderCredential
from sovereign_ext.keystore.base import CredentialMissingError, CredentialUnavailableError, Minted
from sovereign_ext.keystore.exchange.aws_platform import PlatformKeys
from sovereign_ext.keystore.exchange.small_file import read_token
from sovereign_ext.keystore.exchange.sts import Role, Sts, TemporaryKeys
from sovereign_ext.keystore.http import Hidden, Surroundings
from sovereign_ext.secret import Secret

_SESSION: Final = "sovereign-router"


class AwsMinter:
    """A ``Minter`` for Bedrock. Platform keys are kept by region."""

    def __init__(self, sts: Sts, around: Surroundings) -> None:
        self._sts = sts
        self._around = around
        self._platforms: dict[str, PlatformKeys] = {}

    @classmethod
    def from_surroundings(cls, around: Surroundings) -> AwsMinter:
        """Raises ``ConfigError`` for an ``AWS_CA_BUNDLE`` that is none."""
        return cls(Sts.from_environment(around), around)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._sts.aclose()
        for platform in self._platforms.values():
            await platform.aclose()

    async def mint(self, provider: Provider, stored: Secret | None) -> Minted:
        aws = provider.aws
        if aws is None:
            raise CredentialMissingError(f"provider {provider.id} has no aws section")
        if aws.role_arn is None:
            if stored is not None:
                return Minted(read_stored(stored), None)
            return await self._platform_keys(aws.region)
        role = Role(aws.role_arn, aws.session_name or _SESSION, aws.external_id)
        if aws.web_identity_token_file is not None:
            token = read_token(aws.web_identity_token_file)
            return _minted(await self._sts.assume_role_with_web_identity(aws.region, role, token))
        if stored is not None:
            keys = read_stored(stored)
            if isinstance(keys, Secret):
                raise CredentialUnavailableError(
                    "damaged", "a role takes AWS keys; a Bedrock API key is stored"
                )
            return _minted(await self._sts.assume_role(aws.region, role, keys))
        platform = self._platform(aws.region)
        keys = await platform.keys()
        try:
            return _minted(await self._sts.assume_role(aws.region, role, keys))
        except CredentialUnavailableError as error:
            if error.reason == "denied":
                platform.refused(keys)
            raise

    async def _platform_keys(self, region: str) -> Minted:
        own = await self._platform(region).lasting()
        return Minted(own.value, own.expires_s)

    def _platform(self, region: str) -> PlatformKeys:
        if region not in self._platforms:
            self._platforms[region] = PlatformKeys.from_environment(self._around, region=region)
        return self._platforms[region]


class _Stored(Hidden, forbid_unknown_fields=True):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


def read_stored(stored: Secret) -> ProviderCredential:
    """Keys if it is a JSON object, otherwise the Bedrock API key that it is.

    Raises ``CredentialUnavailableError`` (``damaged``), showing none of it.
    """
    text = stored.reveal().strip()
    if not text.startswith("{"):
        return stored
    try:
        read = msgspec.json.decode(text, type=_Stored)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        read = None
    if read is None or not read.access_key_id or not read.secret_access_key:
        raise CredentialUnavailableError(
            "damaged",
            "the stored AWS keys are not an object of access_key_id, secret_access_key and perhaps session_token",
        )
    token = Secret(read.session_token) if read.session_token else None
    return AwsKeys(read.access_key_id, Secret(read.secret_access_key), token)


def _minted(made: TemporaryKeys) -> Minted:
    return Minted(made.keys, made.expires_s)

"""The gateway's own AWS keys, found where AWS's own tools look for them, in their order.

Environment variables; web identity (``AWS_WEB_IDENTITY_TOKEN_FILE`` with ``AWS_ROLE_ARN``: IRSA on EKS); the shared
credentials file; the container's endpoint (ECS, EKS Pod Identity). Not read: ``~/.aws/config``, SSO, the metadata
service of an EC2 instance, ``credential_process``. Files are read again each time, so a rotation needs no restart.
"""

from __future__ import annotations

import configparser
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sovereign_ext.config.urls import is_protected
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.keystore.base import CredentialMissingError, CredentialUnavailableError
from sovereign_ext.keystore.exchange.small_file import read_small, read_token
from sovereign_ext.keystore.exchange.sts import Role, Sts, TemporaryKeys, instant_s
from sovereign_ext.keystore.http import Answer, Clock, Hidden, Outbound, Surroundings, TransientError, decode
from sovereign_ext.keystore.renewal import Lasting, Renewed, lasting
from sovereign_ext.secret import Secret

_ECS: Final = "http://169.254.170.2"
_CONTAINER_HOSTS: Final = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})


class PlatformKeys:
    """Whatever of those places has keys first. ``credentials_file`` and ``profile`` come before the environment's."""

    def __init__(
        self,
        environ: Mapping[str, str],
        sts: Sts,
        container: Outbound,
        clock: Clock,
        *,
        region: str,
        credentials_file: str | None = None,
        profile: str | None = None,
    ) -> None:
        self._environ = environ
        self._sts = sts
        self._container = container
        self._clock = clock
        self._region = region
        self._file = credentials_file
        self._profile = profile
        self._renewed = Renewed(self._make, clock)

    @classmethod
    def from_environment(
        cls,
        around: Surroundings,
        *,
        region: str,
        credentials_file: str | None = None,
        profile: str | None = None,
    ) -> PlatformKeys:
        """With an STS and a container's endpoint of its own."""
        environ, clock = around.environ, around.clock
        sts = Sts.from_environment(around)
        container = around.outbound("the container's credentials endpoint")
        return cls(
            environ, sts, container, clock, region=region, credentials_file=credentials_file, profile=profile
        )

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._sts.aclose()
        await self._container.aclose()

    async def keys(self) -> AwsKeys:
        """Raises ``CredentialMissingError`` if nothing is set up, ``CredentialUnavailableError`` if it fails."""
        return (await self.lasting()).value

    async def lasting(self) -> Lasting[AwsKeys]:
        """The same, with their expiry."""
        if self._file is not None:
            return Lasting(shared_file_keys(self._file, self._profile or "default"), None, None)
        static = self._of_environment()
        if static is not None:
            return Lasting(static, None, None)
        shared = self._shared_file()
        if self._web_identity() is None and shared is not None:
            profile = self._profile or self._environ.get("AWS_PROFILE") or "default"
            return Lasting(shared_file_keys(shared, profile), None, None)
        return await self._renewed.lasting()

    def refused(self, keys: AwsKeys) -> None:
        """AWS did not accept ``keys``: the next ones are made anew."""
        self._renewed.drop(keys)

    def _of_environment(self) -> AwsKeys | None:
        environ = self._environ
        key_id, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        if not key_id or not secret:
            return None
        token = environ.get("AWS_SESSION_TOKEN")
        return AwsKeys(key_id, Secret(secret), Secret(token) if token else None)

    def _shared_file(self) -> str | None:
        named = self._environ.get("AWS_SHARED_CREDENTIALS_FILE")
        if named:
            return named
        home = self._environ.get("HOME")
        usual = Path(home, ".aws", "credentials") if home else None
        return str(usual) if usual is not None and usual.is_file() else None

    def _web_identity(self) -> tuple[str, str] | None:
        token_file = self._environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
        role_arn = self._environ.get("AWS_ROLE_ARN")
        return (token_file, role_arn) if token_file and role_arn else None

    async def _make(self) -> Lasting[AwsKeys]:
        environ = self._environ
        identity = self._web_identity()
        if identity is not None:
            token_file, role_arn = identity
            role = Role(role_arn, environ.get("AWS_ROLE_SESSION_NAME") or "sovereign-router")
            token = read_token(token_file)
            return self._lasting(await self._sts.assume_role_with_web_identity(self._region, role, token))
        url = _container_url(environ)
        if url is not None:
            return self._lasting(await self._container.ask(lambda: self._of_container(url)))
        raise CredentialMissingError(
            "the gateway has no AWS keys of its own: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
            " AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, or give a credentials file"
        )

    def _lasting(self, made: TemporaryKeys) -> Lasting[AwsKeys]:
        return lasting(made.keys, self._clock(), made.expires_s)

    async def _of_container(self, url: str) -> TemporaryKeys:
        token_file = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        token = read_token(token_file).reveal() if token_file else None
        token = token or self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        answer = await self._container.send("GET", url, (("authorization", token),) if token else ())
        return self._read(answer)

    def _read(self, answer: Answer) -> TemporaryKeys:
        if answer.status == 429 or answer.status >= 500:
            raise TransientError("unreachable", f"{self._container.service} answered {answer.status}")
        if answer.status != 200:
            raise CredentialUnavailableError("denied", f"{self._container.service} answered {answer.status}")
        told = decode(answer, _ContainerAnswer, self._container)
        keys = AwsKeys(told.AccessKeyId, Secret(told.SecretAccessKey), Secret(told.Token))
        try:
            return TemporaryKeys(keys, instant_s(told.Expiration))
        except ValueError:
            raise self._container.damaged("its answer has no time of expiry") from None


class _ContainerAnswer(Hidden):
    AccessKeyId: str
    SecretAccessKey: str
    Token: str
    Expiration: str


def _container_url(environ: Mapping[str, str]) -> str | None:
    """Where the container's keys are. Raises ``CredentialUnavailableError`` for a host that AWS's SDKs refuse too."""
    relative = environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if relative:
        return _ECS + "/" + relative.lstrip("/")
    full = environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not full:
        return None
    if not is_protected(full) and not _is_container_host(urlsplit(full).hostname or ""):
        raise CredentialUnavailableError(
            "denied", "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor on this host"
        )
    return full


def _is_container_host(host: str) -> bool:
    try:
        return str(ipaddress.ip_address(host)) in _CONTAINER_HOSTS
    except ValueError:
        return False


def shared_file_keys(path: str, profile: str) -> AwsKeys:
    """The keys of one profile of a shared credentials file. Raises ``CredentialUnavailableError``."""
    # No interpolation: a % in a secret is one.
    parser = configparser.ConfigParser(interpolation=None, default_section="\0none")
    try:
        parser.read_string(read_small(path))
        section = parser[profile]
        key_id, secret = section["aws_access_key_id"], section["aws_secret_access_key"]
        token = section.get("aws_session_token")
    except (configparser.Error, KeyError):  # whose texts show lines of the file
        raise CredentialUnavailableError(
            "damaged", f"file {path} has no keys for profile {profile}"
        ) from None
    return AwsKeys(key_id, Secret(secret), Secret(token) if token else None)

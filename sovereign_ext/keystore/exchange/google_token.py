"""Access tokens of Google Cloud: for a service account by its key (RFC 7523), or of the metadata server.

The assertion is a JWT signed with RS256 whose audience is always Google's token endpoint, as google-auth writes it,
wherever it is sent; it is sent only to Google's own hosts or to the URL that the operator configured, never to one
that merely stands in a key file. Making one costs a signature (about 0.5 ms), so tokens are kept by whoever asks.
Other kinds of credential files (external accounts, impersonation, user refresh tokens) are refused by name.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.keystore.http import Answer, Clock, Hidden, Outbound, TransientError, decode
from sovereign_ext.secret import Secret

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
TOKEN_HOSTS: Final = frozenset({"oauth2.googleapis.com", "www.googleapis.com", "accounts.google.com"})
LIFETIME_S: Final = 3_600

_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_METADATA_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"
_FLAVOR: Final = ("metadata-flavor", "Google")
_MAX_LIFETIME_S: Final = 12 * 3_600  # what an organisation's policy can raise it to
_MIN_RSA_BITS: Final = 2_048


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A bearer token and until when it holds, in Unix seconds."""

    token: Secret = field(repr=False)
    expires_s: float


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A key of a service account. ``token_url`` is the file's word and is not trusted yet."""

    email: str
    key_id: str
    key: rsa.RSAPrivateKey = field(repr=False)
    token_url: str

    def assertion(self, now_s: float) -> str:
        """A JWT that asks for ``SCOPE``, good for an hour from ``now_s`` (Unix seconds)."""
        issued = int(now_s)
        header = {"alg": "RS256", "typ": "JWT", "kid": self.key_id}
        claims = {
            "iss": self.email,
            "scope": SCOPE,
            "aud": TOKEN_URL,
            "iat": issued,
            "exp": issued + LIFETIME_S,
        }
        signed = f"{_part(header)}.{_part(claims)}"
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64url(signature)}"


@lru_cache(maxsize=64)
def read_service_account(stored: Secret) -> ServiceAccount:
    """A service account's key file. Raises ``CredentialUnavailableError`` (``damaged``), showing none of it.

    The last ones are kept: checking an RSA key takes 15 to 30 ms, in which nothing else runs, and it is not left out
    because tenants store these files.
    """
    try:
        file = msgspec.json.decode(stored.reveal(), type=_KeyFile)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _damaged("is not a service account's key file") from None
    if file.type != "service_account":
        raise _damaged("has another type than service_account")
    try:
        key = load_pem_private_key(file.private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _damaged("has no private key in PEM") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _MIN_RSA_BITS:
        raise _damaged(f"has no RSA key of {_MIN_RSA_BITS} bits or more")
    return ServiceAccount(file.client_email, file.private_key_id, key, file.token_uri)


class GoogleTokens:
    """Asks for tokens over ``outbound``. ``token_url`` instead of a key file's; ``clock`` gives Unix seconds."""

    def __init__(
        self, outbound: Outbound, environ: Mapping[str, str], clock: Clock, token_url: str | None = None
    ) -> None:
        self._outbound = outbound
        self._environ = environ
        self._clock = clock
        self._token_url = token_url

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._outbound.aclose()

    async def of_service_account(self, account: ServiceAccount) -> AccessToken:
        """By the JWT grant. Raises ``CredentialUnavailableError``; ``denied`` if the key was withdrawn."""
        url = self._token_url or _checked(account.token_url)
        return await self._outbound.ask(lambda: self._grant(url, account))

    async def of_platform(self) -> AccessToken:
        """Of the service account that this machine or pod runs as. Raises ``CredentialUnavailableError``."""
        host = self._environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
        return await self._outbound.ask(lambda: self._metadata(f"http://{host}{_METADATA_PATH}"))

    async def _grant(self, url: str, account: ServiceAccount) -> AccessToken:
        # Signed anew for each try: it may have waited.
        form = urlencode({"grant_type": _GRANT, "assertion": account.assertion(self._clock())}).encode()
        kind = ("content-type", "application/x-www-form-urlencoded")
        return self._read(await self._outbound.send("POST", url, (kind,), form))

    async def _metadata(self, url: str) -> AccessToken:
        answer = await self._outbound.send("GET", url, (_FLAVOR,))
        if answer.status == 200 and answer.headers.get(_FLAVOR[0]) != _FLAVOR[1]:
            raise self._outbound.damaged("the answer is not a metadata server's")
        return self._read(answer)

    def _read(self, answer: Answer) -> AccessToken:
        told = f"{self._outbound.service} answered {answer.status}"
        if answer.status == 429:
            raise TransientError("throttled", told, answer.retry_after_s)
        if answer.status >= 500:
            raise TransientError("unreachable", told, answer.retry_after_s)
        if answer.status != 200:
            raise CredentialUnavailableError("denied", f"{told} {_error_code(answer)}".rstrip())
        granted = decode(answer, _Granted, self._outbound)
        if granted.token_type.lower() != "bearer" or not granted.access_token or granted.expires_in <= 0:
            raise self._outbound.damaged("its answer has no bearer token with an expiry")
        return AccessToken(
            Secret(granted.access_token), self._clock() + min(granted.expires_in, _MAX_LIFETIME_S)
        )


class _KeyFile(Hidden):
    type: str
    client_email: str
    private_key_id: str
    private_key: str
    token_uri: str = TOKEN_URL


class _Granted(Hidden):
    access_token: str
    expires_in: int
    token_type: str


class _OAuthError(Hidden):
    error: str = ""


def _error_code(answer: Answer) -> str:
    """RFC 6749's ``error``, if it is one of the words that it may be."""
    try:
        code = msgspec.json.decode(answer.body, type=_OAuthError).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    known = ("invalid_grant", "invalid_client", "invalid_request", "invalid_scope", "unauthorized_client")
    return code if code in known else ""


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.netloc not in TOKEN_HOSTS:
        raise _damaged("names a token_uri that is not Google's")
    return url


def _damaged(what: str) -> CredentialUnavailableError:
    return CredentialUnavailableError("damaged", f"the stored Google credential {what}")


def _part(value: Mapping[str, object]) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()

"""What AWS's APIs have in common: where they are, how a request is signed, what their errors mean.

Two protocols: AWS JSON 1.1 (Secrets Manager, KMS) and Query (STS: a form in, XML out). Codes are those of botocore's
service models. XML is read by expat without a document type, so there are no entities to expand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from xml.parsers import expat

import msgspec

from sovereign_ext.config.urls import is_protected
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.keystore.http import Answer, Clock, Headers, Outbound, TransientError
from sovereign_ext.sigv4 import sign

_THROTTLED: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "SlowDown",
    }
)
_DAMAGED: Final = frozenset(
    {
        "InvalidCiphertextException",
        "IncorrectKeyException",
        "DecryptionFailure",
    }
)
_PASSING: Final = frozenset(
    {
        "InternalFailure",
        "InternalServiceError",
        "InternalServiceErrorException",
        "KMSInternalException",
        "ServiceUnavailable",
        "DependencyTimeoutException",
        "KeyUnavailableException",
        "IDPCommunicationError",
        "RequestTimeout",
    }
)
OWN_KEYS_REFUSED: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "RequestExpired",
        "InvalidAccessKeyId",
    }
)
"""Codes that say something about the keys which signed, and nothing about what was asked."""

_ENDPOINT_VARIABLES: Final = {
    "kms": "AWS_ENDPOINT_URL_KMS",
    "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "sts": "AWS_ENDPOINT_URL_STS",
}
"""What AWS's tools call them: by the service's id, which is not the name in its host."""

_MAX_XML_DEPTH: Final = 16


class AwsRefused(CredentialUnavailableError):
    """The service answered with an error that asking again does not change. ``code`` is the service's."""

    def __init__(self, reason: str, message: str, code: str) -> None:
        super().__init__(reason, message)
        self.code = code


def endpoint_of(service: str, region: str, environ: Mapping[str, str], configured: str | None = None) -> str:
    """Base URL: as configured, as AWS's own tools are told by the environment, or the public one of the region.

    Raises ``CredentialUnavailableError`` for one that others could listen to.
    """
    given = configured or environ.get(_ENDPOINT_VARIABLES[service]) or environ.get("AWS_ENDPOINT_URL")
    if given:
        if not is_protected(given):
            raise CredentialUnavailableError(
                "denied", f"{service}: its endpoint is neither https nor on this host"
            )
        return given.rstrip("/")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{service}.{region}.{suffix}"


class AwsApi:
    """One service in one region. ``clock`` gives Unix seconds, of which AWS tolerates some minutes' error."""

    def __init__(
        self, service: str, region: str, endpoint: str, outbound: Outbound, clock: Clock = time.time
    ) -> None:
        self._service = service
        self._region = region
        self._url = endpoint + "/"
        parts = urlsplit(self._url)
        self._host, self._path = parts.netloc, parts.path
        self.outbound = outbound
        self._clock = clock

    async def json(self, action: str, body: Mapping[str, Any], keys: AwsKeys) -> Answer:
        """The answer of ``action`` (``secretsmanager.GetSecretValue``). Raises ``CredentialUnavailableError``."""
        headers = (("content-type", "application/x-amz-json-1.1"), ("x-amz-target", action))
        answer = await self._send(headers, msgspec.json.encode(body), keys)
        if answer.status != 200:
            raise self._refusal(answer, json_error_code(answer))
        return answer

    async def query(self, form: Mapping[str, str], keys: AwsKeys | None) -> dict[str, str]:
        """The texts of an XML answer by their element's name. Without ``keys`` it is not signed."""
        headers = (("content-type", "application/x-www-form-urlencoded; charset=utf-8"),)
        answer = await self._send(headers, urlencode(form).encode(), keys)
        texts = xml_texts(answer.body)
        if answer.status != 200:
            raise self._refusal(answer, (texts or {}).get("Code", ""))
        if texts is None:
            raise self.outbound.damaged("its answer is not XML as STS writes it")
        return texts

    async def _send(self, headers: Headers, content: bytes, keys: AwsKeys | None) -> Answer:
        if keys is not None:
            added = sign(
                "POST", self._host, self._path, "", headers, content, keys,
                region=self._region, service=self._service, now_s=self._clock(),
            )  # fmt: skip
            headers = (*headers, *added)
        return await self.outbound.send("POST", self._url, headers, content)

    def _refusal(self, answer: Answer, code: str) -> CredentialUnavailableError:
        code = code if code.isascii() and code.isalnum() and len(code) <= 64 else ""
        told = f"{self.outbound.service} answered {answer.status} {code}".rstrip()
        if answer.status == 429 or code in _THROTTLED:
            return TransientError("throttled", told, answer.retry_after_s)
        if answer.status >= 500 or code in _PASSING:
            return TransientError("unreachable", told, answer.retry_after_s)
        return AwsRefused("damaged" if code in _DAMAGED else "denied", told, code)


def json_error_code(answer: Answer) -> str:
    """The code of an AWS JSON error: of the header or the body's ``__type``, without namespace and URL."""
    named: str = answer.headers.get("x-amzn-errortype", "")
    if not named:
        try:
            named = msgspec.json.decode(answer.body, type=_JsonError).type
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""  # a proxy's page; the status still says something
    return named.partition(":")[0].rpartition("#")[2]


class _JsonError(msgspec.Struct):
    type: str = msgspec.field(default="", name="__type")


def xml_texts(body: bytes) -> dict[str, str] | None:
    """The text of every element that has one, by its local name; the first of a name counts.

    ``None`` if it is not well-formed, has a document type or is deeper than any answer of STS.
    """
    reader = _Texts()
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, _UnwantedError):
        return None
    return reader.found


class _UnwantedError(Exception):
    """XML that no AWS answer has."""


class _Texts:
    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._open: list[list[str]] = []

    def doctype(self, *_: object) -> None:
        raise _UnwantedError

    def start(self, _name: str, _attributes: object) -> None:
        if len(self._open) == _MAX_XML_DEPTH:
            raise _UnwantedError
        self._open.append([])

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].append(data)

    def end(self, name: str) -> None:
        text = "".join(self._open.pop()).strip()
        if text:
            self.found.setdefault(name.rpartition(":")[2], text)

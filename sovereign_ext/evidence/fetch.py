"""Asks one attestation verifier over HTTP for evidence, and for the keys that sign it.

The protocol is in docs/reference/evidence.md. Every answer is bounded in size and time; redirects, proxies of the
environment and compressed answers are not followed. Nothing that comes back is believed here.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final

import httpx

from sovereign_ext.config.trust import Evidence, EvidenceKind
from sovereign_ext.errors import EvidenceRefused, VerificationError
from sovereign_ext.registry.appraisal import NO_EVIDENCE
from sovereign_ext.registry.eat import encode_nonce
from sovereign_ext.registry.jose import MAX_TOKEN_BYTES, read_json_object
from sovereign_ext.roots import tls_context

TOTAL_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 1024 * 1024

_TOKEN_TYPES: Final = ("application/eat+jwt", "application/jwt")
_COSE_FIRST_BYTES: Final = (0x84, 0xD2, 0x9F)  # an array of four, tagged or not; of an unstated length
_BLANKS: Final = re.compile(rb"\s+")


@dataclass(frozen=True, slots=True)
class Answer:
    """Evidence as it was received, and the nonce it has to hold; ``None`` when the verifier took none."""

    document: bytes
    nonce: bytes | None


class VerifierClient:
    """One verifier. ``roots`` are PEM certificates instead of the system's. Close it when done.

    Raises ``ConfigError`` for roots that are none.
    """

    def __init__(self, config: Evidence, roots: bytes | None) -> None:
        self._config = config
        self._http = httpx.AsyncClient(
            verify=tls_context(roots),
            timeout=TOTAL_S,
            trust_env=False,
            headers={"accept-encoding": "identity", "user-agent": "sovereign-router"},
        )

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def evidence(self, nonce: bytes) -> Answer:
        """Fresh evidence. Raises ``EvidenceRefused`` when there is none to be had."""
        if self._config.kind is EvidenceKind.NITRO:
            url = httpx.URL(self._config.url).copy_merge_params({"nonce": nonce.hex()})
            _, body = await self._ask("GET", url)
            return Answer(_binary(body), nonce)
        url = httpx.URL(self._config.url)
        accept = {"accept": ", ".join(("application/json", *_TOKEN_TYPES))}
        try:
            kind, body = await self._ask("POST", url, json={"nonce": encode_nonce(nonce)}, headers=accept)
        except _MethodRefused:
            # A document that is merely served, say by a sidecar that renews it: its age has to do.
            kind, body = await self._ask("GET", url, headers=accept)
            return Answer(_token(kind, body), None)
        return Answer(_token(kind, body), nonce)

    async def key_set(self) -> bytes:
        """The JWKS document at ``jwks_url``. Raises ``EvidenceRefused``."""
        url = self._config.jwks_url
        assert url is not None
        _, body = await self._ask("GET", httpx.URL(url))
        return body

    async def _ask(self, method: str, url: httpx.URL, **options: Any) -> tuple[str, bytes]:
        """Media type and body of a 200. Raises ``EvidenceRefused`` for anything else."""
        try:
            async with asyncio.timeout(TOTAL_S), self._http.stream(method, url, **options) as response:
                if response.status_code == 405:
                    raise _MethodRefused(NO_EVIDENCE, f"the verifier does not take {method}")
                if response.status_code != 200:
                    raise EvidenceRefused(NO_EVIDENCE, f"the verifier answered {response.status_code}")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise EvidenceRefused(NO_EVIDENCE, "the verifier's answer is compressed")
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise EvidenceRefused(
                            NO_EVIDENCE, f"the verifier's answer is longer than {MAX_ANSWER_BYTES} bytes"
                        )
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                return kind, bytes(body)
        except TimeoutError:
            raise EvidenceRefused(
                NO_EVIDENCE, f"the verifier did not answer within {TOTAL_S:.0f} s"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EvidenceRefused(NO_EVIDENCE, f"the verifier cannot be asked: {_why(error)}") from None


class _MethodRefused(EvidenceRefused):
    """The verifier takes no nonce."""


def _token(kind: str, body: bytes) -> bytes:
    if kind in _TOKEN_TYPES:
        return body.strip()
    if len(body) > 2 * MAX_TOKEN_BYTES:
        raise EvidenceRefused(
            NO_EVIDENCE, f"the verifier's answer is longer than {2 * MAX_TOKEN_BYTES} bytes"
        )
    try:
        token = read_json_object(body, "the verifier's answer").get("token")
    except VerificationError as error:
        raise EvidenceRefused(NO_EVIDENCE, str(error)) from None
    if not isinstance(token, str):
        raise EvidenceRefused(NO_EVIDENCE, "the verifier's answer has no token")
    return token.encode()


def _binary(body: bytes) -> bytes:
    """CBOR as it is, or in base64."""
    if body[:1] and body[0] in _COSE_FIRST_BYTES:
        return body
    try:
        return b64decode(_BLANKS.sub(b"", body), validate=True)
    except binascii.Error:
        raise EvidenceRefused(NO_EVIDENCE, "the answer is neither CBOR nor base64 of it") from None


def _why(error: Exception) -> str:
    """The innermost cause, which says more than httpx's wrapping of it."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return (str(cause) or type(error).__name__)[:200]

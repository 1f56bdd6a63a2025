"""The keys of an OpenID Connect issuer (JWKS, RFC 7517): fetched when needed, kept, renewed without anybody waiting.

What a caller can make us do is bounded. There is one question at a time, and after it a pause (``COOLDOWN_S``),
whatever came back: tokens that name made-up keys are refused from what is known and do not become questions to the
issuer. While the issuer cannot be reached the last good keys count, for ``MAX_STALE_S`` at most, since a key that it
has withdrawn would stay good as long; then tokens are refused with 503, which is our fault and not the caller's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import httpx

from sovereign_ext.config.oidc import Issuer, Oidc
from sovereign_ext.errors import ConfigError, ServiceError, VerificationError
from sovereign_ext.management.oidc import Issuers, KeySource
from sovereign_ext.registry.jose import KeySet, read_key_set
from sovereign_ext.roots import tls_context

_log = logging.getLogger(__name__)

TIMEOUT_S: Final = 3.0
COOLDOWN_S: Final = 10.0
MAX_STALE_S: Final = 86_400.0
MAX_BYTES: Final = 512 * 1024


def issuers(config: Oidc, documents: Mapping[str, bytes], monotonic: Callable[[], float]) -> Issuers:
    """The configured issuers with their keys. ``documents`` are files by their path, ``monotonic`` gives seconds.

    Raises ``ConfigError`` for a file that holds no keys, or no certificate.
    """
    found: dict[str, tuple[Issuer, KeySource]] = {}
    for index, each in enumerate(config.issuers):
        roots = None if each.ca_file is None else documents[each.ca_file]
        try:
            if each.jwks_file is not None:
                found[each.issuer] = each, FixedKeys(read_key_set(documents[each.jwks_file]))
            else:
                found[each.issuer] = each, FetchedKeys(each, roots, monotonic)
        except VerificationError as error:
            raise ConfigError(str(error), field=f"oidc.issuers[{index}].jwks_file") from None
        except ConfigError as error:
            raise ConfigError(error.reason, field=f"oidc.issuers[{index}].ca_file") from None
    return found


class FixedKeys:
    """Keys that the configuration gives."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def same_as(self, other: KeySource) -> bool:
        """Never: there is nothing to keep."""
        return False

    async def keys(self, kid: str | None) -> KeySet:
        """Always the same."""
        return self._keys


class FetchedKeys:
    """Keys at ``jwks_url``. ``roots`` (PEM) are trusted for it instead of the system's; ``monotonic`` gives seconds."""

    def __init__(self, issuer: Issuer, roots: bytes | None, monotonic: Callable[[], float]) -> None:
        assert issuer.jwks_url is not None
        self._issuer = issuer
        self._url = issuer.jwks_url
        self._tls = tls_context(roots)
        self._monotonic = monotonic
        self._known: KeySet | None = None
        self._fetched_at = -MAX_STALE_S
        self._asked_at = -MAX_STALE_S
        self._asking: asyncio.Task[None] | None = None
        self._roots = roots

    def same_as(self, other: KeySource) -> bool:
        """See ``oidc.KeySource``. What tokens are given does not count here."""
        return isinstance(other, FetchedKeys) and self._place() == other._place()

    def _place(self) -> tuple[str, str, int, bytes | None]:
        return self._issuer.issuer, self._url, self._issuer.refresh_s, self._roots

    async def keys(self, kid: str | None) -> KeySet:
        """See ``oidc.KeySource``. Waits for the issuer only where nothing else helps: without keys, and for a key that
        is not known."""
        age = self._monotonic() - self._fetched_at
        if self._known is None or age >= MAX_STALE_S or (kid is not None and not self._has(kid)):
            await self._ask()
        elif age >= self._issuer.refresh_s:
            self._begin()
        if self._known is None or self._monotonic() - self._fetched_at >= MAX_STALE_S:
            text = "The issuer of your token cannot be asked for its keys right now."
            raise ServiceError(503, text, code="issuer_unavailable", retry_after_s=COOLDOWN_S)
        return self._known

    def _has(self, kid: str) -> bool:
        return self._known is not None and any(key.kid == kid for key in self._known.keys)

    async def _ask(self) -> None:
        task = self._begin()
        if task is not None:
            await asyncio.wait([task])  # whoever is cancelled meanwhile goes; the question is everybody's
            if not task.cancelled():
                task.result()

    def _begin(self) -> asyncio.Task[None] | None:
        """The question under way, or a new one; ``None`` during the pause after the last."""
        if self._asking is not None and not self._asking.done():
            return self._asking
        if self._monotonic() - self._asked_at < COOLDOWN_S:
            return None
        self._asked_at = self._monotonic()
        self._asking = asyncio.create_task(self._fetch())
        return self._asking

    async def _fetch(self) -> None:
        try:
            found = read_key_set(await self._body())
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, VerificationError) as error:
            _log.warning(
                "the keys of %s cannot be had: %s",
                self._issuer.issuer,
                str(error)[:200] or type(error).__name__,
            )
        else:
            self._known, self._fetched_at = found, self._monotonic()
        self._asked_at = self._monotonic()

    async def _body(self) -> bytes:
        # No redirects and no proxies of the environment: the keys come from where the configuration says.
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(verify=self._tls, timeout=TIMEOUT_S, trust_env=False) as client,
            client.stream("GET", self._url, headers={"accept-encoding": "identity"}) as response,
        ):
            if response.status_code != 200:
                raise VerificationError(f"it answered {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise VerificationError(f"its answer is longer than {MAX_BYTES} bytes")
            return bytes(body)

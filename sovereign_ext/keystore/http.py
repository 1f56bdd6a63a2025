"""Asks one service that keeps keys or hands out credentials, over HTTP: what a bound is, and what a failure means.

Every answer is bounded in size, every question in time, all its tries included. Redirects, proxies of the
environment and compressed answers are not followed: a credential goes to the service that was configured and nowhere
else. Errors carry the service's name and a reason, never what was sent or received. What a status means is for the
service's own module to say; it raises ``TransientError`` for what may pass.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import httpx
import msgspec

from sovereign_ext.errors import ConfigError
from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.roots import tls_context

T = TypeVar("T")

MAX_ANSWER_BYTES: Final = 256 * 1024
"""Four times the largest secret that AWS and Google take."""

TIMEOUT_S: Final = 5.0
TRIES: Final = 4
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0

Clock = Callable[[], float]
"""Gives Unix seconds."""

Headers = Sequence[tuple[str, str]]


class Hidden(msgspec.Struct):
    """An answer's shape, of which ``repr`` shows nothing."""

    def __repr__(self) -> str:
        return type(self).__name__


class TransientError(CredentialUnavailableError):
    """Asking again may help. ``after_s``: how long the service wants to be left alone, if it said so."""

    def __init__(self, reason: str, message: str, after_s: float | None = None) -> None:
        super().__init__(reason, message)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def retry_after_s(self) -> float | None:
        """``Retry-After`` in seconds; its other form, a date, is not read."""
        value: str = self.headers.get("retry-after", "")
        return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else None


class Outbound:
    """The way to one service. ``service`` names it in errors; ``timeout_s`` bounds one ``ask``.

    ``http`` is used as it is and closed by its owner; without one there is a client of its own, with the roots of
    ``ca_file`` (PEM) or the system's, closed by ``aclose``. Raises ``ConfigError`` for roots that are none.
    """

    def __init__(
        self,
        service: str,
        *,
        timeout_s: float = TIMEOUT_S,
        ca_file: str | None = None,
        http: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.service = service
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._chance = chance
        self._owned = http is None
        # Half of the time for one try: a connection that hangs leaves some for another.
        self._http = http or httpx.AsyncClient(verify=_roots(ca_file), timeout=timeout_s / 2, trust_env=False)

    async def aclose(self) -> None:
        """Let go of the connections, if they are its own."""
        if self._owned:
            await self._http.aclose()

    async def ask(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """``attempt()``, again while it raises ``TransientError`` and there are tries and time left.

        Raises what the last one raised, or ``timeout``.
        """
        clock = asyncio.get_running_loop().time
        end_s = clock() + self._timeout_s
        try:
            async with asyncio.timeout(self._timeout_s):
                for tried in range(1, TRIES + 1):
                    try:
                        return await attempt()
                    except TransientError as error:
                        pause_s = self._pause_s(tried, error.after_s)
                        if tried == TRIES or clock() + pause_s >= end_s:
                            raise
                        await self._sleep(pause_s)
        except TimeoutError:
            raise CredentialUnavailableError(
                "timeout", f"{self.service} did not answer within {self._timeout_s:g} s"
            ) from None
        raise AssertionError("the last try returns or raises")

    async def send(self, method: str, url: str, headers: Headers = (), content: bytes = b"") -> Answer:
        """One request and its whole answer.

        Raises ``TransientError`` if there was none, ``CredentialUnavailableError`` (``damaged``) if it is too long.
        """
        wire = [("accept-encoding", "identity"), ("user-agent", "sovereign-router"), *headers]
        try:
            # Only a body of its own: a GET has neither content nor a length.
            async with self._http.stream(
                method, url, headers=wire, content=content or None, follow_redirects=False
            ) as response:
                return Answer(response.status_code, response.headers, await self._read(response))
        except httpx.TimeoutException:
            raise TransientError("timeout", f"{self.service} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, UnicodeError) as error:
            raise TransientError(
                "unreachable", f"{self.service} cannot be reached: {type(error).__name__}"
            ) from None

    async def _read(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self.damaged("its answer is compressed")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise self.damaged(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        return bytes(body)

    def damaged(self, what: str) -> CredentialUnavailableError:
        """The service answered, and the answer cannot be used."""
        return CredentialUnavailableError("damaged", f"{self.service}: {what}")

    def _pause_s(self, tried: int, after_s: float | None) -> float:
        """Exponential with full jitter, so that many who were throttled together do not come back together."""
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**tried)
        return max(after_s or 0.0, longest * (0.5 + self._chance() / 2))


def decode(answer: Answer, kind: type[T], outbound: Outbound) -> T:
    """The answer's JSON as ``kind``. Raises ``CredentialUnavailableError`` (``damaged``), showing none of it."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise outbound.damaged("its answer is not what its API promises") from None


def _roots(ca_file: str | None) -> ssl.SSLContext:
    try:
        return tls_context(None if ca_file is None else Path(ca_file).expanduser().read_bytes())
    except OSError as error:
        raise ConfigError(f"{ca_file} cannot be read: {type(error).__name__}") from None
    except ConfigError as error:
        raise ConfigError(f"{ca_file} {error.reason}") from None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What back ends are given. ``http``, if any, is used for everything and closed by its owner."""

    environ: Mapping[str, str] = field(repr=False)
    clock: Clock = time.time
    http: httpx.AsyncClient | None = None

    def outbound(self, service: str, *, timeout_s: float = TIMEOUT_S, ca_file: str | None = None) -> Outbound:
        """The way to ``service``. Raises ``ConfigError`` for a ``ca_file`` that is none."""
        return Outbound(service, timeout_s=timeout_s, ca_file=ca_file, http=self.http)

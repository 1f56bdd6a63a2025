"""Posts one event to one receiver over HTTP and says how that went.

A 2xx is success. 410 says that the receiver wants nothing more (Standard Webhooks). Everything else is a failure that
is tried again: other statuses, redirects, which are not followed, and no answer within ``TIMEOUT_S``. Proxies of the
environment are not used. An answer's body is not read, so nothing of it can be shown: the connection is closed
instead, unless the body is empty.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Final

import httpx

from sovereign_ext.errors import ConfigError
from sovereign_ext.roots import tls_context

TIMEOUT_S: Final = 15.0
"""For the whole call, connection included."""

LONGEST_RETRY_AFTER_S: Final = 3_600.0
"""A receiver may ask for an hour; what it asks for beyond that it does not get, since a leaked key is waiting."""


class Result(Enum):
    """How a receiver answered."""

    TAKEN = "taken"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Answer:
    """``error`` says in our words why it was not taken, ``retry_after_s`` what the receiver asked for."""

    result: Result
    error: str = ""
    retry_after_s: float | None = None


class WebhookClient:
    """Posts to ``url``. ``roots`` are PEM certificates instead of the system's. ``close`` it at the end.

    Raises ``ConfigError`` for roots that are none and for a URL that cannot be used.
    """

    def __init__(
        self, url: str, roots: bytes | None, now_s: Callable[[], float], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = usable_url(url)
        self._now_s = now_s
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            verify=tls_context(roots),
            timeout=timeout_s,
            trust_env=False,
            headers={
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "sovereign-router",
            },
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one event. Never raises what the receiver or the way to it causes."""
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._http.stream("POST", self._url, content=body, headers=dict(headers)) as response,
            ):
                empty = response.headers.get("content-length") == "0"
                if empty or response.status_code == HTTPStatus.NO_CONTENT:
                    await response.aread()  # reads nothing, and keeps the connection
                return self._judge(response)
        except (TimeoutError, httpx.TimeoutException):
            return Answer(Result.FAILED, f"no answer within {self._timeout_s:g} s")
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            return Answer(Result.FAILED, f"cannot be asked: {_why(error)}")

    def _judge(self, response: httpx.Response) -> Answer:
        status = response.status_code
        if 200 <= status < 300:
            return Answer(Result.TAKEN)
        if status == HTTPStatus.GONE:
            return Answer(Result.GONE, "answered 410: it wants nothing more")
        note = ", and redirects are not followed" if 300 <= status < 400 else ""
        after = _retry_after_s(response.headers.get("retry-after", ""), self._now_s())
        return Answer(Result.FAILED, f"answered {status}{note}", after)


def usable_url(url: str) -> httpx.URL:
    """``url``, parsed. Raises ``ConfigError``, without a field, if it can be no request's."""
    try:
        return httpx.URL(url)
    except httpx.InvalidURL:
        raise ConfigError("is no URL") from None


def _retry_after_s(text: str, now_s: float) -> float | None:
    """Seconds (RFC 9110, 10.2.3: a number of them, or a date), none and ``LONGEST_RETRY_AFTER_S`` at most."""
    if text.isascii() and text.isdigit():
        seconds = float(text[:10])
    else:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)


def _why(error: BaseException) -> str:
    """The innermost cause, by the words of TLS or of the system: httpx's own may show the URL."""
    cause = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause).__name__

"""Every error this code raises on purpose, and what a client may be told about it.

::

    SovereignError
    ├── ConfigError            the operator's file is wrong; carries file, line and field
    ├── ApiError               has a client-safe status, type, code and message
    │   ├── CallerError        the caller erred (4xx): never lowers a provider's health
    │   └── ServiceError       we or every provider failed (5xx, 429)
    ├── LogError
    │   ├── LogUnavailable     an entry could not be made durable: the call fails closed
    │   └── LogCorrupt         stored log data contradict each other; never sign past this
    └── VerificationError      a receipt, proof, note or signature does not verify

Only ``ApiError`` messages reach a client. Anything else is answered with one generic message and a
request id. Messages never contain prompts, credentials or internal addresses.
"""

from __future__ import annotations

from typing import Final

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"


class SovereignError(Exception):
    """Root of the tree."""


class ConfigError(SovereignError):
    """A configuration file cannot be used.

    ``file`` is the path as given, ``line`` is 1-based (``None`` when the fault has no place in the file),
    ``field`` is a dotted path such as ``tenants[0].keys[1].hash``.
    """

    def __init__(self, reason: str, *, file: str = "", line: int | None = None, field: str = "") -> None:
        self.reason = reason
        self.file = file
        self.line = line
        self.field = field
        place = file if line is None else f"{file}:{line}"
        super().__init__(": ".join(part for part in (place, field, reason) if part))


class ApiError(SovereignError):
    """An error in OpenAI's shape ``{"error": {message, type, param, code}}``.

    ``retry_after_s`` becomes ``Retry-After`` (whole seconds, rounded up); ``retry`` answers whether the same
    call could succeed later: ``False`` becomes ``x-should-retry: false``, which both OpenAI SDKs obey.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = INVALID_REQUEST,  # noqa: A002 - OpenAI's own name for the field
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        retry: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.retry = retry


class CallerError(ApiError):
    """The caller erred: bad key, bad body, denied policy, unknown model."""


class ServiceError(ApiError):
    """The gateway, its log or every eligible provider failed."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        type: str = SERVER_ERROR,  # noqa: A002
        retry_after_s: float | None = None,
        retry: bool = True,
    ) -> None:
        super().__init__(status, message, type=type, code=code, retry_after_s=retry_after_s, retry=retry)


class LogError(SovereignError):
    """The transparency log could not do what was asked."""


class LogUnavailable(LogError):
    """An entry could not be made durable (disk full, database gone, shutting down)."""


class LogCorrupt(LogError):
    """Stored log data contradict each other: signing on would fork the log."""


class VerificationError(SovereignError):
    """Something that claims to be proven is not. The message says what was expected and what came."""

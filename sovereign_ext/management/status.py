"""Turns exceptions into gRPC statuses: the only place that decides what a management caller is told.

Statuses carry a ``google.rpc.Status`` in ``grpc-status-details-bin`` (AIP-193), which Envoy's transcoder
renders as the JSON body, and the HTTP headers that belong to them. Only ``ApiError`` messages are passed on;
everything else becomes one generic message with an id, under which the log has the whole story.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf import duration_pb2, message
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.errors import ApiError, EntryNotFound, EntryPending, InvalidFields, LogUnavailable

DOMAIN: Final = "sovereign-router.dev"
"""``ErrorInfo.domain``: whose reasons these are."""

LOG_RETRY_S: Final = 1.0
"""Seconds after which asking again is worth it when the log could not answer."""

CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""The way back of Envoy's mapping from gRPC status to HTTP status, which knows no 413: that is for ``bodies``."""

SPECIAL: Final = {
    "already_exists": grpc.StatusCode.ALREADY_EXISTS,
    "in_use": grpc.StatusCode.FAILED_PRECONDITION,
    "key_not_valid": grpc.StatusCode.FAILED_PRECONDITION,
    "too_many_keys": grpc.StatusCode.FAILED_PRECONDITION,
}
"""Codes that say more than their HTTP status does."""

MOST_TEXT: Final = 1_000
"""Characters of a message."""

MOST_FAULTS: Final = 20
"""Fields that an answer names, at most."""

_MOST_FAULT_CHARS: Final = 3_000
"""In all of them together: what tells of a failure is headers, and of those gRPC clients take 8 KiB."""

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """How one call ends instead of with its answer. ``trailers`` hold the details and HTTP headers."""

    code: grpc.StatusCode
    message: str
    trailers: Metadata


def known(error: BaseException) -> Failure | None:
    """The failure that a caller may be told of, or ``None`` when the error was not meant for callers."""
    if isinstance(error, EntryNotFound):
        return _failure(grpc.StatusCode.NOT_FOUND, "there is no such entry", "entry_not_found", None)
    if isinstance(error, EntryPending):
        text = "the entry is durable, but no checkpoint covers it yet"
        return _failure(grpc.StatusCode.UNAVAILABLE, text, "entry_pending", LOG_RETRY_S)
    if isinstance(error, LogUnavailable):
        return _failure(
            grpc.StatusCode.UNAVAILABLE, "the log cannot answer right now", "log_unavailable", LOG_RETRY_S
        )
    if isinstance(error, SQLAlchemyError):
        text = "the database cannot answer right now"
        return _failure(grpc.StatusCode.UNAVAILABLE, text, "storage_unavailable", LOG_RETRY_S)
    if isinstance(error, ApiError) and error.status in CODES:
        code = SPECIAL.get(error.code or "", CODES[error.status])
        fields = error.fields if isinstance(error, InvalidFields) else ()
        return _failure(code, error.message, error.code, error.retry_after_s, fields)
    return None


def unexpected(incident: str) -> Failure:
    """The failure for an error that nobody foresaw. ``incident`` is the id under which it was logged."""
    info = error_details_pb2.RequestInfo(request_id=incident)
    text = f"internal error {incident}"
    return Failure(grpc.StatusCode.INTERNAL, text, _details(grpc.StatusCode.INTERNAL, text, info))


def _failure(
    code: grpc.StatusCode,
    text: str,
    reason: str | None,
    retry_after_s: float | None,
    fields: Sequence[tuple[str, str]] = (),
) -> Failure:
    text = text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
    details: list[message.Message] = []
    headers: list[tuple[str, str]] = []
    if reason is not None:
        details.append(error_details_pb2.ErrorInfo(reason=reason.upper(), domain=DOMAIN))
    if retry_after_s is not None:
        seconds = math.ceil(retry_after_s)
        details.append(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds)))
        headers.append(("retry-after", str(seconds)))
    if fields:
        violation = error_details_pb2.BadRequest.FieldViolation
        faults = [violation(field=field, description=fault) for field, fault in _first(fields)]
        details.append(error_details_pb2.BadRequest(field_violations=faults))
    if code is grpc.StatusCode.UNAUTHENTICATED:
        headers.append(("www-authenticate", "Bearer"))  # RFC 9110, 15.5.2: a 401 names the scheme
    return Failure(code, text, (*headers, *_details(code, text, *details)))


def _first(fields: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The first of them, each cut to what can be read, as many as an answer takes."""
    room = _MOST_FAULT_CHARS
    for field, fault in fields[:MOST_FAULTS]:
        shown = field[:MOST_TEXT], fault[:MOST_TEXT]
        room -= sum(map(len, shown))
        if room < 0:
            return
        yield shown


def _details(code: grpc.StatusCode, text: str, *details: message.Message) -> Metadata:
    status = status_pb2.Status(code=code.value[0], message=text)
    for detail in details:
        status.details.add().Pack(detail)
    return (("grpc-status-details-bin", status.SerializeToString()),)

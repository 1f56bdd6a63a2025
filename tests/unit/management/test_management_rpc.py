"""How services are bound and how calls end, over a real gRPC connection on a Unix socket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy.exc import OperationalError

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.errors import (
    ApiError,
    CallerError,
    InvalidFields,
    KeyRefused,
    LogCorrupt,
    LogUnavailable,
    ServiceError,
)
from sovereign_ext.management import rpc
from sovereign_ext.management.status import known

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
SECRET = "sk-not-for-callers"


class Scripted:
    """A Health service whose methods raise what they are told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[rpc.Call] = []

    async def check(self, request: health_pb2.HealthCheckRequest, call: rpc.Call) -> rpc.Reply:
        self.calls.append(call)
        if self.error:
            raise self.error
        return rpc.Reply(health_pb2.HealthCheckResponse(status=1), (("cache-control", "no-store"),))

    async def list(self, request: health_pb2.HealthListRequest, call: rpc.Call) -> rpc.Reply:
        return rpc.Reply(health_pb2.HealthListResponse())

    async def watch(
        self, request: health_pb2.HealthCheckRequest, call: rpc.Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        yield health_pb2.HealthCheckResponse(status=1)
        if self.error:
            raise self.error

    def methods(self) -> rpc.Methods:
        return {"Check": self.check, "List": self.list, "Watch": self.watch}


def ask(service: Scripted, socket: Path, data: bytes = b"", **options: Any) -> dict[str, Any]:
    """Calls Check once; code, message, details and headers of the answer."""

    async def run() -> dict[str, Any]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((rpc.bind(HEALTH, service.methods()),))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
                call = channel.unary_unary("/grpc.health.v1.Health/Check")(data, **options)
                code = await call.code()
                trailers = dict(await call.trailing_metadata())
                packed = trailers.pop("grpc-status-details-bin", b"")
                return {
                    "code": code,
                    "message": await call.details(),
                    "status": status_pb2.Status.FromString(packed),
                    "initial": dict(await call.initial_metadata()),
                    "trailers": trailers,
                }
        finally:
            await server.stop(None)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "code", "message", "reason"),
    [
        (CallerError(400, "bad index", code="invalid_name"), "INVALID_ARGUMENT", "bad index", "INVALID_NAME"),
        (KeyRefused(401, "no key", code="invalid_api_key"), "UNAUTHENTICATED", "no key", "INVALID_API_KEY"),
        (CallerError(403, "admins only", code="denied"), "PERMISSION_DENIED", "admins only", "DENIED"),
        (CallerError(404, "no such", code="not_found"), "NOT_FOUND", "no such", "NOT_FOUND"),
        (ServiceError(429, "slow down", code="busy"), "RESOURCE_EXHAUSTED", "slow down", "BUSY"),
        (ServiceError(503, "not yet", code="pending"), "UNAVAILABLE", "not yet", "PENDING"),
        (ServiceError(504, "too late", code="late"), "DEADLINE_EXCEEDED", "too late", "LATE"),
    ],
)
def test_errors_meant_for_callers_keep_their_message(
    tmp_path: Path, error: ApiError, code: str, message: str, reason: str
) -> None:
    """Each status has its gRPC code; message and reason are passed on, in the details as well."""
    answer = ask(Scripted(error), tmp_path / "s")
    assert answer["code"] is grpc.StatusCode[code]
    assert answer["message"] == message
    status = answer["status"]
    assert (status.code, status.message) == (grpc.StatusCode[code].value[0], message)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "sovereign-router.dev")


def test_retry_hint_is_in_details_and_header(tmp_path: Path) -> None:
    """Seconds are rounded up: coming back a little late is right, a little early is not."""
    answer = ask(Scripted(ServiceError(503, "not yet", code="pending", retry_after_s=1.2)), tmp_path / "s")
    assert answer["trailers"] == {"retry-after": "2"}
    retry = error_details_pb2.RetryInfo()
    assert answer["status"].details[1].Unpack(retry)
    assert retry.retry_delay.seconds == 2


def test_401_names_the_scheme(tmp_path: Path) -> None:
    """RFC 9110 wants WWW-Authenticate on a 401."""
    answer = ask(Scripted(KeyRefused(401, "no key", code="invalid_api_key")), tmp_path / "s")
    assert answer["trailers"] == {"www-authenticate": "Bearer"}


def test_an_unavailable_log_says_when_to_come_back(tmp_path: Path) -> None:
    """The text of ``LogUnavailable`` is for us; the caller learns that it is passing."""
    answer = ask(Scripted(LogUnavailable(f"disk full at {SECRET}")), tmp_path / "s")
    assert answer["code"] is grpc.StatusCode.UNAVAILABLE
    assert SECRET not in str(answer)
    assert answer["trailers"] == {"retry-after": "1"}


@pytest.mark.parametrize("error", [KeyError(SECRET), LogCorrupt(SECRET), ApiError(418, SECRET)])
def test_what_nobody_foresaw_leaks_nothing(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets an incident id, the log the exception under the same id."""
    with caplog.at_level(logging.ERROR):
        answer = ask(Scripted(error), tmp_path / "s")
    assert answer["code"] is grpc.StatusCode.INTERNAL
    assert SECRET not in str(answer)
    request = error_details_pb2.RequestInfo()
    assert answer["status"].details[0].Unpack(request)
    assert answer["message"] == f"internal error {request.request_id}"
    # Others have their say there, too: grpc when the loop of an earlier test is closed under it.
    (record,) = (each for each in caplog.records if each.name.startswith("sovereign_ext"))
    assert request.request_id in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_database_that_does_not_answer_is_no_internal_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever method asked it: 503, and a line in our log that has nothing of the question."""
    error = OperationalError(f"SELECT {SECRET}", {"key": SECRET}, Exception("gone"))
    answer = ask(Scripted(error), tmp_path / "s")
    assert answer["code"] is grpc.StatusCode.UNAVAILABLE
    assert answer["message"] == "the database cannot answer right now"
    assert "the database cannot answer: OperationalError" in caplog.text
    assert SECRET not in caplog.text


def test_two_incidents_have_two_ids(tmp_path: Path) -> None:
    """An id leads to one log record."""
    first, second = (ask(Scripted(KeyError()), tmp_path / name)["message"] for name in "ab")
    assert first != second


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x01\xff"])
def test_a_malformed_request_is_the_callers_fault(tmp_path: Path, data: bytes) -> None:
    """Broken wire format and broken UTF-8 are INVALID_ARGUMENT, and the method is not called."""
    service = Scripted()
    answer = ask(service, tmp_path / "s", data)
    assert answer["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert "DecodeError" not in str(answer["message"])
    assert service.calls == []


def test_headers_of_a_reply_come_first(tmp_path: Path) -> None:
    """Reply headers are initial metadata, which become HTTP headers behind Envoy."""
    answer = ask(Scripted(), tmp_path / "s")
    assert answer["code"] is grpc.StatusCode.OK
    assert answer["initial"] == {"cache-control": "no-store"}


@pytest.mark.parametrize(
    ("metadata", "seen"),
    [
        ((), None),
        ((("authorization", "Bearer a"),), "Bearer a"),
        ((("authorization", "Bearer a"), ("authorization", "Bearer b")), None),
    ],
)
def test_authorization_is_one_header_or_none(
    tmp_path: Path, metadata: tuple[tuple[str, str], ...], seen: str | None
) -> None:
    """Two of them could be read differently by two parties, so they count as none."""
    service = Scripted()
    ask(service, tmp_path / "s", metadata=metadata)
    assert [call.authorization for call in service.calls] == [seen]


def test_deadline_is_known_to_the_method(tmp_path: Path) -> None:
    """A method can end its waiting before the caller gives up."""
    service = Scripted()
    ask(service, tmp_path / "s", timeout=30)
    remaining = service.calls[0].remaining_s
    assert remaining is not None
    assert 20 < remaining < 31  # grpc rounds what it sends


def test_a_stream_that_fails_ends_with_a_status(tmp_path: Path) -> None:
    """What was sent before the failure arrives, then the mapped status."""

    async def run() -> tuple[list[int], grpc.StatusCode, str]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((rpc.bind(HEALTH, Scripted(KeyError(SECRET)).methods()),))
        server.add_insecure_port(f"unix:{tmp_path / 's'}")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
                call = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
                seen = [health_pb2.HealthCheckResponse.FromString(await call.read()).status]
                return seen, await call.code(), await call.details()
        finally:
            await server.stop(None)

    seen, code, message = asyncio.run(run())
    assert seen == [1]
    assert code is grpc.StatusCode.INTERNAL
    assert message.startswith("internal error ")


@pytest.mark.parametrize("change", [{"Check"}, {"Extra"}])
def test_a_service_that_differs_from_its_contract_is_refused(change: set[str]) -> None:
    """A missing method is found at start, not by the first caller."""
    methods = dict(Scripted().methods())
    for name in change:
        if name in methods:
            del methods[name]
        else:
            methods[name] = methods["Check"]
    with pytest.raises(TypeError, match=r"grpc\.health\.v1\.Health"):
        rpc.bind(HEALTH, methods)


def test_statuses_outside_the_table_are_not_passed_on() -> None:
    """Only what is known to be meant for callers reaches them."""
    assert known(ApiError(500, SECRET)) is None
    assert known(ValueError(SECRET)) is None


def test_more_faults_than_headers_hold_are_cut(tmp_path: Path) -> None:
    """What tells of a failure is headers, which clients bound: they would hear of the bound instead."""
    fields = [(f"tenant.policies[{at}]", f"there is no policy 'nope-{at}'" * 3) for at in range(5_000)]
    answer = ask(Scripted(InvalidFields(fields)), tmp_path / "s")
    assert answer["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert answer["message"].endswith("(and 4999 more)")
    named = error_details_pb2.BadRequest()
    assert status_pb2.Status.FromString(packed(known(InvalidFields(fields)))).details[1].Unpack(named)
    assert [each.field for each in named.field_violations] == [field for field, _ in fields[:20]]
    one = known(CallerError(400, "x" * 50_000, code="in_use"))
    assert one is not None
    assert len(one.message) == 1_000


def packed(failure: Any) -> bytes:
    """The details of a failure as they go out."""
    return next(value for name, value in failure.trailers if name == "grpc-status-details-bin")

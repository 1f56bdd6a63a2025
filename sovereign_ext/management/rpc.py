"""Binds service methods to a grpc.aio server from their descriptors, and ends every call the same way.

A method is an async function of ``(request, Call)``; it knows nothing of gRPC, raises the errors of
``sovereign_ext.errors`` and answers with a ``Reply``. Unary and server-streaming methods only. Binding from
the descriptor instead of from generated stubs lets authentication, statuses and incident ids be said once,
and refuses at start a service that lacks a method of its contract, and a method whose contract does not say who may
call it. Callers are known, and sent away, before their request is read.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.errors import CallerError
from sovereign_ext.management.access import Access, access_of
from sovereign_ext.management.auth import Caller, require
from sovereign_ext.management.status import Failure, known, unexpected

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """What a method may know of its call besides the request.

    ``authorization`` is the header of that name, ``None`` when absent, given twice or not text;
    ``remaining_s`` the seconds until the caller's deadline, ``None`` without one. ``method`` is the method's full
    name, ``reason`` the header ``x-sf-reason``, which goes into the entry of a change. ``who`` is ``None`` for
    public methods.
    """

    authorization: str | None
    remaining_s: float | None
    method: str = ""
    reason: str = ""
    who: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who calls. Only for methods that are not public."""
        assert self.who is not None
        return self.who


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``headers`` go out as gRPC initial metadata, which Envoy's transcoder passes on as HTTP
    headers."""

    message: Message
    headers: tuple[tuple[str, str], ...] = ()


Unary = Callable[[Any, Call], Awaitable[Reply]]
Streaming = Callable[[Any, Call], AsyncIterator[Message]]
Methods = Mapping[str, Unary | Streaming]

MAX_REASON_CHARS: Final = 500


class Gate(Protocol):
    """Who calls (``auth.Authenticator``)."""

    async def caller(self, authorization: str | None) -> Caller:
        """Raises ``KeyRefused``."""
        ...


def bind(
    service: ServiceDescriptor, methods: Methods, gate: Gate | None = None
) -> grpc.GenericRpcHandler[Any, Any]:
    """The handler of a whole service. Raises ``TypeError`` unless ``methods`` are exactly those of the
    descriptor, each says who may call it, and there is a ``gate`` if not everybody may."""
    names = {method.name for method in service.methods}
    if names != set(methods):
        raise TypeError(f"{service.full_name} has methods {sorted(names)}, not {sorted(methods)}")
    handlers = {}
    for method in service.methods:
        build, serve = (
            (grpc.unary_stream_rpc_method_handler, _streaming)
            if method.server_streaming
            else (grpc.unary_unary_rpc_method_handler, _unary)
        )
        request, access = message_factory.GetMessageClass(method.input_type), access_of(method)
        if gate is None and not access.public:
            raise TypeError(f"{method.full_name} is not public and has no gate")
        entry = _Entry(method.full_name, access, gate, request)
        handlers[method.name] = build(serve(methods[method.name], entry), response_serializer=_serialize)
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What happens before a method is called, in this order: caller, role, request."""

    name: str
    access: Access
    gate: Gate | None
    request: type[Message]

    async def admit(self, data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> tuple[Message, Call]:
        """The request and its call. Raises ``ApiError``."""
        authorization, who = _header(context, "authorization"), None
        if not self.access.public:
            assert self.gate is not None
            who = await self.gate.caller(authorization)
            require(who, self.access)
        reason = _header(context, "x-sf-reason") or ""
        if len(reason) > MAX_REASON_CHARS:
            text = f"x-sf-reason has {len(reason)} characters, expected at most {MAX_REASON_CHARS}"
            raise CallerError(400, text, code="invalid_reason")
        if not (reason.isascii() and reason.isprintable()):
            raise CallerError(400, "x-sf-reason takes printable ASCII", code="invalid_reason")
        call = Call(authorization, context.time_remaining(), self.name, reason, who)
        return self._parse(data), call

    def _parse(self, data: bytes) -> Message:
        """Parsed here and not by grpcio, which tells the caller of its own exceptions."""
        try:
            return self.request.FromString(data)
        except DecodeError:
            raise CallerError(
                400, "the request is not valid protobuf or UTF-8", code="invalid_request"
            ) from None


def _unary(method: Any, entry: _Entry) -> Any:
    async def served(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        try:
            reply: Reply = await method(*await entry.admit(data, context))
        except Exception as error:  # the boundary: whatever it is, the caller gets a status
            failure = _failure(error, entry.name)
        else:
            if reply.headers:
                await context.send_initial_metadata(reply.headers)
            return reply.message
        await context.abort(failure.code, failure.message, failure.trailers)
        raise AssertionError("abort raises")

    return served


def _streaming(method: Any, entry: _Entry) -> Any:
    async def served(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
        try:
            async for message in method(*await entry.admit(data, context)):
                yield message
        except Exception as error:
            failure = _failure(error, entry.name)
            await context.abort(failure.code, failure.message, failure.trailers)

    return served


def _header(context: grpc.aio.ServicerContext[Any, Any], name: str) -> str | None:
    values = [value for key, value in context.invocation_metadata() or () if key == name]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None


def _failure(error: Exception, name: str) -> Failure:
    failure = known(error)
    if isinstance(error, SQLAlchemyError):
        _log.warning("%s: the database cannot answer: %s", name, type(error).__name__)
    if failure is None:
        incident = secrets.token_hex(8)
        _log.error("%s failed, incident %s", name, incident, exc_info=error)
        failure = unexpected(incident)
    return failure


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()

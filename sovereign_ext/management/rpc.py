"""Binds service methods to a grpc.aio server from their descriptors, and ends every call the same way.

A method is an async function of ``(request, Call)``; it knows nothing of gRPC, raises the errors of
``sovereign_ext.errors`` and answers with a ``Reply``. Unary and server-streaming methods only. Binding from
the descriptor instead of from generated stubs lets authentication, statuses and incident ids be said once,
and refuses at start a service that lacks a method of its contract.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message

from sovereign_ext.errors import CallerError
from sovereign_ext.management.status import Failure, known, unexpected

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """What a method may know of its call besides the request.

    ``authorization`` is the header of that name, ``None`` when absent, given twice or not text;
    ``remaining_s`` the seconds until the caller's deadline, ``None`` without one.
    """

    authorization: str | None
    remaining_s: float | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``headers`` go out as gRPC initial metadata, which Envoy's transcoder passes on as HTTP
    headers."""

    message: Message
    headers: tuple[tuple[str, str], ...] = ()


Unary = Callable[[Any, Call], Awaitable[Reply]]
Streaming = Callable[[Any, Call], AsyncIterator[Message]]
Methods = Mapping[str, Unary | Streaming]


def bind(service: ServiceDescriptor, methods: Methods) -> grpc.GenericRpcHandler[Any, Any]:
    """The handler of a whole service. Raises ``TypeError`` unless ``methods`` are exactly those of the
    descriptor."""
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
        request = message_factory.GetMessageClass(method.input_type)
        handlers[method.name] = build(
            serve(methods[method.name], request, method.full_name), response_serializer=_serialize
        )
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _unary(method: Any, request: type[Message], name: str) -> Any:
    async def served(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        try:
            reply: Reply = await method(_parse(request, data), _call(context))
        except Exception as error:  # the boundary: whatever it is, the caller gets a status
            failure = _failure(error, name)
        else:
            if reply.headers:
                await context.send_initial_metadata(reply.headers)
            return reply.message
        await context.abort(failure.code, failure.message, failure.trailers)
        raise AssertionError("abort raises")

    return served


def _streaming(method: Any, request: type[Message], name: str) -> Any:
    async def served(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
        try:
            async for message in method(_parse(request, data), _call(context)):
                yield message
        except Exception as error:
            failure = _failure(error, name)
            await context.abort(failure.code, failure.message, failure.trailers)

    return served


def _parse(request: type[Message], data: bytes) -> Message:
    """Parsed here and not by grpcio, which tells the caller of its own exceptions."""
    try:
        return request.FromString(data)
    except DecodeError:
        raise CallerError(400, "the request is not valid protobuf or UTF-8", code="invalid_request") from None


def _call(context: grpc.aio.ServicerContext[Any, Any]) -> Call:
    values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
    one = values[0] if len(values) == 1 and isinstance(values[0], str) else None
    return Call(one, context.time_remaining())


def _failure(error: Exception, name: str) -> Failure:
    failure = known(error)
    if failure is None:
        incident = secrets.token_hex(8)
        _log.error("%s failed, incident %s", name, incident, exc_info=error)
        failure = unexpected(incident)
    return failure


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()

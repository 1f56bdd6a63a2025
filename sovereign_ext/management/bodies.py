"""Reads the JSON bodies of management calls before Envoy's transcoder does, which drops members that it does not know.

A misspelt ``limits`` must not make a tenant without any. Envoy shows the body to this small ext_proc service
(``envoy.service.ext_proc.v3.ExternalProcessor``) on routes that have one; what has a member that its message has not, a
list where there is none, a member twice, or is no JSON, is answered here with the fields at fault, as the services do.
Types are left to the transcoder, values to the services. It changes nothing and knows no callers: whatever anybody
sends costs little here, as much as can be helped. No more faults are looked for than are told, and what is large is
read on another thread.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any, Final

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from envoy.type.v3 import http_status_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict
from google.rpc import status_pb2

from sovereign_ext.envoyconf.names import DETAILS_PREFIX
from sovereign_ext.errors import ApiError, CallerError, InvalidFields
from sovereign_ext.management import status

Find = Callable[[str, str], MethodDescriptor | None]
"""The method of an HTTP method and a path without its query."""

Process = Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]

MAX_DEPTH: Final = 32
MOST_FAULTS: Final = status.MOST_FAULTS
MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a body: more than the largest configuration, and as much as anybody may have us read."""
AT_ONCE_BYTES: Final = 16 * 1024
"""What is longer is read on another thread."""

_OPAQUE: Final = "google.protobuf."
"""Messages with a JSON form of their own."""


def check(method: MethodDescriptor, body: bytes) -> None:
    """Raises ``CallerError`` for a body that is too large or no JSON, ``InvalidFields`` for members that are not in the
    contract."""
    if len(body) > MOST_BYTES:
        text = f"the body has {len(body)} bytes; the limit is {MOST_BYTES}"
        raise CallerError(413, text, code="request_too_large")
    if not body.strip():
        return
    try:
        data = json.loads(body.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        text = "the body is not JSON, or names a member twice"
        raise CallerError(400, text, code="invalid_request") from None
    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]
    if rule.body == "*":
        found = _faults(method.input_type, data, "", 0)
    else:
        field = method.input_type.fields_by_name[rule.body]
        found = _faults(field.message_type, data, rule.body, 0)
    faults = list(islice(found, MOST_FAULTS))
    if faults:
        raise InvalidFields(faults)


def _faults(message: Any, value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict) or message.full_name.startswith(_OPAQUE) or depth > MAX_DEPTH:
        return
    known = _members(message)
    given: dict[str, str] = {}
    for member, inner in value.items():
        path = f"{place}.{member[:100]}" if place else member[:100]
        field = known.get(member)
        if field is None:
            near = get_close_matches(member[:100], list(message.fields_by_name), n=1)
            yield path, f"unknown field; did you mean {near[0]}?" if near else "unknown field"
        elif (other := given.setdefault(field.name, member)) != member:
            yield path, f"is given twice, as {other}, too"
        else:
            yield from _in_field(field, inner, path, depth)


def _in_field(field: Any, value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return
    if value is not None and field.is_repeated != isinstance(value, list) and _plain(field):
        yield path, "expected a list" if field.is_repeated else "expected no list"
    elif field.message_type is not None:
        for at, each in enumerate(value if isinstance(value, list) else [value]):
            below = f"{path}[{at}]" if field.is_repeated else path
            yield from _faults(field.message_type, each, below, depth + 1)


@cache
def _members(message: Any) -> dict[str, Any]:
    """The fields of a message by both names that they have in JSON."""
    return {name: field for field in message.fields for name in (field.name, field.json_name)}


def _plain(field: Any) -> bool:
    """Whether a list is a list: of some messages it is the JSON form."""
    return field.message_type is None or not field.message_type.full_name.startswith(_OPAQUE)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def processing(find: Find) -> Process:
    """The service's one method: sees the head of a call, and then its whole body."""

    async def process(requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        method: MethodDescriptor | None = None
        async for request in requests:
            if request.HasField("request_headers"):
                headers = {
                    each.key: each.raw_value.decode("latin-1")
                    for each in request.request_headers.headers.headers
                }
                method = find(headers.get(":method", ""), headers.get(":path", "").partition("?")[0])
                yield ext_proc.ProcessingResponse(request_headers=ext_proc.HeadersResponse())
            elif request.HasField("request_body"):
                body = request.request_body.body
                if len(body) <= AT_ONCE_BYTES:
                    yield _answer(method, body)
                else:
                    yield await asyncio.to_thread(_answer, method, body)

    return process


def handler(find: Find) -> grpc.GenericRpcHandler[Any, Any]:
    """The service, for the server that the management services are on."""
    methods = {
        "Process": grpc.stream_stream_rpc_method_handler(
            processing(find),
            request_deserializer=ext_proc.ProcessingRequest.FromString,
            response_serializer=ext_proc.ProcessingResponse.SerializeToString,
        )
    }
    return grpc.method_handlers_generic_handler("envoy.service.ext_proc.v3.ExternalProcessor", methods)


def _answer(method: MethodDescriptor | None, body: bytes) -> Any:
    try:
        if method is not None:
            check(method, body)
    except ApiError as error:
        return ext_proc.ProcessingResponse(immediate_response=_refusal(error))
    return ext_proc.ProcessingResponse(request_body=ext_proc.BodyResponse())


def _refusal(error: ApiError) -> Any:
    """As the transcoder shows the same failure of a service."""
    failure = status.known(error)
    assert failure is not None
    packed = next(value for name, value in failure.trailers if name == "grpc-status-details-bin")
    assert isinstance(packed, bytes)
    body = MessageToDict(
        status_pb2.Status.FromString(packed),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    content_type = base_pb2.HeaderValue(key="content-type", raw_value=b"application/json")
    return ext_proc.ImmediateResponse(
        status=http_status_pb2.HttpStatus(code=error.status),
        headers=ext_proc.HeaderMutation(set_headers=[base_pb2.HeaderValueOption(header=content_type)]),
        body=json.dumps(body).encode(),
        details=f"{DETAILS_PREFIX}management",  # so that Envoy leaves the body as it is
    )


def finder(routes: list[tuple[str, str, MethodDescriptor]]) -> Find:
    """Looks methods up among ``(HTTP method, regex of the path, method)``."""
    table = [(verb, re.compile(regex), method) for verb, regex, method in routes]

    def find(verb: str, path: str) -> MethodDescriptor | None:
        return next((each for name, regex, each in table if name == verb and regex.fullmatch(path)), None)

    return find

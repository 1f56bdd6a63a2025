"""ext_proc messages to values and back: the only module that knows how Envoy spells things.

Source: envoy/service/ext_proc/v3/external_processor.proto of Envoy 1.40.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from sovereign_ext.envoyconf.names import (
    ATTEMPT_METADATA,
    DETAILS_PREFIX,
    EXCHANGE_HEADER,
    METADATA,
    MODE_HEADER,
    PLAN_METADATA,
    TARGET_HEADER,
    WALK_HEADER,
    WORKER_HEADER,
)
from sovereign_ext.exchange.steps import Head
from sovereign_ext.providers.base import UpstreamRequest

_ROUTED_BY: Final = (TARGET_HEADER, MODE_HEADER, WORKER_HEADER, "x-forwarded-proto")
"""Needed until the internal route is picked, which removes them."""

Headers = Iterable[tuple[str, str]]

_OVERWRITE: Final = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_REPLACE: Final = pb.CommonResponse.CONTINUE_AND_REPLACE
_ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
_KEPT: Final = frozenset(
    {"content-length", "x-request-id", "x-forwarded-proto", "x-envoy-internal", "x-envoy-external-address"}
)
"""What is left of a request's headers on the way through Envoy: nothing that a client could make long, since the
internal hop has a limit, too; some that Envoy itself has added, since it takes off no more headers than a client may
send. It finds no route without ``x-forwarded-proto``; the length goes with the body. None of it reaches a provider."""


def headers_of(message: Any) -> dict[str, str]:
    """Names (lower case, as Envoy gives them) to values; several of one name make a list (RFC 9110 5.3).

    So a header that a proxy has added to the client's own is not overlooked: two policies are none we know.
    """
    found: dict[str, str] = {}
    for header in message.headers.headers:
        name, value = header.key, header.raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def attributes_of(message: Any) -> dict[str, str]:
    """The attributes of a processing request that Envoy knows, by name; what is no text is empty."""
    struct = message.attributes.get(_ATTRIBUTES)
    return {} if struct is None else {name: value.string_value for name, value in struct.fields.items()}


def accept_exchange(
    decision_id: str, present: Mapping[str, str], worker: int | None = None
) -> pb.ProcessingResponse:
    """Let the request on to its body, without the headers that are nobody's business further on.

    ``worker`` is who has the exchange, where several workers share an Envoy.
    """
    response = pb.ProcessingResponse()
    mutation = response.request_headers.response.header_mutation
    mutation.remove_headers.extend(name for name in present if name[0] != ":" and name not in _KEPT)
    _set(mutation, ((EXCHANGE_HEADER, decision_id),))
    if worker is not None:
        _set(mutation, ((WORKER_HEADER, str(worker)),))
    _metadata(response, METADATA, "decision_id", decision_id)
    return response


@lru_cache(maxsize=1024)
def plan_exchange(clusters: tuple[str, ...], mode: str, limit_ms: int) -> pb.ProcessingResponse:
    """Tell Envoy the walk. The body stays with the processor: attempts bring their own.

    The list has one element more than there are deployments: the attempt that arrives there finds the walk at
    its end and answers for it, so that every ending passes through the processor. Plans repeat, and building one
    costs more than all other messages of a call together, so they are kept; callers must not change them.

    ``limit_ms`` is when Envoy gives the whole call up. The attempts' own limits end it long before, unless the
    processor hangs: once an answer's headers have come, Envoy has no other limit on it.
    """
    elements = [*clusters, clusters[-1]]
    response = pb.ProcessingResponse()
    common = response.request_body.response
    common.clear_route_cache = True
    common.body_mutation.clear_body = True
    common.header_mutation.remove_headers.append("content-length")
    _set(
        common.header_mutation,
        (
            ("x-envoy-max-retries", str(len(elements) - 1)),
            ("x-envoy-upstream-rq-timeout-ms", str(limit_ms)),
            (MODE_HEADER, mode),
        ),
    )
    groups = [
        {"name": str(at), "clusters": [{"cluster_name": cluster, "weight": 1}]}
        for at, cluster in enumerate(elements)
    ]
    response.dynamic_metadata.update({PLAN_METADATA: {"priority_groups": groups}})
    return response


def immediate(status: int, headers: Headers, body: bytes, details: str) -> pb.ProcessingResponse:
    """Answer here and now. ``details`` becomes the response code details."""
    response = pb.ProcessingResponse()
    answer = response.immediate_response
    answer.status.code = status
    answer.body = body
    answer.details = DETAILS_PREFIX + details
    _set(answer.headers, headers)
    return response


def walk() -> pb.ProcessingResponse:
    """End this attempt, before or after the provider was asked: an answer that Envoy takes for a reason to go on.

    An immediate response, because it ends the provider's stream too: of headers alone, Envoy would go on
    reading a body that nobody wants, and never send them if that body is already complete.
    """
    return immediate(503, ((WALK_HEADER, "1"),), b"", "walk")


def send_attempt(
    upstream: UpstreamRequest,
    present: Mapping[str, str],
    limit_ms: int | None = None,
    target: str | None = None,
) -> pb.ProcessingResponse:
    """The provider's request: every header that is there goes, the adapter's come, with the exact body.

    ``limit_ms`` is how long Envoy is to wait for response headers, if less than the route says; its router takes the
    header off again. ``target`` is the provider's cluster, for an Envoy that has not chosen it.
    """
    response = pb.ProcessingResponse()
    common = response.request_headers.response
    common.status = _REPLACE
    common.body_mutation.body = upstream.body
    common.header_mutation.remove_headers.extend(
        name for name in present if name[0] != ":" and name not in _ROUTED_BY
    )
    _set(common.header_mutation, ((":path", upstream.path), (":authority", upstream.authority)))
    _set(common.header_mutation, upstream.headers)
    if limit_ms is not None:
        _set(common.header_mutation, (("x-envoy-upstream-rq-per-try-timeout-ms", str(limit_ms)),))
    if target is not None:
        _set(common.header_mutation, ((TARGET_HEADER, target),))
        common.clear_route_cache = True
    _metadata(response, ATTEMPT_METADATA, "content_length", str(len(upstream.body)))
    return response


def release_head(head: Head, present: Mapping[str, str]) -> pb.ProcessingResponse:
    """Response headers: ours, and nothing of the provider's."""
    response = pb.ProcessingResponse()
    mutation = response.response_headers.response.header_mutation
    named = {name for name, _ in head.headers}
    mutation.remove_headers.extend(name for name in present if name[0] != ":" and name not in named)
    _set(mutation, ((":status", str(head.status)),))
    _set(mutation, head.headers)
    return response


def body_out(body: bytes, *, end: bool) -> pb.ProcessingResponse:
    """Response bytes, independent of what came in (FULL_DUPLEX_STREAMED)."""
    response = pb.ProcessingResponse()
    streamed = response.response_body.response.body_mutation.streamed_response
    streamed.body = body
    streamed.end_of_stream = end
    return response


def trailers_in() -> pb.ProcessingResponse:
    """Let request trailers go on: to the internal hop, which has none."""
    response = pb.ProcessingResponse()
    response.request_trailers.SetInParent()
    return response


def trailers_out() -> pb.ProcessingResponse:
    """Let response trailers go on; they end the stream."""
    response = pb.ProcessingResponse()
    response.response_trailers.SetInParent()
    return response


def _metadata(response: pb.ProcessingResponse, namespace: str, name: str, value: str) -> None:
    """One string of dynamic metadata. ``Struct.update`` would do it ten times slower."""
    response.dynamic_metadata.fields[namespace].struct_value.fields[name].string_value = value


def _set(mutation: Any, headers: Headers) -> None:
    add = mutation.set_headers.add
    for name, value in headers:
        header = add(append_action=_OVERWRITE).header
        header.key = name
        header.raw_value = value.encode("latin-1", "replace")

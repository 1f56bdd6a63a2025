"""What Envoy needs to know of the management services: descriptors, HTTP paths, transcoder options.

Everything is derived at run time from the generated descriptors and their ``google.api.http`` rules, so
proto, gRPC server and Envoy configuration cannot drift apart. It renders no configuration; ``envoyconf``
does. How the pieces are meant to be used, and what real Envoy 1.40 was seen to do with them
(``tests/dataplane/test_management.py``):

* One ``envoy.filters.http.grpc_json_transcoder`` with ``transcoder()`` stands in the chain, before the
  processor's filter. Routes, in this order, matched by ``route.path`` or ``route.regex`` (one by one: all in
  one expression are more than Envoy's limit on RE2 programs):

  1. for each of ``routes()`` with its method: to the processor's own server, the processor's filter off;
  2. for each of ``routes()`` with any method: a direct response 405 with its method as ``allow``, both filters
     off. The transcoder by itself would only say 404;
  3. everything else, the model API: the transcoder is switched off by ``FilterConfig{disabled: true}``, so it
     never sees a model call, and ``/sf/v1/nothing`` is answered like any other unknown path.

* ``match_incoming_request_route`` keeps the route that the HTTP path picked. Without it the request is routed
  again under ``/package.Service/Method``, which would take a route that clients could use, too.
* The route's timeout must be longer than ``receipts.WAIT_S``: Envoy does not pass it on as a gRPC deadline.
* Routes may remove the response header ``grpc-accept-encoding``, but never ``grpc-status`` or
  ``grpc-message``: that happens before the transcoder sees the answer, and an error then arrives as a 200.
* Refusals of the transcoder (unknown query parameters, values of the wrong type: 400) and the 405 are local
  replies, so ``local_reply_config`` gives them their bodies. Errors of the services are not.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2

from sovereign_ext.management.access import access_of
from sovereign_ext.management.services import REGISTRY

SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(served.contract for served in REGISTRY)
"""The services that have HTTP paths. ``grpc.health.v1.Health`` has none."""

services: Final[tuple[str, ...]] = tuple(service.full_name for service in SERVICES)
"""``services`` of the transcoder's configuration."""

PUBLIC: Final = frozenset(
    method.full_name for service in SERVICES for method in service.methods if access_of(method).public
)
"""Methods that need no key."""

MAX_BODY_BYTES: Final = 17 * 1024 * 1024
"""Largest answer: an entry bundle of 256 entries of 65,535 bytes, each behind 2 bytes. Envoy's default, the
size of the stream buffer, is 1 MiB."""


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP path of one method.

    ``template`` is in the syntax of ``google.api.http``. ``regex`` matches the same paths, without the query,
    in RE2 syntax for Envoy's ``safe_regex``; ``path`` is the one path when there is only one, else ``None``.
    ``http_method`` is the one it answers; another route may answer another method of the same paths. ``streamed``
    answers have no end that could be waited for.
    """

    http_method: str
    template: str
    regex: str
    path: str | None
    grpc_method: str
    public: bool
    streamed: bool


def routes() -> tuple[Route, ...]:
    """Every HTTP path of the management API, in the order of the proto files."""
    return tuple(route for service in SERVICES for method in service.methods for route in _routes(method))


def methods_of(path: str) -> frozenset[str]:
    """The HTTP methods that a path takes; none for one that is not of the management API."""
    return frozenset(method for pattern, method in _patterns() if pattern.fullmatch(path))


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(route.regex), route.http_method) for route in routes())


def descriptor_set() -> bytes:
    """A serialized ``FileDescriptorSet`` of our services and all they import, for ``proto_descriptor_bin``.

    Files stand behind their own imports, as Envoy reads them in order. ``google/rpc/error_details.proto`` is
    in it because the transcoder must know the types inside ``grpc-status-details-bin`` to render them.
    """
    files: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            visit(dependency)
        files.setdefault(file.name, file)

    for root in (error_details_pb2.DESCRIPTOR, *(service.file for service in SERVICES)):
        visit(root)
    result = descriptor_pb2.FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(result.file.add())
    return result.SerializeToString(deterministic=True)


def transcoder() -> dict[str, Any]:
    """``GrpcJsonTranscoder`` in protobuf's JSON mapping, so the descriptors are in base64."""
    return {
        "proto_descriptor_bin": base64.b64encode(descriptor_set()).decode(),
        "services": list(services),
        "match_incoming_request_route": True,
        "max_response_body_size": MAX_BODY_BYTES,
        "query_param_unescape_plus": True,  # most clients write a space in a query so
        # Errors become a google.rpc.Status in JSON instead of an empty body with grpc-status headers.
        "convert_grpc_status": True,
        "print_options": {
            "preserve_proto_field_names": True,  # page_token, as the OpenAI API spells
            "always_print_primitive_fields": True,  # healthy: false is said, not left out
        },
        "request_validation_options": {
            "reject_unknown_method": True,  # never hand plain HTTP to the gRPC server
            "reject_unknown_query_parameters": True,  # a misspelt page_size is an error, not page one
            "reject_binding_body_field_collisions": True,  # one name in the path, another in the body
        },
    }


def _routes(method: MethodDescriptor) -> Iterator[Route]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        http_method, template = _verb(binding)
        name, path = method.full_name, None if "{" in template else template
        yield Route(
            http_method, template, _regex(template), path, name, name in PUBLIC, method.server_streaming
        )


def _verb(rule: http_pb2.HttpRule) -> tuple[str, str]:
    pattern = rule.WhichOneof("pattern")
    if pattern in (None, "custom"):
        raise ValueError(f"an HTTP rule needs a standard method, has {pattern}")
    return pattern.upper(), getattr(rule, pattern)


def _regex(template: str) -> str:
    """``*`` is one segment, ``**`` any further ones; a variable stands for its pattern, by default one
    segment. What follows a colon in a segment is a method's verb (AIP-136), so one segment has none."""
    flat = re.sub(r"\{[^=}]+(?:=([^}]+))?\}", lambda match: match[1] or "*", template)
    parts = re.split(r"(\*\*|\*)", flat)
    return "".join({"**": ".+", "*": "[^/:]+"}.get(part) or re.escape(part) for part in parts)

"""The HTTP filters: what every client's request passes, and what each attempt passes.

The processor is among both. Deliberately not here: what an edge puts in front (``edge``), and what a route asks of a
filter (``routes``).
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRules
from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.http.grpc_json_transcoder.v3 import GrpcJsonTranscoder
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.envoyconf import headers, processors, routes
from sovereign_ext.envoyconf.clusters import MANAGEMENT_CLUSTER
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.names import (
    ATTEMPT_METADATA,
    DETAILS,
    FAILURE_REASON,
    METADATA,
    PEER_CERTIFICATE,
    PEER_TLS,
    PEER_URI_SAN,
    PHASE_ATTEMPT,
    PHASE_EXCHANGE,
    PLAN_METADATA,
)

_SEND = ProcessingModeHeaderSendMode.SEND
_SKIP = ProcessingModeHeaderSendMode.SKIP


def of_clients(layout: Layout) -> list[HttpFilter]:
    """What a client's request passes, in this order."""
    return [
        _asked_by_routes(),
        _bodies(),
        HttpFilter(name=routes.TRANSCODER, typed_config=Any.pack(_transcoder(layout))),
        _processor(
            PHASE_EXCHANGE,
            processors.of_exchanges(layout.workers),
            _exchanges(),
            namespaces=[METADATA, PLAN_METADATA],
            message_timeout=layout.message_timeout,
        ),
        _router(),
    ]


def of_attempts(layout: Layout) -> list[HttpFilter]:
    """What each attempt passes, in this order."""
    return [
        _processor(
            PHASE_ATTEMPT,
            processors.of_attempts(),
            ProcessingMode(
                request_header_mode=_SEND,
                response_header_mode=_SEND,
                response_body_mode=ProcessingModeBodySendMode.FULL_DUPLEX_STREAMED,
                request_trailer_mode=_SKIP,
                response_trailer_mode=_SEND,
            ),
            namespaces=[ATTEMPT_METADATA],
            message_timeout=layout.message_timeout,
            attributes=[DETAILS, FAILURE_REASON, PEER_CERTIFICATE, PEER_URI_SAN, PEER_TLS],
        ),
        _content_length(),
        _router(),
    ]


def _asked_by_routes() -> HttpFilter:
    """Does nothing by itself; routes say what they want of it."""
    return HttpFilter(name=routes.HEADER_MUTATION, typed_config=Any.pack(HeaderMutation()))


def _bodies() -> HttpFilter:
    """Shows bodies of management calls to ``management.bodies``, on the routes that have one."""
    processor = ExternalProcessor(
        stat_prefix="bodies",
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=MANAGEMENT_CLUSTER), timeout=timedelta(0)
        ),
        failure_mode_allow=False,
        processing_mode=_whole_requests(),
        message_timeout=timedelta(seconds=5),
    )
    return HttpFilter(name=routes.BODIES, disabled=True, typed_config=Any.pack(processor))


def _exchanges() -> ProcessingMode:
    """A stream that lasts as long as its call. Envoy would end it, and the processor take the client for gone, if there
    were nothing of the response to be shown: every Envoy once it has shown a request that ends in trailers, 1.37 and
    1.38 each with the response's headers."""
    mode = _whole_requests()
    mode.request_trailer_mode = mode.response_trailer_mode = _SEND
    return mode


def _whole_requests() -> ProcessingMode:
    return ProcessingMode(
        request_header_mode=_SEND,
        request_body_mode=ProcessingModeBodySendMode.BUFFERED,
        response_header_mode=_SKIP,
        request_trailer_mode=_SKIP,
        response_trailer_mode=_SKIP,
    )


def _processor(
    phase: str,
    service: GrpcService,
    mode: ProcessingMode,
    *,
    namespaces: list[str],
    message_timeout: timedelta,
    attributes: list[str] | None = None,
) -> HttpFilter:
    processor = ExternalProcessor(
        stat_prefix=phase,
        grpc_service=service,
        failure_mode_allow=False,
        processing_mode=mode,
        message_timeout=message_timeout,
        response_attributes=attributes or [],
        metadata_options=MetadataOptions(
            receiving_namespaces=MetadataOptionsMetadataNamespaces(untyped=namespaces)
        ),
        mutation_rules=HeaderMutationRules(allow_all_routing=True, allow_envoy=True),
    )
    return HttpFilter(name=routes.EXT_PROC, typed_config=Any.pack(processor))


def _transcoder(layout: Layout) -> GrpcJsonTranscoder:
    settings = {name: value for name, value in layout.transcoder.items() if name != "proto_descriptor_bin"}
    return GrpcJsonTranscoder.from_dict({"proto_descriptor": str(layout.descriptor_file), **settings})


def _router() -> HttpFilter:
    return HttpFilter(
        name="envoy.filters.http.router", typed_config=Any.pack(Router(suppress_envoy_headers=True))
    )


def _content_length() -> HttpFilter:
    """Gives a replaced body its length back: ext_proc leaves it chunked, which some providers refuse."""
    length = f"%DYNAMIC_METADATA({ATTEMPT_METADATA}:content_length)%"
    return headers.on_requests("sovereign.content_length", "content-length", length)

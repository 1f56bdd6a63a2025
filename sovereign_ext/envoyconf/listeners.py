"""The two listeners: ``ingress`` faces clients, ``egress`` is the internal hop that each attempt takes.

An attempt runs through an HTTP connection manager of its own. That is what gives each provider its own
first-byte limit, each attempt untouched copies of the headers, and the processor a response to judge for every
failed connection (docs/adr/0001).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any as Json

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRules
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    Http1ProtocolOptions,
    HttpProtocolOptions,
    SchemeHeaderTransformation,
    SocketAddress,
    SocketAddressProtocol,
    TrafficDirection,
)
from envoy_data_plane.envoy.config.core.v3 import QuicProtocolOptions as CoreQuicProtocolOptions
from envoy_data_plane.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    Listener,
    ListenerInternalListenerConfig,
    QuicProtocolOptions,
    UdpListenerConfig,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.http.grpc_json_transcoder.v3 import GrpcJsonTranscoder
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpFilter,
    Rds,
)
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.ingress import IngressTls
from sovereign_ext.envoyconf import downstream, edge, localreply, routes
from sovereign_ext.envoyconf.clusters import EGRESS_LISTENER, MANAGEMENT_CLUSTER, PROCESSOR_CLUSTER
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.names import (
    ATTEMPT_METADATA,
    DETAILS,
    FAILURE_REASON,
    METADATA,
    PEER_CERTIFICATE,
    PEER_TLS,
    PEER_URI_SAN,
    PHASE,
    PHASE_ATTEMPT,
    PHASE_EXCHANGE,
    PLAN_METADATA,
)
from sovereign_ext.envoyconf.typed import followed, plain
from sovereign_ext.exchange.deadline import CLIENT_BUFFER_BYTES

_SEND = ProcessingModeHeaderSendMode.SEND
_SKIP = ProcessingModeHeaderSendMode.SKIP


def client_filters(layout: Layout) -> list[HttpFilter]:
    """What a client's request passes, in this order."""
    return [
        routes.header_filter(),
        _bodies(),
        HttpFilter(name=routes.TRANSCODER, typed_config=Any.pack(_transcoder(layout))),
        HttpFilter(
            name=routes.EXT_PROC,
            typed_config=Any.pack(
                _processor(
                    PHASE_EXCHANGE,
                    ProcessingMode(
                        request_header_mode=_SEND,
                        request_body_mode=ProcessingModeBodySendMode.BUFFERED,
                        response_header_mode=_SKIP,
                        request_trailer_mode=_SKIP,
                        response_trailer_mode=_SKIP,
                    ),
                    namespaces=[METADATA, PLAN_METADATA],
                    message_timeout=layout.message_timeout,
                )
            ),
        ),
        _router(),
    ]


def ingress(layout: Layout) -> dict[str, Json]:
    """The client-facing listener, HTTP/1.1 and HTTP/2, in TLS or plain."""
    chain = _chain(client_manager(layout))
    if layout.ingress.tls is not None:
        chain.transport_socket = downstream.tls(layout, layout.ingress.tls)
    address = SocketAddress(address=layout.listen_host, port_value=layout.listen_port)
    return plain(
        Listener(
            name="ingress",
            address=Address(socket_address=address),
            filter_chains=[chain],
            per_connection_buffer_limit_bytes=CLIENT_BUFFER_BYTES,
            traffic_direction=TrafficDirection.INBOUND,
        )
    )


def ingress_http3(layout: Layout, tls: IngressTls) -> dict[str, Json]:
    """The same on UDP."""
    chain = _chain(client_manager(layout, codec=HttpConnectionManagerCodecType.HTTP3))
    chain.transport_socket = downstream.quic(layout, tls)
    address = SocketAddress(
        address=layout.listen_host, port_value=layout.listen_port, protocol=SocketAddressProtocol.UDP
    )
    streams = layout.ingress.limits.streams_per_connection
    udp = UdpListenerConfig(
        quic_options=QuicProtocolOptions(
            quic_protocol_options=CoreQuicProtocolOptions(max_concurrent_streams=streams)
        )
    )
    return plain(
        Listener(
            name="ingress-http3",
            address=Address(socket_address=address),
            filter_chains=[chain],
            udp_listener_config=udp,
            per_connection_buffer_limit_bytes=CLIENT_BUFFER_BYTES,
            traffic_direction=TrafficDirection.INBOUND,
        )
    )


def client_manager(
    layout: Layout, codec: HttpConnectionManagerCodecType = HttpConnectionManagerCodecType.AUTO
) -> HttpConnectionManager:
    """How calls of clients are read.

    ``x-forwarded-client-cert`` of a client is taken away, unless the proxy in front is trusted to have set it.
    """
    edge_filters = [] if layout.edge is None else edge.filters(layout, layout.edge)
    options: dict[str, Json] = {
        "stat_prefix": "ingress",
        "codec_type": codec,
        "use_remote_address": True,
        "generate_request_id": True,
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "server_name": "sovereign",
        "http_protocol_options": Http1ProtocolOptions(
            accept_http_10=True, default_host_for_http_10="localhost"
        ),
        "request_headers_timeout": timedelta(seconds=10),
        "request_timeout": timedelta(seconds=300),
        "stream_idle_timeout": timedelta(0),
        "common_http_protocol_options": HttpProtocolOptions(idle_timeout=timedelta(seconds=3600)),
        "local_reply_config": localreply.config(layout),
        "http_filters": [*edge_filters, *client_filters(layout)],
        "rds": Rds(
            config_source=followed(layout.ingress_routes_file), route_config_name=routes.INGRESS_ROUTES
        ),
        **downstream.certificates(layout.ingress),
    }
    return HttpConnectionManager(
        **(options if layout.edge is None else options | edge.manager(layout, layout.edge))
    )


def egress(layout: Layout, table: dict[str, Json] | None = None) -> dict[str, Json]:
    """The internal listener: one HTTP stream per attempt. Its routes are ``table``, else those of the file."""
    filters = [
        HttpFilter(
            name=routes.EXT_PROC,
            typed_config=Any.pack(
                _processor(
                    PHASE_ATTEMPT,
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
                )
            ),
        ),
        routes.content_length_filter(),
        _router(),
    ]
    manager = HttpConnectionManager(
        stat_prefix="egress",
        codec_type=HttpConnectionManagerCodecType.HTTP1,
        use_remote_address=False,
        skip_xff_append=True,
        generate_request_id=False,
        preserve_external_request_id=True,
        stream_idle_timeout=timedelta(0),
        # The scheme of the provider, not of the client: strict HTTP/2 servers refuse "http" inside TLS.
        scheme_header_transformation=SchemeHeaderTransformation(match_upstream=True),
        local_reply_config=localreply.egress(layout),
        http_filters=filters,
        rds=Rds(config_source=followed(layout.egress_routes_file), route_config_name=routes.EGRESS_ROUTES),
    )
    rendered = plain(
        Listener(
            name=EGRESS_LISTENER,
            internal_listener=ListenerInternalListenerConfig(),
            traffic_direction=TrafficDirection.OUTBOUND,
            ignore_global_conn_limit=True,  # one client's call is one connection, however many attempts it takes
            filter_chains=[_chain(manager)],
        )
    )
    if table is not None:
        inside = rendered["filter_chains"][0]["filters"][0]["typed_config"]
        del inside["rds"]
        inside["route_config"] = table
    return rendered


def _bodies() -> HttpFilter:
    """Shows bodies of management calls to ``management.bodies``, on the routes that have one."""
    processor = ExternalProcessor(
        stat_prefix="bodies",
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=MANAGEMENT_CLUSTER), timeout=timedelta(0)
        ),
        failure_mode_allow=False,
        processing_mode=ProcessingMode(
            request_header_mode=_SEND,
            request_body_mode=ProcessingModeBodySendMode.BUFFERED,
            response_header_mode=_SKIP,
            request_trailer_mode=_SKIP,
            response_trailer_mode=_SKIP,
        ),
        message_timeout=timedelta(seconds=5),
    )
    return HttpFilter(name=routes.BODIES, disabled=True, typed_config=Any.pack(processor))


def _processor(
    phase: str,
    mode: ProcessingMode,
    *,
    namespaces: list[str],
    message_timeout: timedelta,
    attributes: list[str] | None = None,
) -> ExternalProcessor:
    return ExternalProcessor(
        stat_prefix=phase,
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=PROCESSOR_CLUSTER),
            timeout=timedelta(0),
            initial_metadata=[HeaderValue(key=PHASE, value=phase)],
        ),
        failure_mode_allow=False,
        processing_mode=mode,
        message_timeout=message_timeout,
        response_attributes=attributes or [],
        metadata_options=MetadataOptions(
            receiving_namespaces=MetadataOptionsMetadataNamespaces(untyped=namespaces)
        ),
        mutation_rules=HeaderMutationRules(allow_all_routing=True, allow_envoy=True),
    )


def _transcoder(layout: Layout) -> GrpcJsonTranscoder:
    settings = {name: value for name, value in layout.transcoder.items() if name != "proto_descriptor_bin"}
    return GrpcJsonTranscoder.from_dict({"proto_descriptor": str(layout.descriptor_file), **settings})


def _router() -> HttpFilter:
    return HttpFilter(
        name="envoy.filters.http.router", typed_config=Any.pack(Router(suppress_envoy_headers=True))
    )


def _chain(manager: HttpConnectionManager) -> FilterChain:
    return FilterChain(
        filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))]
    )

"""The two listeners: ``ingress`` faces clients, ``egress`` is the internal hop that each attempt takes.

An attempt runs through an HTTP connection manager of its own. That is what gives each provider its own
first-byte limit, each attempt untouched copies of the headers, and the processor a response to judge for every
failed connection (docs/adr/0001).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any as Json

from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    Http1ProtocolOptions,
    HttpProtocolOptions,
    SchemeHeaderTransformation,
    SocketAddress,
    SocketAddressProtocol,
    TrafficDirection,
    TransportSocket,
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
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    Rds,
)
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.ingress import IngressTls
from sovereign_ext.envoyconf import downstream, edge, filters, localreply, routes
from sovereign_ext.envoyconf.clusters import EGRESS_LISTENER
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.typed import followed, plain
from sovereign_ext.exchange.deadline import CLIENT_BUFFER_BYTES


def ingress(layout: Layout) -> dict[str, Json]:
    """The client-facing listener, HTTP/1.1 and HTTP/2, in TLS or plain."""
    tls = layout.ingress.tls
    secured = None if tls is None else downstream.tls(layout, tls)
    return plain(_of_clients("ingress", layout, client_manager(layout), secured))


def ingress_http3(layout: Layout, tls: IngressTls) -> dict[str, Json]:
    """The same on UDP."""
    manager = client_manager(layout, codec=HttpConnectionManagerCodecType.HTTP3)
    streams = layout.ingress.limits.streams_per_connection
    quic = CoreQuicProtocolOptions(max_concurrent_streams=streams)
    listener = _of_clients("ingress-http3", layout, manager, downstream.quic(layout, tls))
    listener.address.socket_address.protocol = SocketAddressProtocol.UDP
    listener.udp_listener_config = UdpListenerConfig(
        quic_options=QuicProtocolOptions(quic_protocol_options=quic)
    )
    return plain(listener)


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
        "http_filters": [*edge_filters, *filters.of_clients(layout)],
        "rds": _routes(layout.ingress_routes_file, routes.INGRESS_ROUTES),
        **downstream.certificates(layout.ingress),
    }
    return HttpConnectionManager(
        **(options if layout.edge is None else options | edge.manager(layout, layout.edge))
    )


def egress(layout: Layout, table: dict[str, Json] | None = None) -> dict[str, Json]:
    """The internal listener: one HTTP stream per attempt. Its routes are ``table``, else those of the file."""
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
        http_filters=filters.of_attempts(layout),
        rds=None if table is not None else _routes(layout.egress_routes_file, routes.EGRESS_ROUTES),
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
        rendered["filter_chains"][0]["filters"][0]["typed_config"]["route_config"] = table
    return rendered


def _of_clients(
    name: str, layout: Layout, manager: HttpConnectionManager, secured: TransportSocket | None
) -> Listener:
    address = SocketAddress(address=layout.listen_host, port_value=layout.listen_port)
    chain = _chain(manager)
    chain.transport_socket = secured
    return Listener(
        name=name,
        address=Address(socket_address=address),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=CLIENT_BUFFER_BYTES,
        traffic_direction=TrafficDirection.INBOUND,
    )


def _routes(file: Path, name: str) -> Rds:
    return Rds(config_source=followed(file), route_config_name=name)


def _chain(manager: HttpConnectionManager) -> FilterChain:
    return FilterChain(
        filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))]
    )

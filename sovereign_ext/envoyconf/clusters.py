"""Clusters: the providers, the entries of the fallback walk, and the processor itself."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import certifi
from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    EnvoyInternalAddress,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    Pipe,
    SocketAddress,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsAutoHttpConfig,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import headers
from sovereign_ext.envoyconf.names import TARGET_HEADER, entry_cluster, provider_cluster

EGRESS_LISTENER: Final = "egress"
PROCESSOR_CLUSTER: Final = "processor"
MANAGEMENT_CLUSTER: Final = "management"
UNPLANNED_CLUSTER: Final = "unplanned"
ATTEMPTS_CLUSTER: Final = "attempts"
_HTTP: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PLENTY: Final = (
    100_000  # circuit breakers are not the limit here; the default of 3 parallel retries would be
)


def provider(item: Provider, config_directory: Path, roots: str) -> Cluster:
    """The provider as Envoy reaches it: DNS, TLS, connect timeout. Its paths are relative to ``config_directory``.

    ``roots`` is the CA bundle for those that name none.
    """
    parts = urlsplit(item.endpoint)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    numeric = _is_address(host)
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=Http1ProtocolOptions()
        )
    )
    if secure:
        options = HttpProtocolOptions(
            auto_config=HttpProtocolOptionsAutoHttpConfig(
                http_protocol_options=Http1ProtocolOptions(), http2_protocol_options=Http2ProtocolOptions()
            )
        )
    cluster = _cluster(
        provider_cluster(item),
        [
            Address(
                socket_address=SocketAddress(address=host, port_value=parts.port or (443 if secure else 80))
            )
        ],
        options,
    )
    cluster.type = ClusterDiscoveryType.STATIC if numeric else ClusterDiscoveryType.STRICT_DNS
    cluster.connect_timeout = timedelta(milliseconds=item.timeouts.connect_ms)
    if secure:
        cluster.transport_socket = _tls(item, host, config_directory, roots, numeric=numeric)
    return cluster


def entry(item: Provider) -> Cluster:
    """One element of the walk: the internal listener, with the attempt's target written on the request."""
    name = provider_cluster(item)
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=Http1ProtocolOptions()
        ),
        http_filters=[
            headers.on_requests("target", TARGET_HEADER, name),
            HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=Any.pack(UpstreamCodec())),
        ],
    )
    return _cluster(entry_cluster(item), [_internal_hop(name)], options)


def attempts() -> Cluster:
    """Every element of the walk in an older Envoy: the internal listener, where the processor writes the target."""
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=Http1ProtocolOptions()
        )
    )
    return _cluster(ATTEMPTS_CLUSTER, [_internal_hop(ATTEMPTS_CLUSTER)], options)


def grpc_service(name: str, *socket_paths: str) -> Cluster:
    """A gRPC server on a Unix socket, or several that do the same."""
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions()
        )
    )
    return _cluster(name, [Address(pipe=Pipe(path=path)) for path in socket_paths], options)


def nowhere() -> Cluster:
    """A cluster without endpoints: where a call would go that nobody planned."""
    return Cluster(
        name=UNPLANNED_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        load_assignment=ClusterLoadAssignment(cluster_name=UNPLANNED_CLUSTER),
    )


def _internal_hop(endpoint: str) -> Address:
    return Address(
        envoy_internal_address=EnvoyInternalAddress(
            server_listener_name=EGRESS_LISTENER, endpoint_id=endpoint
        )
    )


def _cluster(name: str, addresses: list[Address], options: HttpProtocolOptions) -> Cluster:
    endpoints = [LbEndpoint(endpoint=Endpoint(address=address)) for address in addresses]
    threshold = CircuitBreakersThresholds(
        max_connections=_PLENTY, max_pending_requests=_PLENTY, max_requests=_PLENTY, max_retries=_PLENTY
    )
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=1),
        circuit_breakers=CircuitBreakers(thresholds=[threshold]),
        typed_extension_protocol_options={_HTTP: Any.pack(options)},
        load_assignment=ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)],
        ),
    )


def _tls(item: Provider, host: str, config_directory: Path, system: str, *, numeric: bool) -> TransportSocket:
    """TLS with the roots, name and pins of the provider.

    A SPIFFE id stands in for the host's name, which such certificates do not carry. Envoy takes any one of
    several matchers, so there is exactly one. Pins come on top: trusted roots alone do not do.
    """
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if numeric else SubjectAltNameMatcherSanType.DNS
    name = host
    if item.tls is not None and item.tls.spiffe_id is not None:
        kind, name = SubjectAltNameMatcherSanType.URI, item.tls.spiffe_id
    if item.tls_ca is not None:
        roots = DataSource(inline_string=item.tls_ca)
    elif item.tls_ca_file is not None:
        roots = DataSource(filename=str(config_directory / item.tls_ca_file))
    else:
        roots = DataSource(filename=system)
    context = UpstreamTlsContext(
        sni="" if numeric else host,
        common_tls_context=CommonTlsContext(
            validation_context=CertificateValidationContext(
                trusted_ca=roots,
                match_typed_subject_alt_names=[
                    SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
                ],
                verify_certificate_spki=list(item.tls.spki_pins) if item.tls is not None else [],
            )
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def system_roots() -> str:
    """Path of the system's CA bundle, else the one that comes with Python's HTTP stack."""
    return ssl.get_default_verify_paths().cafile or certifi.where()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

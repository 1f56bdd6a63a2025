"""How clients connect: TLS, and what becomes of their certificates.

Certificates reach Envoy by its secret discovery (SDS) whatever their source: from files that it follows, named in
``certificate.yaml`` and ``client-roots.yaml``, or from a service such as SPIRE's agent. So a renewed certificate takes
effect without a restart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any as Json
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import (
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    ConfigSource,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    TransportSocket,
    WatchedDirectory,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerSetCurrentClientCertDetails,
)
from envoy_data_plane.envoy.extensions.transport_sockets.quic.v3 import QuicDownstreamTransport
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    Secret,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.ingress import Ingress, IngressTls
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.typed import followed, plain

SECRETS_CLUSTER: Final = "secrets"
_CERTIFICATE: Final = "server"
_ROOTS: Final = "clients"


def certificates(ingress: Ingress) -> dict[str, Json]:
    """What becomes of ``x-forwarded-client-cert``. Envoy's own default, to take it away, is said all the same."""
    if ingress.trust_forwarded_certificates:
        kind = HttpConnectionManagerForwardClientCertDetails.ALWAYS_FORWARD_ONLY
        return {"forward_client_cert_details": kind}
    if ingress.verifies_workloads:
        return {
            "forward_client_cert_details": HttpConnectionManagerForwardClientCertDetails.SANITIZE_SET,
            "set_current_client_cert_details": HttpConnectionManagerSetCurrentClientCertDetails(uri=True),
        }
    return {"forward_client_cert_details": HttpConnectionManagerForwardClientCertDetails.SANITIZE}


def tls(layout: Layout, tls: IngressTls) -> TransportSocket:
    """TLS on TCP, for HTTP/1.1 and HTTP/2."""
    context = _context(layout, tls)
    context.common_tls_context.alpn_protocols = ["h2", "http/1.1"]
    context.common_tls_context.tls_params = TlsParameters(
        tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def quic(layout: Layout, tls: IngressTls) -> TransportSocket:
    """The TLS 1.3 inside of QUIC, for HTTP/3."""
    transport = QuicDownstreamTransport(downstream_tls_context=_context(layout, tls))
    return TransportSocket(name="envoy.transport_sockets.quic", typed_config=Any.pack(transport))


def secrets(layout: Layout) -> dict[Path, dict[str, Json]]:
    """A secret for each file that Envoy follows: names of files, never what is in them."""
    tls = layout.ingress.tls
    if tls is None or tls.certificate_file is None or tls.key_file is None:
        return {}
    certificate, key = _file(layout, tls.certificate_file), _file(layout, tls.key_file)
    pair = TlsCertificate(
        certificate_chain=_source(certificate),
        private_key=_source(key),
        watched_directory=_beside(certificate),
    )
    found = {layout.certificate_file: plain(Secret(name=_CERTIFICATE, tls_certificate=pair))}
    if tls.client_ca_file is not None:
        roots = _file(layout, tls.client_ca_file)
        context = CertificateValidationContext(trusted_ca=_source(roots), watched_directory=_beside(roots))
        found[layout.client_roots_file] = plain(Secret(name=_ROOTS, validation_context=context))
    return found


def _context(layout: Layout, tls: IngressTls) -> DownstreamTlsContext:
    if tls.sds is None:
        certificate = SdsSecretConfig(name=_CERTIFICATE, sds_config=followed(layout.certificate_file))
        roots = SdsSecretConfig(name=_ROOTS, sds_config=followed(layout.client_roots_file))
    else:
        certificate = SdsSecretConfig(name=tls.sds.certificate, sds_config=_service())
        roots = SdsSecretConfig(name=tls.sds.roots or "", sds_config=_service())
    common = CommonTlsContext(tls_certificate_sds_secret_configs=[certificate])
    context = DownstreamTlsContext(common_tls_context=common)
    if tls.verifies_clients:
        common.validation_context_sds_secret_config = roots
        # Otherwise a session of before could be resumed under roots that have changed since.
        context.disable_stateless_session_resumption = True
        context.require_client_certificate = tls.require_client_certificate
    return context


def _service() -> ConfigSource:
    return ConfigSource(
        resource_api_version=ApiVersion.V3,
        api_config_source=ApiConfigSource(
            api_type=ApiConfigSourceApiType.GRPC,
            transport_api_version=ApiVersion.V3,
            grpc_services=[GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=SECRETS_CLUSTER))],
        ),
    )


def _file(layout: Layout, name: str) -> Path:
    return layout.config_directory / Path(name).expanduser()


def _source(file: Path) -> DataSource:
    return DataSource(filename=str(file))


def _beside(file: Path) -> WatchedDirectory:
    return WatchedDirectory(path=str(file.parent))

"""How clients connect: TLS, and what becomes of their certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Any as Json

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerForwardClientCertDetails,
    HttpConnectionManagerSetCurrentClientCertDetails,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    DownstreamTlsContext,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.ingress import Ingress, IngressTls


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


def tls(tls: IngressTls, config_directory: Path) -> TransportSocket:
    def file(name: str) -> DataSource:
        return DataSource(filename=str(config_directory / Path(name).expanduser()))

    common = CommonTlsContext(
        alpn_protocols=["h2", "http/1.1"],
        tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
        tls_certificates=[
            TlsCertificate(certificate_chain=file(tls.certificate_file), private_key=file(tls.key_file))
        ],
    )
    context = DownstreamTlsContext(common_tls_context=common)
    if tls.client_ca_file is not None:
        common.validation_context = CertificateValidationContext(trusted_ca=file(tls.client_ca_file))
        # Otherwise a session of before could be resumed under roots that have changed since.
        context.disable_stateless_session_resumption = True
        context.require_client_certificate = tls.require_client_certificate
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))

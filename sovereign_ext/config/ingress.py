"""The part of ``sovereign.yaml`` that says how clients reach the gateway: TLS, and whose word on certificates counts.

A client's verified certificate can stand for a key (``tenants.identities``). Either this gateway verifies it itself
(``tls.client_ca_file``), or a proxy of a service mesh does and says so in ``x-forwarded-client-cert``. That header is
believed only with ``trust_forwarded_certificates``; otherwise whatever a client sends there is taken away.

``limits``, ``trusted_hops`` and ``http3`` are for Envoys that `sovereign envoy render` configures; the listener of
`sovereign up`, on loopback, has none of them.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from sovereign_ext.config.trust import Frozen


class SecretService(Frozen):
    """Certificates by Envoy's secret discovery (SDS), as SPIRE's agent serves it on a Unix socket.

    ``certificate`` and ``roots`` are names of secrets there: with SPIRE a SPIFFE id, and a trust domain's.
    """

    socket: str = Field(min_length=1, max_length=104)
    certificate: str = Field(min_length=1)
    roots: str | None = Field(default=None, min_length=1)


class IngressTls(Frozen):
    """TLS for clients. Files are PEM, relative to this file, and followed: a renewed certificate needs no restart.

    With ``client_ca_file``, or roots by SDS, clients may show a certificate, which has to be of one of these roots;
    with ``require_client_certificate`` they have to.
    """

    certificate_file: str | None = Field(default=None, min_length=1)
    key_file: str | None = Field(default=None, min_length=1)
    client_ca_file: str | None = Field(default=None, min_length=1)
    sds: SecretService | None = None
    require_client_certificate: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> IngressTls:
        files = (self.certificate_file, self.key_file)
        if self.sds is None and None in files:
            raise ValueError("takes certificate_file and key_file, or sds")
        if self.sds is not None and any((*files, self.client_ca_file)):
            raise ValueError("takes certificate_file and key_file, or sds, not both")
        if self.require_client_certificate and not self.verifies_clients:
            raise ValueError("require_client_certificate takes client_ca_file or sds.roots")
        return self

    @property
    def verifies_clients(self) -> bool:
        """Whether there are roots by which a client's certificate is judged."""
        return self.client_ca_file is not None or (self.sds is not None and self.sds.roots is not None)


class IngressLimits(Frozen):
    """What one Envoy takes from clients before it refuses more."""

    connections: int = Field(default=10_000, ge=1, le=1_000_000)
    """Open at once, of all clients."""
    streams_per_connection: int = Field(default=100, ge=1, le=10_000)
    """Calls at once on one connection of HTTP/2 or HTTP/3."""
    header_kib: int = Field(default=32, ge=4, le=256)
    """All headers of a request together, KiB."""
    headers: int = Field(default=100, ge=20, le=1000)
    heap_mib: int = Field(default=1024, ge=64, le=1_048_576)
    """Memory of Envoy, MiB. At 92 % idle connections are given up, at 95 % new calls are refused."""


class Ingress(Frozen):
    """How clients reach the gateway. Without ``tls`` it is plain HTTP."""

    tls: IngressTls | None = None
    trust_forwarded_certificates: bool = False
    trusted_hops: int = Field(default=0, ge=0, le=10)
    """Proxies in front whose entries in ``x-forwarded-for`` are believed."""
    http3: bool = False
    limits: IngressLimits = IngressLimits()

    @model_validator(mode="after")
    def _fits_together(self) -> Ingress:
        if self.trust_forwarded_certificates and self.tls is not None and self.tls.verifies_clients:
            raise ValueError(
                "trust_forwarded_certificates and tls.client_ca_file (or tls.sds.roots): either a proxy verifies "
                "clients, or this gateway"
            )
        if self.http3 and self.tls is None:
            raise ValueError("http3 takes tls")
        return self

    @property
    def verifies_workloads(self) -> bool:
        """Whether ``x-forwarded-client-cert``, as calls come with it here, is somebody's word who has verified."""
        return self.trust_forwarded_certificates or (self.tls is not None and self.tls.verifies_clients)

"""The part of ``sovereign.yaml`` that says how clients reach the gateway: TLS, and whose word on certificates counts.

A client's verified certificate can stand for a key (``tenants.identities``). Either this gateway verifies it itself
(``tls.client_ca_file``), or a proxy of a service mesh does and says so in ``x-forwarded-client-cert``. That header is
believed only with ``trust_forwarded_certificates``; otherwise whatever a client sends there is taken away.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from sovereign_ext.config.trust import Frozen


class IngressTls(Frozen):
    """TLS for clients. Files are PEM, relative to this file, and read when the gateway starts.

    With ``client_ca_file`` clients may show a certificate, which has to be of one of these roots; with
    ``require_client_certificate`` they have to.
    """

    certificate_file: str = Field(min_length=1)
    key_file: str = Field(min_length=1)
    client_ca_file: str | None = Field(default=None, min_length=1)
    require_client_certificate: bool = False

    @model_validator(mode="after")
    def _certificates_can_be_verified(self) -> IngressTls:
        if self.require_client_certificate and self.client_ca_file is None:
            raise ValueError("require_client_certificate takes client_ca_file")
        return self


class Ingress(Frozen):
    """How clients reach the gateway. Without ``tls`` it is plain HTTP."""

    tls: IngressTls | None = None
    trust_forwarded_certificates: bool = False

    @model_validator(mode="after")
    def _one_word_counts(self) -> Ingress:
        if self.trust_forwarded_certificates and self.tls is not None and self.tls.client_ca_file is not None:
            raise ValueError(
                "trust_forwarded_certificates and tls.client_ca_file: either a proxy verifies clients, or this gateway"
            )
        return self

    @property
    def verifies_workloads(self) -> bool:
        """Whether ``x-forwarded-client-cert``, as calls come with it here, is somebody's word who has verified."""
        return self.trust_forwarded_certificates or (
            self.tls is not None and self.tls.client_ca_file is not None
        )

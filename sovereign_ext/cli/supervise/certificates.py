"""Certificates of the demo's own servers: a root made at first start, and what it signs.

ECDSA P-256, X.509 v3 (RFC 5280). For one machine: nothing here checks or revokes anything.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sovereign_ext.attest.keys import private_pem, spki
from sovereign_ext.registry.evidence import pin_of

_LIFE = datetime.timedelta(days=3650)
_EARLIER = datetime.timedelta(minutes=5)  # clocks of one machine's parts agree, those of its tools may not


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key. ``__repr__`` shows neither."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"<Identity {self.fingerprint[:16]}>"

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Unencrypted PKCS #8: for a file that only its owner may read."""
        return private_pem(self.key)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER certificate, lower-case hex."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def spki_pin(self) -> str:
        """Base64 SHA-256 of the SubjectPublicKeyInfo (RFC 7469)."""
        return pin_of(spki(self.key))


_USES = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # as SPIRE's certificates


def make_root(name: str, now: datetime.datetime) -> Identity:
    """A new certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, name, key, now).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return Identity(builder.sign(key, hashes.SHA256()), key)


def make_server(
    root: Identity, name: str, now: datetime.datetime, *, host: str = "127.0.0.1", uri: str | None = None
) -> Identity:
    """A certificate for ``host`` (an address or a name) and, if given, the URI (a SPIFFE id); good for clients too."""
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [_host(host)]
    if uri is not None:
        names.append(x509.UniformResourceIdentifier(uri))
    issuer = root.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    builder = (
        _builder(name, str(issuer), key, now)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
    )
    return Identity(builder.sign(root.key, hashes.SHA256()), key)


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _LIFE)
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)

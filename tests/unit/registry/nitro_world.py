"""Attestation documents as a Nitro hypervisor would make them, under a root of our own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.config.trust import Evidence
from sovereign_ext.registry.appraisal import Expected
from sovereign_ext.registry.evidence import VerifiedEvidence
from sovereign_ext.registry.nitro import verify_document

NOW = 1_800_000_000
MOMENT = datetime.fromtimestamp(NOW, UTC)
SKEW = 60
MAX_AGE = 300
NONCE = bytes(range(32))
PCRS = {index: bytes([index + 1]) * 48 for index in range(3)} | {index: bytes(48) for index in range(3, 16)}
HEX = [PCRS[index].hex() for index in range(3)]
ES384 = {1: -35}


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """Whose name it is; ``p256`` has a key of that curve."""
    return ec.generate_private_key(ec.SECP256R1() if name == "p256" else ec.SECP384R1())


def spki(name: str) -> bytes:
    return key(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


@cache
def certificate(
    name: str,
    issuer: str,
    *,
    ca: bool = True,
    hours: float = 3,
    signer: str | None = None,
    serial: int | None = None,
) -> x509.Certificate:
    """Valid from one hour before ``NOW``. ``signer`` is whose key signs, the issuer's unless told; ``serial`` is
    drawn unless told."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject(issuer))
        .public_key(key(name).public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(MOMENT - timedelta(hours=1))
        .not_valid_after(MOMENT + timedelta(hours=hours))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage(ca=ca), critical=True)
    )
    if ca:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key(name).public_key())
        builder = builder.add_extension(identifier, critical=False)
    if name != issuer:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(key(issuer).public_key())
        builder = builder.add_extension(authority, critical=False)
    return builder.sign(key(signer or issuer), hashes.SHA384())


def usage(*, ca: bool) -> x509.KeyUsage:
    names = ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"]
    off = dict.fromkeys([*names, "encipher_only", "decipher_only"], False)
    return x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, **off)


ROOT = certificate("root", "root")


def der(made: x509.Certificate) -> bytes:
    return made.public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Making:
    """A good document; ``fields`` change its payload, ``...`` leaves one out."""

    leaf: x509.Certificate = field(default_factory=lambda: certificate("enclave", "zone", ca=False))
    bundle: tuple[x509.Certificate, ...] = field(
        default_factory=lambda: (ROOT, certificate("region", "root"), certificate("zone", "region"))
    )
    signer: str = "enclave"
    protected: bytes = cbor2.dumps(ES384)
    fields: dict[str, Any] = field(default_factory=dict)

    def payload(self) -> bytes:
        known = {
            "module_id": "i-1-enc1",
            "digest": "SHA384",
            "timestamp": NOW * 1000,
            "pcrs": PCRS,
            "certificate": der(self.leaf),
            "cabundle": [der(one) for one in self.bundle],
            "public_key": spki("channel"),
            "user_data": None,
            "nonce": NONCE,
        }
        return cbor2.dumps({name: value for name, value in (known | self.fields).items() if value is not ...})

    def document(self) -> bytes:
        payload = self.payload()
        return sealed(self.protected, payload, signature(self.signer, self.protected, payload))

    def but(self, **changes: Any) -> Making:
        return replace(self, **changes)


def signature(signer: str, protected: bytes, payload: bytes) -> bytes:
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = decode_dss_signature(key(signer).sign(signed, ec.ECDSA(hashes.SHA384())))
    return r.to_bytes(48) + s.to_bytes(48)


def sealed(protected: bytes, payload: bytes, made: bytes) -> bytes:
    return cbor2.dumps([protected, {}, payload, made])


def document(**fields: Any) -> bytes:
    return Making(fields=fields).document()


def config(**fields: Any) -> Evidence:
    known = {"kind": "nitro", "url": "http://n/", "root_file": "r", "max_age_s": MAX_AGE}
    return Evidence(**({"measurements": (":".join(HEX),)} | known | fields))


def verify(
    made: bytes,
    *,
    root: x509.Certificate = ROOT,
    nonce: bytes | None = NONCE,
    now: float = NOW,
    **fields: Any,
) -> VerifiedEvidence:
    return verify_document(made, root, Expected(config(**fields), now, SKEW, nonce=nonce))

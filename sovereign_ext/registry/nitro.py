"""AWS Nitro attestation documents: COSE_Sign1 (RFC 9052) over CBOR, signed by the enclave's own certificate.

As AWS describes it in "Cryptographic attestation" of the Nitro Enclaves guide, in this order:

1. The bytes are one COSE_Sign1 with ES384, and the payload has every mandatory field within its limits.
2. The certificate chains to the given root at the time the document names.
3. The certificate's key made the signature.
4. The document is recent and, where a nonce was sent, holds it.

PCRs 0, 1 and 2 are the measurement; they are zero when the enclave runs in debug mode. Certificates are not asked
about revocation: they live for hours, and this is offline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final, NoReturn

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import verification

from sovereign_ext.config.trust import EvidenceKind
from sovereign_ext.errors import EvidenceRefused, VerificationError
from sovereign_ext.registry.appraisal import NO_EVIDENCE, Expected, lifetime
from sovereign_ext.registry.binding import Binding, read_binding
from sovereign_ext.registry.certificates import load_certificate
from sovereign_ext.registry.evidence import VerifiedEvidence, pin_of, spelled_as_allowed
from sovereign_ext.registry.jose import read_json_object

MAX_DOCUMENT_BYTES: Final = 64 * 1024
MEASURED_PCRS: Final = (0, 1, 2)
"""The enclave image, its kernel and boot ramdisk, and the user's application."""

_SIGN1_TAG: Final = 0xD2
_PROTECTED: Final = {1: -35}  # alg: ES384
_COORDINATE_BYTES: Final = 48
_PCR_SIZES: Final = (32, 48, 64)
_LATEST_MS: Final = 2**45  # the calendar of the certificates goes further
_MAX_CHAIN: Final = 8


@dataclass(frozen=True, slots=True)
class _Document:
    """The fields of a payload that count, within the limits that AWS documents. ``timestamp_ms`` is Unix time."""

    timestamp_ms: int
    pcrs: Mapping[int, bytes]
    certificate: x509.Certificate
    bundle: tuple[x509.Certificate, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None


def read_root(pem: bytes) -> x509.Certificate:
    """The root certificate that documents must chain to. Raises ``VerificationError``."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise VerificationError("root is not a PEM certificate") from None
    if len(found) != 1:
        raise VerificationError(f"root has {len(found)} certificates, expected 1")
    return found[0]


def verify_document(document: bytes, root: x509.Certificate, expected: Expected) -> VerifiedEvidence:
    """What an attestation document says, once it is known to come from an enclave under ``root`` and to be recent.

    Raises ``EvidenceRefused``: ``no_evidence`` when it cannot be believed, ``evidence_expired`` when it is too old.
    """
    try:
        protected, payload, signature = _read_sign1(document)
        content = _read_payload(payload)
        _check_chain(content, root)
        _check_signature(content.certificate, protected, payload, signature)
        bound = _bound(content)
    except VerificationError as error:
        raise EvidenceRefused(NO_EVIDENCE, str(error)) from None
    if expected.nonce is not None and content.nonce != expected.nonce:
        raise EvidenceRefused(NO_EVIDENCE, "document does not hold the nonce that was sent")
    life = lifetime(
        expected,
        content.timestamp_ms / 1000,
        expires_s=content.certificate.not_valid_after_utc.timestamp(),
    )
    measured = [content.pcrs.get(index, b"") for index in MEASURED_PCRS]
    return VerifiedEvidence(
        kind=EvidenceKind.NITRO,
        document="sha256:" + hashlib.sha256(document).hexdigest(),
        issued_at_s=life.issued_at_s,
        expires_at_s=life.expires_at_s,
        measurement=spelled_as_allowed([pcr.hex() for pcr in measured], expected.config.measurements),
        debug=not all(any(pcr) for pcr in measured),
        bound_spki=bound.spki,
        bound_certificate=bound.certificate,
    )


# -- 1. form -------------------------------------------------------------------------------------------------------


def _read_sign1(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Protected header, payload and signature, as bytes. The tag is optional, and AWS leaves it out."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise VerificationError(f"document is longer than {MAX_DOCUMENT_BYTES} bytes")
    match _decode(data[1:] if data[:1] == bytes([_SIGN1_TAG]) else data):
        case [bytes() as protected, dict() as unprotected, bytes() as payload, bytes() as signature]:
            if unprotected:  # nobody signs it, and AWS leaves it empty
                raise VerificationError("document has unprotected headers")
        case _:
            raise VerificationError("document is not a COSE_Sign1")
    if _decode(protected) != _PROTECTED:
        raise VerificationError("document is not signed with ES384, or has critical headers")
    if len(signature) != 2 * _COORDINATE_BYTES:
        raise VerificationError(f"signature has {len(signature)} bytes, expected {2 * _COORDINATE_BYTES}")
    return protected, payload, signature


def _read_payload(payload: bytes) -> _Document:
    fields = _decode(payload)
    if not isinstance(fields, dict):
        raise VerificationError("payload is not a map")
    if not isinstance(fields.get("module_id"), str) or not fields["module_id"]:
        raise VerificationError("payload has no module_id")
    if fields.get("digest") != "SHA384":
        raise VerificationError("payload's digest is not SHA384")
    timestamp = fields.get("timestamp")
    if type(timestamp) is not int or not 0 < timestamp < _LATEST_MS:
        raise VerificationError("payload's timestamp is not a time in milliseconds")
    bundle = fields.get("cabundle")
    if not isinstance(bundle, list) or not 1 <= len(bundle) <= _MAX_CHAIN:
        raise VerificationError(f"payload's cabundle does not hold 1 to {_MAX_CHAIN} certificates")
    return _Document(
        timestamp_ms=timestamp,
        pcrs=_read_pcrs(fields.get("pcrs")),
        certificate=_certificate(fields.get("certificate")),
        bundle=tuple(_certificate(item) for item in bundle),
        public_key=_optional(fields, "public_key", 1024),
        user_data=_optional(fields, "user_data", 1024),
        nonce=_optional(fields, "nonce", 1024),
    )


def _read_pcrs(value: Any) -> Mapping[int, bytes]:
    if not isinstance(value, dict) or not 1 <= len(value) <= 32:
        raise VerificationError("payload's pcrs are not a map of 1 to 32")
    for index, pcr in value.items():
        if type(index) is not int or not 0 <= index < 32:
            raise VerificationError("payload's pcrs have an index that is not 0 to 31")
        if not isinstance(pcr, bytes) or len(pcr) not in _PCR_SIZES:
            raise VerificationError(f"PCR {index} is not a digest")
    return value


def _certificate(value: Any) -> x509.Certificate:
    if not isinstance(value, bytes) or not 1 <= len(value) <= 4096:
        raise VerificationError("payload has a certificate of an impossible size")
    try:
        return load_certificate(value)
    except ValueError:
        raise VerificationError("payload has a malformed certificate") from None


def _optional(fields: Mapping[str, Any], name: str, most: int) -> bytes | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, bytes) or len(value) > most:
        raise VerificationError(f"payload's {name} is not at most {most} bytes")
    return value


def _no_tags(*_: Any) -> NoReturn:
    raise ValueError("tags are not expected here")


_NO_TAGS: Final[dict[int, Any]] = dict.fromkeys([*range(300), 1004, 43000, 55799], _no_tags)
"""cbor2 would make dates, patterns, references and more of them: nothing that a hostile document should reach."""


def _decode(data: bytes) -> Any:
    """One CBOR item and nothing after it."""
    stream = BytesIO(data)
    try:
        value = cbor2.CBORDecoder(
            stream, tag_hook=_no_tags, semantic_decoders=_NO_TAGS, max_depth=4, allow_duplicate_keys=False
        ).decode()
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        raise VerificationError("document is not well-formed CBOR") from None
    if stream.tell() != len(data):
        raise VerificationError("document has bytes after its end")
    return value


# -- 2. and 3. chain and signature ---------------------------------------------------------------------------------


def _check_chain(content: _Document, root: x509.Certificate) -> None:
    moment = datetime.fromtimestamp(content.timestamp_ms // 1000, UTC)
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store([root]))
        .time(moment)
        .max_chain_depth(_MAX_CHAIN)
        .extension_policies(
            ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
            # The enclave's certificate has no alternative name and no extended key usage: it is not for TLS.
            ee_policy=verification.ExtensionPolicy.permit_all(),
        )
        .build_client_verifier()
    )
    try:
        verifier.verify(content.certificate, [item for item in content.bundle if item != root])
    except (verification.VerificationError, ValueError, x509.DuplicateExtension, UnsupportedAlgorithm):
        raise VerificationError(
            f"certificate does not chain to the root at the document's time, {moment:%Y-%m-%dT%H:%M:%SZ}"
        ) from None


def _check_signature(
    certificate: x509.Certificate, protected: bytes, payload: bytes, signature: bytes
) -> None:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise VerificationError("certificate's key is malformed") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise VerificationError("certificate's key is not for ES384")
    r, s = (int.from_bytes(half) for half in (signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]))
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA384()))
    except InvalidSignature:
        raise VerificationError("document's signature does not match its content and certificate") from None


# -- key -----------------------------------------------------------------------------------------------------------


def _bound(content: _Document) -> Binding:
    """The key in ``public_key``, or what ``user_data`` says if it is a JSON object of claims."""
    if content.public_key is not None:
        try:
            key = load_der_public_key(content.public_key)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if key is not None:
            return Binding(spki=pin_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))
    if content.user_data is not None and content.user_data[:1] == b"{":
        try:
            return read_binding([read_json_object(content.user_data, "user_data")])
        except VerificationError:
            return Binding()
    return Binding()

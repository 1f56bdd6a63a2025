"""Looks at the certificate that a provider's endpoint shows, to learn which key is in it.

Envoy reports the digest of the answering peer's certificate, and evidence may be bound to the key alone. Nothing is
trusted here, and the connection carries no request: a digest determines its certificate and so its key, whoever
showed it.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.registry.certificates import load_certificate
from sovereign_ext.registry.evidence import pin_of

TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate: hex SHA-256 of its DER, and base64 SHA-256 of the SPKI in it."""

    certificate: str
    pin: str


def read_certificate(der: bytes) -> Shown:
    """What there is to know of a DER certificate. Raises ``ValueError``."""
    try:
        key = load_certificate(der).public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError(f"certificate with an unknown kind of key: {error}") from None
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Shown(hashlib.sha256(der).hexdigest(), pin_of(spki))


async def observe(endpoint: str) -> Shown | None:
    """The certificate of an endpoint now; ``None`` where there is no TLS. Raises ``OSError`` or ``ValueError``."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or parts.hostname is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # see above: nothing is trusted
    async with asyncio.timeout(TIMEOUT_S):
        _, writer = await asyncio.open_connection(
            parts.hostname, parts.port or 443, ssl=context, server_hostname=parts.hostname
        )
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    if not der:
        raise ValueError("the endpoint showed no certificate")
    return read_certificate(der)

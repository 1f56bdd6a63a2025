"""Certificates that somebody else made (RFC 5280): one way to read them, and one exception for all that is wrong."""

from __future__ import annotations

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning


def load_certificate(der: bytes) -> x509.Certificate:
    """The certificate of these DER bytes; nothing in it is trusted yet. Raises ``ValueError``.

    A serial number that is not positive is refused as RFC 5280 §4.1.2.2 has it. The library only warns of it so far,
    and a warning is an exception where an operator runs Python with ``-W error``.
    """
    try:
        made = x509.load_der_x509_certificate(der)
    except (x509.InvalidVersion, CryptographyDeprecationWarning) as error:
        raise ValueError(str(error)) from None
    if made.serial_number <= 0:
        raise ValueError("certificate's serial number is not positive")
    return made

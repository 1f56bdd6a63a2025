"""Certificates in DER: what cannot be read is one exception, whatever the library makes of it."""

from __future__ import annotations

import json
import warnings
from base64 import b64encode
from typing import Literal

import pytest
from cryptography.utils import CryptographyDeprecationWarning
from hypothesis import given
from hypothesis import strategies as st
from nitro_world import Making, certificate, der, sealed, verify

from sovereign_ext.errors import EvidenceRefused, VerificationError
from sovereign_ext.registry.certificates import load_certificate
from sovereign_ext.registry.jose import read_key_set

SERIAL = 0x0102030405060708

GOOD = der(certificate("root", "root", serial=SERIAL))
NEGATIVE = GOOD.replace(SERIAL.to_bytes(8), b"\xff" + bytes(7))
ZERO = der(certificate("root", "root", serial=7)).replace(
    b"\x02\x01\x02\x02\x01\x07", b"\x02\x01\x02\x02\x01\x00", 1
)


def test_a_good_one() -> None:
    assert load_certificate(GOOD).serial_number == SERIAL


@pytest.mark.parametrize("warned", ["error", "ignore"])
@pytest.mark.parametrize("made", [NEGATIVE, ZERO], ids=["negative", "zero"])
def test_serial_numbers_that_are_not_positive(made: bytes, warned: Literal["error", "ignore"]) -> None:
    """RFC 5280 §4.1.2.2. The library only warns; the answer does not depend on what becomes of warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter(warned, CryptographyDeprecationWarning)
        with pytest.raises(ValueError, match="serial number"):
            load_certificate(made)


def test_an_unknown_version() -> None:
    version = GOOD.index(b"\xa0\x03\x02\x01\x02") + 4
    with pytest.raises(ValueError, match="version"):
        load_certificate(GOOD[:version] + b"\x07" + GOOD[version + 1 :])


def test_whoever_reads_one_refuses_it() -> None:
    """A document of an enclave, and a key set."""
    making = Making(fields={"certificate": NEGATIVE})
    with pytest.raises(EvidenceRefused, match="payload has a malformed certificate"):
        verify(sealed(making.protected, making.payload(), bytes(96)))
    key = {"kty": "EC", "x5c": [b64encode(NEGATIVE).decode()]}
    with pytest.raises(VerificationError):
        read_key_set(json.dumps({"keys": [key]}).encode())


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)))
def test_nothing_else_is_raised(place: int, byte: int, length: int) -> None:
    """Any byte changed, and any cut."""
    for broken in (GOOD[:place] + bytes([byte]) + GOOD[place + 1 :], GOOD[:length]):
        try:
            load_certificate(broken)
        except ValueError:
            continue

"""The format of keys."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.tenants.keys import KeyKind, checksum_ok, has_form, hash_key, mint

kinds = st.sampled_from(list(KeyKind))
random_bytes = st.binary(min_size=32, max_size=32)
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def number_of(text: str) -> int:
    """Base62, read by the definition."""
    return sum(ALPHABET.index(char) * 62**place for place, char in enumerate(reversed(text)))


@given(kinds, random_bytes)
def test_a_key_holds_all_random_bits_and_their_checksum(kind: KeyKind, raw: bytes) -> None:
    """Prefix, 43 characters that give the bytes back, 6 characters of the CRC-32 of all before."""
    text = mint(kind, raw).reveal()
    body, check = text[:-6], text[-6:]
    assert body.startswith(kind.value)
    assert len(text) == len(kind.value) + 49
    assert number_of(body.removeprefix(kind.value)).to_bytes(32, "big") == raw
    assert number_of(check) == zlib.crc32(body.encode())
    assert checksum_ok(text)
    assert has_form(text)


@pytest.mark.parametrize("raw", [b"\x00" * 32, b"\xff" * 32])
def test_the_extremes_fit(raw: bytes) -> None:
    """43 characters are enough for 2^256 - 1, and zero is padded."""
    assert len(mint(KeyKind.TENANT, raw).reveal()) == 59


@given(kinds, random_bytes, st.data())
def test_any_single_slip_is_noticed(kind: KeyKind, raw: bytes, data: st.DataObject) -> None:
    """A CRC finds every error within 32 bits: one wrong, missing or doubled character of the key."""
    text = mint(kind, raw).reveal()
    at = data.draw(st.integers(0, len(text) - 1))
    wrong = data.draw(st.sampled_from(ALPHABET).filter(lambda char: char != text[at]))
    assert not checksum_ok(text[:at] + wrong + text[at + 1 :])
    assert not checksum_ok(text[:at] + text[at + 1 :])
    assert not checksum_ok(text[:at] + text[at] + text[at:])


@given(st.text())
def test_any_text_can_be_checked_and_hashed(text: str) -> None:
    """What a client sends may be anything."""
    assert not checksum_ok(text)
    assert len(hash_key(text.encode("utf-8", "ignore").decode())) == 71


def test_the_hash_is_sha256_of_the_whole_key() -> None:
    """As the file keeps it; the key in the shell gives the same: ``printf %s KEY | sha256sum``."""
    text = mint(KeyKind.ADMIN, bytes(range(32))).reveal()
    assert hash_key(text) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_takes_exactly_32_random_bytes(length: int) -> None:
    """Fewer would be guessable, more would not fit."""
    with pytest.raises(ValueError, match=f"32 random bytes, got {length}"):
        mint(KeyKind.TENANT, b"x" * length)


def test_a_minted_key_hides_itself() -> None:
    """Between minting and printing nothing shows it by accident."""
    assert "sk-router-" not in repr(mint(KeyKind.TENANT, b"x" * 32))

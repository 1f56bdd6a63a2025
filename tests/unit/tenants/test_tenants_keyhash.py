"""The keyed hash of keys: it is HMAC-SHA256, it names its secret, and it shows none."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.secret import Secret
from sovereign_ext.tenants.keyhash import SECRET_BYTES, KeyHash, KeyHashes, split

SECRET = b"s" * 32


@given(st.binary(min_size=SECRET_BYTES, max_size=200), st.binary(max_size=300))
def test_it_is_hmac_sha256(secret: bytes, key: bytes) -> None:
    """RFC 2104, also for secrets longer than a block, which are hashed first."""
    assert KeyHash(secret).digest(key) == hmac.digest(secret, key, "sha256")


def test_rfc_4231_test_case_6() -> None:
    """A published vector: a key of 131 bytes."""
    expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    data = b"Test Using Larger Than Block-Size Key - Hash Key First"
    assert KeyHash(b"\xaa" * 131).digest(data).hex() == expected


def test_what_is_stored_names_its_secret_and_can_be_split() -> None:
    """So that a hash can be found again after the secret was replaced."""
    hashes = KeyHashes.from_text(Secret(f"{'n' * 32}\n\n  {'o' * 40}\n"))
    old, new = KeyHash(b"o" * 40), KeyHash(b"n" * 32)
    assert list(hashes.by_id) == [new.id, old.id]
    stored = hashes.stored(Secret("sk-router-x"))
    assert split(stored) == (new.id, hmac.digest(b"n" * 32, b"sk-router-x", "sha256"))


def test_the_id_says_nothing_of_the_secret_but_tells_secrets_apart() -> None:
    """It stands in every row of the database."""
    one = KeyHash(SECRET)
    assert one.id != KeyHash(b"t" * 32).id
    assert one.id not in (hashlib.sha256(SECRET).hexdigest()[:8], one.digest(b"").hex()[:8])
    assert "s" * 8 not in f"{one!r} {one.id}"


@pytest.mark.parametrize("text", ["", "\n \n", "short", "x" * 32 + "\nshort"])
def test_a_secret_that_could_be_guessed_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"secret") as caught:
        KeyHashes.from_text(Secret(text))
    assert "xxx" not in str(caught.value)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    "stored", ["", "sha256:" + "0" * 64, "hmac-sha256:0:12", "hmac-sha256:0:" + "g" * 64, "a:b:c:d"]
)
def test_what_is_no_stored_hash_cannot_be_split(stored: str) -> None:
    with pytest.raises(ValueError):
        split(stored)

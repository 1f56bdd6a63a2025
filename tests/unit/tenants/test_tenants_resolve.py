"""From the Authorization header to an identity or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.load import parse
from sovereign_ext.errors import KeyRefused
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint
from sovereign_ext.tenants.resolve import MAX_HEADER_CHARS, OperatorIdentity, identify, resolve

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
KEYS = {
    name: mint(KeyKind.ADMIN if name.startswith("admin") else KeyKind.TENANT, bytes([number]) * 32).reveal()
    for number, name in enumerate(["good", "expired", "revoked", "later", "both", "admin", "admin-expired"])
}
OWN = "my own key, brought along"
DIRECTORY = Directory.of(
    parse(f"""\
version: 1
admins:
  - id: ops
    keys:
      - {{id: ops-1, hash: "{hash_key(KEYS["admin"])}"}}
      - {{id: ops-2, hash: "{hash_key(KEYS["admin-expired"])}", expires_at: 2027-01-15}}
tenants:
  - id: acme
    keys:
      - {{id: good, hash: "{hash_key(KEYS["good"])}", expires_at: 2027-01-15T08:00:01Z}}
      - {{id: expired, hash: "{hash_key(KEYS["expired"])}", expires_at: 2027-01-15T08:00:00Z}}
      - {{id: revoked, hash: "{hash_key(KEYS["revoked"])}", revoked_at: 2027-01-15T08:00:00Z}}
      - {{id: later, hash: "{hash_key(KEYS["later"])}", revoked_at: 2027-01-16}}
      - {{id: both, hash: "{hash_key(KEYS["both"])}", revoked_at: 2027-01-01, expires_at: 2027-01-01}}
      - {{id: own, hash: "{hash_key(OWN)}"}}
    policies: [p]
    default_policy: p
policies: [{{id: p}}]
""")
)


def refusal(header: str | bytes | None) -> KeyRefused:
    with pytest.raises(KeyRefused) as caught:
        resolve(header, DIRECTORY, NOW)
    return caught.value


@pytest.mark.parametrize(
    "header",
    [
        "Bearer {}",
        "bearer {}",
        "BEARER {}",
        "Bearer   {}",
        "  Bearer {}  ",
        "Bearer \t{}\t",
    ],
)
def test_the_scheme_has_any_case_and_spaces_do_not_matter(header: str) -> None:
    """RFC 9110 §11.1: scheme names are case-insensitive."""
    text = header.format(KEYS["good"])
    for form in (text, text.encode()):
        identity = resolve(form, DIRECTORY, NOW)
        assert (identity.tenant.id, identity.key_id) == ("acme", "good")


def test_a_key_of_another_form_works_by_its_hash() -> None:
    """The checksum only improves messages; what counts is the hash in the file."""
    assert resolve(f"Bearer {OWN}", DIRECTORY, NOW).key_id == "own"


def test_a_revocation_in_the_future_does_not_count_yet() -> None:
    """Overlapping rotation: the old key ends at a set time."""
    assert resolve(f"Bearer {KEYS['later']}", DIRECTORY, NOW).key_id == "later"
    with pytest.raises(KeyRefused):
        resolve(f"Bearer {KEYS['later']}", DIRECTORY, NOW + 86400)


@pytest.mark.parametrize(
    ("name", "code"),
    [("expired", "expired_api_key"), ("revoked", "revoked_api_key"), ("both", "revoked_api_key")],
)
def test_a_key_that_was_valid_once_is_refused_with_its_owner(name: str, code: str) -> None:
    """The caller learns why, our log learns who; expiry holds from its first moment on."""
    error = refusal(f"Bearer {KEYS[name]}")
    assert (error.status, error.code, error.tenant, error.key_id) == (401, code, "acme", name)


@pytest.mark.parametrize("header", [None, "", "   ", b""])
def test_a_missing_key_is_told_where_to_go(header: str | bytes | None) -> None:
    """The first mistake of everybody."""
    error = refusal(header)
    assert (error.status, error.code, error.type) == (401, "invalid_api_key", "invalid_request_error")
    assert "Authorization: Bearer" in error.message
    assert error.tenant is None


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", KEYS["good"], f"Basic {KEYS['good']}", f"Bearer{KEYS['good']}",
               "Bearer " + "x" * MAX_HEADER_CHARS]
)  # fmt: skip
def test_what_is_no_bearer_token_is_refused(header: str) -> None:
    """Also the right key under another scheme."""
    error = refusal(header)
    assert (error.status, error.code) == (401, "invalid_api_key")


def test_unknown_and_mistyped_keys_are_told_apart_by_the_checksum_only() -> None:
    """The difference is computed from the text the caller already has, so it gives nothing away."""
    unknown = mint(KeyKind.TENANT, b"z" * 32).reveal()
    assert "not known" in refusal(f"Bearer {unknown}").message
    assert "mistyped" in refusal(f"Bearer {unknown[:-1]}").message
    assert "not known" in refusal("Bearer sk-something-else").message


def test_an_admin_key_does_not_open_the_model_api() -> None:
    """It is a key, but for another door; the call is no tenant's, whatever the admin is called."""
    error = refusal(f"Bearer {KEYS['admin']}")
    assert (error.status, error.code, error.tenant, error.key_id) == (
        403,
        "admin_key_not_allowed",
        None,
        None,
    )
    expired = refusal(f"Bearer {KEYS['admin-expired']}")
    assert (expired.code, expired.tenant) == ("expired_api_key", None)


def test_an_operators_key_stands_for_its_operator() -> None:
    """With the same care for what has expired."""
    identity = identify(f"Bearer {KEYS['admin']}", DIRECTORY, NOW)
    assert isinstance(identity, OperatorIdentity)
    assert (identity.operator.id, identity.key_id) == ("ops", "ops-1")
    for name, code in {"revoked": "revoked_api_key", "admin-expired": "expired_api_key"}.items():
        with pytest.raises(KeyRefused) as caught:
            identify(f"Bearer {KEYS[name]}", DIRECTORY, NOW)
        assert (caught.value.status, caught.value.code) == (401, code)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_header_gets_in_or_breaks_anything(header: bytes | str) -> None:
    """Bytes of any kind end in a 401, and no part of them is repeated."""
    prefixed = b"Bearer " + header if isinstance(header, bytes) else "Bearer " + header
    for sent in (header, prefixed):
        with pytest.raises(KeyRefused) as caught:
            resolve(sent, DIRECTORY, NOW)
        assert caught.value.status == 401


def test_no_refusal_shows_the_key() -> None:
    """Neither message nor repr nor arguments hold any of it."""
    for key in [*KEYS.values(), mint(KeyKind.TENANT, b"q" * 32).reveal()]:
        if key not in (KEYS["good"], KEYS["later"]):
            error = refusal(f"Bearer {key}")
            assert key[12:24] not in f"{error!r} {error} {vars(error)}"

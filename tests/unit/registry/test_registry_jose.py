"""Signed tokens and key sets: one key that fits, one algorithm of the list, and nothing malformed."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eat_world import (
    JSON,
    MEASURED,
    NOW,
    b64,
    certificate,
    check,
    claims,
    jwk,
    key_set,
    kind_of,
    pin,
    private_key,
    refused,
    sign,
    token,
)
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import VerificationError
from sovereign_ext.mock.verifier import ISSUER as MOCK_ISSUER
from sovereign_ext.mock.verifier import MEASUREMENT, Verifier
from sovereign_ext.registry.jose import ALGORITHMS, MAX_TOKEN_BYTES, read_key_set

ROOT = Path(__file__).parents[3]


# -- signature -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_on_the_list(alg: str) -> None:
    """Its own key opens it, and a key of another kind does not."""
    kind = kind_of(alg)
    assert check(jwk(kind))(token(claims(), alg=alg)).measurement == MEASURED
    other = "P-256" if kind != "P-256" else "P-384"
    assert "not for" in refused(check(jwk(other)), token(claims(), alg=alg))[1]


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "HS256", "HS384", "ES512", "ES256K", "RS1", "", "dir"]
)
def test_other_algorithms_are_refused(alg: str) -> None:
    """No signature, a shared secret, and whatever nobody listed: before any key is looked at."""
    made = token(claims(), alg="none").replace(
        b64(json.dumps({"alg": "none", "kid": "k"}).encode()).encode(),
        b64(json.dumps({"alg": alg, "kid": "k"}).encode()).encode(),
    )
    code, message = refused(check(), made)
    assert code == "no_evidence"
    assert "expected one of ES256" in message


def test_a_public_key_is_no_hmac_secret() -> None:
    """The old confusion: the token is authenticated by the verifier's public key used as a secret."""
    public = private_key("RSA").public_key()
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ):
        assert refused(check(jwk("RSA")), token(claims(), alg="HS256", key=secret))[0] == "no_evidence"


def test_another_key_s_signature_is_refused() -> None:
    message, _, _ = token(claims()).rpartition(b".")
    forged = sign(private_key("P-256"), "ES256", b"something else")
    assert "signature" in refused(check(), message + b"." + b64(forged).encode())[1]


@pytest.mark.services
def test_every_flipped_bit_is_refused() -> None:
    """Header, payload and signature: none of them can change by a single bit."""
    made, checked = token(claims()), check()
    for place in range(len(made)):
        for bit in range(8):
            broken = bytearray(made)
            broken[place] ^= 1 << bit
            assert refused(checked, bytes(broken))[0] == "no_evidence", (place, bit)


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"], "exp": NOW}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": True}],
    ids=str,
)
def test_critical_headers_are_refused(header: dict[str, Any]) -> None:
    """Also such as the library would understand."""
    assert "critical" in refused(check(), token(claims(), **header))[1]


def test_unknown_headers_are_ignored() -> None:
    """RFC 7515 §4: what is not critical and not understood is ignored; jku and jwk are never followed."""
    extra = {"jku": "https://attacker.example", "jwk": jwk("P-384"), "typ": "eat+jwt", "x5c": ["AAAA"] * 40}
    assert check()(token(claims(), **extra)).measurement == MEASURED


@pytest.mark.parametrize(
    ("keys", "kid", "outcome"),
    [
        ([jwk("P-256", "a"), jwk("P-384", "b")], "a", ""),
        ([jwk("P-256", "a"), jwk("P-384", "a")], "a", ""),  # the one that fits
        ([jwk("P-256", "a"), jwk("P-384", "b")], None, ""),
        ([jwk("P-256", None)], None, ""),
        ([jwk("P-256", "a")], "b", "no key of the key set"),
        ([jwk("P-256", None)], "b", "no key of the key set"),
        ([jwk("P-384", "a"), jwk("P-256", "b")], "a", "not for ES256"),
        ([jwk("P-256", "a"), jwk("P-256", "b")], None, "2 keys fit"),
        ([jwk("P-256", "a"), jwk("P-256", "a")], "a", "2 keys fit"),
        ([jwk("P-256", "a", alg="ES384")], "a", "not for ES256"),
        ([jwk("P-256", "a", alg="ES256", use="sig", key_ops=["verify"])], "a", ""),
    ],
)
def test_the_kid_selects_one_key(keys: list[Any], kid: str | None, outcome: str) -> None:
    """Exactly one key is tried."""
    made = token(claims(), kid=kid)
    if outcome:
        assert outcome in refused(check(*keys), made)[1]
    else:
        assert check(*keys)(made).measurement == MEASURED


def test_eddsa_under_both_names() -> None:
    """A key that says ``alg`` is for exactly that spelling."""
    assert check(jwk("Ed25519", alg="EdDSA"))(token(claims(), alg="EdDSA"))
    assert check(jwk("Ed25519", alg="Ed25519"))(token(claims(), alg="Ed25519"))
    assert "not for" in refused(check(jwk("Ed25519", alg="EdDSA")), token(claims(), alg="Ed25519"))[1]


@pytest.mark.parametrize(
    "made",
    [
        b"",
        b".",
        b"..",
        b"a.b.c",
        b"a.b.c.d",
        b"\xff.\xff.\xff",
        b"x" * (MAX_TOKEN_BYTES + 1),
        token(b"[]"),
        token(b'{"iss":1,"iss":2}'),
        token(b'{"exp":NaN}'),
        token(b'{"exp":1e999}'),
        token(b'{"iss":"\\ud800"}'),
        token(b"[" * 5000 + b"]" * 5000),
        token(b'{"a":' * 5000 + b"1" + b"}" * 5000),
        token(b'{"exp":' + b"9" * 5000 + b"}"),
        token(b"\xff"),
        token(claims(), kid=7),  # type: ignore[arg-type]
        token(claims()) + b"=",
        b" " + token(claims()),
        token(claims()) + b"\n",
    ],
    ids=map(str, itertools.count()),  # fresh keys would make other names each time
)
def test_malformed_tokens(made: bytes) -> None:
    """Whatever it is, the answer is ours, and at once."""
    began = time.monotonic()
    assert refused(check(), made)[0] == "no_evidence"
    assert time.monotonic() - began < 5


# -- key sets ------------------------------------------------------------------------------------------------------


def x5c(kind: str) -> list[str]:
    return [b64encode(certificate(kind).public_bytes(Encoding.DER)).decode()]


def test_keys_that_are_only_certificates() -> None:
    """As Azure Attestation publishes them. The key's own members win where both are there."""
    only = {"kty": "RSA", "kid": "k", "x5c": x5c("RSA")}
    assert check(only)(token(claims(), alg="RS256")).measurement == MEASURED
    both = jwk("RSA") | {"x5c": x5c("P-256")}
    assert check(both)(token(claims(), alg="RS256")).measurement == MEASURED


@pytest.mark.parametrize(
    "passed_over",
    [
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": 7, "e": "AQAB"},
        {"kty": "OKP", "crv": "X25519", "x": b64(bytes(32))},
        {"kty": "RSA", "x5c": ["!"]},
        {"kty": "RSA", "x5c": []},
        {"kty": ["EC"]},
        {},
        jwk("P-256", use="enc"),
        jwk("P-256", key_ops=["sign"]),
        jwk("P-256", kid=7),
        jwk("RSA-1024"),
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
    ],
    ids=map(str, itertools.count()),  # fresh keys would make other names each time
)
def test_keys_that_cannot_verify_are_passed_over(passed_over: dict[str, Any]) -> None:
    """RFC 7517 §5; a set of nothing else is refused."""
    assert len(key_set(passed_over, jwk("P-256")).keys) == 1
    with pytest.raises(VerificationError, match="no key that can verify"):
        key_set(passed_over)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b'{"keys":[]}',
        json.dumps({"keys": [jwk("P-256") | {"d": "AA"}]}).encode(),
        json.dumps({"keys": [jwk("P-256"), {"kty": "oct", "k": "AA"}]}).encode(),
        json.dumps({"keys": [jwk("P-256")] * 201}).encode(),
        b'{"keys":[' + b" " * (MAX_TOKEN_BYTES * 8) + b"]}",
    ],
    ids=map(str, itertools.count()),  # fresh keys would make other names each time
)
def test_key_sets_that_cannot_be_used(data: bytes) -> None:
    """Malformed, secret, empty or huge."""
    with pytest.raises(VerificationError):
        read_key_set(data)


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(b".".join))
def test_bytes_that_are_no_token(made: bytes) -> None:
    assert refused(check(), made)[0] == "no_evidence"


@given(JSON, JSON)
def test_any_header_over_any_payload(header: Any, payload: Any) -> None:
    """Nothing but our own error comes out, before and behind a signature that holds."""
    made = b".".join(b64(json.dumps(part).encode()).encode() for part in (header, payload)) + b".AAAA"
    assert refused(check(), made)[0] == "no_evidence"


@pytest.mark.services
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["kty", "crv", "x", "y", "n", "e", "x5c", "kid", "alg", "use", "key_ops"]), JSON
        )
    )
)
def test_any_key_set(members: list[Any]) -> None:
    """A set that is read has only keys that can be used."""
    try:
        keys = read_key_set(json.dumps({"keys": members}).encode())
    except VerificationError:
        return
    assert keys.keys


# -- judge ---------------------------------------------------------------------------------------------------------


def judge(given_: dict[str, Any]) -> dict[str, Any]:
    """Run PyJWT where the judges are installed."""
    python = Path(os.environ.get("SOVEREIGN_JUDGES_PYTHON") or ROOT / ".venv-judges" / "bin" / "python")
    assert python.exists(), f"no interpreter with the judges at {python}: run `make test`, which sets it up"
    script = Path(__file__).parent / "judges" / "pyjwt.py"
    done = subprocess.run(
        [python, script], input=json.dumps(given_), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_pyjwt_makes_what_we_read_and_reads_what_the_mock_makes() -> None:
    """Both ways, with a library that none of this code uses."""
    pem = certificate("P-256").public_bytes(Encoding.PEM)
    mock = Verifier(pem)
    now = int(time.time())
    tokens = {"good": mock.token("a-nonce-of-ours", now)}
    for name in ("expired", "foreign_signature", "alg_none", "wrong_issuer"):
        mock.behave(**{name: True})
        tokens[name] = mock.token("a-nonce-of-ours", now)
    said = judge({"claims": claims(), "jwks": mock.jwks.decode(), "tokens": tokens, "issuer": MOCK_ISSUER})

    keys = said["jwks"]["keys"]
    for alg, made in said["tokens"].items():
        assert check(*keys)(made.encode()).measurement == MEASURED, alg
    assert said["read"].pop("good")["eat_nonce"] == "a-nonce-of-ours"
    assert said["read"] == {
        "expired": "ExpiredSignatureError",
        "foreign_signature": "InvalidSignatureError",
        "alg_none": "InvalidAlgorithmError",
        "wrong_issuer": "InvalidIssuerError",
    }
    ours = check(
        *json.loads(mock.jwks)["keys"], issuer=MOCK_ISSUER, measurements=(MEASUREMENT,), nonce=None, now=now
    )
    assert ours(tokens["good"].encode()).bound_spki == pin("P-256")

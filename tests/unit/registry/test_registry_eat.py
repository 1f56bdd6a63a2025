"""Attestation tokens: who signed, when, for whom; what they say of debugging, measurement and key."""

from __future__ import annotations

import itertools
import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from eat_world import (
    ISSUER,
    JSON,
    MAX_AGE,
    MEASURED,
    NONCE,
    NOW,
    SKEW,
    b64,
    check,
    claims,
    jwk,
    pin,
    refused,
    token,
)
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import EvidenceRefused
from sovereign_ext.registry.appraisal import appraise

ROOT = Path(__file__).parents[3]


def reason(changes: dict[str, Any], allowed: str = MEASURED) -> str:
    """The code that authenticated evidence with these claims is appraised with; empty when it suffices."""
    try:
        appraise(check(measurements=(allowed,))(token(claims(**changes))), (allowed,), NOW)
    except EvidenceRefused as error:
        return error.reason
    return ""


def test_a_good_token_in_full() -> None:
    """Everything it says, and the digest of its bytes."""
    made = token(claims())
    evidence = check()(made)
    assert evidence.document == "sha256:" + sha256(made).hexdigest()
    assert (evidence.issued_at_s, evidence.expires_at_s) == (NOW, NOW + 120)
    assert (evidence.measurement, evidence.debug) == (MEASURED, False)
    assert (evidence.bound_spki, evidence.bound_certificate) == (pin("Ed25519"), None)
    appraise(evidence, (MEASURED,), NOW)


# -- issuer, times, nonce ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issuer", [..., "", "https://verifier.example/", 7, None, [ISSUER]])
def test_another_issuer(issuer: Any) -> None:
    assert "expected 'https://verifier.example'" in refused(check(), token(claims(iss=issuer)))[1]


def test_without_a_configured_issuer_any_will_do() -> None:
    assert check(issuer=None)(token(claims(iss=...))).measurement == MEASURED


@pytest.mark.parametrize(
    ("changes", "now", "outcome"),
    [
        ({}, NOW, ""),
        # exp: on or after it the token is refused (RFC 7519 §4.1.4), and skew does not lengthen its life
        ({"exp": NOW + 1}, NOW, ""),
        ({"exp": NOW + 1}, NOW + 0.999, ""),
        ({"exp": NOW + 1}, NOW + 1, "evidence_expired"),
        ({"exp": NOW}, NOW, "evidence_expired"),
        ({"exp": NOW + 1.5}, NOW + 1, "evidence_expired"),  # whole seconds, rounded down
        ({"exp": ...}, NOW + MAX_AGE - 1, ""),
        # age
        ({"exp": NOW + 10_000}, NOW + MAX_AGE - 0.01, ""),
        ({"exp": NOW + 10_000}, NOW + MAX_AGE, "evidence_expired"),
        # another clock may be ahead by the skew
        ({"iat": NOW + SKEW, "nbf": ...}, NOW, ""),
        ({"iat": NOW + SKEW + 1, "nbf": ...}, NOW, "no_evidence"),
        ({"nbf": NOW + SKEW}, NOW, ""),
        ({"nbf": NOW + SKEW + 0.5}, NOW, "no_evidence"),
        ({"nbf": ...}, NOW, ""),
        ({"iat": NOW + 0.25}, NOW, ""),
        # not times
        ({"exp": str(NOW + 60)}, NOW, "no_evidence"),
        ({"exp": True}, NOW, "no_evidence"),
        ({"exp": None}, NOW, "no_evidence"),
        ({"iat": -1}, NOW, "no_evidence"),
        ({"nbf": [NOW]}, NOW, "no_evidence"),
        ({"iat": 10**30}, NOW, "no_evidence"),
    ],
    ids=str,
)
def test_times(changes: dict[str, Any], now: float, outcome: str) -> None:
    """Each boundary from both sides."""
    checked = check(now=now)
    if outcome:
        assert refused(checked, token(claims(**changes)))[0] == outcome
    else:
        assert checked(token(claims(**changes))).expires_at_s > now


def test_a_clock_that_is_ahead_does_not_lengthen_a_life() -> None:
    """Age is counted from our own clock where the issuer's is ahead."""
    evidence = check()(token(claims(iat=NOW + SKEW, nbf=NOW, exp=NOW + 10_000)))
    assert evidence.expires_at_s == NOW + MAX_AGE


@pytest.mark.parametrize(
    "changes",
    [
        {"eat_nonce": b64(NONCE)},
        {"eat_nonce": ["another-nonce", b64(NONCE)]},
        {"eat_nonce": ..., "nonce": b64(NONCE)},  # Azure's name
        {"eat_nonce": ..., "attester_runtime_data": {"eat_nonce": b64(NONCE)}},
        {"eat_nonce": ..., "tdx": {"attester_runtime_data": {"nonce": b64(NONCE)}}},
        {"eat_nonce": ..., "x-ms-runtime": {"eat_nonce": b64(NONCE)}},
    ],
    ids=str,
)
def test_our_nonce_comes_back(changes: dict[str, Any]) -> None:
    """Alone or among others, at the top or in what the workload itself signed."""
    assert check()(token(claims(**changes))).measurement == MEASURED


@pytest.mark.parametrize(
    "nonce",
    [..., "", b64(NONCE)[:-1], b64(NONCE) + "=", b64(NONCE[::-1]), [], {"a": b64(NONCE)}, 7, NONCE.hex()],
)
def test_another_nonce(nonce: Any) -> None:
    """A replayed token is no answer to us, however young it is."""
    assert refused(check(), token(claims(eat_nonce=nonce))) == (
        "no_evidence",
        "token does not hold the nonce that was sent",
    )


def test_without_a_nonce_of_ours_the_age_decides() -> None:
    """And a token that hides its age is refused."""
    asked = check(nonce=None, now=NOW + 100)
    assert asked(token(claims(eat_nonce="of-somebody-else"))).issued_at_s == NOW
    assert refused(asked, token(claims(iat=NOW - MAX_AGE)))[0] == "evidence_expired"
    assert refused(asked, token(claims(iat=...)))[0] == "no_evidence"
    assert check()(token(claims(iat=...))).issued_at_s == NOW  # our nonce says that it is new


# -- debugging -----------------------------------------------------------------------------------------------------

OFF = [
    "disabled",
    "disabled-since-boot",
    "disabled-permanently",
    "disabled-fully-and-permanently",
    1,
    2,
    3,
    4,
]
ON = ["enabled", "Disabled", "", "off", 0, 5, -1, 1.0, True, False, None, ["disabled"], {}]


@pytest.mark.parametrize(
    ("changes", "debug"),
    [
        *(({"dbgstat": value}, False) for value in OFF),
        *(({"dbgstat": value}, True) for value in ON),
        ({"dbgstat": ...}, True),  # not shown to be off
        # Intel Trust Authority
        ({"dbgstat": ..., "tdx": {"dbgstat": "disabled", "tdx_is_debuggable": False}}, False),
        ({"tdx": {"dbgstat": "enabled"}}, True),
        ({"tdx_is_debuggable": True}, True),
        ({"tdx_is_debuggable": "false"}, True),
        ({"dbgstat": ..., "sgx_is_debuggable": False}, False),
        # Azure Attestation
        ({"dbgstat": ..., "x-ms-sgx-is-debuggable": False}, False),
        ({"dbgstat": ..., "x-ms-isolation-tee": {"x-ms-sevsnpvm-is-debuggable": False}}, False),
        ({"dbgstat": ..., "x-ms-isolation-tee": {"x-ms-sevsnpvm-is-debuggable": True}}, True),
        ({"x-ms-isolation-tee": {"tdx_td_attributes_debug": True}}, True),
        # submodules
        ({"submods": {"gpu": {"dbgstat": "disabled"}}}, False),
        ({"submods": {"gpu": {"dbgstat": "enabled"}}}, True),
        ({"submods": {"gpu": {}}}, False),  # silent, but the entity speaks
        ({"submods": {"gpu": {"submods": {"inner": {"dbgstat": "enabled"}}}}}, True),
        ({"submods": {"gpu": {"submods": {"inner": {"dbgstat": "disabled"}}}}}, False),
        ({"submods": {"gpu": "eyJ.a.b"}}, True),  # a token of its own is not read
        ({"submods": {"gpu": ["JWT", "eyJ.a.b"]}}, True),
        ({"submods": []}, True),
        ({"dbgstat": ..., "submods": {"a": {"dbgstat": 1}, "b": {"dbgstat": 4}}}, False),
        ({"dbgstat": ..., "submods": {"a": {"dbgstat": 1}, "b": {}}}, True),
        ({"dbgstat": ..., "submods": {}}, True),
    ],
    ids=str,
)
def test_debugging_has_to_be_off(changes: dict[str, Any], debug: bool) -> None:
    """Unknown counts as on, everywhere that matters."""
    assert check()(token(claims(**changes))).debug is debug
    assert reason(changes) == ("evidence_debug" if debug else "")


# -- measurement ---------------------------------------------------------------------------------------------------


def component(*digest: Any, **more: Any) -> list[Any]:
    return [296, json.dumps({"id": ["image"], "digested-measurement": list(digest), **more})]


MRTD, RTMR, HOST = "0c" * 48, "1d" * 48, "2e" * 32
IMAGE = b64(bytes.fromhex(MEASURED))


@pytest.mark.parametrize(
    ("said", "allowed", "spelled"),
    [
        ({"x-sovereign-measurement": MEASURED}, MEASURED, MEASURED),
        ({"x-sovereign-measurement": MEASURED.upper()}, MEASURED, MEASURED),
        ({"x-sovereign-measurement": MEASURED}, MEASURED.upper(), MEASURED.upper()),
        ({"x-sovereign-measurement": f"{MRTD}:{RTMR}"}, MRTD, MRTD),
        ({"x-sovereign-measurement": f"{MRTD}:{RTMR}"}, RTMR, f"{MRTD}:{RTMR}"),
        ({"measurements": [component("sha-256", IMAGE)]}, MEASURED, MEASURED),
        ({"measurements": [component(1, IMAGE)]}, MEASURED, MEASURED),
        (
            {"measurements": [[258, "coswid"], component("sha-256", IMAGE), component("sha-256", IMAGE)]},
            f"{MEASURED}:{MEASURED}",
            f"{MEASURED}:{MEASURED}",
        ),
        ({"measurements": [[258, "coswid"]], "x-sovereign-measurement": MRTD}, MRTD, MRTD),
        ({"tdx_mrtd": MRTD}, MRTD, MRTD),
        ({"tdx": {"tdx_mrtd": MRTD, "tdx_rtmr0": RTMR}}, f"{MRTD}:{RTMR}", f"{MRTD}:{RTMR}"),
        ({"tdx": {"tdx_mrtd": MRTD, "tdx_rtmr0": RTMR}}, f"{MRTD}:{MRTD}", f"{MRTD}:{RTMR}"),
        ({"x-ms-sevsnpvm-launchmeasurement": MRTD}, MRTD, MRTD),
        (
            {"x-ms-isolation-tee": {"x-ms-sevsnpvm-launchmeasurement": MRTD, "x-ms-sevsnpvm-hostdata": HOST}},
            f"{MRTD}:{HOST}",
            f"{MRTD}:{HOST}",
        ),
        ({"x-ms-sgx-mrenclave": HOST}, HOST, HOST),
        ({"sgx": {"sgx_mrenclave": HOST}}, HOST, HOST),
        ({}, MEASURED, ""),
        ({"tdx_mrtd": 7}, MEASURED, ""),
        ({"measurements": MEASURED}, MEASURED, ""),
        ({"measres": [["image", [["all", "success"]]]]}, MEASURED, ""),
        # the first place that has one decides
        (
            {
                "measurements": [component("sha-256", IMAGE)],
                "tdx_mrtd": MRTD,
                "x-sovereign-measurement": HOST,
            },
            MRTD,
            MEASURED,
        ),
        ({"tdx_mrtd": MRTD, "x-sovereign-measurement": MEASURED}, MEASURED, MRTD),
    ],
    ids=lambda value: str(value)[:60],
)
def test_measurement(said: dict[str, Any], allowed: str, spelled: str) -> None:
    """Where it is found, and that it is spelled like the entry that allows it."""
    changes = {"x-sovereign-measurement": ..., **said}
    made = token(claims(**changes))
    assert check(measurements=("ffff", allowed))(made).measurement == spelled
    assert reason(changes, allowed) == ("" if spelled == allowed else "evidence_measurement")


@pytest.mark.parametrize(
    "entry",
    [
        component("sha-256", IMAGE, flags="AAAAAAAAAAA"),
        component("sha-256", IMAGE, authorities=["x"]),
        component("sha-256"),
        component("sha-256", 7),
        component("sha-256", "é"),
        [296, "{"],
        [296, 7],
        [296, '{"id":[]}'],
    ],
    ids=str,
)
def test_a_measured_component_that_is_not_understood_is_refused(entry: list[Any]) -> None:
    """Its draft says so of profiles' members; and another place must not stand in for a broken one."""
    assert refused(check(), token(claims(measurements=[entry])))[0] == "no_evidence"


# -- key -----------------------------------------------------------------------------------------------------------

DIGEST = sha256(b"certificate").digest()
PIN_CLAIM = "x-sovereign-tls-spki"
PIN = b64encode(DIGEST).decode()


@pytest.mark.parametrize(
    ("changes", "spki", "certificate_digest"),
    [
        *(({"cnf": {"jwk": jwk(kind)}}, pin(kind), None) for kind in ("P-256", "P-384", "RSA", "Ed25519")),
        ({"cnf": {"x5t#S256": b64(DIGEST)}}, None, DIGEST.hex()),
        ({"cnf": {"x5t#S256": b64(DIGEST), "jwk": jwk("RSA")}}, pin("RSA"), DIGEST.hex()),
        ({"cnf": ..., PIN_CLAIM: b64(DIGEST)}, PIN, None),
        ({"cnf": ..., PIN_CLAIM: b64(DIGEST) + "="}, PIN, None),
        ({"cnf": ..., "attester_runtime_data": {"cnf": {"jwk": jwk("RSA")}}}, pin("RSA"), None),
        ({"cnf": ..., "tdx": {"attester_runtime_data": {PIN_CLAIM: b64(DIGEST)}}}, PIN, None),
        ({"cnf": ..., "x-ms-runtime": {"cnf": {"x5t#S256": b64(DIGEST)}}}, None, DIGEST.hex()),
        # bound to nothing
        ({"cnf": ...}, None, None),
        ({"cnf": {}}, None, None),
        ({"cnf": "key"}, None, None),
        ({"cnf": {"kid": "k"}}, None, None),
        ({"cnf": {"jku": "https://attacker.example"}}, None, None),
        ({"cnf": {"jwk": {}}}, None, None),
        ({"cnf": {"jwk": "x"}}, None, None),
        (
            {"cnf": {"jwk": {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}}},
            None,
            None,
        ),
        ({"cnf": {"jwk": {"kty": "oct", "k": "AAAA"}}}, None, None),
        ({"cnf": {"x5t#S256": DIGEST.hex()}}, None, None),
        ({"cnf": {"x5t#S256": b64(DIGEST[:31])}}, None, None),
        ({"cnf": ..., PIN_CLAIM: PIN if "+" in PIN or "/" in PIN else "+" * 43}, None, None),
        ({"cnf": ..., PIN_CLAIM: None}, None, None),
        # contradictions bind to nothing
        ({"cnf": {"jwk": jwk("RSA")}, PIN_CLAIM: b64(DIGEST)}, None, None),
        ({"cnf": {"jwk": jwk("RSA")}, "x-ms-runtime": {"cnf": {"jwk": jwk("P-256")}}}, None, None),
        ({"cnf": {"jwk": jwk("RSA"), "x5t#S256": "short"}}, None, None),
    ],
    ids=map(str, itertools.count()),  # fresh keys would make other names each time
)
def test_binding(changes: dict[str, Any], spki: str | None, certificate_digest: str | None) -> None:
    """To a key, to a certificate, to both that agree, or to nothing at all."""
    evidence = check()(token(claims(**changes)))
    assert (evidence.bound_spki, evidence.bound_certificate) == (spki, certificate_digest)
    bound = spki is not None or certificate_digest is not None
    assert reason(changes) == ("" if bound else "evidence_unbound")


def test_appraisal_names_the_first_reason() -> None:
    """Time, debugging, measurement, key: in this order."""
    evidence = check()(token(claims(dbgstat="enabled", cnf=...)))
    codes = []
    for now, allowed in ((NOW + 120, ()), (NOW, ())):
        with pytest.raises(EvidenceRefused) as caught:
            appraise(evidence, allowed, now)
        codes.append(caught.value.reason)
    assert codes == ["evidence_expired", "evidence_debug"]


# -- hostile input -------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "iss",
        "iat",
        "nbf",
        "exp",
        "eat_nonce",
        "nonce",
        "dbgstat",
        "submods",
        "cnf",
        "measurements",
        "tdx",
        "sgx",
        "tdx_mrtd",
        "x-ms-sgx-mrenclave",
        "x-sovereign-measurement",
        "x-sovereign-tls-spki",
        "x-ms-runtime",
        "x-ms-isolation-tee",
        "attester_runtime_data",
    ]
)
INNER = st.dictionaries(
    st.sampled_from(
        ["jwk", "x5t#S256", "dbgstat", "submods", "cnf", "kty", "crv", "x", "y", "n", "e", "x5c"]
    ),
    JSON,
)


@pytest.mark.parametrize("said", [b'{"x-sovereign-measurement":"\\ud800"}', b'{"\\udfff":1}'])
def test_text_that_cannot_be_written_is_refused(said: bytes) -> None:
    """A lone surrogate would break whoever logs or hashes it later."""
    code, message = refused(check(nonce=None, issuer=None), token(said))
    assert (code, "strict JSON" in message) == ("no_evidence", True)


@pytest.mark.services
@given(st.dictionaries(NAMES, JSON | INNER | st.lists(st.lists(JSON | st.just(296), max_size=2), max_size=3)))
def test_authentic_nonsense(said: dict[str, Any]) -> None:
    """A token that its issuer really signed may say anything: it is refused, or read as evidence with limits."""
    try:
        evidence = check(nonce=None, issuer=None)(token(said))
    except EvidenceRefused as error:
        found = error.reason
    else:
        found = ""
    assert found in ("", "no_evidence", "evidence_expired")
    if found:
        return
    assert NOW < evidence.expires_at_s <= NOW + MAX_AGE
    json.dumps([evidence.measurement, evidence.bound_spki, evidence.bound_certificate]).encode()

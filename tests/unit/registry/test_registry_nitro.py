"""Nitro attestation documents: form, chain, signature, freshness; PCRs, debug mode and key."""

from __future__ import annotations

import hashlib
import itertools
import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from nitro_world import (
    HEX,
    MAX_AGE,
    NONCE,
    NOW,
    PCRS,
    ROOT,
    SKEW,
    Making,
    certificate,
    config,
    der,
    document,
    sealed,
    signature,
    spki,
    verify,
)

from sovereign_ext.errors import EvidenceRefused, VerificationError
from sovereign_ext.registry.appraisal import Expected, appraise
from sovereign_ext.registry.nitro import MAX_DOCUMENT_BYTES, read_root, verify_document

VECTORS = Path(__file__).parents[2] / "vectors" / "nitro"
PIN = b64encode(hashlib.sha256(spki("channel")).digest()).decode()


def refused(made: bytes, **options: Any) -> tuple[str, str]:
    with pytest.raises(EvidenceRefused) as caught:
        verify(made, **options)
    return caught.value.reason, str(caught.value)


def test_a_good_document_in_full() -> None:
    """Everything it says, and the digest of its bytes."""
    made = document()
    evidence = verify(made)
    assert evidence.document == "sha256:" + hashlib.sha256(made).hexdigest()
    assert (evidence.issued_at_s, evidence.expires_at_s) == (NOW, NOW + MAX_AGE)
    assert (evidence.measurement, evidence.debug) == (":".join(HEX), False)
    assert (evidence.bound_spki, evidence.bound_certificate) == (PIN, None)
    appraise(evidence, (":".join(HEX),), NOW)


def test_a_document_that_aws_signed() -> None:
    """Known answer: real hypervisor, real root. See tests/vectors/nitro."""
    made = b64decode((VECTORS / "document.b64").read_text())
    root = read_root((VECTORS / "aws-root.pem").read_bytes())
    assert hashlib.sha256(der(root)).hexdigest().startswith("641a0321a3e244efe456463195d606317ed7cdcc")
    pcr0 = "c8275c3e3cd96b3cb256ae55ef8ce52b2dac4601bbd7698efbb76717b4a77c9473d9fc6b2ea93d7d4cff0fb800e675bf"
    wanted = config(measurements=(pcr0,))
    evidence = verify_document(made, root, Expected(wanted, 1_721_159_600, SKEW))
    assert evidence.issued_at_s == 1_721_159_587
    assert (evidence.measurement, evidence.debug) == (pcr0, False)
    with pytest.raises(EvidenceRefused) as caught:
        appraise(evidence, (pcr0,), 1_721_159_600)
    assert caught.value.reason == "evidence_unbound"
    for now, code in ((1_721_159_887, "evidence_expired"), (1_721_159_587 - SKEW - 1, "no_evidence")):
        with pytest.raises(EvidenceRefused) as caught:
            verify_document(made, root, Expected(wanted, now, SKEW))
        assert caught.value.reason == code


# -- form ----------------------------------------------------------------------------------------------------------


def test_the_tag_of_cose_sign1_is_optional() -> None:
    assert verify(b"\xd2" + document()).measurement == ":".join(HEX)


def test_maps_of_indefinite_length() -> None:
    """Some versions of the hypervisor's library write the payload so."""
    payload = cbor2.dumps(cbor2.loads(Making().payload()), indefinite_containers=True)
    assert payload[0] == 0xBF
    assert verify(signed(payload)).measurement == ":".join(HEX)


def signed(payload: bytes) -> bytes:
    """A document over exactly these bytes, signed by the enclave."""
    protected = Making().protected
    return sealed(protected, payload, signature("enclave", protected, payload))


def test_unprotected_headers_are_refused() -> None:
    """Nobody signs them; AWS leaves them empty."""
    protected, payload = Making().protected, Making().payload()
    made = [protected, {4: b"key"}, payload, signature("enclave", protected, payload)]
    assert "unprotected" in refused(cbor2.dumps(made))[1]


def test_a_field_is_not_named_twice() -> None:
    """Readers would differ about which one counts."""
    payload = Making().payload()
    assert payload[0] == 0xA9  # nine members
    doubled = b"\xaa" + payload[1:] + cbor2.dumps("nonce") + cbor2.dumps(NONCE)
    assert verify(signed(payload)).debug is False
    assert "well-formed" in refused(signed(doubled))[1]


@pytest.mark.parametrize("tag", [2, 4, 24, 258, 55799])
def test_tagged_values_are_refused(tag: int) -> None:
    """Also where they would come to the same, such as a number written as a bignum."""
    plain = cbor2.dumps("timestamp") + cbor2.dumps(NOW * 1000)
    number = (NOW * 1000).to_bytes(6) if tag == 2 else NOW * 1000
    tagged = cbor2.dumps("timestamp") + cbor2.dumps(cbor2.CBORTag(tag, number))
    payload = Making().payload()
    assert plain in payload
    assert "well-formed" in refused(signed(payload.replace(plain, tagged)))[1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"module_id": ...}, "module_id"),
        ({"module_id": ""}, "module_id"),
        ({"module_id": b"i"}, "module_id"),
        ({"digest": "SHA256"}, "digest"),
        ({"timestamp": ...}, "timestamp"),
        ({"timestamp": 0}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
        ({"timestamp": 1.8e12}, "timestamp"),
        ({"timestamp": 2**63}, "timestamp"),
        ({"pcrs": {}}, "pcrs"),
        ({"pcrs": [bytes(48)]}, "pcrs"),
        ({"pcrs": {32: bytes(48)}}, "index"),
        ({"pcrs": {"0": bytes(48)}}, "index"),
        ({"pcrs": {False: bytes(48)}}, "index"),
        ({"pcrs": {0: bytes(47)}}, "PCR 0"),
        ({"pcrs": {0: "00"}}, "PCR 0"),
        ({"pcrs": {index: bytes(48) for index in range(33)}}, "pcrs"),
        ({"certificate": ...}, "certificate"),
        ({"certificate": b""}, "certificate"),
        ({"certificate": b"0" * 100}, "malformed certificate"),
        ({"certificate": bytes(5000)}, "size"),
        ({"cabundle": []}, "cabundle"),
        ({"cabundle": [b"0"] * 9}, "cabundle"),
        ({"cabundle": "x"}, "cabundle"),
        ({"public_key": "text"}, "public_key"),
        ({"public_key": bytes(1025)}, "public_key"),
        ({"user_data": 7}, "user_data"),
        ({"nonce": "text"}, "nonce"),
    ],
    ids=str,
)
def test_mandatory_fields_and_limits(fields: dict[str, Any], message: str) -> None:
    """Signed as it may be, a payload outside of AWS's limits is no evidence."""
    code, said = refused(document(**fields))
    assert code == "no_evidence"
    assert message in said


@pytest.mark.parametrize(
    "made",
    [
        b"",
        b"\xd2",
        cbor2.dumps([]),
        cbor2.dumps({}),
        cbor2.dumps([b"", {}, b"", b"", b""]),
        cbor2.dumps(["", {}, b"", b""]),
        cbor2.dumps([Making().protected, [], b"", b""]),
        document() + b"\x00",
        document()[:-1],
        b"\xd2\xd2" + document(),
        b"x" * (MAX_DOCUMENT_BYTES + 1),
        b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x81" * 1000,
        bytes.fromhex("d81c81d81d00"),  # an array that holds itself
        bytes.fromhex("d823") + cbor2.dumps("(a+)+b"),
        sealed(Making().protected, cbor2.dumps([1]), bytes(96)),
        sealed(Making().protected, bytes.fromhex("a26161016161f6"), bytes(96)),  # a key twice
        sealed(Making().protected, b"", bytes(96)),
    ],
    ids=map(str, itertools.count()),  # fresh keys would make other names each time
)
def test_bytes_that_are_no_document(made: bytes) -> None:
    assert refused(made)[0] == "no_evidence"


@pytest.mark.parametrize(
    "protected",
    [{}, {1: -7}, {1: -36}, {1: -35, 2: [1]}, {1: -35, 33: b"cert"}, [1, -35], {"1": -35}],
    ids=str,
)
def test_only_es384_without_further_headers(protected: Any) -> None:
    made = Making(protected=cbor2.dumps(protected)).document()
    assert refused(made) == ("no_evidence", "document is not signed with ES384, or has critical headers")


# -- chain and signature -------------------------------------------------------------------------------------------


def chain(*bundle: Any, leaf: Any = None, signer: str = "enclave") -> bytes:
    made = Making() if leaf is None else Making(leaf=leaf)
    return made.but(bundle=(ROOT, *bundle), signer=signer).document()


REGION, ZONE = certificate("region", "root"), certificate("zone", "region")


@pytest.mark.parametrize(
    "made",
    [
        chain(REGION),
        chain(),
        chain(REGION, certificate("zone", "region", ca=False)),
        chain(certificate("region", "root", hours=-0.5), ZONE),
        chain(REGION, ZONE, leaf=certificate("enclave", "zone", ca=False, hours=-0.01)),
        chain(REGION, ZONE, leaf=certificate("enclave", "zone", ca=False, signer="stranger")),
        chain(certificate("region", "root", signer="stranger"), ZONE),
        chain(REGION, ZONE, leaf=certificate("enclave", "enclave")),
    ],
    ids=[
        "a link is missing",
        "all links are missing",
        "a link is no authority",
        "a link has ended",
        "the enclave's certificate has ended",
        "signed by another zone",
        "signed by another root",
        "self-signed",
    ],
)
def test_a_broken_chain(made: bytes) -> None:
    code, message = refused(made)
    assert code == "no_evidence"
    assert "does not chain to the root" in message


def test_another_root() -> None:
    """Also where the document brings its own along."""
    other = certificate("other", "other")
    code, message = refused(document(), root=other)
    assert (code, "chain to the root" in message) == ("no_evidence", True)


def test_the_order_of_the_bundle_does_not_matter() -> None:
    assert verify(Making().but(bundle=(ZONE, REGION, ROOT)).document()).debug is False
    assert verify(Making().but(bundle=(ZONE, REGION)).document()).debug is False


def test_the_chain_is_judged_at_the_document_s_time() -> None:
    """A certificate that had ended then does not become good by being asked earlier, nor the reverse."""
    ended = Making(leaf=certificate("enclave", "zone", ca=False, hours=0.01))  # 36 s
    made = ended.document()
    assert verify(made, now=NOW + 35).expires_at_s == NOW + 36
    assert refused(made, now=NOW + 36)[0] == "evidence_expired"
    late = ended.but(fields={"timestamp": (NOW + 40) * 1000}).document()
    assert "does not chain" in refused(late, now=NOW)[1]


def test_another_key_s_signature() -> None:
    assert "signature does not match" in refused(chain(REGION, ZONE, signer="stranger"))[1]


def test_a_certificate_for_another_curve() -> None:
    """ES384 takes P-384 (RFC 9053 §2.1)."""
    leaf = certificate("p256", "zone", ca=False)
    assert "not for ES384" in refused(Making(leaf=leaf).document())[1]


@pytest.mark.parametrize("made", [b"", bytes(95), bytes(97), bytes(96), b"\xff" * 96])
def test_signatures_that_are_none(made: bytes) -> None:
    payload = Making().payload()
    assert refused(sealed(Making().protected, payload, made))[0] == "no_evidence"


@pytest.mark.services
def test_flipped_bits_are_refused() -> None:
    """One bit of every byte, each time another one."""
    made = document()
    for place in range(len(made)):
        broken = bytearray(made)
        broken[place] ^= 1 << (place % 8)
        assert refused(bytes(broken))[0] in ("no_evidence", "evidence_expired"), place


# -- freshness -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (NOW - SKEW - 1, "no_evidence"),
        (NOW - SKEW, ""),
        (NOW + MAX_AGE - 0.01, ""),
        (NOW + MAX_AGE, "evidence_expired"),
    ],
)
def test_age(now: float, code: str) -> None:
    """Each boundary from both sides."""
    if code:
        assert refused(document(), now=now)[0] == code
    else:
        assert verify(document(), now=now).expires_at_s > now


@pytest.mark.parametrize("nonce", [None, b"", NONCE[:-1], NONCE + b"\x00", NONCE[::-1]])
def test_another_nonce(nonce: bytes | None) -> None:
    assert refused(document(nonce=nonce))[1] == "document does not hold the nonce that was sent"
    assert verify(document(nonce=nonce), nonce=None).issued_at_s == NOW


# -- what it says --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "fits"),
    [
        (HEX[0], True),
        (HEX[0].upper(), True),
        (":".join(HEX[:2]), True),
        (":".join(HEX), True),
        (HEX[1], False),
        (HEX[0][:-2], False),
        (":".join([HEX[0], HEX[2]]), False),
        (":".join([*HEX, PCRS[3].hex()]), False),
        ("", False),
    ],
)
def test_an_allow_list_names_leading_pcrs(allowed: str, fits: bool) -> None:
    """PCR0, PCR0:PCR1 or PCR0:PCR1:PCR2."""
    evidence = verify(document(), measurements=(allowed,))
    assert (evidence.measurement == allowed) is fits
    if not fits:
        with pytest.raises(EvidenceRefused) as caught:
            appraise(evidence, (allowed,), NOW)
        assert caught.value.reason == "evidence_measurement"


@pytest.mark.parametrize(
    "pcrs",
    [
        dict.fromkeys(range(16), bytes(48)),
        PCRS | {0: bytes(48)},
        PCRS | {2: bytes(48)},
        {index: value for index, value in PCRS.items() if index != 1},
        {4: b"x" * 48},
    ],
    ids=["all zero", "PCR0 zero", "PCR2 zero", "PCR1 missing", "none of them"],
)
def test_debug_mode(pcrs: dict[int, bytes]) -> None:
    """An enclave in debug mode has zeros for PCRs. What is not there is not shown, either."""
    evidence = verify(document(pcrs=pcrs), measurements=("00" * 48,))
    assert evidence.debug
    with pytest.raises(EvidenceRefused) as caught:
        appraise(evidence, (evidence.measurement,), NOW)
    assert caught.value.reason == "evidence_debug"


def said(**members: Any) -> bytes:
    return json.dumps(members).encode()


DIGEST = hashlib.sha256(b"certificate").digest()
URL64 = urlsafe_b64encode(DIGEST).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("public_key", "user_data", "bound"),
    [
        (spki("channel"), None, (PIN, None)),
        (spki("channel"), said(**{"x-sovereign-tls-spki": URL64}), (PIN, None)),  # the field made for it wins
        (None, said(**{"x-sovereign-tls-spki": URL64}), (b64encode(DIGEST).decode(), None)),
        (None, said(cnf={"x5t#S256": URL64}), (None, DIGEST.hex())),
        (b"\x04" + bytes(64), said(cnf={"x5t#S256": URL64}), (None, DIGEST.hex())),
        (None, None, (None, None)),
        (b"", b"", (None, None)),
        (b"\x04" + bytes(64), None, (None, None)),
        (None, DIGEST, (None, None)),  # a bare hash could be of anything
        (None, b"{", (None, None)),
        (None, b"{}", (None, None)),
        (spki("channel") + b"\x00", None, (None, None)),
    ],
)
def test_binding(
    public_key: bytes | None, user_data: bytes | None, bound: tuple[str | None, str | None]
) -> None:
    """To the key in ``public_key``, or to what claims in ``user_data`` say."""
    evidence = verify(document(public_key=public_key, user_data=user_data))
    assert (evidence.bound_spki, evidence.bound_certificate) == bound


# -- root ----------------------------------------------------------------------------------------------------------


def test_the_root_is_one_certificate() -> None:
    pem = ROOT.public_bytes(Encoding.PEM)
    assert read_root(pem) == ROOT
    for broken in (b"", b"x", pem + pem, pem[:100], der(ROOT)):
        with pytest.raises(VerificationError):
            read_root(broken)


# -- hostile input -------------------------------------------------------------------------------------------------

CBOR = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers() | st.text(max_size=9), inner, max_size=4)
        | st.tuples(st.integers(0, 1100), inner).map(lambda pair: cbor2.CBORTag(*pair))
    ),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    [
        "module_id",
        "digest",
        "timestamp",
        "pcrs",
        "certificate",
        "cabundle",
        "public_key",
        "user_data",
        "nonce",
    ]
)


@given(st.dictionaries(FIELDS, CBOR, max_size=3))
def test_authentic_nonsense(fields: dict[str, Any]) -> None:
    """A payload that the enclave's key really signed may hold anything: refused, or read within limits."""
    try:
        evidence = verify(document(**fields), nonce=None)
    except EvidenceRefused as error:
        found = error.reason
    else:
        found = ""
        assert NOW < evidence.expires_at_s <= NOW + MAX_AGE
    assert found in ("", "no_evidence", "evidence_expired")


@pytest.mark.services
@given(
    st.binary(max_size=300) | CBOR.map(cbor2.dumps) | st.lists(CBOR, min_size=4, max_size=4).map(cbor2.dumps)
)
def test_any_bytes(made: bytes) -> None:
    """Nothing but our own error comes out."""
    assert refused(made)[0] == "no_evidence"


@given(st.data())
def test_a_document_with_any_bytes_changed(data: st.DataObject) -> None:
    """Cut, doubled or overwritten anywhere: never another answer than the original's, mostly none."""
    made = document()
    start = data.draw(st.integers(0, len(made) - 1))
    end = data.draw(st.integers(start, min(len(made), start + 40)))
    broken = made[:start] + data.draw(st.binary(max_size=40)) + made[end:]
    try:
        evidence = verify(broken)
    except EvidenceRefused:
        return
    # The same content spelled otherwise, such as with the tag that is optional.
    assert replace(evidence, document="") == replace(verify(made), document="")

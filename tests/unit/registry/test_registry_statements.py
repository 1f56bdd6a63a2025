"""Statements and their envelopes: what is signed is what is read, and nothing else is."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registry_world import NOW, PIN, drift, key, pem, provider, revocation, witness

from sovereign_ext.config.trust import Drift
from sovereign_ext.errors import StatementError, VerificationError
from sovereign_ext.registry import envelope
from sovereign_ext.registry.fields import read_time, time_text
from sovereign_ext.registry.statements import (
    DriftReport,
    ProviderStatement,
    Revocation,
    WitnessStatement,
    parse_statement,
    payload_of,
)

STATEMENTS = {
    "witness": witness(supersedes=("sha256:" + "1" * 64,)),
    "provider": provider(spiffe_id="spiffe://example.org/a"),
    "drift": drift(deployment="dep"),
    "revocation": revocation("sha256:" + "2" * 64, "sha256:" + "3" * 64),
}

ids = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?", fullmatch=True)
models = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,60}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
pins = st.binary(min_size=32, max_size=32).map(lambda raw: b64encode(raw).decode())
seconds = st.integers(-60_000_000_000, 250_000_000_000)
spans = st.integers(1, 3_000_000_000)
spiffe_ids = st.from_regex(r"spiffe://[a-z0-9.-]{1,40}(/[A-Za-z0-9._-]{1,20}){0,3}", fullmatch=True)
some_digests = st.lists(digests, min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def validity(draw: st.DrawFn) -> dict[str, int]:
    start = draw(seconds)
    return {"not_before": start, "not_after": start + draw(spans)}


statements = st.one_of(
    st.builds(
        lambda times, **rest: WitnessStatement(**times, **rest),
        times=validity(),
        model=models,
        digest=digests,
        witness=ids,
        scope=ids,
        basis=texts,
        intended_use=texts,
        supersedes=st.just(()) | some_digests,
    ),
    st.builds(
        lambda times, **rest: ProviderStatement(**times, **rest),
        times=validity(),
        model=models,
        digest=digests,
        provider=ids,
        spki_pins=st.lists(pins, min_size=1, max_size=3, unique=True).map(tuple),
        spiffe_id=st.none() | spiffe_ids,
    ),
    st.builds(
        DriftReport,
        model=models,
        digest=digests,
        observer=ids,
        deployment=st.none() | ids,
        metric=texts,
        posture=st.sampled_from([Drift.STABLE, Drift.WATCH, Drift.DRIFTED]),
        measured_at=seconds,
        valid_for_s=spans,
    ),
    st.builds(Revocation, by=ids, revokes=some_digests, revoked_at=seconds, reason=texts),
)


@given(statements)
def test_what_is_written_is_read_again(statement: Any) -> None:
    """Every statement that can be made; the same one gives the same bytes."""
    payload = payload_of(statement)
    assert parse_statement(payload) == statement
    assert payload_of(parse_statement(payload)) == payload


@pytest.mark.parametrize("name", STATEMENTS)
def test_strings_whole_numbers_and_lists_only(name: str) -> None:
    """So that every JSON reader sees the same statement."""

    def check(value: object) -> None:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                check(item)
        else:
            assert type(value) in (str, int)

    check(json.loads(payload_of(STATEMENTS[name])))


def changed(name: str, change: Callable[[dict[str, Any]], Any]) -> bytes:
    document = json.loads(payload_of(STATEMENTS[name]))
    change(document)
    return json.dumps(document).encode()


def put(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


def members(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every object member in a document."""
    if isinstance(value, dict):
        return [
            found for name, item in value.items() for found in ((*path, name), *members(item, (*path, name)))
        ]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in members(item, (*path, index))]
    return []


OPTIONAL = {"supersedes", "deployment", "spiffe_id"}
EVERY_MEMBER = [
    (name, path) for name in STATEMENTS for path in members(json.loads(payload_of(STATEMENTS[name])))
]


@pytest.mark.parametrize(("name", "path"), EVERY_MEMBER, ids=str)
def test_every_member_is_needed_and_of_its_type(name: str, path: tuple[Any, ...]) -> None:
    """Missing, of another type, or with a stranger beside it: refused, with the place."""

    def without(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    def with_a_stranger(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place["extra"] = "x"

    if path[-1] not in OPTIONAL:
        with pytest.raises(StatementError):
            parse_statement(changed(name, without))
    for value in (None, True, 1.5, [], {}, "", 7 if path[-1] != "valid_for_s" else "7"):
        if path[-1] == "spki_pins" and value == []:
            continue  # beside a SPIFFE id there may be none
        with pytest.raises(StatementError) as caught:
            parse_statement(changed(name, put(*path, to=value)))
        assert caught.value.reason
    with pytest.raises(StatementError):
        parse_statement(changed(name, with_a_stranger))


REFUSED: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str, str]] = {
    "another kind": (
        "witness",
        put("predicateType", to="urn:sovereign:witness-statement:v2"),
        "predicateType",
        "'urn:sovereign:witness-statement:v2' is not a kind of statement known here",
    ),
    "another statement type": (
        "witness",
        put("_type", to="https://in-toto.io/Statement/v0.1"),
        "_type",
        "expected 'https://in-toto.io/Statement/v1', got 'https://in-toto.io/Statement/v0.1'",
    ),
    "two models": (
        "witness",
        lambda d: d["subject"].append(d["subject"][0]),
        "subject",
        "has 2 subjects, expected one model",
    ),
    "another algorithm beside": (
        "witness",
        lambda d: d["subject"][0]["digest"].update(sha512="x"),
        "subject[0].digest.sha512",
        "is not a member of this format",
    ),
    "over before it begins": (
        "witness",
        put("predicate", "not_after", to=time_text(NOW - 86_400)),
        "predicate.not_after",
        "is not later than not_before",
    ),
    "a time with an offset": (
        "provider",
        put("predicate", "not_before", to="2027-01-15T08:00:00+00:00"),
        "predicate.not_before",
        "expected a time such as 2027-01-31T12:00:00Z",
    ),
    "a day that is none": (
        "provider",
        put("predicate", "not_before", to="2027-02-29T08:00:00Z"),
        "predicate.not_before",
        "expected a time such as 2027-01-31T12:00:00Z",
    ),
    "no identity": (
        "provider",
        put("predicate", "endpoint_identity", to={"spki_pins": []}),
        "predicate.endpoint_identity",
        "names neither spki_pins nor a spiffe_id",
    ),
    "a pin twice": (
        "provider",
        put("predicate", "endpoint_identity", "spki_pins", to=[PIN, PIN]),
        "predicate.endpoint_identity.spki_pins",
        "has an item twice",
    ),
    "unknown drift": (
        "drift",
        put("predicate", "posture", to="unknown"),
        "predicate.posture",
        "expected one of stable, watch, drifted",
    ),
    "a report that is never valid": (
        "drift",
        put("predicate", "valid_for_s", to=0),
        "predicate.valid_for_s",
        "expected a whole number from 1 to 3162240000",
    ),
    "subject and predicate disagree": (
        "revocation",
        put("predicate", "revokes", to=["sha256:" + "2" * 64]),
        "subject",
        "is not the same digests as predicate.revokes",
    ),
    "upper-case digest": (
        "revocation",
        put("predicate", "revokes", 0, to="sha256:" + "A" * 64),
        "predicate.revokes[0]",
        "expected 'sha256:' and 64 lower-case hex digits",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_the_field(case: str) -> None:
    """And what was expected there."""
    name, change, field, reason = REFUSED[case]
    with pytest.raises(StatementError) as caught:
        parse_statement(changed(name, change))
    assert (caught.value.field, caught.value.reason) == (field, reason)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b'{"a":1,"a":1}',
        b'{"a":NaN}',
        b'{"a":1e3}',
        b"[" * 100_000,
        b"9" * 5_000,
        b"\xff",
    ],
    ids=["empty", "list", "null", "name twice", "NaN", "exponent", "deep", "long number", "not UTF-8"],
)
def test_other_json_is_refused(payload: bytes) -> None:
    """Nothing but ``StatementError`` comes out."""
    with pytest.raises(StatementError):
        parse_statement(payload)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused(raw: bytes) -> None:
    """As statement and as envelope."""
    for read in (parse_statement, envelope.read_envelope):
        with pytest.raises(StatementError):
            read(raw)


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_times_have_one_spelling(moment: int) -> None:
    """From the year 1 to 9999."""
    assert len(time_text(moment)) == 20
    assert read_time(time_text(moment)) == moment


# -- envelopes -------------------------------------------------------------------------------------------------


def verify(raw: bytes, signer: str) -> None:
    sealed = envelope.read_envelope(raw)
    envelope.verify(sealed, envelope.read_public_key(pem(signer)))
    parse_statement(sealed.payload)


@pytest.mark.services
@pytest.mark.parametrize("signer", ["fda", "tuv-ed"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_every_single_bit_of_a_signed_statement_counts(signer: str, name: str) -> None:
    """Payload, type, signature, key id and the JSON around them."""
    raw = envelope.seal(payload_of(STATEMENTS[name]), key(signer))
    verify(raw, signer)
    accepted = []
    for place in range(len(raw)):
        for bit in range(8):
            other = bytearray(raw)
            other[place] ^= 1 << bit
            try:
                verify(bytes(other), signer)
            except VerificationError:
                continue
            accepted.append((place, bit))
    assert accepted == []


@pytest.mark.parametrize("signer", ["fda", "tuv-ed"])
def test_another_key_did_not_sign(signer: str) -> None:
    """Whether the envelope names its key or not."""
    raw = envelope.seal(payload_of(witness()), key(signer))
    nameless = json.loads(raw)
    del nameless["signatures"][0]["keyid"]
    for each in (raw, json.dumps(nameless).encode()):
        verify(each, signer)
        for other in ("lab", "other-ed"):
            with pytest.raises(VerificationError):
                verify(each, other)


def reshaped(change: Callable[[dict[str, Any]], Any]) -> bytes:
    document = json.loads(envelope.seal(payload_of(witness()), key("fda")))
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["signatures"].append(d["signatures"][0]),
        lambda d: d["signatures"].clear(),
        lambda d: d.update(extra=1),
        lambda d: d["signatures"][0].update(cert="x"),
        lambda d: d.update(payloadType="application/json"),
        lambda d: d.update(payload=d["payload"] + "="),
        lambda d: d.update(payload=d["payload"].rstrip("=")),
        lambda d: d["signatures"][0].update(keyid=None),
        lambda d: d["signatures"][0].update(sig=""),
    ],
    ids=[
        "two signatures",
        "none",
        "extra",
        "cert",
        "type",
        "padding",
        "no padding",
        "key id",
        "no signature",
    ],
)
def test_an_envelope_of_another_shape_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    """Exactly one signature over an in-toto payload, in the one spelling of base64."""
    with pytest.raises(VerificationError):
        verify(reshaped(change), "fda")


def test_layout_and_order_of_the_envelope_are_free() -> None:
    """Other tools write the same envelope with spaces and in another order."""
    verify(reshaped(lambda d: d.update(payloadType=d.pop("payloadType"))), "fda")


@pytest.mark.parametrize("signer", ["fda", "tuv-ed"])
def test_what_is_signed_is_the_pre_authentication_encoding(signer: str) -> None:
    """As the DSSE specification has it, byte by byte."""
    payload = payload_of(witness())
    signed = envelope.read_envelope(envelope.seal(payload, key(signer)))
    message = b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload
    envelope.read_public_key(pem(signer)).verify(message, signed.signature)


def test_what_cannot_be_read_is_not_signed() -> None:
    """A witness would learn of it only from those who trust the statement."""
    for statement in (witness(scope="With Spaces"), witness(not_after=NOW - 900_000), provider(spki_pins=())):
        with pytest.raises(StatementError):
            payload_of(statement)

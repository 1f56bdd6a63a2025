"""Asking a verifier over HTTP: what is sent, what is taken, and what a broken or hostile server can do."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from evidence_world import Served, identity
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.trust import Evidence
from sovereign_ext.errors import EvidenceRefused
from sovereign_ext.evidence import fetch
from sovereign_ext.evidence.fetch import Answer, VerifierClient
from sovereign_ext.mock.faults import Cut, Fault, Stall
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.mock.verifier import Verifier
from sovereign_ext.mock.verifier_thread import RunningVerifier
from sovereign_ext.registry.eat import encode_nonce

pytestmark = pytest.mark.services

NONCE = bytes(range(32))
CHANNEL = identity()


def eat(url: str, **fields: Any) -> Evidence:
    return Evidence(**({"url": url, "jwks_file": "j", "measurements": ("m",)} | fields))


def nitro(url: str) -> Evidence:
    return Evidence(kind="nitro", url=url, root_file="r", measurements=("m",))


def ask(config: Evidence) -> Answer:
    async def run() -> Answer:
        client = VerifierClient(config, None)
        try:
            return await client.evidence(NONCE)
        finally:
            await client.aclose()

    return asyncio.run(run())


def refused(config: Evidence) -> str:
    with pytest.raises(EvidenceRefused) as caught:
        ask(config)
    assert caught.value.reason == "no_evidence"
    return str(caught.value)


def serving(make: Callable[[str], bytes] | bytes, kind: str = "application/json") -> RunningMock:
    return RunningMock("served", wire=Served(make if callable(make) else lambda _: make, kind))


# -- tokens --------------------------------------------------------------------------------------------------------


def test_the_request_for_a_token() -> None:
    """POST with the nonce in base64url; nothing in it tells who asks about what."""
    with RunningVerifier(Verifier(CHANNEL.certificate)) as verifier:
        answer = ask(eat(verifier.attest_url))
        (request,) = verifier.requests()
    assert (request.method, request.target) == ("POST", "/attest")
    assert json.loads(request.body or b"") == {"nonce": encode_nonce(NONCE)}
    assert request.header("content-type") == "application/json"
    assert request.header("accept-encoding") == "identity"
    assert request.header("authorization") is None
    assert answer.nonce == NONCE
    assert answer.document.count(b".") == 2


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"token":"a.b.c","more":1}'),
        ("application/json; charset=utf-8", b'{"token":"a.b.c"}'),
        ("text/plain", b'{"token":"a.b.c"}'),
        ("application/eat+jwt", b"a.b.c"),
        ("application/jwt", b"a.b.c\n"),
        ("Application/JWT; charset=us-ascii", b" a.b.c\r\n"),
    ],
)
def test_both_forms_of_answers(kind: str, body: bytes) -> None:
    """A document that is merely served refuses POST: then its age has to do, and no nonce is expected."""
    with serving(body, kind) as server:
        assert ask(eat(server.url + "/token")) == Answer(b"a.b.c", None)
        assert [request.method for request in server.requests()] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "strict JSON"),
        (b"a.b.c", "strict JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no token"),
        (b'{"token":1}', "no token"),
        (b'{"token":"a","token":"b"}', "strict JSON"),
        (b'{"token":"' + b"x" * 300_000 + b'"}', "longer than"),
        (b" " * (fetch.MAX_ANSWER_BYTES + 1), f"longer than {fetch.MAX_ANSWER_BYTES} bytes"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_answers_without_a_token(body: bytes, message: str) -> None:
    with serving(body) as server:
        assert message in refused(eat(server.url + "/token"))


@given(st.binary(max_size=100))
def test_any_body(body: bytes) -> None:
    """Nothing but our own error comes out of the parts that read answers."""
    for read in (lambda data: fetch._token("application/json", data), fetch._binary):
        try:
            read(body)
        except EvidenceRefused as error:
            assert error.reason == "no_evidence"  # noqa: PT017 - either outcome is fine, another error is not


# -- documents -----------------------------------------------------------------------------------------------------

COSE = b'\x84D\xa1\x018"\xa0A\x00A\x00'


@pytest.mark.parametrize(
    "body",
    [
        COSE,
        b"\xd2" + COSE,
        b64encode(COSE),
        b64encode(COSE) + b"\n",
        b"\n".join([b64encode(COSE)[:4], b64encode(COSE)[4:]]),
    ],
)
def test_documents_as_they_are_or_in_base64(body: bytes) -> None:
    """GET with the nonce in hex, beside what the URL's query has already."""
    with serving(body, "application/cbor") as server:
        answer = ask(nitro(server.url + "/doc?a=b"))
        (request,) = server.requests()
    assert answer == Answer(body if body[:1] in (b"\x84", b"\xd2") else COSE, NONCE)
    assert request.target == f"/doc?a=b&nonce={NONCE.hex()}"


@pytest.mark.parametrize("body", [b"{}", b"\xff", b"abc", "é".encode()])
def test_bodies_that_are_no_document(body: bytes) -> None:
    with serving(body) as server:
        assert "neither CBOR nor base64" in refused(nitro(server.url + "/doc"))


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=500), "answered 500"),
        (Fault(status=204), "answered 204"),
        (Fault(status=404, html=True), "answered 404"),
        (Fault(status=302, headers={"location": "http://127.0.0.1:9/"}), "answered 302"),
        (Fault(gzip=True), "compressed"),
        (Fault(cut=Cut(after_bytes=10)), "cannot be asked"),
        (Fault(content_length_delta=10), "cannot be asked"),
        (Fault(huge_headers_bytes=200_000), "cannot be asked"),
        (Fault(endless_line_mib=3), f"longer than {fetch.MAX_ANSWER_BYTES} bytes"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_faults_of_a_verifier(fault: Fault, message: str) -> None:
    """Each is an error with a message, and no redirect is followed."""
    with RunningVerifier(Verifier(CHANNEL.certificate)) as verifier:
        verifier.fault(fault, path="/attest")
        assert message in refused(eat(verifier.attest_url))
        assert len(verifier.requests()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(stall=Stall(at="headers")),
        Fault(slow_headers_ms=30),
        Fault(write_size=1, pace_ms=30, framing="chunked", stall=Stall(at="first_event")),
    ],
    ids=["silence", "a trickle of headers", "silence after the headers"],
)
def test_a_verifier_that_takes_its_time(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole look is bounded, however the time is spent."""
    monkeypatch.setattr(fetch, "TOTAL_S", 0.2)
    with RunningVerifier(Verifier(CHANNEL.certificate)) as verifier:
        verifier.fault(fault, path="/attest")
        assert "did not answer within" in refused(eat(verifier.attest_url))


def test_a_verifier_that_is_not_there() -> None:
    with RunningVerifier(Verifier(CHANNEL.certificate)) as verifier:
        url = verifier.attest_url
    assert "cannot be asked" in refused(eat(url))
    assert "cannot be asked" in refused(eat("http://nowhere.invalid/attest"))


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence goes to whom the configuration names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with RunningVerifier(Verifier(CHANNEL.certificate)) as verifier:
        assert ask(eat(verifier.attest_url)).nonce == NONCE

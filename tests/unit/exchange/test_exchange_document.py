"""Whole answers: held until the entry is durable, withheld without it, and errors in between."""

from __future__ import annotations

import gzip
import json
import zlib
from itertools import pairwise
from typing import Any

import pytest
from exchange_world import ATTESTATION, COMPLETION, JSON_TYPE, SSE, Run, at, exchange
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.attest.facts import Result
from sovereign_ext.errors import CallerError, ServiceError
from sovereign_ext.exchange.steps import Settle, Walk
from sovereign_ext.openai.request import Endpoint
from sovereign_ext.routing.health import Verdict


def started(
    status: int = 200, headers: dict[str, str] | None = None, logged: bool = True, **members: Any
) -> Run:
    run = Run(exchange(stream=False, **members), logged=logged)
    run.head(status, JSON_TYPE if headers is None else headers)
    return run


@given(st.lists(st.integers(0, len(COMPLETION)), max_size=5))
def test_a_whole_answer(cuts: list[int]):
    """The answer leaves after the entry, with the attestation as its last member; the commitments open."""
    run = started()
    bounds = [0, *sorted(cuts), len(COMPLETION)]
    pieces = [COMPLETION[a:b] for a, b in pairwise(bounds)]
    assert run.body(*pieces) is None
    assert run.out == b""
    assert isinstance(run.body(end=True), Settle)
    assert run.before_settling == b""
    answer = json.loads(run.out)
    assert list(answer)[-1] == "_sf_attestation"
    assert answer["_sf_attestation"] == json.loads(ATTESTATION)
    assert answer["model"] == "m"
    assert run.status == 200
    assert run.headers["content-type"] == "application/json"
    assert run.facts is not None
    assert (run.facts.result, run.facts.deployment, run.facts.provider) == (Result.ANSWERED, "m.a", "a")
    assert (run.facts.prompt_tokens, run.facts.completion_tokens) == (7, 5)
    run.digests_hold(pieces)


def test_embeddings():
    """Embeddings are whole answers like any other."""
    run = Run(exchange(stream=False, endpoint=Endpoint.EMBEDDINGS, input="x"))
    run.head(200, JSON_TYPE)
    run.body(b'{"object":"list","data":[],"model":"up","usage":{"prompt_tokens":7}}', end=True)
    assert json.loads(run.out)["model"] == "m"
    assert run.facts is not None
    assert (run.facts.endpoint, run.facts.prompt_tokens) == ("embeddings", 7)


def test_unlogged_answers_are_withheld():
    """Rule 4: no entry, no answer."""
    run = started(logged=False)
    run.body(COMPLETION, end=True)
    assert run.status == 503
    assert json.loads(run.out) == {
        "error": {
            "message": "The log is away.",
            "type": "server_error",
            "param": None,
            "code": "log_unavailable",
        }
    }


@pytest.mark.parametrize("status", [401, 402, 403, 408, 429, 500, 502, 503, 504, 529, 302])
def test_a_failing_provider_is_walked_past(status: int):
    """At its headers already, without waiting for a body; the wait it asks for is remembered."""
    run = started(status, {**JSON_TYPE, "retry-after": "7"})
    assert run.walked
    assert run.outcomes == [f"status_{status}"]
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.verdict is Verdict.FAILURE
    assert run.attempt.judgement.status == status
    if status in (429, 503):
        assert run.attempt.judgement.retry_after_s == 7


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_hint_in_the_body_is_waited_for(status: int):
    """Without one in the headers the walk waits for the error's body, some providers' only place for it."""
    run = started(status)
    assert not run.walked
    run.body(b'{"error":{"message":"slow', seconds=0.2)
    assert not run.walked
    run.body(b' down"}}', end=True, seconds=0.3)
    assert run.walked
    assert run.outcomes == [f"status_{status}"]
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.status == status


def test_a_hint_is_not_waited_for_long():
    """A second, whatever the provider's own limits are."""
    run = started(429)
    run.body(b"{", seconds=0.5)
    assert run.attempt.deadline == pytest.approx(at(1.0).mono)
    run.take(run.attempt.expired(at(0.9)))
    assert not run.walked
    run.take(run.attempt.expired(at(1.1)))
    assert run.walked
    assert run.outcomes == ["status_429"]


@pytest.mark.parametrize(("status", "told"), [(400, 400), (404, 404), (413, 413), (422, 400)])
def test_the_callers_mistake_ends_the_walk(status: int, told: int):
    """The provider's own words reach the caller, attested; its health is left alone."""
    body = b'{"error":{"message":"top_k is odd","param":"top_k","code":null}}'
    run = started(status)
    run.body(body, end=True)
    assert not run.walked
    assert run.status == told
    assert json.loads(run.out)["error"]["message"] == "top_k is odd"
    assert json.loads(run.out)["_sf_attestation"] == json.loads(ATTESTATION)
    assert run.headers["x-should-retry"] == "false"
    assert run.facts is not None
    assert (run.facts.result, run.facts.status, run.facts.provider) == (Result.FAILED, told, None)
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.verdict is Verdict.IGNORED
    run.digests_hold([body])


def test_an_endless_error_body():
    """An error body is read up to its limit, then the error is told without it."""
    run = started(400)
    run.body(*[b"x" * 8192] * 9)
    assert run.status == 400
    assert run.body(b"more", end=True) is None


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b"", "invalid_json"),
        (b"<html>", "invalid_json"),
        (COMPLETION[:-1], "invalid_json"),
        (b"{}", "invalid_answer"),
        (b'{"error":{"message":"m"}}', "error_event"),
        (b" " * 20000, "answer_too_large"),
    ],
)
def test_what_is_no_answer(body: bytes, outcome: str):
    """A 200 without an answer in it is a failure like any other."""
    run = started()
    run.body(body)
    if not run.walked:
        run.body(end=True)
    assert run.walked
    assert run.outcomes == [outcome]


@pytest.mark.parametrize(
    ("headers", "body", "outcome"),
    [
        (JSON_TYPE, COMPLETION, "wrong_content_type"),
        (JSON_TYPE, b'{"error":{"message":"m"}}', "error_event"),
        ({}, b"", "wrong_content_type"),
        ({"content-type": "text/html"}, b"<html>", "wrong_content_type"),
    ],
)
def test_a_document_instead_of_a_stream(headers: dict[str, str], body: bytes, outcome: str):
    """Who asked for a stream is not given a document: the next provider."""
    run = Run(exchange(stream=True))
    run.head(200, headers)
    run.body(body, end=True)
    assert run.walked
    assert run.outcomes == [outcome]


def test_a_stream_instead_of_a_document():
    """And the other way round."""
    run = started(headers=SSE)
    run.body(b"data: {}\n\n", end=True)
    assert run.walked


@pytest.mark.parametrize("name", ["text/event-stream", "Text/Event-Stream; charset=UTF-8"])
def test_content_types(name: str):
    """Media types are compared without regard to case or parameters (RFC 9110 8.3.1)."""
    run = Run(exchange(stream=True))
    run.head(200, {"content-type": name})
    run.body(b": c\n\n", end=True)
    assert run.outcomes == ["cut"]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP ", "deflate", "identity", ""])
def test_codings(encoding: str):
    """Case 39: coded answers are decoded; the provider's headers do not go on."""
    kind = encoding.strip().lower()
    packed = {"deflate": zlib.compress, "identity": bytes, "": bytes}.get(kind, gzip.compress)(COMPLETION)
    run = started(headers={**JSON_TYPE, "content-encoding": encoding, "content-length": str(len(packed))})
    run.body(packed, end=True)
    assert json.loads(run.out)["choices"]
    assert set(run.headers) == {
        "content-type",
        "x-sf-decision-id",
        "x-sf-attempts",
        "x-sf-policy",
        "x-sf-provider",
    }
    run.digests_hold([packed])


@pytest.mark.parametrize(
    ("encoding", "body", "outcome"),
    [
        ("br", b"x", "unknown_encoding"),
        ("gzip", b"not gzip", "bad_encoding"),
        ("gzip", gzip.compress(COMPLETION, mtime=0)[:40], "invalid_json"),
        ("gzip", gzip.compress(b" " * 1_000_000, mtime=0), "answer_too_large"),
    ],
)
def test_bad_codings(encoding: str, body: bytes, outcome: str):
    """Unknown, damaged, cut and exploding codings are the provider's failure, in bounded memory."""
    run = started(headers={**JSON_TYPE, "content-encoding": encoding})
    if not run.walked:
        run.body(body)
    if not run.walked:
        run.body(end=True)
    assert run.outcomes == [outcome]


@pytest.mark.parametrize("status", [400, 429, 503])
@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_errors_in_bad_codings(status: int, encoding: str):
    """What failed is the call, not the coding of the text that says so."""
    run = Run(exchange(stream=False))
    run.head(status, {**JSON_TYPE, "content-encoding": encoding})
    if not run.outcomes:
        run.body(b"not gzip")
    if not run.outcomes:
        run.body(end=True)
    assert run.outcomes == [f"status_{status}"]
    assert run.walked is (status != 400)


def test_limits_of_whole_answers():
    """Once the headers are there, the idle and the total limit run, not the first-byte limit."""
    run = started()
    assert run.attempt.deadline == at(3).mono
    assert isinstance(run.attempt.expired(at(3)), Walk)
    assert run.outcomes == ["idle_timeout"]


def test_refused_requests():
    """What one provider cannot do another may: the walk goes on, nothing was sent, nobody is blamed.

    If all refuse, the caller is told what; if one failed, that is the answer, since it may be well again soon.
    """
    error = CallerError(400, "no n", param="n", code="unsupported_parameter")
    run = Run(exchange(stream=False))
    assert isinstance(run.attempt.refused(error, at(0)), Walk)
    assert run.outcomes == ["refused"]
    assert run.attempt.exchange.last_error is error
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.verdict is Verdict.IGNORED
    failure = ServiceError(503, "overloaded", code="overloaded")
    run = Run(exchange(stream=False))
    run.attempt.exchange.last_error = failure
    run.attempt.refused(error, at(0))
    assert run.attempt.exchange.last_error is failure


def test_settled_once():
    """An exchange gives its facts once, whoever asks."""
    call = exchange(stream=False)
    assert call.settle(at(1), Result.DENIED, status=403, error_code="x") is not None
    assert call.settle(at(1), Result.FAILED, status=0) is None
    facts = exchange(stream=False).settle(at(2), Result.FAILED, status=0)
    assert facts is not None
    assert (facts.started_ms, facts.finished_ms) == (at(0).wall_ms, at(2).wall_ms)
    assert (facts.tier_observed, facts.provider) == ("none", None)

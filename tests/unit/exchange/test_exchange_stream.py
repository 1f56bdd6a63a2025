"""Streams: what leaves when, which failures the client never sees, and that the entry comes before the end."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from typing import Any

import pytest
from exchange_world import (
    ATTESTATION,
    DONE,
    ERROR,
    FINISH,
    ROLE,
    SSE,
    TEXT,
    USAGE,
    Run,
    at,
    choice,
    event,
    exchange,
)
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.attest.facts import Result
from sovereign_ext.errors import ServiceError
from sovereign_ext.exchange.steps import Emit, Settle, Walk
from sovereign_ext.routing.health import Verdict

WITH_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}


def started(logged: bool = True, **members: Any) -> Run:
    run = Run(exchange(stream=True, **members), logged=logged)
    assert run.head() is None
    return run


def test_a_whole_stream():
    """Role is held until content; finish, usage and [DONE] until the entry; the attestation in both places."""
    run = started(**WITH_USAGE)
    assert run.body(ROLE) is None
    assert isinstance(run.body(TEXT), Emit)
    assert run.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert run.headers["x-sf-attempts"] == "1"
    assert run.body(FINISH, USAGE) is None
    assert b'"stop"' not in run.out
    settle = run.body(DONE)
    assert isinstance(settle, Settle)
    assert b'"stop"' not in run.before_settling
    *_, finish, usage = run.data
    assert finish["_sf_attestation"] == json.loads(ATTESTATION)
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["total_tokens"] == 12
    after = run.out.split(DONE)[1]
    assert after.startswith(b"event: sf_attestation\ndata: {")
    closing = json.loads(after.split(b"data: ")[1])
    assert closing["choices"] == []
    assert closing["_sf_attestation"] == json.loads(ATTESTATION)
    assert (closing["id"], closing["created"], closing["model"]) == ("c", 5, "m")
    assert run.facts is not None
    assert (run.facts.result, run.facts.status) == (Result.ANSWERED, 200)
    assert (run.facts.prompt_tokens, run.facts.completion_tokens) == (7, 5)
    run.digests_hold([ROLE, TEXT, FINISH, USAGE, DONE])
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.verdict is Verdict.SUCCESS


def test_nothing_follows_the_end():
    """What the provider sends after [DONE], and its end of stream, change nothing."""
    run = started()
    run.body(ROLE, TEXT, FINISH, DONE)
    assert run.body(TEXT, end=True) is None
    assert run.attempt.gone(at(1)) is None
    assert run.attempt.expired(at(999)) is None
    assert run.outcomes == ["ok"]


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ([], "cut"),
        ([ROLE], "cut"),
        ([b": comment\n\n"], "cut"),
        ([ROLE + TEXT[:20]], "cut"),
        ([ROLE, ERROR], "error_event"),
        ([b"data: nonsense\n\n"], "invalid_json"),
        ([ROLE + TEXT + ERROR], "error_event"),
        ([ROLE] * 50, "no_content"),
        ([b"data: " + b"x" * 5000], "event_too_large"),
    ],
)
def test_before_content_the_walk_goes_on(pieces: list[bytes], outcome: str):
    """Rule 1, cases 22 and 24: until content has left, any failure walks on and the client sees nothing."""
    run = started()
    run.body(*pieces)
    if not run.walked:
        run.body(end=True)
    assert isinstance(run.steps[-1], Walk)
    assert (run.out, run.heads, run.facts) == (b"", [], None)
    assert run.outcomes == [outcome]
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.verdict is Verdict.FAILURE
    assert not run.exchange.settled


@pytest.mark.parametrize(
    ("pieces", "end", "code"),
    [
        ([ERROR], False, "overloaded"),
        ([b"data: nonsense\n\n"], False, "bad_provider_response"),
        ([], True, "bad_provider_response"),
        ([TEXT, FINISH[:-20]], True, "bad_provider_response"),
        ([b"data: " + b"x" * 5000], False, "bad_provider_response"),
    ],
)
def test_after_content_a_failure_is_said(pieces: list[bytes], end: bool, code: str):
    """Rule 3: an error event and the end; no finish, no [DONE]; the entry says truncated."""
    run = started()
    run.body(ROLE, TEXT)
    run.body(*pieces, end=end)
    assert run.ended
    assert b"[DONE]" not in run.out
    assert b'"stop"' not in run.out
    assert run.data[-1]["error"]["code"] == code
    assert run.data[-1]["_sf_attestation"] == json.loads(ATTESTATION)
    assert sum("error" in data for data in run.data) == 1
    assert run.facts is not None
    assert (run.facts.result, run.facts.error_code, run.facts.status) == (Result.TRUNCATED, code, 200)
    run.digests_hold([ROLE, TEXT, *pieces])


def test_what_came_before_the_failure_is_delivered():
    """Text in the very piece that also holds the error reaches the client, once its answer has begun."""
    run = started()
    run.body(ROLE + TEXT)
    run.body(TEXT + TEXT + ERROR)
    assert run.out.count("北 text".encode()) + run.out.count(b"\\u5317 text") == 3
    run.digests_hold([ROLE, TEXT, TEXT, TEXT, ERROR])


def test_unlogged_answers_are_not_finished():
    """Rule 4: without an entry no finish and no [DONE]: an error event, or 503 if nothing has left."""
    run = started(logged=False)
    run.body(ROLE, TEXT, FINISH, DONE)
    assert run.data[-1]["error"]["code"] == "log_unavailable"
    assert "_sf_attestation" not in run.data[-1]
    assert b"[DONE]" not in run.out
    assert b'"stop"' not in run.out
    run = started(logged=False)
    run.body(FINISH, DONE)
    assert run.status == 503
    assert json.loads(run.out)["error"]["code"] == "log_unavailable"


def test_finish_without_done():
    """Case 24: a stream whose finish chunk has come is complete although [DONE] is missing."""
    run = started()
    run.body(ROLE, TEXT, FINISH, end=True)
    assert run.out.count(DONE) == 1
    assert run.outcomes == ["ok"]
    run.digests_hold([ROLE, TEXT, FINISH])


def test_done_cut_in_the_middle():
    """The same when [DONE] itself is cut off."""
    run = started()
    run.body(ROLE, TEXT, FINISH, DONE[:9], end=True)
    assert run.outcomes == ["ok"]
    assert run.out.count(DONE) == 1


def test_done_without_finish():
    """[DONE] without a finish chunk: nothing is made up; the attestation stands in the closing event only."""
    run = started()
    run.body(ROLE, TEXT, DONE)
    assert not any("_sf_attestation" in data for data in run.data)
    assert b"event: sf_attestation" in run.out.split(DONE)[1]
    run.digests_hold([ROLE, TEXT, DONE])


def test_done_alone():
    """A complete stream of nothing: the closing event takes its shape from the call."""
    run = started()
    run.body(DONE)
    closing = json.loads(run.out.split(b"data: ")[-1])
    assert closing["object"] == "chat.completion.chunk"
    assert closing["model"] == "m"
    assert closing["id"].startswith("chatcmpl-")
    run.digests_hold([DONE])


def test_text_in_the_finish_chunk():
    """Case 25: text that rides on the finish chunk leaves with it, attested; also when it is the only text."""
    last = event(choice({"content": "end"}, "stop"))
    for pieces in ([ROLE, TEXT, last, DONE], [last, DONE]):
        run = started()
        run.body(*pieces)
        assert b"end" not in run.before_settling
        assert run.data[-1]["choices"][0]["delta"]["content"] == "end"
        assert "_sf_attestation" in run.data[-1]
        run.digests_hold(pieces)


def test_several_choices():
    """With n > 1 only the last finish chunk waits; one choice's end holds nobody else up."""
    pieces = [
        ROLE,
        TEXT,
        event(choice({}, "stop", 0)),
        event(choice({"content": "second"}, None, 1)),
        event(choice({}, "length", 1)),
        DONE,
    ]
    run = started(n=2)
    run.body(*pieces[:3])
    assert b'"stop"' not in run.out
    run.body(pieces[3])
    assert run.out.index(b'"stop"') < run.out.index(b"second")
    run.body(*pieces[4:])
    assert [("_sf_attestation" in data) for data in run.data] == [False, False, False, False, True]
    run.digests_hold(pieces)


def test_several_choices_need_done():
    """With n > 1 one finish chunk does not make a broken stream whole."""
    run = started(n=2)
    run.body(ROLE, TEXT, event(choice({}, "stop", 0)), end=True)
    assert run.outcomes == ["cut"]
    assert b"[DONE]" not in run.out


def test_a_finish_chunk_alone_is_nothing_delivered():
    """Content that only rides on the held finish chunk has not left: a failure after it still walks on, and the
    first-byte limit, which content has met, does not."""
    run = started()
    assert run.body(event(choice({"content": "end"}, "stop")), seconds=1) is None
    assert run.attempt.expired(at(2)) is None
    run.body(ERROR)
    assert run.walked
    assert (run.out, run.facts) == (b"", None)


def test_text_after_the_end():
    """A single choice that goes on after its finish chunk: that chunk still waits for the entry."""
    run = started()
    run.body(ROLE, TEXT, FINISH, TEXT)
    assert b'"stop"' not in run.out
    run.body(end=True)
    assert [bool(data.get("_sf_attestation")) for data in run.data] == [False, False, True, False]
    run.digests_hold([ROLE, TEXT, FINISH, TEXT])


def test_usage_unasked_is_metered():
    """Case 27: the usage chunk goes into the entry, not to the client."""
    run = started()
    run.body(ROLE, TEXT, FINISH, USAGE, DONE)
    assert b'"usage"' not in run.out
    assert run.facts is not None
    assert run.facts.prompt_tokens == 7


def test_an_endless_tail_is_bounded():
    """Chunks without content after the finish chunk are held, so they are limited: case 9's rule."""
    run = started()
    run.body(ROLE, TEXT, FINISH, *[ROLE] * 60)
    assert run.ended
    assert run.outcomes == ["no_content"]


@given(
    st.lists(
        st.sampled_from([ROLE, TEXT, FINISH, USAGE, DONE, ERROR, b": c\n\n", b"data: x\n\n"]), max_size=9
    ),
    st.lists(st.integers(0, 3000), max_size=9),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_invariants(events: list[bytes], cuts: list[int], end: bool, logged: bool, usage: bool):
    """Any events, any cuts: nothing before content, no finish or [DONE] without the entry, one settlement, and
    commitments that open to exactly what passed. ``Run`` checks the order of every step."""
    run = started(logged, **(WITH_USAGE if usage else {}))
    whole = b"".join(events)
    bounds = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    fed = []
    for a, b in pairwise(bounds):
        if run.facts is None and not run.walked:
            fed.append(whole[a:b])
            run.body(whole[a:b])
            if run.heads and run.facts is None:
                assert TEXT in b"".join(fed) or FINISH in b"".join(fed)
    if end and run.facts is None and not run.walked:
        run.body(end=True)
    assert b'"finish_reason":"stop"' not in run.before_settling.replace(b" ", b"")
    if run.walked:
        assert (run.out, run.facts) == (b"", None)
    if run.facts is None:
        assert b"[DONE]" not in run.out
        assert b"_sf_attestation" not in run.out
    elif logged:
        run.digests_hold(fed)
    assert len(run.outcomes) == (1 if run.facts is not None or run.walked else 0)
    assert run.exchange.settled == (run.facts is not None)


@given(st.lists(st.integers(0, 2000), max_size=12))
def test_cuts_change_nothing(cuts: list[int]):
    """Case 1: a good stream is delivered with the same bytes and the same commitment whatever the cuts."""
    whole = ROLE + TEXT + TEXT + FINISH + USAGE + DONE
    run = started()
    bounds = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    run.body(*(whole[a:b] for a, b in pairwise(bounds)))
    reference = started()
    reference.body(whole)
    assert run.out == reference.out
    assert run.facts is not None
    assert reference.facts is not None
    assert run.facts.digests == reference.facts.digests


# -- time ----------------------------------------------------------------------------------------------------


def test_first_byte_limit():
    """The first-byte limit runs until content, lifecycle chunks do not stop it; then the next provider."""
    run = started()
    assert run.attempt.deadline == at(2).mono
    run.body(ROLE, seconds=1.5)
    assert run.attempt.deadline == at(2).mono
    assert run.attempt.expired(at(1.9)) is None
    assert isinstance(run.attempt.expired(at(2)), Walk)
    assert run.outcomes == ["first_byte_timeout"]


def test_idle_limit():
    """After content every chunk starts the idle limit anew; its end is an error event."""
    run = started()
    run.body(ROLE, TEXT, seconds=1)
    assert run.attempt.deadline == at(4).mono
    run.body(TEXT, seconds=3)
    assert run.attempt.expired(at(4)) is None
    assert run.attempt.deadline == at(6).mono
    run.take(run.attempt.expired(at(6)))
    assert run.outcomes == ["idle_timeout"]
    assert run.data[-1]["error"]["code"] == "provider_timeout"
    run.digests_hold([ROLE, TEXT, TEXT])


def test_total_limit():
    """The whole attempt has a limit however lively the stream is."""
    run = started()
    run.body(ROLE, TEXT)
    for second in range(1, 20):
        assert run.attempt.expired(at(second)) is None
        run.body(TEXT, seconds=second)
    assert run.attempt.deadline == at(20).mono
    run.take(run.attempt.expired(at(20)))
    assert run.outcomes == ["total_timeout"]


def test_no_deadline_outside():
    """Before the headers Envoy's limits hold; after the end there is nothing to wait for."""
    run = Run(exchange(stream=True))
    assert run.attempt.deadline is None
    assert run.attempt.expired(at(999)) is None
    run = started()
    run.body(ROLE, TEXT, FINISH, DONE)
    assert run.attempt.deadline is None


def test_latency_is_to_first_content():
    """The health window learns how long the first content took, and the record how long all did."""
    run = started()
    run.body(ROLE, seconds=0.5)
    run.body(TEXT, seconds=1.25)
    run.body(FINISH, DONE, seconds=1.75)
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.latency_s == pytest.approx(1.25)
    assert run.exchange.attempts[0].duration_ms == 1750


# -- who broke it off ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [False, True])
def test_the_client_left(content: bool):
    """A client that leaves never costs the provider; the entry says what had been delivered."""
    run = started()
    run.body(ROLE, *[TEXT] * content)
    run.exchange.client_gone = True
    facts = run.attempt.gone(at(1))
    assert facts is not None
    assert facts.result is (Result.TRUNCATED if content else Result.FAILED)
    assert (facts.error_code, facts.status) == ("client_disconnected", 200 if content else 0)
    assert run.outcomes == ["client_gone"]
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.verdict is Verdict.IGNORED
    assert run.attempt.gone(at(2)) is None


def test_the_provider_broke_off_before_content():
    """Then Envoy walks on: no facts yet, and the provider is blamed."""
    run = started()
    run.body(ROLE)
    assert run.attempt.gone(at(1)) is None
    assert run.outcomes == ["cut"]
    assert run.attempt.judgement is not None
    assert run.attempt.judgement.verdict is Verdict.FAILURE
    assert not run.exchange.settled
    assert run.exchange.last_error is not None


def test_the_provider_broke_off_after_content():
    """Then the call is over: truncated, by the provider."""
    run = started()
    run.body(ROLE, TEXT)
    facts = run.attempt.gone(at(1))
    assert facts is not None
    assert (facts.result, facts.error_code) == (Result.TRUNCATED, "provider_disconnected")


def test_unreachable_then_answered():
    """A provider that cannot be reached and a second one that answers: two attempts, one settlement."""
    call = exchange(stream=True)
    first = Run(call)
    error = ServiceError(502, "m", code="provider_unreachable")
    assert isinstance(first.take(first.attempt.unreachable("connect_failure", error, at(1))), Walk)
    assert first.take(first.attempt.unreachable("connect_failure", error, at(1))) is None
    second = Run(call, number=1)
    second.head(headers={"content-type": "application/x-ndjson"}, seconds=1)
    lines = [b'{"message":{"content":"x"}}\n', b'{"message":{},"done":true,"done_reason":"stop"}\n']
    second.body(*lines, seconds=2)
    assert second.headers["x-sf-attempts"] == "2"
    assert second.headers["x-sf-provider"] == "b"
    assert [(fact.provider, fact.outcome, fact.status) for fact in call.attempts] == [
        ("a", "connect_failure", 0),
        ("b", "ok", 200),
    ]
    second.digests_hold(lines)
    assert second.facts is not None
    assert len(second.facts.attempts) == 2


@pytest.mark.parametrize("event", [b"\n", b": x\n", TEXT])
def test_what_explodes_is_no_stream(event: bytes):
    """A few bytes of gzip must not become so many that reading them holds up everybody."""
    run = Run(exchange(stream=True))
    run.head(headers={**SSE, "content-encoding": "gzip"})
    run.body(gzip.compress(ROLE + event * (40_000_000 // len(event))))
    assert run.walked
    assert run.outcomes == ["answer_too_large"]


def test_streams_over_gzip():
    """Case 39: a stream that comes gzipped although identity was asked for is read; the commitment is to the
    bytes as they came, up to the end marker."""
    packed = gzip.compress(ROLE + TEXT + FINISH + DONE)
    run = Run(exchange(stream=True))
    run.head(headers={**SSE, "content-encoding": "gzip"})
    fed = []
    for start in range(0, len(packed), 7):
        if run.facts is None:  # what follows the end marker is not the client's
            fed.append(packed[start : start + 7])
            run.body(fed[-1])
    assert run.outcomes == ["ok"]
    run.digests_hold(fed)

"""Faults of answers, heads, timing and streams as the other end of a socket sees them.

No HTTP library is used: it would hide what is to be seen.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mock_world import Client, ask, chat, contents, ended, frames, text_of

from sovereign_ext.mock.faults import ErrorEvent, Fault, Frame, Sse, Stall
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.mock.wires import WIRES

KINDS = sorted(WIRES)
MockOf = Callable[[str], RunningMock]


# Instead of the normal answer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
def test_status_has_the_native_error_body(mock_of: MockOf, kind: str, stream: bool) -> None:
    """429 in each provider's words, with Retry-After; the connection stays usable."""
    mock = mock_of(kind)
    mock.fault(Fault(status=429, retry_after=7, error_message="slow down"))
    with Client(mock.port) as client:
        for _ in range(2):
            client.send(chat(kind, stream=stream))
            got = client.read()
            assert (got.status, got.end, got.headers["retry-after"]) == (429, "whole", "7")
            value = json.loads(got.body)
            match kind:
                case "bedrock":
                    assert got.headers["x-amzn-errortype"].startswith("ThrottlingException:")
                    assert value == {"message": "slow down"}
                case "anthropic":
                    assert value["error"] == {"type": "rate_limit_error", "message": "slow down"}
                case "vertex":
                    assert value == {
                        "error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}
                    }
                case "ollama":
                    assert value == {"error": "slow down"}
                case _:
                    assert value["error"]["message"] == "slow down"


def test_error_type_and_code_can_be_chosen(mock_of: MockOf) -> None:
    """For errors that share a status."""
    got = ask(
        mock_of("openai"), Fault(status=429, error_type="insufficient_quota", error_code="insufficient_quota")
    )
    error = json.loads(got.body)["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    got = ask(mock_of("bedrock"), Fault(status=400, error_type="ServiceQuotaExceededException"))
    assert got.headers["x-amzn-errortype"].startswith("ServiceQuotaExceededException")


def test_a_status_below_400_keeps_the_answer(mock_of: MockOf) -> None:
    """201 with the normal body; 204 with none at all."""
    mock = mock_of("openai")
    got = ask(mock, Fault(status=201), stream=False)
    assert (got.status, json.loads(got.body)["object"]) == (201, "chat.completion")
    got = ask(mock, Fault(status=204), stream=False)
    assert (got.status, got.body) == (204, b"")


def test_html_instead_of_json(mock_of: MockOf) -> None:
    """What a proxy in front of a provider says; 502 unless told."""
    mock = mock_of("openai")
    got = ask(mock, Fault(html=True))
    assert (got.status, got.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert got.body.startswith(b"<!DOCTYPE html>")
    assert ask(mock, Fault(html=True, status=503)).status == 503


def test_a_literal_body(mock_of: MockOf) -> None:
    """Any bytes under any type: also a stream nobody would think of."""
    raw = "data: {\r\ndata: }\r\n\r\n"
    got = ask(mock_of("openai"), Fault(body=raw, content_type="text/event-stream", framing="chunked"))
    assert (got.status, got.headers["content-type"], got.body) == (200, "text/event-stream", raw.encode())
    got = ask(mock_of("openai"), Fault(status=400, body='{"object":"error"}'))
    assert (got.status, json.loads(got.body)) == (400, {"object": "error"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
def test_empty_200(mock_of: MockOf, kind: str, stream: bool) -> None:
    """A stream without events, a JSON answer without JSON, both well framed."""
    got = ask(mock_of(kind), Fault(empty=True), stream=stream)
    assert (got.status, got.body, got.end) == (200, b"", "whole")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bedrock"])
def test_invalid_json(mock_of: MockOf, kind: str) -> None:
    """A body that stops half way though its length is right; a stream with one such event among good ones."""
    mock = mock_of(kind)
    got = ask(mock, Fault(invalid_json=True), stream=False)
    assert got.end == "whole"
    with pytest.raises(ValueError):
        json.loads(got.body)
    lines = ask(mock, Fault(invalid_json=True)).body.decode().splitlines()
    found = [line.removeprefix("data: ") for line in lines if line.startswith(("data: {", "{"))]
    bad = []
    for line in found:
        try:
            json.loads(line)
        except ValueError:
            bad.append(line)
    assert len(bad) == 1
    assert len(found) >= 4


def test_invalid_json_in_a_frame(mock_of: MockOf) -> None:
    """The frame's CRCs are right, its payload is not JSON."""
    got = ask(mock_of("bedrock"), Fault(invalid_json=True))
    payloads = [payload for name, payload in frames(got.body) if name == "contentBlockDelta"]
    with pytest.raises(ValueError):
        json.loads(payloads[0])
    assert json.loads(payloads[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
def test_endless_line(mock_of: MockOf, kind: str, stream: bool) -> None:
    """MiBs without a line end, object end or frame end; then the body ends."""
    got = ask(mock_of(kind), Fault(endless_line_mib=2), stream=stream)
    assert got.end == "whole"
    assert got.body.endswith(b"a" * (2 << 20))
    if kind == "bedrock" and stream:
        start = got.body[: -(2 << 20)][-12:]
        assert int.from_bytes(start[:4]) > 2 << 20
        assert int.from_bytes(start[8:]) == zlib.crc32(start[:8])


# Head


def test_headers_are_added_and_replaced(mock_of: MockOf) -> None:
    """Also one the answer has anyway, whatever its case."""
    got = ask(mock_of("openai"), Fault(headers={"X-Request-Id": "mine", "x-new": "1"}))
    assert (got.headers["x-request-id"], got.headers["x-new"]) == ("mine", "1")
    assert got.raw_head.lower().count(b"x-request-id") == 1


def test_wrong_content_type(mock_of: MockOf) -> None:
    """The right body under the wrong name."""
    got = ask(mock_of("openai"), Fault(content_type="text/plain"))
    assert got.headers["content-type"] == "text/plain"
    assert text_of(got) == "You said: hello there world"


def test_huge_headers(mock_of: MockOf) -> None:
    """As large as told."""
    got = ask(mock_of("openai"), Fault(huge_headers_bytes=100_000))
    assert len(got.raw_head) > 100_000
    assert text_of(got) == "You said: hello there world"


def test_slow_headers(mock_of: MockOf) -> None:
    """Byte by byte: a reader sees many partial heads before it sees the whole."""
    mock = mock_of("openai")
    mock.fault(Fault(slow_headers_ms=1))
    with Client(mock.port) as client:
        client.send(chat("openai"))
        first = client.sock.recv(1 << 16)
        assert len(first) < 100
        started = time.monotonic()
        client.seen = first
        assert client.read().status == 200
        assert time.monotonic() - started > 0.1  # some two hundred bytes are still to come


# Timing


@pytest.mark.parametrize("stream", [False, True])
def test_delay(mock_of: MockOf, stream: bool) -> None:
    """Nothing happens before the delay is over."""
    started = time.monotonic()
    ask(mock_of("openai"), Fault(delay_ms=80), stream=stream)
    assert time.monotonic() - started >= 0.08


def test_pace(mock_of: MockOf) -> None:
    """A pause between any two events: six gaps for role, four words, finish and end."""
    started = time.monotonic()
    got = ask(mock_of("openai"), Fault(pace_ms=20))
    assert time.monotonic() - started >= 0.02 * (len(got.chunks) - 1)
    assert len(got.chunks) >= 7


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("at", "status", "seen"),
    [("headers", 0, 0), ("first_event", 200, 0), (0, 200, 0), (1, 200, 1), (2, 200, 2)],
)
def test_stall_forever(mock_of: MockOf, stream: bool, at: Any, status: int, seen: int) -> None:
    """Silence at the told place until the client leaves, which the server then notes."""
    mock = mock_of("openai")
    mock.fault(Fault(stall=Stall(at=at), framing="chunked"))
    with Client(mock.port) as client:
        client.send(chat("openai", stream=stream))
        while not client.silent():
            pass
        got = client._parse(client.seen, "fin")
        assert got.status == status
        if stream:
            assert len(contents("openai", got.body)) == seen
        else:
            assert len(got.chunks if got.body else []) == seen
        assert mock.requests()[-1].ended == "in_progress"
    assert ended(mock) == "client_closed"


def test_stall_for_a_while(mock_of: MockOf) -> None:
    """After the pause the answer goes on as if nothing had been."""
    started = time.monotonic()
    got = ask(mock_of("openai"), Fault(stall=Stall(at=1, seconds=0.05)))
    assert time.monotonic() - started >= 0.05
    assert text_of(got) == "You said: hello there world"


# Content of streams


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("after", "seen"), [("start", 0), (0, 0), (2, 2)])
def test_error_event(mock_of: MockOf, kind: str, after: Any, seen: int) -> None:
    """A native error in a 200 stream; what would have followed is not sent, and HTTP ends cleanly."""
    got = ask(mock_of(kind), Fault(error_event=ErrorEvent(after=after, message="gone")))
    assert (got.status, got.end) == (200, "whole")
    good = got.body[: got.body.index(b"gone")].rpartition(b"\n{")[0] if kind == "vertex" else got.body
    assert len(contents(kind, good)) == seen
    events = 1 if after == "start" else None
    match kind:
        case "bedrock":
            assert frames(got.body)[-1] == ("serviceUnavailableException", b'{"message":"gone"}')
            assert events is None or len(frames(got.body)) == 1
            return
        case "anthropic":
            assert b"event: error\ndata: " in got.body
            last = json.loads(got.body.decode().split("data: ")[-1])
            assert last["error"] == {"type": "overloaded_error", "message": "gone"}
        case "vertex":
            place = got.body.index(b'{\n  "error"')
            assert json.loads(got.body[place:])["error"]["status"] == "UNAVAILABLE"
        case "ollama":
            assert json.loads(got.body.splitlines()[-1]) == {"error": "gone"}
        case _:
            last = got.body.decode().strip().split("\n\n")[-1]
            assert json.loads(last.removeprefix("data: "))["error"]["message"] == "gone"
    if events:
        assert got.body.count(b'"error"') - got.body.count(b'type":"error"') == 1
        assert b"role" not in got.body
        assert b"message_start" not in got.body


def test_error_event_of_gemini_as_data(mock_of: MockOf) -> None:
    """The other way Vertex is seen to send it."""
    got = ask(mock_of("vertex"), Fault(error_event=ErrorEvent(as_data=True)))
    assert got.body.startswith(b'data: {"error":{"code":503,')


@pytest.mark.parametrize("kind", KINDS)
def test_error_event_of_a_json_answer(mock_of: MockOf, kind: str) -> None:
    """The native error body under 200."""
    got = ask(mock_of(kind), Fault(error_event=ErrorEvent(message="gone")), stream=False)
    assert got.status == 200
    assert b"gone" in got.body


ENDINGS = {
    "openai": (b'"finish_reason":"stop"', None, b"[DONE]"),
    "vllm": (b'"finish_reason":"stop"', None, b"[DONE]"),
    "mock": (b'"finish_reason":"stop"', None, b"[DONE]"),
    "ollama": (b'"done":true', None, None),
    "anthropic": (b"message_delta", None, b"message_stop"),
    "bedrock": (b"messageStop", b"metadata", None),
    "vertex": (b"finishReason", None, None),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["before_finish", "before_usage", "before_done"])
def test_end_too_early(mock_of: MockOf, kind: str, end: Any) -> None:
    """All the text, clean HTTP, and the terminal events from the told one on missing."""
    got = ask(mock_of(kind), Fault(end=end))
    assert got.end == "whole"
    assert "".join(contents(kind, got.body)) == "You said: hello there world"
    finish, usage, done = ENDINGS[kind]
    assert (finish in got.body) == (end != "before_finish")
    assert usage is None or (usage in got.body) == (end == "before_done")
    assert done is None or done not in got.body


def test_before_usage_keeps_the_finish_and_drops_the_report(mock_of: MockOf) -> None:
    """For OpenAI the usage chunk is one that was asked for."""
    mock = mock_of("openai")
    asked = chat("openai", stream=True)
    asked = replace(asked, body=asked.body | {"stream_options": {"include_usage": True}})
    for end, reported in (("before_done", True), ("before_usage", False)):
        mock.fault(Fault(end=end))
        with Client(mock.port) as client:
            client.send(asked)
            body = client.read().body
        assert b'"finish_reason":"stop"' in body
        assert (b'"total_tokens"' in body) is reported


def lines_of(body: bytes) -> list[str]:
    """SSE lines, split at CRLF, LF or CR as the specification has it."""
    return body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")


def events_of(body: bytes) -> list[tuple[str, str]]:
    """A small SSE reader (WHATWG HTML, 9.2.6): (event name, data)."""
    found, name, data = [], "", []
    for line in lines_of(body.removeprefix(b"\xef\xbb\xbf")):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append((name, "\n".join(data)))
            name, data = "", []
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return found


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("sse", "sign", "absent"),
    [
        (Sse(line_end="crlf"), b"\r\n\r\n", b"}\n"),
        (Sse(line_end="cr"), b"\r\r", b"\n"),
        (Sse(space=False), b"data:{", b"data: {"),
        (Sse(comments=True), b": mock comment\n", b"\r"),
        (Sse(multiline=True), b"data: {\ndata: ", b'data: {"'),
        (Sse(event_after_data=True), b"data: {", b"event: message_start\ndata"),
        (Sse(id_retry=True), b"id: 0\nretry: 1000\n", b"\r"),
        (Sse(bom=True), b"\xef\xbb\xbf", b"\r"),
        (
            Sse(line_end="crlf", space=False, comments=True, multiline=True, id_retry=True),
            b"data:{\r\ndata:",
            b"}\n",
        ),
    ],
)
def test_sse_oddities(mock_of: MockOf, kind: str, sse: Sse, sign: bytes, absent: bytes) -> None:
    """The bytes look different; a reader that follows the specification gets the same events."""
    mock = mock_of(kind)
    odd = ask(mock, Fault(sse=sse)).body
    mock.clear()
    plain = ask(mock, Fault()).body
    assert sign in odd
    assert absent not in odd

    def values(body: bytes) -> list[Any]:
        got = [(name, data if data == "[DONE]" else json.loads(data)) for name, data in events_of(body)]
        chunks = [data for _, data in got if isinstance(data, dict) and "created" in data]
        assert len({chunk["created"] for chunk in chunks}) <= 1
        for chunk in chunks:
            chunk["created"] = "NOW"  # another second may have begun between the two answers
        return json.loads(json.dumps(got).replace(ids(body), "ID"))

    def ids(body: bytes) -> str:
        first = json.loads(events_of(body)[0][1])
        return str(first["id"] if kind == "openai" else first["message"]["id"])

    assert values(odd) == values(plain)


@pytest.mark.parametrize("damage", ["prelude_crc", "message_crc", "length"])
def test_damaged_frames(mock_of: MockOf, damage: Any) -> None:
    """Exactly the told frame is damaged, in exactly the told way."""
    mock = mock_of("bedrock")
    plain = ask(mock, Fault()).body
    mock.clear()
    bad = ask(mock, Fault(frame=Frame(event=1, damage=damage))).body
    start = frame_start(plain, plain.index(b'" said:"'))
    end = start + int.from_bytes(plain[start : start + 4])
    different = [place for place in range(len(plain)) if plain[place] != bad[place]]
    assert len(bad) == len(plain)
    match damage:
        case "prelude_crc":
            assert different == [start + 8]
        case "message_crc":
            assert different == [end - 1]
        case "length":
            assert set(different) <= set(range(start, start + 12))
            assert int.from_bytes(bad[start : start + 4]) == end - start + 7
            assert int.from_bytes(bad[start + 8 : start + 12]) == zlib.crc32(bad[start : start + 8])


def frame_start(body: bytes, place: int) -> int:
    """Where the frame around a place begins."""
    start = 0
    while (after := start + int.from_bytes(body[start : start + 4])) <= place:
        start = after
    return start


# Answer contents


@pytest.mark.parametrize("kind", KINDS)
def test_shape_of_the_answer(mock_of: MockOf, kind: str) -> None:
    """So many chunks of so many characters, a finish in the provider's own words, a usage of one's own."""
    mock = mock_of(kind)
    got = ask(mock, Fault(tokens=7, chunk_text=11, finish_reason="WEIRD", usage={"custom_count": 9000}))
    assert [len(text) for text in contents(kind, got.body)] == [11] * 7
    assert b"WEIRD" in got.body
    whole = ask(mock, Fault(usage={"custom_count": 9000}), stream=False).body
    assert b'"custom_count":9000' in whole
    bare = ask(mock, Fault(omit_usage=True), stream=False).body
    assert not any(word in bare for word in (b"usage", b"prompt_eval_count"))


@pytest.mark.parametrize("kind", ["openai", "ollama", "vertex"])
def test_text_in_the_finish_event(mock_of: MockOf, kind: str) -> None:
    """The last word rides with the finish reason; nothing is lost or doubled."""
    got = ask(mock_of(kind), Fault(finish_with_text=True))
    assert "".join(contents(kind, got.body)) == "You said: hello there world"
    line = next(line for line in got.body.splitlines() if ENDINGS[kind][0] in line)
    assert b" world" in line

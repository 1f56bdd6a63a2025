"""The HTTP server without faults: keep-alive, pipelining, 100-continue, HTTP/1.0, HEAD; what it remembers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import http.client
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from mock_world import Client, chat

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.faults import Fault, Rule
from sovereign_ext.mock.http1 import MAX_BODY_BYTES
from sovereign_ext.mock.recording import MAX_BODY_KEPT, Recorded, Recording
from sovereign_ext.mock.server import MockServer
from sovereign_ext.mock.thread import RunningMock

MockOf = Callable[[str], RunningMock]


def post(body: bytes, *headers: str, path: str = "/v1/chat/completions", version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


BODY = json.dumps(chat("openai").body).encode()
LENGTH = f"Content-Length: {len(BODY)}"


def test_pipelined_requests_are_answered_in_order(mock_of: MockOf) -> None:
    """Also when one in the middle takes time."""
    mock = mock_of("openai")
    mock.fault(Fault(delay_ms=30, status=429), times=1)
    bodies = [json.dumps(chat("openai", text).body).encode() for text in ("a", "b", "c")]
    with Client(mock.port) as client:
        client.sock.sendall(b"".join(post(body, f"Content-Length: {len(body)}") for body in bodies))
        answers = [client.read() for _ in bodies]
    assert [got.status for got in answers] == [429, 200, 200]
    assert b"said: c" in answers[2].body
    assert len({recorded.connection for recorded in mock.requests()}) == 1


def test_requests_that_arrive_during_an_answer_wait(mock_of: MockOf) -> None:
    """A second request sent while the first is being played is read after it."""
    mock = mock_of("openai")
    mock.fault(Fault(pace_ms=10), times=1)
    with Client(mock.port) as client:
        client.send(chat("openai", stream=True))
        assert not client.silent(5)
        client.send(chat("openai"))
        assert client.read().body.endswith(b"data: [DONE]\n\n")
        assert json.loads(client.read().body)["object"] == "chat.completion"


def test_a_busy_connection_is_not_read_without_bound(mock_of: MockOf) -> None:
    """While an answer hangs, a client that keeps sending is stopped by TCP, not stored."""
    mock = mock_of("openai")
    mock.fault(Fault(delay_ms=600_000))
    with Client(mock.port) as client:
        client.send(chat("openai"))
        client.sock.settimeout(0.3)
        sent, piece = 0, b"x" * (1 << 20)
        with contextlib.suppress(TimeoutError):
            while sent < 100 << 20:
                sent += client.sock.send(piece)
        assert sent < 50 << 20


def test_continue(mock_of: MockOf) -> None:
    """100 Continue before the body is sent."""
    with Client(mock_of("openai").port) as client:
        client.sock.sendall(post(b"", LENGTH, "Expect: 100-continue"))
        assert client.sock.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sock.sendall(BODY)
        assert client.read().status == 200


def test_chunked_requests(mock_of: MockOf) -> None:
    """A body in chunks is the same body; Claude on Vertex refuses it, as the real one does."""
    mock = mock_of("openai")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    with Client(mock.port) as client:
        client.sock.sendall(post(chunked, "Transfer-Encoding: chunked"))
        assert client.read().status == 200
    recorded = mock.requests()[0]
    assert (recorded.body, recorded.chunked) == (BODY, True)
    claude = "/v1/projects/p/locations/l/publishers/anthropic/models/c:rawPredict"
    with Client(mock_of("vertex").port) as client:
        client.sock.sendall(post(chunked, "Transfer-Encoding: chunked", path=claude))
        assert client.read().status == 411


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0(mock_of: MockOf, stream: bool) -> None:
    """No chunks: a stream ends with the connection."""
    with Client(mock_of("openai").port) as client:
        client.send(chat("openai", stream=stream), version="1.0")
        got = client.read()
    assert got.end == "fin"
    assert "transfer-encoding" not in got.headers
    assert b"chat.completion" in got.body


def test_connection_close_is_obeyed(mock_of: MockOf) -> None:
    """The answer says so and the server hangs up."""
    with Client(mock_of("openai").port) as client:
        client.sock.sendall(post(BODY, LENGTH, "Connection: close"))
        got = client.read()
    assert (got.headers["connection"], got.end, got.status) == ("close", "fin", 200)


def test_head_has_no_body(mock_of: MockOf) -> None:
    """The length is that of the answer to GET."""
    connection = http.client.HTTPConnection("127.0.0.1", mock_of("openai").port, timeout=10)
    lengths = []
    for method in ("HEAD", "GET"):
        connection.request(method, "/v1/models")
        reply = connection.getresponse()
        lengths.append(reply.getheader("content-length"))
        assert (reply.status, bool(reply.read())) == (200, method == "GET")
    connection.close()
    assert lengths[0] == lengths[1]


def test_bytes_that_are_not_http(mock_of: MockOf) -> None:
    """A native error, then the connection is closed."""
    with Client(mock_of("anthropic").port) as client:
        client.sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        got = client.read()
    assert (got.status, got.end, json.loads(got.body)["type"]) == (400, "fin", "error")


def test_a_body_that_is_too_long_is_refused_before_it_is_read(mock_of: MockOf) -> None:
    """413 from the announced length alone."""
    with Client(mock_of("openai").port) as client:
        client.sock.sendall(post(b"", f"Content-Length: {MAX_BODY_BYTES + 1}"))
        assert client.read().status == 413


def test_large_bodies(mock_of: MockOf) -> None:
    """20 MiB arrive; only their digest is kept."""
    mock = mock_of("openai")
    body = json.dumps(chat("openai", "x" * (20 << 20)).body).encode()
    with Client(mock.port) as client:
        client.sock.sendall(post(body, f"Content-Length: {len(body)}"))
        assert client.read().status == 200
    recorded = mock.requests()[0]
    assert (recorded.body, recorded.body_length) == (None, len(body))
    assert recorded.sha256 == hashlib.sha256(body).hexdigest()


def control(mock: RunningMock, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", mock.port, timeout=10)
    connection.request(method, "/_mock/" + path, body)
    reply = connection.getresponse()
    value = json.loads(reply.read())
    connection.close()
    return reply.status, value


def test_control_arms_lists_and_lifts_faults(mock_of: MockOf) -> None:
    """A round through POST, GET and DELETE, each telling the rules in force."""
    mock = mock_of("openai")
    rule = {"scope": {"model": "m"}, "fault": {"status": 503, "cut": {"after_events": 3}}, "times": 2}
    expected = (200, {"rules": [rule | {"scope": {"model": "m"}}]})
    assert control(mock, "POST", "fault", json.dumps(rule).encode()) == expected
    with Client(mock.port) as client:
        client.send(chat("openai"))
        assert client.read().status == 503
    _, listed = control(mock, "GET", "fault")
    assert listed == {"rules": [rule | {"times": 1}]}
    assert control(mock, "DELETE", "fault") == (200, {"rules": []})
    with Client(mock.port) as client:
        client.send(chat("openai"))
        assert client.read().status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("POST", "fault", b'{"fault":{"statu":1}}', 400, "statu"),
        ("POST", "fault", b'{"fault":{"status":99}}', 400, "status"),
        ("POST", "fault", b'{"fault":{"cut":{}}}', 400, "exactly one"),
        ("POST", "fault", b"{", 400, "fault rule"),
        ("POST", "fault", b'{"fault":{"accept":"close"}}', 400, "times"),
        ("POST", "fault", b'{"fault":{},"scope":"some"}', 400, "scope"),
        ("PUT", "fault", b"", 405, "expected"),
        ("GET", "requests?last=x", b"", 400, "number"),
        ("GET", "absent", b"", 404, "expected"),
    ],
)
def test_control_refuses(
    mock_of: MockOf, method: str, path: str, body: bytes, status: int, reason: str
) -> None:
    """With a reason that names what is wrong, and without arming anything."""
    mock = mock_of("openai")
    got, value = control(mock, method, path, body)
    assert got == status
    assert reason in str(value["error"])
    assert control(mock, "GET", "fault")[1] == {"rules": []}


def test_requests_are_told_as_received(mock_of: MockOf) -> None:
    """Raw path, header order and case, body bytes; control requests are not among them."""
    mock = mock_of("openai")
    raw = post(BODY, "X-b: 1", "x-A: 2", "X-b: 3", LENGTH, path="/v1/chat/completions?a=%2F")
    with Client(mock.port) as client:
        client.sock.sendall(raw * 2)
        client.read()
        client.read()
    _, value = control(mock, "GET", "requests")
    first, second = value["requests"]  # type: ignore[misc]
    assert first["target"] == "/v1/chat/completions?a=%2F"
    assert first["headers"] == [["Host", "x"], ["X-b", "1"], ["x-A", "2"], ["X-b", "3"], LENGTH.split(": ")]
    assert base64.b64decode(first["body_base64"]) == BODY
    assert first["body_sha256"] == hashlib.sha256(BODY).hexdigest()
    assert (first["status"], first["ended"], first["model"], first["fault"]) == (200, "complete", "m", None)
    assert first["connection"] == second["connection"]
    _, last = control(mock, "GET", "requests?last=1")
    assert [one["number"] for one in last["requests"]] == [second["number"]]  # type: ignore[attr-defined]
    assert control(mock, "DELETE", "requests") == (200, {"requests": []})
    assert mock.requests() == []


async def no_control() -> tuple[int, int]:
    async with MockServer("openai", control=False, faults=[Fault(status=500)]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /_mock/requests HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return int(answer.split()[1]), len(server.requests)


def test_control_can_be_off() -> None:
    """Then it is a path like any other that the provider does not have. Also: the server on a plain loop."""
    assert asyncio.run(no_control()) == (404, 1)


def test_unknown_kinds_are_refused() -> None:
    """With the kinds there are."""
    with pytest.raises(CallerError, match="openai"):
        MockServer("absent")


def test_memory_is_bounded() -> None:
    """The newest requests are kept, the numbers go on."""
    with RunningMock("openai", record=3, faults=[Rule(fault=Fault(status=500), times=1)]) as mock:
        with Client(mock.port) as client:
            for _ in range(5):
                client.send(chat("openai"))
                client.read()
        assert [recorded.number for recorded in mock.requests()] == [3, 4, 5]


def test_bodies_have_a_budget() -> None:
    """Many large bodies push out old requests before the number does."""
    recording = Recording(1000)
    body = b"x" * MAX_BODY_KEPT
    for number in range(100):
        recording.add(Recorded(number, 1, "POST", "/", (), body, len(body), "", False, 0.0))
    kept = recording.all()
    assert sum(len(recorded.body or b"") for recorded in kept) <= 64 << 20
    assert kept[-1].number == 99


def test_stopping_ends_open_answers() -> None:
    """A stalled client does not keep the server from stopping."""
    with RunningMock("openai") as mock:
        mock.fault(Fault(delay_ms=600_000))
        client = Client(mock.port)
        client.send(chat("openai"))
        assert client.silent()
    assert client.sock.recv(1) == b""
    client.close()


# Refusals that real providers are known for


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("anthropic", {"max_tokens": None}, "max_tokens"),
        ("anthropic", {"messages": [{"role": "system", "content": "x"}]}, "role"),
        ("anthropic", {"thinking": {"type": "enabled"}, "tool_choice": {"type": "any"}}, "Thinking"),
        ("bedrock", {"messages": []}, "user message"),
        ("bedrock", {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "user message"),
        ("bedrock", {"messages": [{"role": "user", "content": [{"text": "x"}]}] * 2}, "alternate"),
        ("bedrock", {"messages": [{"role": "user", "content": [{"text": ""}]}]}, "blank"),
        ("bedrock", {"messages": [{"role": "user", "content": [{"toolResult": {}}]}]}, "toolConfig"),
        ("bedrock", {"toolConfig": {"tools": []}}, "at least 1"),
        ("vertex", {"contents": []}, "contents"),
        ("vertex", {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "role"),
        ("vertex", {"contents": [{"role": "user", "parts": []}]}, "parts"),
        ("ollama", {"messages": [{"role": "developer", "content": "x"}]}, "role"),
        ("openai", {"messages": None}, "messages"),
    ],
)
def test_native_refusals(mock_of: MockOf, kind: str, change: dict[str, object], reason: str) -> None:
    """400 in the provider's shape, naming what is wrong."""
    asked = chat(kind)
    body = {name: value for name, value in (asked.body | change).items() if value is not None}
    with Client(mock_of(kind).port) as client:
        client.send(replace(asked, body=body))
        got = client.read()
    assert got.status == 400
    assert reason in got.body.decode()


def test_anthropic_needs_its_version_header(mock_of: MockOf) -> None:
    """As the API does."""
    with Client(mock_of("anthropic").port) as client:
        client.send(replace(chat("anthropic"), headers={}))
        assert client.read().status == 400


def test_gemini_3_needs_its_signature_back(mock_of: MockOf) -> None:
    """A replayed call without thoughtSignature is refused by Gemini 3 only; either spelling will do."""
    part = {"function_call": {"name": "f", "args": {}}}
    result = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a_b": 1}}}]}

    def status(model: str, **more: str) -> int:
        asked = chat("vertex")
        contents = [*asked.body["contents"], {"role": "model", "parts": [part | more]}, result]
        path = asked.path.replace("/m:", f"/{model}:")
        with Client(mock_of("vertex").port) as client:
            client.send(replace(asked, path=path, body={"contents": contents}))
            return client.read().status

    assert [status("gemini-3-pro"), status("gemini-2.5-pro")] == [400, 200]
    assert (
        status("gemini-3-pro", thoughtSignature="x") == status("gemini-3-pro", thought_signature="x") == 200
    )


def test_gemini_streams_an_array_without_alt_sse(mock_of: MockOf) -> None:
    """One JSON document; an error status is an array too."""
    mock = mock_of("vertex")
    asked = chat("vertex", stream=True)
    asked = replace(asked, path=asked.path.removesuffix("?alt=sse"))
    for fault in (None, Fault(status=429)):
        if fault is not None:
            mock.fault(fault)
        with Client(mock.port) as client:
            client.send(asked)
            got = client.read()
        value = json.loads(got.body)
        assert got.headers["content-type"] == "application/json"
        if fault is None:
            parts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in value]
            assert parts == ["You", " said:", " hello", " there", " world", ""]
        else:
            assert value[0]["error"]["status"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("grant_type=client_credentials", "unsupported_grant_type"),
        ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer", "invalid_grant"),
        ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a.b.c", "invalid_grant"),
        ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=e30.e30.x", "invalid_grant"),
    ],
)
def test_token_refusals(mock_of: MockOf, form: str, error: str) -> None:
    """RFC 6749's error object."""
    with Client(mock_of("vertex").port) as client:
        client.sock.sendall(post(form.encode(), f"Content-Length: {len(form)}", path="/token"))
        got = client.read()
    assert (got.status, json.loads(got.body)["error"]) == (400, error)

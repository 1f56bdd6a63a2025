"""Sizes and framings: what fits arrives byte for byte, what does not is told so, memory stays bounded."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psutil
import pytest
import wire
from stack import ConfigFile, Gateway, Stack, eventually

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

KIB = 1024
MIB = 1024 * KIB
LIMIT = 32 * MIB  # the default of limits.max_request_bytes
RESPONSE_LIMIT = 64 * MIB
PROVIDERS = ("alpha", "beta", "gamma")


MODELS = tuple(f"m{number:02}" for number in range(60))


@dataclass(frozen=True)
class Fresh(Gateway):
    """A gateway whose mocks remember nothing, and a model whose deployments were never asked."""

    model: str


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Gateway, Iterator[str]]]:
    """A stack with many models alike: a test that lets providers fail must not cool down another's."""
    config = ConfigFile()
    with ExitStack() as stack:
        mocks = {}
        for name, kind in zip(PROVIDERS, ("openai", "vllm", "ollama"), strict=True):
            mocks[name] = stack.enter_context(RunningMock(kind))
            config.provider(name, kind, mocks[name].url)
        config.policy("chain", PROVIDERS)
        for model in MODELS:
            config.model(model, PROVIDERS, upstream="up")
        yield Gateway(stack.enter_context(Stack(config)), mocks), iter(MODELS)


@pytest.fixture
def fresh(running: tuple[Gateway, Iterator[str]]) -> Fresh:
    gateway, models = running
    for mock in gateway.mocks.values():
        mock.clear()
    return Fresh(gateway.stack, gateway.mocks, next(models))


def request_body(model: str, size: int) -> tuple[bytes, bytes]:
    """A chat request of exactly ``size`` bytes and its ``messages``."""
    frame = b'[{"role":"user","content":"%b"}]'
    text = b"north-\xe5\x8c\x97 " * (size // 10)
    room = size - len(b'{"model":"%b","messages":%b}' % (model.encode(), frame % b""))
    messages = frame % text[: room - room % 10].ljust(room, b".")
    body = b'{"model":"%b","messages":%b}' % (model.encode(), messages)
    assert len(body) == size
    return body, messages


def post(gateway: Gateway, body: bytes, **options: object) -> wire.Reply:
    return wire.call(gateway.stack.port, key=gateway.stack.config.key, body=body, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [32 * KIB + 1, MIB + 1, 5 * MIB, 20 * MIB, LIMIT])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_request_bodies_arrive_whole(fresh: Fresh, size: int, chunked: bool):
    """Every size up to the limit, announced or chunked: the provider gets these bytes, with their length."""
    body, messages = request_body(fresh.model, size)
    if chunked:
        pieces = (body[at : at + 60_000] for at in range(0, size, 60_000))
        headers = {"content-type": "application/json"}
        reply = wire.call(fresh.stack.port, key=fresh.stack.config.key, chunks=pieces, headers=headers)
    else:
        reply = post(fresh, body)
    assert reply.status == 200, reply.body[:500]
    (request,) = fresh.mocks["alpha"].requests()
    expected = b'{"model":"up","messages":%b}' % messages
    assert (request.body_length, request.sha256) == (len(expected), hashlib.sha256(expected).hexdigest())
    assert request.header("content-length") == str(len(expected))
    assert not request.chunked
    assert fresh.stack.row_of(reply).commits_to("client-request", body)


def test_a_large_body_walks(fresh: Fresh):
    """20 MiB reach the second provider unharmed, and the third in its own wire format."""
    body, messages = request_body(fresh.model, 20 * MIB)
    fresh.mocks["alpha"].fault(Fault(status=503))
    fresh.mocks["beta"].fault(Fault(status=503))
    reply = post(fresh, body)
    assert reply.status == 200
    assert reply.headers["x-sf-attempts"] == "3"
    for name, expected in (
        ("alpha", b'{"model":"up","messages":%b}' % messages),
        ("beta", b'{"model":"up","messages":%b}' % messages),
        ("gamma", b'{"model":"up","messages":%b,"stream":false}' % messages),
    ):
        (request,) = fresh.mocks[name].requests()
        assert request.sha256 == hashlib.sha256(expected).hexdigest()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 5 * MIB])
def test_beyond_the_limit(fresh: Fresh, chunked: bool, size: int):
    """413 as an OpenAI error, although the client is still sending; no provider is asked.

    When 32 MiB are faster than one message to the processor and back, Envoy answers by itself, without a
    decision id; the call is written down all the same.
    """
    before = len(fresh.stack.rows())
    body, _ = request_body(fresh.model, size)
    reply = impatient_post(fresh, body, chunked=chunked)
    assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-request-id"]
    assert not any(mock.requests() for mock in fresh.mocks.values())
    (row,) = eventually(lambda: fresh.stack.rows()[before:], "the entry")
    assert row.predicate["result"] == "denied"
    if "x-sf-attempts" in reply.headers or chunked:
        assert reply.headers["x-sf-decision-id"] == row.decision_id


def impatient_post(gateway: Gateway, body: bytes, *, chunked: bool) -> wire.Reply:
    """Send from a thread and read the answer whenever it comes."""
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {gateway.stack.config.key}\r\n{framing}\r\n\r\n"
    ).encode()
    payload = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    with socket.create_connection(("127.0.0.1", gateway.stack.port), timeout=30) as sock:

        def send() -> None:
            with contextlib.suppress(OSError):
                sock.sendall(head + payload)

        sender = threading.Thread(target=send)
        sender.start()
        response = http.client.HTTPResponse(sock)
        response.begin()
        reply = wire.Reply(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())
        sock.shutdown(socket.SHUT_RDWR)
        sender.join()
    return reply


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_answers_arrive_whole(fresh: Fresh, provider: str, stream: bool):
    """20 MiB of answer, from each kind of provider, whole and streamed."""
    at = PROVIDERS.index(provider)
    for other in PROVIDERS[:at]:
        fresh.mocks[other].fault(Fault(status=503))
    fresh.mocks[provider].fault(Fault(tokens=40, chunk_text=512 * KIB))
    reply = fresh.stack.chat(fresh.model, stream=stream)
    assert (reply.status, reply.complete) == (200, True)
    assert len(reply.text) == 20 * MIB
    assert reply.headers["x-sf-attempts"] == str(at + 1)
    row = fresh.stack.row_of(reply)
    assert row.predicate["result"] == "answered"


def test_an_answer_beyond_the_limit_walks(fresh: Fresh):
    """A provider that does not stop is given up, and the next one answers."""
    fresh.mocks["alpha"].fault(Fault(tokens=1, chunk_text=RESPONSE_LIMIT))
    reply = fresh.stack.chat(fresh.model)
    assert reply.status == 200
    assert reply.headers["x-sf-provider"] == "beta"
    assert fresh.stack.row_of(reply).outcomes == ["answer_too_large", "ok"]


def test_several_choices(fresh: Fresh):
    """n=2 streams both texts and both finish chunks; the last one carries the attestation."""
    reply = fresh.stack.chat(fresh.model, stream=True, n=2)
    assert reply.done
    assert reply.finish_reasons == ["stop", "stop"]
    finishes = [chunk for chunk in reply.chunks if any(c.get("finish_reason") for c in chunk["choices"])]
    assert ["_sf_attestation" in chunk for chunk in finishes] == [False, True]
    texts = [
        "".join(
            c["delta"].get("content") or ""
            for chunk in reply.chunks
            for c in chunk["choices"]
            if c["index"] == at
        )
        for at in range(2)
    ]
    assert all(text.startswith("You said") for text in texts)
    assert reply.stream_attestation["rekor_index"] == fresh.stack.row_of(reply).index


def test_expect_continue(fresh: Fresh):
    """curl asks before it sends a large body; it is told to go on, and then answered."""
    body, _ = request_body(fresh.model, MIB)
    with socket.create_connection(("127.0.0.1", fresh.stack.port), timeout=30) as sock:
        sock.sendall(
            (
                "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
                f"authorization: Bearer {fresh.stack.config.key}\r\ncontent-length: {len(body)}\r\n"
                "expect: 100-continue\r\n\r\n"
            ).encode()
        )
        assert sock.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.status == 200
        assert json.loads(response.read())["_sf_attestation"]
    (request,) = fresh.mocks["alpha"].requests()
    assert request.header("expect") is None


def test_one_connection_for_many_calls(fresh: Fresh):
    """Answers, streams and denials leave the connection usable. (Envoy itself closes it after every 400.)"""
    connection = http.client.HTTPConnection("127.0.0.1", fresh.stack.port, timeout=30)
    headers = {"authorization": f"Bearer {fresh.stack.config.key}", "content-type": "application/json"}
    message = [{"role": "user", "content": "x"}]
    seen = []
    sockets = set()
    for body in (
        {"model": fresh.model, "messages": message},
        {"model": fresh.model, "messages": message, "stream": True},
        {"model": "nobody", "messages": message},
        {"model": "nobody", "messages": message, "stream": True},
        {"model": fresh.model, "messages": message, "stream": True},
        {"model": fresh.model, "messages": message},
    ):
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        assert response.read()
        seen.append(response.status)
        sockets.add(connection.sock.getsockname() if connection.sock else None)
    connection.close()
    assert seen == [200, 200, 404, 404, 200, 200]
    assert len(sockets) == 1
    assert None not in sockets


def test_a_client_that_does_not_read_costs_little(fresh: Fresh):
    """Back-pressure reaches the provider: neither Envoy nor the processor collects what is not read."""
    total = 192 * MIB
    fresh.mocks["alpha"].fault(Fault(tokens=total // (256 * KIB), chunk_text=256 * KIB))
    processes = [psutil.Process(each.pid) for each in (fresh.stack.envoy, fresh.stack.processor)]
    before = [process.memory_info().rss for process in processes]
    peak = list(before)

    def settled() -> bool:
        """The provider cannot get rid of any more; memory is watched meanwhile."""
        for at, process in enumerate(processes):
            peak[at] = max(peak[at], process.memory_info().rss)
        now = sum(process.memory_info().rss for process in processes)
        quiet.append(now)
        return len(quiet) > 100 and max(quiet[-80:]) - min(quiet[-80:]) < MIB

    quiet: list[int] = []
    with fresh.stack.open_chat(fresh.model) as running:
        running.read_until(b'"content"')
        eventually(settled, "memory to stand still", 30)
        (request,) = fresh.mocks["alpha"].requests()
        assert request.ended == "in_progress", "the provider got rid of everything: nobody held it back"
        running.hang_up()
    grown = [after - start for after, start in zip(peak, before, strict=True)]
    assert max(grown) < 48 * MIB, f"Envoy and the processor grew by {[each // MIB for each in grown]} MiB"
    eventually(lambda: request.ended == "client_closed", "the provider's stream is cancelled")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_client_that_hangs_up(fresh: Fresh, when: str):
    """The provider's stream is cancelled, the row says who left, and nobody's health suffers."""
    fault = Fault(delay_ms=60_000) if when == "before" else Fault(tokens=500, pace_ms=20)
    fresh.mocks["alpha"].fault(fault)
    since = len(fresh.stack.indices())
    body = json.dumps({"model": fresh.model, "stream": True, "messages": [{"role": "user", "content": "x"}]})
    connection = http.client.HTTPConnection("127.0.0.1", fresh.stack.port, timeout=30)
    headers = {"authorization": f"Bearer {fresh.stack.config.key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    (request,) = eventually(fresh.mocks["alpha"].requests, "the provider is asked")
    if when == "after":
        response = connection.getresponse()
        response.read1(10)
        response.close()
    connection.close()
    eventually(lambda: request.ended == "client_closed", "the provider's stream is cancelled")
    row = eventually(lambda: fresh.stack.rows("idx >= ?", since), "the entry")[-1]
    assert row.outcomes == ["client_gone"]
    assert row.predicate["error_code"] == "client_disconnected"
    assert row.predicate["result"] == ("failed" if when == "before" else "truncated")
    listed = fresh.stack.management("/sf/v1/providers/alpha")["deployments"]
    health = next(each["health"] for each in listed if each["name"].endswith(f"/{fresh.model}.alpha"))
    assert (health["window"]["failures"], health["consecutive_failures"]) == (0, 0)

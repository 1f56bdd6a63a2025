"""Providers that speak HTTP/2 over TLS, as the large ones do: picked by ALPN, with its own ways to break off.

The provider here is made of the HTTP/2 framing that ``extproc`` has, so that a stream can be reset, ended by
trailers or left alone at any point.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import hpack
import pytest
from stack import ConfigFile, Stack, eventually
from test_fault_matrix import make_certificate

from sovereign_ext.extproc.http2 import Headers, Http2Connection, Http2Stream
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.splice import strip_sse

pytestmark = pytest.mark.dataplane


def event(*choices: dict[str, object], **more: object) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "up"}
    return b"data: " + json.dumps({**head, "choices": list(choices), **more}).encode() + b"\n\n"


def choice(delta: dict[str, str], finish: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


ROLE = event(choice({"role": "assistant", "content": ""}))
WORDS = [event(choice({"content": word})) for word in ("one ", "two ", "three")]
END = (
    event(choice({}, "stop"))
    + event(usage={"prompt_tokens": 3, "completion_tokens": 4})
    + b"data: [DONE]\n\n"
)
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 5,
    "model": "up",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "one two three"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}


@dataclass
class Answering:
    """One request of the HTTP/2 provider; answers by ``script`` once the request is complete."""

    stream: Http2Stream
    headers: Headers
    script: Callable[[Answering], None]
    body: bytearray = field(default_factory=bytearray)
    was_lost: bool = False

    def data(self, piece: bytes, end: bool) -> None:
        self.body += piece
        if end:
            self.script(self)

    def lost(self) -> None:
        self.was_lost = True

    def head(self, status: int = 200, kind: str = "text/event-stream", *, end: bool = False) -> None:
        block = hpack.Encoder().encode([(":status", str(status)), ("content-type", kind), ("server", "h2")])
        self.stream.headers(block, end=end)

    def finish(self) -> None:
        """End the stream, with trailers."""
        self.stream.headers(hpack.Encoder().encode([("x-checksum", "1")]), end=True)

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, work)


class Http2Provider:
    """An OpenAI-like provider on HTTP/2 with TLS. ``scripts`` say by model what to answer."""

    def __init__(self, certificate: Path) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate)
        self._tls.set_alpn_protocols(["h2"])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections: set[Http2Connection] = set()
        self.scripts: dict[str, Callable[[Answering], None]] = {}
        self.requests: list[Answering] = []
        self.port = 0

    def __enter__(self) -> Http2Provider:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> int:
        def connection() -> Http2Connection:
            return Http2Connection(self._accept, self._connections, self._loop.call_soon)

        self._server = await self._loop.create_server(connection, "127.0.0.1", 0, ssl=self._tls)
        return int(self._server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        self._server.close()
        self.abort()
        await asyncio.sleep(0.05)

    def abort(self) -> None:
        """Tear every connection."""
        for connection in tuple(self._connections):
            connection.abort()

    def goaway(self) -> None:
        """Announce the end of every connection, as a server does that is being replaced."""
        for connection in tuple(self._connections):
            connection.drain()

    def _accept(self, stream: Http2Stream, headers: Headers) -> Answering:
        answering = Answering(stream, headers, self._answer)
        self.requests.append(answering)
        return answering

    def _answer(self, answering: Answering) -> None:
        self.scripts[json.loads(answering.body)["model"]](answering)


@dataclass(frozen=True)
class World:
    stack: Stack
    provider: Http2Provider
    models: Iterator[str]

    def script(self, script: Callable[[Answering], None]) -> str:
        """A model never asked before, that the HTTP/2 provider answers by ``script``."""
        model = next(self.models)
        self.provider.scripts[model] = script
        self.provider.requests.clear()
        return model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The HTTP/2 provider first, a mock on HTTP/1.1 behind it."""
    certificate = tmp_path_factory.mktemp("tls") / "provider.pem"
    make_certificate(certificate, "127.0.0.1")
    config = ConfigFile()
    with ExitStack() as running:
        provider = running.enter_context(Http2Provider(certificate))
        spare = running.enter_context(RunningMock("openai"))
        url = f"https://127.0.0.1:{provider.port}"
        config.provider(
            "modern",
            "openai",
            url,
            tls_ca_file=str(certificate),
            timeouts={"idle_ms": 800, "first_byte_ms": 800},
        )
        config.provider("spare", "openai", spare.url)
        config.policy("chain", ["modern", "spare"])
        models = [f"m{number}" for number in range(40)]
        for model in models:
            config.model(model, ["modern", "spare"], upstream=model)
        yield World(running.enter_context(Stack(config)), provider, iter(models))


def whole_stream(answering: Answering) -> None:
    answering.head()
    for piece in (ROLE, *WORDS, END):
        answering.stream.write(piece)
    answering.finish()


def whole_json(answering: Answering) -> None:
    answering.head(kind="application/json")
    answering.stream.write(json.dumps(COMPLETION).encode())
    answering.finish()


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_answers(world: World, stream: bool):
    """Whole and streamed, ended by trailers; the request is HTTP/2's, with nothing of HTTP/1 in it."""
    model = world.script(whole_stream if stream else whole_json)
    reply = world.stack.chat(model, stream=stream)
    assert (reply.status, reply.complete, reply.text) == (200, True, "one two three")
    assert reply.headers["x-sf-provider"] == "modern"
    (request,) = world.provider.requests
    names = {name.decode() for name in request.headers}
    assert names == {
        *(":method", ":path", ":authority", ":scheme"),
        *("content-type", "accept", "accept-encoding", "user-agent", "authorization", "content-length"),
    }
    assert request.headers[b":authority"] == f"127.0.0.1:{world.provider.port}".encode()
    assert request.headers[b":scheme"] == b"https"
    assert request.headers[b"content-length"] == str(len(request.body)).encode()
    row = world.stack.row_of(reply)
    assert row.outcomes == ["ok"]
    assert row.predicate["completion_tokens"] == 4


def test_slow_streams_with_trailers(world: World):
    """Words one by one, trailers long after [DONE]: the stream ends in order and the connection is kept."""

    def script(answering: Answering) -> None:
        answering.head()
        for at, piece in enumerate((ROLE, *WORDS, END)):
            answering.later(0.05 * at, lambda piece=piece: answering.stream.write(piece))
        answering.later(0.5, answering.finish)

    model = world.script(script)
    reply = world.stack.chat(model, stream=True)
    assert (reply.complete, reply.done, reply.text) == (True, True, "one two three")
    assert world.stack.row_of(reply).commits_to("delivered-response", strip_sse(reply.body))


def refuse(answering: Answering) -> None:
    answering.head(503, "application/json")
    answering.stream.write(b'{"error":{"message":"busy"}}')
    answering.finish()


def no_body(answering: Answering) -> None:
    answering.head(end=True)


def reset_at_once(answering: Answering) -> None:
    answering.stream.reset(0x7)  # REFUSED_STREAM


def reset_after_head(answering: Answering) -> None:
    answering.head()
    answering.stream.write(ROLE)
    answering.later(0.1, lambda: answering.stream.reset(0x2))  # INTERNAL_ERROR


def silent(answering: Answering) -> None:
    """Says nothing at all."""


def silent_after_head(answering: Answering) -> None:
    answering.head()
    answering.stream.write(ROLE)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
@pytest.mark.parametrize(
    ("script", "outcomes"),
    [
        (refuse, {"status_503"}),
        (no_body, {"invalid_json", "cut"}),
        (reset_at_once, {"reset"}),
        (reset_after_head, {"cut"}),
        (silent, {"first_byte_timeout"}),
        (silent_after_head, {"first_byte_timeout", "idle_timeout"}),
    ],
)
def test_before_content_the_walk_goes_on(
    world: World, script: Callable[[Answering], None], outcomes: set[str], stream: bool
):
    """Whatever HTTP/2 has to fail with, the next provider answers and the provider's stream is closed."""
    model = world.script(script)
    reply = world.stack.chat(model, stream=stream)
    assert (reply.status, reply.complete) == (200, True)
    assert reply.headers["x-sf-provider"] == "spare"
    row = world.stack.row_of(reply)
    assert row.outcomes[1] == "ok"
    assert row.outcomes[0] in outcomes
    (request,) = world.provider.requests
    eventually(lambda: request.was_lost or request.stream.closed, "the provider's stream is over")


def reset_after_words(answering: Answering) -> None:
    answering.head()
    answering.stream.write(ROLE + WORDS[0])
    answering.later(0.3, lambda: answering.stream.reset(0x2))


def end_after_words(answering: Answering) -> None:
    answering.head()
    answering.stream.write(ROLE + WORDS[0])
    answering.later(0.3, answering.finish)


@pytest.mark.parametrize(
    ("script", "code"), [(reset_after_words, None), (end_after_words, "bad_provider_response")]
)
def test_after_content_it_is_told(world: World, script: Callable[[Answering], None], code: str | None):
    """A reset cuts the client's stream; a clean end without a finish is told in an error event."""
    model = world.script(script)
    reply = world.stack.chat(model, stream=True)
    assert reply.text == "one "
    assert not reply.done
    assert reply.finish_reasons == []
    assert reply.complete == (code is not None)
    assert (reply.stream_error or {}).get("code") == code
    row = world.stack.row_of(reply)
    assert (row.predicate["result"], row.outcomes) == ("truncated", ["cut"])


def test_goaway_loses_nothing(world: World):
    """A server that is being replaced finishes what it has; the next call goes over a new connection."""
    model = world.script(whole_json)
    assert world.stack.chat(model).status == 200

    def script(answering: Answering) -> None:
        answering.head()
        answering.stream.write(ROLE + WORDS[0])
        world.provider.goaway()
        answering.later(0.2, lambda: answering.stream.write(WORDS[1] + WORDS[2] + END))
        answering.later(0.3, answering.finish)

    model = world.script(script)
    reply = world.stack.chat(model, stream=True)
    assert (reply.complete, reply.done, reply.text) == (True, True, "one two three")
    model = world.script(whole_json)
    reply = world.stack.chat(model)
    assert reply.headers["x-sf-provider"] == "modern"


def test_many_at_once_and_a_torn_connection(world: World):
    """Streams share a connection; when it is torn, each of them goes on elsewhere."""
    model = world.script(silent)
    count = 5
    with ExitStack() as calls:
        pool = calls.enter_context(ThreadPoolExecutor(count))
        running = [pool.submit(world.stack.chat, model) for _ in range(count)]
        eventually(lambda: len(world.provider.requests) == count, "all calls are there", 5)
        world.provider.abort()
        replies = [call.result() for call in running]
    assert [reply.status for reply in replies] == [200] * count
    assert {reply.headers["x-sf-provider"] for reply in replies} == {"spare"}
    assert {tuple(world.stack.row_of(reply).outcomes) for reply in replies} <= {
        ("reset", "ok"),
        ("first_byte_timeout", "ok"),
    }

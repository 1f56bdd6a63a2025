"""Pictures are fetched before the request is made, while the stream waits; what cannot be had walks on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from test_extproc_trust import KEY, MemoryLog, Pipe, request

from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.config.load import parse
from sovereign_ext.config.media import Media
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.envoyconf.names import EXCHANGE_HEADER
from sovereign_ext.errors import ApiError, CallerError, ServiceError
from sovereign_ext.exchange.leaks import fingerprints
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.extproc.attempt_stream import AttemptStream
from sovereign_ext.extproc.exchange_stream import ExchangeStream
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.keystore.base import Found
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.openai.conversation import Image
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.routing.health import Health
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keys import hash_key

URL = "https://pictures.example/a.png"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
TEXT = f"""\
version: 1
media: {{fetch: true, max_bytes: 4096}}
tenants: [{{id: t, keys: [{{id: k, hash: "{hash_key(KEY)}"}}], policies: [p], default_policy: p}}]
policies: [{{id: p, providers: [bytes, urls]}}]
models: [{{id: m}}]
providers:
  - {{id: bytes, kind: ollama, endpoint: "http://a.example:1"}}
  - {{id: urls, kind: mock, endpoint: "http://b.example:1"}}
deployments:
  - {{id: m.bytes, model: m, provider: bytes, upstream_model: u}}
  - {{id: m.urls, model: m, provider: urls, upstream_model: u}}
"""
SNAPSHOT = Snapshot.from_config(parse(TEXT), version=1, digest="sha256:x", routable=routable)


class Nowhere:
    """Where last uses go that nobody asks for."""

    def used(self, last_used_ms: Mapping[str, int]) -> None: ...


class NoKeys:
    """A keystore whose providers need no credential; ``at_hand`` says whether that is known at once."""

    def __init__(self, *, at_hand: bool) -> None:
        self._at_hand = at_hand

    def ready(self, *_: object) -> Found | None:
        return Found(None, None, None) if self._at_hand else None

    async def fetch(self, *_: object) -> Found:
        return Found(None, None, None)


@dataclass
class Fetching:
    """Fetches when it is let go; ``failure`` is raised instead."""

    failure: ApiError | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[Image, ...]] = field(default_factory=list)
    settings: list[Media] = field(default_factory=list)

    async def fetch(self, images: Iterable[Image], settings: Media) -> Mapping[str, bytes]:
        self.asked.append(tuple(images))
        self.settings.append(settings)
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return {image.url: PNG for image in self.asked[-1]}


class World:
    """One call with a picture by URL (``url``), decided upon; its attempts can be made."""

    def __init__(self, fetching: Fetching, *, at_hand: bool = True, url: str = URL) -> None:
        self.log = MemoryLog()
        health = Health()
        health.follow(SNAPSHOT)
        self.gateway = Gateway(
            snapshot=lambda: SNAPSHOT,
            directory=Directory.of(SNAPSHOT.config),
            key_use=KeyUse(Nowhere()),
            fingerprint=fingerprints(bytes),
            health=health,
            log=self.log,  # type: ignore[arg-type]
            attestations=Attestations("o", bytes(32)),
            keystore=NoKeys(at_hand=at_hand),  # type: ignore[arg-type]
            media=fetching,  # type: ignore[arg-type]
            adapters=ADAPTERS,
            clock=lambda: Moment(100.0, 1_800_000_000_000),
            random=bytes,
            management_methods=lambda path: frozenset(),
        )
        self._content = [{"type": "image_url", "image_url": {"url": url}}]

    async def decide(self) -> None:
        stream = ExchangeStream(self.gateway, Pipe())  # type: ignore[arg-type]
        head = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json"}
        stream.message(request({**head, "authorization": f"Bearer {KEY}"}))
        body = pb.ProcessingRequest()
        messages = [{"role": "user", "content": self._content}]
        body.request_body.body = json.dumps({"model": "m", "messages": messages}).encode()
        body.request_body.end_of_stream = True
        stream.message(body.SerializeToString())
        await self.gateway.drain()
        self.client = stream
        (self.exchange,) = self.gateway.exchanges.values()

    def attempt(self, number: int) -> tuple[AttemptStream, Pipe]:
        pipe = Pipe()
        stream = AttemptStream(self.gateway, pipe)  # type: ignore[arg-type]
        head = {EXCHANGE_HEADER: self.exchange.decision_id, "x-envoy-attempt-count": str(number)}
        stream.message(request(head))
        return stream, pipe


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def kind_of(pipe: Pipe) -> str | None:
    (answer,) = pipe.sent
    return answer.WhichOneof("response")


@pytest.mark.parametrize("at_hand", [True, False])
def test_the_request_waits_for_its_pictures(at_hand: bool) -> None:
    """Nothing is sent before they are there; then they are in it, under the settings of the call's configuration."""

    async def scenario() -> None:
        fetching = Fetching()
        world = World(fetching, at_hand=at_hand)
        await world.decide()
        _, pipe = world.attempt(1)
        while not fetching.asked:
            await asyncio.sleep(0)
        assert pipe.sent == []
        fetching.go.set()
        await world.gateway.drain()
        assert kind_of(pipe) == "request_headers"
        assert b"iVBORw0KGgo" in pipe.sent[0].SerializeToString()
        ((image,),) = fetching.asked
        assert (image.url, image.param) == (URL, "messages[0].content[0].image_url.url")
        assert fetching.settings == [SNAPSHOT.config.media]

    run(scenario)


@pytest.mark.parametrize(
    "failure",
    [
        CallerError(400, "no", param="x", code="invalid_image_url"),
        ServiceError(503, "no", code="media_unavailable"),
    ],
)
def test_without_them_the_next_is_asked(failure: ApiError) -> None:
    """Which takes the URL itself; nothing is fetched for it, and nobody's health suffers."""

    async def scenario() -> None:
        fetching = Fetching(failure)
        fetching.go.set()
        world = World(fetching)
        await world.decide()
        _, pipe = world.attempt(1)
        await world.gateway.drain()
        assert kind_of(pipe) == "immediate_response"  # Envoy's sign to walk on
        assert [attempt.outcome for attempt in world.exchange.attempts] == ["refused"]
        assert world.exchange.last_error is failure
        assert world.gateway.health.p95_ms("m.bytes", 100.0) is None
        _, pipe = world.attempt(2)
        assert kind_of(pipe) == "request_headers"
        assert URL.encode() in pipe.sent[0].SerializeToString()
        assert len(fetching.asked) == 1

    run(scenario)


def test_a_client_that_left_meanwhile() -> None:
    """Then nothing is sent, whatever comes."""

    async def scenario() -> None:
        fetching = Fetching()
        world = World(fetching)
        await world.decide()
        attempt, pipe = world.attempt(1)
        while not fetching.asked:
            await asyncio.sleep(0)
        world.client.ended()
        attempt.ended()
        fetching.go.set()
        await world.gateway.drain()
        assert pipe.sent == []
        assert world.gateway.exchanges == {}
        assert [draft.kind for draft in world.log.drafts] == ["outcome"]

    run(scenario)


def test_without_pictures_by_url_nothing_waits() -> None:
    """Data is at hand: the request leaves at once."""

    async def scenario() -> None:
        fetching = Fetching()
        world = World(fetching, url="data:image/png;base64,iVBORw0KGgo=")
        await world.decide()
        _, pipe = world.attempt(1)
        assert kind_of(pipe) == "request_headers"
        assert fetching.asked == []

    run(scenario)

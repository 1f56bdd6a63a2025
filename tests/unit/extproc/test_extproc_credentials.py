"""What an attempt's stream does about its credential: at once if it is at hand, in order if it has to be waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import MISSING, fields
from datetime import timedelta
from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from test_extproc_trust import BODY, KEY, MemoryLog, Pipe, request, response

from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Provider
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.envoyconf.names import EXCHANGE_HEADER
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.leaks import fingerprints
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.extproc.attempt_stream import AttemptStream
from sovereign_ext.extproc.exchange_stream import ExchangeStream
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.extproc.unreachable import explain_keyless
from sovereign_ext.keystore.base import CredentialMissingError, CredentialUnavailableError, Found
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.routing.health import Health
from sovereign_ext.secret import Secret
from sovereign_ext.telemetry.facts import Fact
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keys import hash_key

OWN = Found(Secret("sk-of-t"), "0123456789ab", "local", own=True)
CONFIG = {
    "version": 1,
    "tenants": [
        {"id": "t", "keys": [{"id": "k", "hash": hash_key(KEY)}], "policies": ["p"], "default_policy": "p"}
    ],
    "policies": [{"id": "p"}],
    "models": [{"id": "m"}],
    "providers": [{"id": name, "kind": "openai", "endpoint": f"http://{name}.example:1/v1"} for name in "ab"],
    "deployments": [
        {"id": f"m.{name}", "model": "m", "provider": name, "upstream_model": "up"} for name in "ab"
    ],
}


class Nowhere:
    """Where last uses go that nobody asks for."""

    def used(self, last_used_ms: Mapping[str, int]) -> None: ...


class Keys:
    """A ``Keystore`` that has ``at_hand`` and, once ``come`` is set, gives or raises ``coming``."""

    def __init__(self, at_hand: Found | None = None, coming: Found | Exception = OWN) -> None:
        self.at_hand, self.coming = at_hand, coming
        self.come = asyncio.Event()
        self.asked: list[tuple[str, str]] = []
        self.refusals: list[tuple[str, str, Found]] = []

    def ready(self, tenant: str, provider: Provider) -> Found | None:
        self.asked.append((tenant, provider.id))
        return self.at_hand

    async def fetch(self, tenant: str, provider: Provider) -> Found:
        await self.come.wait()
        if isinstance(self.coming, Exception):
            raise self.coming
        return self.coming

    def refused(self, tenant: str, provider: Provider, found: Found) -> None:
        self.refusals.append((tenant, provider.id, found))


class Call:
    """One decided call."""

    def __init__(self, keys: Keys) -> None:
        self.keys, self.now = keys, Moment(100.0, 1_800_000_000_000)
        self.told: list[Fact] = []
        snapshot = Snapshot.from_config(parse(json.dumps(CONFIG)), version=1, digest="d", routable=routable)
        self.health = Health()
        self.health.follow(snapshot)
        # What such a call does not touch is None.
        made: dict[str, Any] = {
            each.name: None for each in fields(Gateway) if each.default_factory is MISSING
        }
        made |= {
            "snapshot": lambda: snapshot,
            "directory": Directory.of(snapshot.config),
            "key_use": KeyUse(Nowhere()),
            "fingerprint": fingerprints(bytes),
            "health": self.health,
            "log": MemoryLog(),
            "attestations": Attestations("o", bytes(32)),
            "keystore": keys,
            "adapters": ADAPTERS,
            "clock": lambda: self.now,
            "random": bytes,
            "management_methods": lambda path: frozenset(),
            "patience": timedelta(seconds=10),
            "tell": self.told.append,
            "_entries": (0, {}),
        }
        self.gateway = Gateway(**made)

    def open(self, key: str = KEY) -> tuple[ExchangeStream, Pipe]:
        """Headers of one call."""
        pipe = Pipe()
        stream = ExchangeStream(self.gateway, pipe)  # type: ignore[arg-type]
        head = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json"}
        stream.message(request({**head, "authorization": f"Bearer {key}"}))
        return stream, pipe

    def ask(self, body: bytes = BODY) -> tuple[ExchangeStream, Pipe]:
        """Headers and body of one call."""
        stream, pipe = self.open()
        message = pb.ProcessingRequest()
        message.request_body.body, message.request_body.end_of_stream = body, True
        stream.message(message.SerializeToString())
        return stream, pipe

    async def decide(self) -> Exchange:
        self.stream, _ = self.ask()
        await self.gateway.drain()
        (exchange,) = self.gateway.exchanges.values()
        return exchange

    def attempt(self, exchange: Exchange) -> tuple[AttemptStream, Pipe]:
        pipe = Pipe()
        attempt = AttemptStream(self.gateway, pipe)  # type: ignore[arg-type]
        number = str(len(exchange.attempts) + 1)
        attempt.message(request({EXCHANGE_HEADER: exchange.decision_id, "x-envoy-attempt-count": number}))
        return attempt, pipe


def scenario(run: Callable[[], Awaitable[None]]) -> None:
    async def begin() -> None:
        await run()

    asyncio.run(begin())


def sent(pipe: Pipe) -> list[str | None]:
    return [message.WhichOneof("response") for message in pipe.sent]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_key_at_hand_costs_no_turn_of_the_loop() -> None:
    """The request has gone out, with the tenant's key, before `message` returns."""

    async def run() -> None:
        call = Call(Keys(at_hand=OWN))
        _, pipe = call.attempt(await call.decide())
        assert sent(pipe) == ["request_headers"]
        assert b"Bearer sk-of-t" in pipe.sent[0].SerializeToString()
        assert call.keys.asked == [("t", "a")]

    scenario(run)


def test_what_arrives_while_a_key_is_looked_for_waits() -> None:
    """Nothing is sent before the key is there; then the request, and only then what came after it."""

    async def run() -> None:
        call = Call(Keys())
        attempt, pipe = call.attempt(await call.decide())
        attempt.message(response(500))  # Envoy would not; the order must hold all the same
        await settled()
        assert sent(pipe) == []
        call.keys.come.set()
        await call.gateway.drain()
        assert sent(pipe)[0] == "request_headers"
        assert len(pipe.sent) == 2

    scenario(run)


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (CredentialMissingError("nowhere"), "credential_missing"),
        *(
            (CredentialUnavailableError(reason, "no"), f"credential_{reason}")
            for reason in ("denied", "throttled", "unreachable", "timeout", "damaged")
        ),
        (CredentialUnavailableError("wrong_master_key", "no"), "credential_unavailable"),
    ],
)
def test_without_a_key_the_walk_goes_on(failure: Exception, outcome: str) -> None:
    """Nothing is sent, the reason is recorded, and the provider's health is as it was."""

    async def run() -> None:
        call = Call(Keys(coming=failure))
        exchange = await call.decide()
        for _ in range(2):
            attempt, pipe = call.attempt(exchange)
            call.keys.come.set()
            await call.gateway.drain()
            (message,) = pipe.sent
            assert (
                message.WhichOneof("response") != "request_headers"
                or b"hello" not in message.SerializeToString()
            )
            attempt.ended()
        assert [attempt.outcome for attempt in exchange.attempts] == [outcome] * 2
        assert exchange.last_error is not None
        assert exchange.last_error.code == explain_keyless(failure)[1].code  # type: ignore[arg-type]
        assert not any(call.health.blocked(f"m.{name}", call.now.mono) for name in "ab")

    scenario(run)


@pytest.mark.parametrize("client_left", [True, False])
def test_a_stream_that_ends_while_a_key_is_looked_for(client_left: bool) -> None:
    """Nothing is sent when the key comes after all; the attempt is on record."""

    async def run() -> None:
        call = Call(Keys())
        exchange = await call.decide()
        attempt, pipe = call.attempt(exchange)
        if client_left:
            call.stream.ended()
        attempt.ended()
        call.keys.come.set()
        await call.gateway.drain()
        assert pipe.sent == []
        (recorded,) = exchange.attempts
        assert recorded.outcome == ("client_gone" if client_left else "credential_timeout")
        assert exchange.settled == client_left
        assert exchange.active == 0

    scenario(run)


@pytest.mark.parametrize(("status", "told"), [(401, True), (403, True), (429, False), (500, False)])
def test_a_provider_that_does_not_take_the_key(status: int, told: bool) -> None:
    """The keystore hears of 401 and 403; what concerns the tenant's account alone is no news of the provider."""

    async def run() -> None:
        call = Call(Keys(at_hand=OWN))
        exchange = await call.decide()
        for _ in range(4):
            exchange.attempts.clear()
            attempt, _ = call.attempt(exchange)
            attempt.message(response(status))
            attempt.ended()
        assert call.keys.refusals == [("t", "a", OWN)] * 4 * told
        assert (call.health.blocked("m.a", call.now.mono) is not None) == (status == 500)

    scenario(run)

"""Whatever changes between decision and attempt, a deployment that the policy excludes is never sent a byte.

Both streams are driven as Envoy drives them, over random registries: standings change from one moment to the next
(expiry, revocation, drift, evidence), configurations are exchanged, prices and health vary. What leaves towards a
provider is compared with what the policy says of that deployment at that very moment, by the evaluator of the
verifier, which shares no code with the gateway's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.attest.reevaluate import Candidate as CandidateFacts
from sovereign_ext.attest.reevaluate import Request as RequestFacts
from sovereign_ext.attest.reevaluate import failed_rules, read_policy
from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Deployment
from sovereign_ext.config.snapshot import Snapshot, policy_document
from sovereign_ext.config.standing import Peer, Standing, Vouch
from sovereign_ext.config.trust import Drift, Tier
from sovereign_ext.envoyconf.names import EXCHANGE_HEADER
from sovereign_ext.exchange.exchange import Exchange, Planned
from sovereign_ext.exchange.leaks import fingerprints
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.extproc.attempt_stream import AttemptStream
from sovereign_ext.extproc.exchange_stream import ExchangeStream
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.keystore.chain import Chain
from sovereign_ext.keystore.declared import Declared
from sovereign_ext.keystore.links import Links
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.media.fetch import MediaFetcher
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.policy.facts import candidate_facts
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.routing.health import Health, Verdict
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keys import hash_key
from sovereign_ext.tlog.service import EntryDraft, Sequenced

pytestmark = pytest.mark.services

KEY = "sk-router-property-test"
NAMES = ("a", "b", "c", "d")
BODY = json.dumps(
    {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
).encode()
"""The same for every call: what differs is what is known of those who could answer it."""

standings = st.builds(
    Standing,
    tier=st.sampled_from(Tier),
    vouches=st.sets(st.sampled_from(["fda", "hipaa"])).map(
        lambda scopes: tuple(Vouch("w", scope, "sha256:" + "0" * 64) for scope in sorted(scopes))
    ),
    drift=st.sampled_from(Drift),
)
good = st.just(
    Standing(
        tier=Tier.SEALED,
        vouches=tuple(Vouch("w", scope, "sha256:" + "0" * 64) for scope in ("fda", "hipaa")),
        drift=Drift.STABLE,
    )
)
registries = st.fixed_dictionaries({f"m.{name}": good | standings for name in NAMES})
policies = st.fixed_dictionaries(
    {"audit": st.sampled_from(["standard", "strict"])},
    optional={
        "required_tier": st.sampled_from([tier.value for tier in Tier]),
        "required_scopes": st.lists(st.sampled_from(["fda", "hipaa"]), max_size=2, unique=True),
        "allowed_origins": st.just(["US"]),
        "max_drift": st.sampled_from(["stable", "watch", "drifted"]),
        "cost_cap_usd": st.sampled_from([0.0001, 0.01]),
        "data_handling": st.just({"no_training": True}),
        "fallback": st.just({"max_attempts": 4}),
    },
)


@dataclass(frozen=True)
class Told:
    """An ``Assessor`` that says what it was told, with or without a peer."""

    known: Mapping[str, Standing]

    def assess(self, deployment: Deployment, now_s: float, peer: Peer | None = None) -> Standing:
        return self.known.get(deployment.id, Standing())


@dataclass
class MemoryLog:
    """Takes every entry."""

    drafts: list[EntryDraft] = field(default_factory=list)

    async def append(self, draft: EntryDraft) -> Sequenced:
        self.drafts.append(draft)
        return Sequenced(len(self.drafts) - 1, bytes(32), 0, bytes(64))

    def acks(self) -> tuple[()]:
        return ()


@dataclass
class Pipe:
    """A gRPC call as the streams use it."""

    sent: list[pb.ProcessingResponse] = field(default_factory=list)

    def send(self, message: bytes) -> None:
        self.sent.append(pb.ProcessingResponse.FromString(message))


def configuration(draw: st.DrawFn, policy: dict[str, Any]) -> Snapshot:
    document = {
        "version": 1,
        "tenants": [
            {
                "id": "t",
                "keys": [{"id": "k", "hash": hash_key(KEY)}],
                "policies": ["p"],
                "default_policy": "p",
            }
        ],
        "trust": {"witnesses": [{"id": "w", "key_file": "w.pem", "scopes": ["fda", "hipaa"]}]},
        "policies": [{"id": "p", **policy}],
        "models": [{"id": "m", "origin": {"country": "US"}}],
        "providers": [
            {
                "id": name,
                "kind": "openai",
                "endpoint": f"http://{name}.example:1/v1",
                "origin": {"country": draw(st.sampled_from(["US", "DE"]))},
                "data_handling": {"trains": draw(st.booleans())},
            }
            for name in NAMES
        ],
        "deployments": [
            {
                "id": f"m.{name}",
                "model": "m",
                "provider": name,
                "upstream_model": f"up-{name}",
                "price": {"input_per_mtok": draw(st.sampled_from([0.1, 1000]))},
            }
            for name in NAMES
        ],
    }
    return Snapshot.from_config(
        parse(json.dumps(document)), version=draw(st.integers(1, 9)), digest="d", routable=routable
    )


def request(headers: Mapping[str, str]) -> bytes:
    message = pb.ProcessingRequest()
    for name, value in headers.items():
        message.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    return message.SerializeToString()


def response(status: int) -> bytes:
    message = pb.ProcessingRequest()
    headers = message.response_headers.headers.headers
    headers.add(key=":status", raw_value=str(status).encode())
    headers.add(key="content-type", raw_value=b"application/json")
    message.attributes["envoy.filters.http.ext_proc"].update({"response.code_details": "via_upstream"})
    return message.SerializeToString()


def excluded(exchange: Exchange, planned: Planned, standing: Standing) -> bool:
    """Whether the verifier's evaluator says that the call's policy rules the deployment out."""
    assert exchange.decision is not None
    assert exchange.considered is not None
    facts = candidate_facts(msgspec.structs.replace(planned.candidate, standing=standing))
    policy = read_policy(canonical_json(policy_document(exchange.decision.policy)))
    request = msgspec.convert(exchange.considered.facts()[0], RequestFacts)
    return bool(failed_rules(policy, request, msgspec.convert(facts, CandidateFacts)))


@given(st.data())
@settings(deadline=None)
def test_nobody_excluded_is_sent_a_byte(data: st.DataObject) -> None:
    """At any attempt, whatever was true when the call was decided."""
    asyncio.run(_one_call(data))


class Nowhere:
    """Where last uses go that nobody asks for."""

    def used(self, last_used_ms: Mapping[str, int]) -> None: ...


class World:
    """A gateway without Envoy: one call, attempts one after another, and things that change in between."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.policy = draw(policies)
        self.snapshot = replace(configuration(draw, self.policy), trust=Told(draw(registries)))
        self.now = Moment(100.0, 1_800_000_000_000)
        self.log = MemoryLog()
        health = Health()
        health.follow(self.snapshot)
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=6)):
            health.report(
                self.snapshot.deployments[f"m.{name}"], Verdict.FAILURE, 100.0, reason="x", status=500
            )
        self.gateway = Gateway(
            snapshot=lambda: self.snapshot,
            directory=Directory.of(self.snapshot.config),
            key_use=KeyUse(Nowhere()),
            fingerprint=fingerprints(bytes),
            health=health,
            log=self.log,  # type: ignore[arg-type]
            attestations=Attestations("o", bytes(32)),
            keystore=Chain(Links((), Declared({})), lambda: self.now.mono, lambda: self.now.wall_ms / 1000),
            media=MediaFetcher(ssl.create_default_context()),
            adapters=ADAPTERS,
            clock=lambda: self.now,
            random=bytes,
            management_methods=lambda path: frozenset(),
        )

    async def decide(self) -> tuple[ExchangeStream, Pipe]:
        pipe = Pipe()
        stream = ExchangeStream(self.gateway, pipe)  # type: ignore[arg-type]
        head = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json"}
        stream.message(request({**head, "authorization": f"Bearer {KEY}"}))
        body = pb.ProcessingRequest()
        body.request_body.body, body.request_body.end_of_stream = BODY, True
        stream.message(body.SerializeToString())
        await self.gateway.drain()
        return stream, pipe

    def change(self) -> bool:
        """Perhaps statements lapse, perhaps the file is edited; whether anything did."""
        what = self.draw(st.sampled_from(["nothing", "standings", "file"]))
        if what == "nothing":
            return False
        self.now = Moment(self.now.mono + 5, self.now.wall_ms + 5_000)
        if what == "file":
            self.snapshot = configuration(self.draw, self.draw(policies))
        self.snapshot = replace(self.snapshot, trust=Told(self.draw(registries)))
        return True

    def excludes(self, exchange: Exchange, planned: Planned) -> bool:
        return excluded(exchange, planned, self.snapshot.trust.assess(planned.deployment, 0))


async def _one_call(data: st.DataObject) -> None:
    world = World(data.draw)
    stream, pipe = await world.decide()
    exchange = next(iter(world.gateway.exchanges.values()))
    if exchange.decision is None:
        assert pipe.sent[-1].HasField("immediate_response")
        stream.ended()
        return
    assert [draft.kind for draft in world.log.drafts] == ["decision"] * (world.policy["audit"] == "strict")
    unchanged = True
    for number, planned in enumerate(exchange.decision.plan, 1):
        unchanged = not world.change() and unchanged
        answers = Pipe()
        attempt = AttemptStream(world.gateway, answers)  # type: ignore[arg-type]
        head = {EXCHANGE_HEADER: exchange.decision_id, "x-envoy-attempt-count": str(number)}
        excludes = world.excludes(exchange, planned)
        attempt.message(request(head))
        await world.gateway.drain()  # a credential that is not at hand is looked for in a task
        (answer,) = answers.sent
        sent = answer.WhichOneof("response") == "request_headers"
        assert not (sent and excludes)
        assert sent == (b"hello" in answer.SerializeToString())
        if unchanged:
            assert sent
        if sent:
            unchanged = not world.change() and unchanged  # while the provider thinks
            excludes = world.excludes(exchange, planned)
            attempt.message(response(200))
            withheld = len(exchange.attempts) == number
            assert withheld or not excludes
            assert not (withheld and unchanged)
            if withheld:
                assert exchange.attempts[-1].outcome == "tier_not_observed"
            else:
                attempt.message(broken_body())
        else:
            assert exchange.attempts[-1].outcome == "no_longer_eligible"
        attempt.ended()
    stream.ended()
    await world.gateway.drain()


def broken_body() -> bytes:
    """An answer that is none, so that the walk goes on."""
    message = pb.ProcessingRequest()
    message.response_body.body, message.response_body.end_of_stream = b"{", True
    return message.SerializeToString()

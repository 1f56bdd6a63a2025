"""A call in the making: an exchange with a plan, moments, and what an attempt emits put together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sovereign_ext.attest import commit
from sovereign_ext.attest.facts import CallFacts
from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Capability
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.errors import ServiceError
from sovereign_ext.exchange.attempt import Attempt
from sovereign_ext.exchange.exchange import Considered, Decision, Exchange, Planned
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.exchange.steps import Emit, Head, Settle, Step, Walk
from sovereign_ext.openai.request import Endpoint, read_request
from sovereign_ext.openai.splice import strip_json, strip_sse
from sovereign_ext.policy.evaluate import Evaluation, routable
from sovereign_ext.policy.rules.base import Candidate, RequestFacts
from sovereign_ext.providers.base import Target
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.secret import Secret
from sovereign_ext.tenants.resolve import Identity

SNAPSHOT = Snapshot.from_config(
    parse("""\
version: 1
limits: {max_event_bytes: 4096, max_response_bytes: 16384}
tenants: [{id: t, policies: [any], default_policy: any}]
policies: [{id: any}]
models: [{id: m}]
providers:
  - id: a
    kind: openai
    endpoint: "http://a.example:1/v1"
    timeouts: {first_byte_ms: 2000, idle_ms: 3000, total_ms: 20000}
  - {id: b, kind: ollama, endpoint: "http://b.example:1"}
deployments:
  - {id: m.a, model: m, provider: a, upstream_model: up, capabilities: [chat, embeddings]}
  - {id: m.b, model: m, provider: b, upstream_model: up}
"""),
    version=1,
    digest="sha256:x",
    routable=routable,
)
KEY = bytes(range(32))
ATTESTATION = b'{"version":1,"rekor_index":7}'
SSE = {"content-type": "text/event-stream"}
JSON_TYPE = {"content-type": "application/json"}
START = Moment(100.0, 1_790_000_000_000)
UNLOGGED = ServiceError(503, "The log is away.", code="log_unavailable")


def at(seconds: float) -> Moment:
    """So many seconds after the start."""
    return Moment(START.mono + seconds, START.wall_ms + round(seconds * 1000))


def event(*choices: dict[str, Any], **more: Any) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "up"}
    return b"data: " + json.dumps({**head, "choices": list(choices), **more}).encode() + b"\n\n"


def choice(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


ROLE = event(choice({"role": "assistant", "content": ""}))
TEXT = event(choice({"content": "北 text"}))
FINISH = event(choice({}, "stop"))
USAGE = event(usage={"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12})
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"m","code":"overloaded_error"}}\n\n'
COMPLETION = json.dumps(
    {
        "id": "c",
        "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }
).encode()


def exchange(*, stream: bool, endpoint: Endpoint = Endpoint.CHAT, **members: Any) -> Exchange:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream, **members}
    made = Exchange(
        decision_id="dec-0123456789abcdef0123456789abcdef",
        started=START,
        endpoint=endpoint,
        identity=Identity(SNAPSHOT.config.tenants[0], "t-1"),
        snapshot=SNAPSHOT,
        key=KEY,
        policy_name="any",
        model="m",
    )
    plan = tuple(
        Planned(candidate, ADAPTERS[candidate.provider.kind])
        for deployment in SNAPSHOT.deployments_by_model["m"]
        for candidate in (
            Candidate(deployment, SNAPSHOT.providers[deployment.provider], SNAPSHOT.models["m"]),
        )
    )
    request = read_request(endpoint, json.dumps(body).encode())
    made.decision = Decision(request, SNAPSHOT.policies["any"], SNAPSHOT.policy_digests["any"], plan)
    made.considered = Considered(
        RequestFacts(Capability.CHAT), Evaluation(tuple(each.candidate for each in plan))
    )
    return made


def commitment(item: str, data: bytes) -> bytes:
    return commit.commit(KEY, item, data)


@dataclass
class Run:
    """Drives one attempt as the attempt stream does, and checks the rules that always hold."""

    exchange: Exchange
    number: int = 0
    logged: bool = True
    steps: list[Step] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    out: bytes = b""
    before_settling: bytes = b""
    facts: CallFacts | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        assert self.exchange.decision is not None
        planned = self.exchange.decision.plan[self.number]
        target = Target(planned.deployment, planned.provider, Secret("sk-own"), START.wall_ms / 1000)
        self.attempt = Attempt(self.exchange, self.exchange.decision, planned, target, START)
        self.sent = self.attempt.request().body

    def head(
        self, status: int = 200, headers: dict[str, str] | None = None, seconds: float = 0.0
    ) -> Step | None:
        return self.take(self.attempt.head(status, SSE if headers is None else headers, at(seconds)))

    def body(self, *pieces: bytes, end: bool = False, seconds: float = 0.0) -> Step | None:
        step = None
        for piece in pieces:
            step = self.take(self.attempt.body(piece, False, at(seconds)))
        return self.take(self.attempt.body(b"", True, at(seconds))) if end else step

    def take(self, step: Step | None) -> Step | None:
        if step is None:
            return None
        self.steps.append(step)
        assert not self.walked or step is self.steps[-1], "nothing follows a walk"
        if isinstance(step, Emit):
            self._emit(step)
        elif isinstance(step, Settle):
            assert self.facts is None, "settled twice"
            if step.before is not None:
                self._emit(step.before)
            self.before_settling = self.out
            assert b"[DONE]" not in self.out
            self.facts = step.facts
            self._emit(self.attempt.settled(ATTESTATION) if self.logged else self.attempt.unsettled(UNLOGGED))
        return step

    @property
    def walked(self) -> bool:
        return any(isinstance(step, Walk) for step in self.steps)

    @property
    def status(self) -> int:
        return self.heads[0].status

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.heads[0].headers)

    @property
    def stripped(self) -> bytes:
        """What was delivered, without the attestation."""
        streamed = self.headers["content-type"].startswith("text/event-stream")
        return strip_sse(self.out) if streamed else strip_json(self.out)

    @property
    def data(self) -> list[Any]:
        """The stream's JSON events before ``[DONE]``."""
        before = self.out.split(DONE)[0]
        return [json.loads(line[6:]) for line in before.split(b"\n") if line.startswith(b"data: {")]

    @property
    def outcomes(self) -> list[str]:
        return [fact.outcome for fact in self.exchange.attempts]

    def digests_hold(self, received: Iterable[bytes]) -> None:
        """Every commitment opens to the bytes that really passed."""
        assert self.facts is not None
        found = self.facts.digests
        assert found.sent_request == commitment(commit.SENT_REQUEST, self.sent)
        assert found.provider_response == commitment(commit.PROVIDER_RESPONSE, b"".join(received))
        assert found.delivered_response == commitment(commit.DELIVERED_RESPONSE, self.stripped)

    def _emit(self, emit: Emit) -> None:
        assert not self.ended, "bytes after the end"
        if emit.head is not None:
            assert not self.heads, "a second head"
            self.heads.append(emit.head)
        assert self.heads, "bytes before the head"
        self.out += emit.body
        self.ended = emit.end

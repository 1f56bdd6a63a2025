"""What the adapters cost by themselves: translating a request, a whole answer, a streamed chunk; and one signature.

Each adapter translates the same conversation; its provider's answer is fetched once from the mock that speaks its
wire, over real HTTP, so that what is timed reads what a provider would send. Nothing else runs in between: no Envoy, no
socket. CPU time of this process, the least of several rounds in turns, because whatever disturbs only adds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from sovereign_ext.config.model import Aws, Deployment, Google, Provider, ProviderKind
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.request import Endpoint, Request, read_request
from sovereign_ext.providers.base import Adapter, Target
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.secret import Secret
from sovereign_ext.sigv4 import sign

CHUNKS: Final = 200
CALLS: Final = 300  # in one round
ROUNDS: Final = 7
_BODY_BYTES: Final = 2048
_CALL_ID: Final = "0123456789abcdef01234567"
_LIMIT: Final = 1024 * 1024
_UPSTREAM: Final = {
    "anthropic": "claude-sonnet-4-5",
    "bedrock": "anthropic.claude-sonnet-4-5-v1:0",
    "vertex": "gemini-3-pro",
}
_CONVERSATION: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "Be brief and exact. " * 20},
    {"role": "user", "content": "Compare the weather in two cities. " * 10},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "look_up", "arguments": '{"city":"Basel"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": '{"rain": true, "degrees": 7}'},
    {"role": "user", "content": "And now say in one sentence what to wear."},
]
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks up the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one adapter in microseconds."""

    request_us: float
    answer_us: float
    chunk_us: float


def measure() -> tuple[dict[str, Cost], float]:
    """The cost of each adapter by kind, and that of one SigV4 signature over 2 KB in microseconds."""
    works: dict[tuple[str, str], tuple[Callable[[], object], int]] = {}
    for kind, adapter in ADAPTERS.items():
        works |= {(kind.value, name): work for name, work in _works(adapter).items()}
    works["", "signature"] = _signature(), 1
    best: dict[tuple[str, str], float] = {}
    for _ in range(ROUNDS):
        for name, (work, units) in works.items():
            took = _time(work) / units
            best[name] = min(took, best.get(name, took))
    costs = {
        kind.value: Cost(best[kind.value, "request"], best[kind.value, "answer"], best[kind.value, "chunk"])
        for kind in ADAPTERS
    }
    return costs, best["", "signature"]


def _works(adapter: Adapter) -> dict[str, tuple[Callable[[], object], int]]:
    with RunningMock(adapter.kind.value) as mock:
        mock.fault(Fault(tokens=CHUNKS))
        target = _target(adapter.kind, mock.url)
        whole, streamed = _request(stream=False), _request(stream=True)
        answer, stream = (_fetch(mock.url, adapter, each, target) for each in (whole, streamed))
    size = -(-len(stream) // CHUNKS)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]

    def translate() -> None:
        translator = adapter.stream(streamed, target, call_id=_CALL_ID, now_s=0, limit=_LIMIT)
        for piece in pieces:
            for _ in translator.feed(piece):
                pass
        for _ in translator.flush():
            pass
        assert translator.terminal

    return {
        "request": (lambda: adapter.request(whole, target), 1),
        "answer": (lambda: adapter.answer(whole, target, answer, call_id=_CALL_ID), 1),
        "chunk": (translate, CHUNKS),
    }


def _request(*, stream: bool) -> Request:
    body = {
        "model": "org/model",
        "messages": _CONVERSATION,
        "tools": [_TOOL],
        "temperature": 0.5,
        "stream": stream,
    }
    return read_request(Endpoint.CHAT, json.dumps(body).encode())


def _target(kind: ProviderKind, url: str) -> Target:
    provider = Provider(
        id="p",
        kind=kind,
        endpoint=url + ("" if kind.value in ("ollama", "bedrock") else "/v1"),
        aws=Aws(region="eu-central-1"),
        google=Google(project="ward-7", location="eu"),
    )
    upstream = _UPSTREAM.get(kind.value, "served-as")
    deployment = Deployment(id="d", model="org/model", provider="p", upstream_model=upstream)
    keys = AwsKeys("AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
    return Target(
        deployment, provider, keys if kind.value == "bedrock" else Secret("sk-own"), 1_790_000_000.0
    )


def _fetch(url: str, adapter: Adapter, request: Request, target: Target) -> bytes:
    sent = adapter.request(request, target)
    answer = httpx.post(url + sent.path, headers=dict(sent.headers), content=sent.body, trust_env=False)
    answer.raise_for_status()
    return answer.content


def _signature() -> Callable[[], object]:
    keys = AwsKeys("AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
    headers = (("content-type", "application/json"),)
    body = b"x" * _BODY_BYTES
    return lambda: sign(
        "POST", "bedrock-runtime.eu-central-1.amazonaws.com", "/model/anthropic.claude%3A0/converse", "", headers,
        body, keys, region="eu-central-1", service="bedrock", now_s=1_790_000_000.0,
    )  # fmt: skip


def _time(work: Callable[[], object]) -> float:
    """CPU microseconds of one call, over enough calls that the clock's grain does not show."""
    calls = CALLS
    began = time.process_time_ns()
    for _ in range(calls):
        work()
    return (time.process_time_ns() - began) / 1000 / calls

"""However a provider's stream is cut into packets and spelled, the client gets the same bytes.

The splits are real: each piece is a packet of its own, through Envoy's buffers and the processor. Every position
of a cut is tried without a network in ``tests/unit/exchange`` and ``tests/unit/providers``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import wire
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.faults import Fault, Sse
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.splice import strip_sse

pytestmark = pytest.mark.dataplane

KINDS = ("openai", "vllm", "ollama")
TEXT = 'naïve 北京 🌍🚀 \\"quoted\\" \u2028 line\nbreak data: [DONE] event: x'
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    }
]

SPLITS: dict[str, dict[str, Any]] = {
    **{f"pieces-of-{size}": {"write_size": size} for size in (1, 2, 3, 5, 17, 100)},
    **{f"random-{seed}": {"write_seed": seed} for seed in range(12)},
    "coalesced": {"events_per_write": 1000},
    "pairs": {"events_per_write": 2},
    "gzip-bytes": {"gzip": True, "write_size": 1},
    "gzip-random": {"gzip": True, "write_seed": 5},
    "by-length": {"framing": "length", "write_seed": 6},
    "until-close": {"framing": "close", "write_seed": 7},
}
SPELLINGS: dict[str, Sse] = {
    "crlf": Sse(line_end="crlf"),
    "cr": Sse(line_end="cr"),
    "no-space": Sse(space=False),
    "comments": Sse(comments=True),
    "several-data-lines": Sse(multiline=True),
    "event-after-data": Sse(event_after_data=True),
    "id-and-retry": Sse(id_retry=True),
    "byte-order-mark": Sse(bom=True),
    "all-crlf": Sse(line_end="crlf", space=False, comments=True, multiline=True, id_retry=True, bom=True),
    "all-cr": Sse(line_end="cr", space=False, comments=True, multiline=True, id_retry=True, bom=True),
}
VARIANTS = {name: Fault(**split) for name, split in SPLITS.items()} | {
    f"{name}-{size}": Fault(sse=spelling, write_size=size)
    for name, spelling in SPELLINGS.items()
    for size in (1, 3, 1000)
}
ASKED: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": TEXT}]},
    "text-with-usage": {
        "messages": [{"role": "user", "content": TEXT}],
        "stream_options": {"include_usage": True},
    },
    "tools": {"messages": [{"role": "user", "content": "weather in 北京"}], "tools": TOOLS},
}


@pytest.fixture(scope="module")
def cutting() -> Iterator[Gateway]:
    config = ConfigFile()
    with ExitStack() as running:
        mocks = {kind: running.enter_context(RunningMock(kind)) for kind in KINDS}
        for kind, mock in mocks.items():
            config.provider(kind, kind, mock.url)
            for variant in ("plain", *VARIANTS):
                upstream = f"{kind}-{variant}"
                config.model(upstream, [kind], upstream=upstream)
                if variant in VARIANTS:
                    mock.fault(VARIANTS[variant], model=upstream)
        yield Gateway(running.enter_context(Stack(config)), mocks)


def normal(reply: wire.Reply) -> bytes:
    """The stream without what is different in every call: attestation, id, time and the model's name."""
    lines = []
    for line in strip_sse(reply.body).split(b"\n"):
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            for tool in (
                t for c in chunk["choices"] for t in c["delta"].get("tool_calls") or () if t.get("id")
            ):
                tool["id"] = "call"
            lines.append(b"data: " + json.dumps(chunk | {"id": 0, "created": 0, "model": 0}).encode())
        else:
            lines.append(line)
    return b"\n".join(lines)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", KINDS)
def test_cuts_and_spellings_change_nothing(cutting: Gateway, kind: str, asked: str):
    """Bytes one by one, inside characters, between CR and LF, everything at once: always the same answer."""
    stack = cutting.stack
    reference = stack.chat(f"{kind}-plain", stream=True, **ASKED[asked])
    assert reference.done
    if asked != "tools":
        assert reference.text == f"You said: {TEXT}"
    expected = normal(reference)

    def different(variant: str) -> str | None:
        reply = stack.chat(f"{kind}-{variant}", stream=True, **ASKED[asked])
        same = reply.complete and normal(reply) == expected
        committed = stack.row_of(reply).commits_to("delivered-response", strip_sse(reply.body))
        return None if same and committed else f"{variant}: {reply.body.decode()}"

    with ThreadPoolExecutor(6) as pool:
        found = [each for each in pool.map(different, VARIANTS) if each is not None]
    assert not found, f"{len(found)} of {len(VARIANTS)} differ, the first: {found[0]}"

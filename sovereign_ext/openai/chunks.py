"""Building OpenAI chunks and completions for providers that speak another wire.

Order and shape follow OpenAI: one id, one created, one model per stream; the first delta carries the role;
with ``include_usage`` every chunk but the last has ``usage: null``, without it the key is absent.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ChunkWriter:
    """Chunks of one stream, as JSON bytes. ``created`` is Unix seconds."""

    __slots__ = ("_head", "_tail", "_usage_head")

    def __init__(self, id: str, created: int, model: str, *, include_usage: bool) -> None:  # noqa: A002
        head = msgspec.json.encode(
            {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
        )
        self._usage_head = head[:-1] + b',"choices":[],"usage":'
        self._head = head[:-1] + b',"choices":[{"index":0,"delta":'
        self._tail = b',"usage":null}' if include_usage else b"}"

    def role(self) -> bytes:
        return self._delta(b'{"role":"assistant","content":""}')

    def content(self, text: str) -> bytes:
        return self._delta(msgspec.json.encode({"content": text}))

    def reasoning(self, text: str) -> bytes:
        return self._delta(msgspec.json.encode({"reasoning_content": text}))

    def tool_call(self, index: int, id: str, name: str) -> bytes:  # noqa: A002
        call = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        return self._delta(msgspec.json.encode({"tool_calls": [call]}))

    def tool_arguments(self, index: int, fragment: str) -> bytes:
        call = {"index": index, "function": {"arguments": fragment}}
        return self._delta(msgspec.json.encode({"tool_calls": [call]}))

    def finish(self, reason: str) -> bytes:
        return self._head + b'{},"logprobs":null,"finish_reason":"' + reason.encode() + b'"}]' + self._tail

    def usage(self, usage: dict[str, Any]) -> bytes:
        return self._usage_head + msgspec.json.encode(usage) + b"}"

    def _delta(self, delta: bytes) -> bytes:
        return self._head + delta + b',"logprobs":null,"finish_reason":null}]' + self._tail


def usage_object(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """OpenAI's usage: total is always the sum."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }

"""Building OpenAI chunks and completions for providers that speak another wire.

Order and shape follow OpenAI: one id, one created, one model per stream; the first delta carries the role;
with ``include_usage`` every chunk but the last has ``usage: null``, without it the key is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sovereign_ext.openai.encode import encode


class ChunkWriter:
    """Chunks of one choice of a stream, as JSON bytes. ``created`` is Unix seconds, ``choice`` the choice's index."""

    __slots__ = ("_head", "_tail", "_usage_head")

    def __init__(
        self,
        id: str,  # noqa: A002
        created: int,
        model: str,
        *,
        include_usage: bool,
        choice: int = 0,
    ) -> None:
        head = encode({"id": id, "object": "chat.completion.chunk", "created": created, "model": model})
        self._usage_head = head[:-1] + b',"choices":[],"usage":'
        self._head = head[:-1] + b',"choices":[{"index":%d,"delta":' % choice
        self._tail = b',"usage":null}' if include_usage else b"}"

    def role(self) -> bytes:
        return self._delta(b'{"role":"assistant","content":""}')

    def content(self, text: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> bytes:
        """Text, with OpenAI's ``logprobs.content`` of its tokens where they were asked for."""
        delta = encode({"content": text})
        if not logprobs:
            return self._delta(delta)
        return self._delta(delta, encode(logprobs_object(logprobs)))

    def reasoning(self, text: str) -> bytes:
        return self._delta(encode({"reasoning_content": text}))

    def tool_call(
        self,
        index: int,
        id: str,  # noqa: A002
        name: str,
        extra: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The beginning of a call. ``extra`` is its ``extra_content``: what the provider wants back with it."""
        call = {"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        if extra:
            call["extra_content"] = extra
        return self._delta(encode({"tool_calls": [call]}))

    def function_call(self, name: str) -> bytes:
        """The beginning of a call in the shape of old, for requests that used ``functions``."""
        return self._delta(encode({"function_call": {"name": name, "arguments": ""}}))

    def function_arguments(self, fragment: str) -> bytes:
        return self._delta(encode({"function_call": {"arguments": fragment}}))

    def refusal(self, text: str) -> bytes:
        return self._delta(encode({"refusal": text}))

    def extra_content(self, content: Mapping[str, Any]) -> bytes:
        """``extra_content`` of the message: what the provider wants back with it on the next turn."""
        return self._delta(encode({"extra_content": content}))

    def tool_arguments(self, index: int, fragment: str) -> bytes:
        call = {"index": index, "function": {"arguments": fragment}}
        return self._delta(encode({"tool_calls": [call]}))

    def finish(self, reason: str) -> bytes:
        return self._head + b'{},"logprobs":null,"finish_reason":"' + reason.encode() + b'"}]' + self._tail

    def usage(self, usage: dict[str, Any]) -> bytes:
        return self._usage_head + encode(usage) + b"}"

    def _delta(self, delta: bytes, logprobs: bytes = b"null") -> bytes:
        return self._head + delta + b',"logprobs":' + logprobs + b',"finish_reason":null}]' + self._tail


def logprobs_object(content: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A choice's ``logprobs``: null where there are none."""
    return {"content": content, "refusal": None} if content else None


def usage_object(
    prompt_tokens: int,
    completion_tokens: int,
    *,
    cached_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    reasoning_tokens: int | None = None,
) -> dict[str, Any]:
    """OpenAI's usage: total is always the sum; details are parts of their totals, and only there if known."""
    usage: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    prompt = {"cached_tokens": cached_tokens, "cache_write_tokens": cache_write_tokens}
    for whole, details in (
        ("prompt_tokens_details", prompt),
        ("completion_tokens_details", {"reasoning_tokens": reasoning_tokens}),
    ):
        known = {name: count for name, count in details.items() if count is not None}
        if known:
            usage[whole] = known
    return usage

"""Ollama's native API: ``/api/chat`` with NDJSON streams, ``/api/embed``.

Sources: Ollama API documentation and its Python SDK's types (0.6). The native API is used instead of Ollama's
OpenAI emulation because only it reports counts on every answer and takes thinking and formats natively.
Requests are translated in ``ollama_request``; here is what comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from sovereign_ext.config.model import Capability, ProviderKind
from sovereign_ext.openai.chunks import ChunkWriter, usage_object
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers._vectors import embeddings
from sovereign_ext.providers.base import (
    Answer,
    Fault,
    Item,
    Part,
    StreamFault,
    StreamTranslator,
    Target,
    UpstreamRequest,
    Usage,
)
from sovereign_ext.providers.ollama_request import chat_body, embed_body

_ANY: Final = msgspec.json.Decoder()
_FINISH: Final = {"stop": "stop", "length": "length", "load": "stop", "unload": "stop"}


class OllamaAdapter:
    """``kind: ollama``."""

    kind = ProviderKind.OLLAMA
    capabilities = frozenset({Capability.CHAT, Capability.EMBEDDINGS})

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        if request.endpoint is Endpoint.CHAT:
            body, path = chat_body(request, target.deployment.upstream_model), "/api/chat"
        else:
            body, path = embed_body(request, target.deployment.upstream_model), "/api/embed"
        accept = "application/x-ndjson" if request.stream else "application/json"
        headers = _shared.base_headers(accept)
        headers += _shared.bearer(target)
        authority, full = _shared.place(target, path)
        return UpstreamRequest(full, authority, tuple(headers), msgspec.json.encode(body))

    def answer(self, request: Request, target: Target, body: bytes, *, call_id: str) -> Answer:
        parsed = _object(body)
        if "error" in parsed:
            raise StreamFault(_shared.unusable("error_event"))
        if request.endpoint is Endpoint.EMBEDDINGS:
            tokens = _shared.count(parsed.get("prompt_eval_count"))
            return embeddings(request, parsed.get("embeddings"), tokens)
        return _completion(request, parsed, call_id)

    def stream(
        self, request: Request, target: Target, *, call_id: str, now_s: int, limit: int
    ) -> StreamTranslator:
        return OllamaStream(request, call_id, now_s, limit)

    def fault(
        self, status: int, headers: Mapping[str, str], body: bytes, target: Target, *, now_s: float
    ) -> Fault:
        return _shared.status_fault(status, headers, body, target, now_s)


class OllamaStream:
    """NDJSON lines in, OpenAI chunks out. Tool arguments come whole, as an object; out goes a string."""

    __slots__ = (
        "_call_id",
        "_include_usage",
        "_limit",
        "_pending",
        "_started",
        "_tools",
        "_writer",
        "terminal",
        "usage",
    )

    def __init__(self, request: Request, call_id: str, now_s: int, limit: int) -> None:
        self._limit = limit
        self._pending = b""
        self._call_id = call_id
        self._writer = ChunkWriter(
            f"chatcmpl-{call_id}", now_s, request.model, include_usage=request.include_usage
        )
        self._include_usage = request.include_usage
        self._started = False
        self._tools = 0
        self.usage = Usage()
        self.terminal = False

    def feed(self, piece: bytes) -> Iterator[Item]:
        lines = (self._pending + piece).split(b"\n")
        self._pending = lines.pop()
        for line in lines:
            yield from self._line(line)
        self._check(self._pending)

    def flush(self) -> Iterator[Item]:
        line, self._pending = self._pending, b""
        if _parse(line) is not None:  # else it broke off there
            yield from self._line(line)

    def _line(self, line: bytes) -> Iterator[Item]:
        if not line.strip() or self.terminal:
            return
        self._check(line)
        parsed = _object(line)
        if "error" in parsed:
            raise StreamFault(_shared.unusable("error_event", "The provider failed while answering."))
        if not self._started:
            self._started = True
            yield Item(Part.LIFECYCLE, self._writer.role())
        message = parsed.get("message")
        if isinstance(message, dict):
            yield from self._message(message)
        if parsed.get("done") is True:
            yield from self._done(parsed)

    def _check(self, line: bytes) -> None:
        if len(line) > self._limit:
            raise StreamFault(_shared.unusable("event_too_large"))

    def _message(self, message: dict[str, Any]) -> Iterator[Item]:
        thinking, content = _text(message.get("thinking")), _text(message.get("content"))
        if thinking:
            yield Item(Part.CONTENT, self._writer.reasoning(thinking))
        if content:
            yield Item(Part.CONTENT, self._writer.content(content))
        for name, arguments in _tool_calls(message):
            index, self._tools = self._tools, self._tools + 1
            call_id = f"call_{self._call_id}{index}"
            yield Item(Part.CONTENT, self._writer.tool_call(index, call_id, name))
            yield Item(Part.CONTENT, self._writer.tool_arguments(index, arguments))

    def _done(self, parsed: dict[str, Any]) -> Iterator[Item]:
        self.terminal = True
        self.usage = _usage(parsed)
        yield Item(Part.FINISH, self._writer.finish(_finish_reason(parsed, tools=self._tools > 0)))
        if self._include_usage:
            counted = usage_object(self.usage.prompt_tokens or 0, self.usage.completion_tokens or 0)
            yield Item(Part.USAGE, self._writer.usage(counted))
        yield Item(Part.DONE)


def _completion(request: Request, parsed: dict[str, Any], call_id: str) -> Answer:
    message = parsed.get("message")
    if not isinstance(message, dict) or parsed.get("done") is not True:
        raise StreamFault(_shared.unusable("invalid_answer"))
    calls = [
        {
            "id": f"call_{call_id}{at}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for at, (name, arguments) in enumerate(_tool_calls(message))
    ]
    text, thinking = _text(message.get("content")), _text(message.get("thinking"))
    turn: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if thinking:
        turn["reasoning_content"] = thinking
    if calls:
        turn["tool_calls"] = calls
    usage = _usage(parsed)
    completion = {
        "id": f"chatcmpl-{call_id}",
        "object": "chat.completion",
        "created": _created(parsed.get("created_at")),
        "model": request.model,
        "choices": [
            {
                "index": 0,
                "message": turn,
                "logprobs": None,
                "finish_reason": _finish_reason(parsed, tools=bool(calls)),
            }
        ],
        "usage": usage_object(usage.prompt_tokens or 0, usage.completion_tokens or 0),
    }
    return Answer(msgspec.json.encode(completion), usage)


def _tool_calls(message: dict[str, Any]) -> list[tuple[str, str]]:
    calls = []
    asked = message.get("tool_calls")
    for call in asked if isinstance(asked, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            arguments = function.get("arguments")
            text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
            calls.append((function["name"], text))
    return calls


def _finish_reason(parsed: dict[str, Any], *, tools: bool) -> str:
    reason = _FINISH.get(str(parsed.get("done_reason")), "stop")
    return "tool_calls" if tools and reason == "stop" else reason


def _usage(parsed: dict[str, Any]) -> Usage:
    return Usage(_shared.count(parsed.get("prompt_eval_count")), _shared.count(parsed.get("eval_count")))


def _created(value: Any) -> int:
    try:
        return int(datetime.fromisoformat(str(value)[:19] + "+00:00").timestamp())
    except ValueError:
        return 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(line: bytes) -> dict[str, Any]:
    parsed = _parse(line)
    if not isinstance(parsed, dict):
        raise StreamFault(_shared.unusable("invalid_json"))
    return parsed


def _parse(line: bytes) -> Any:
    """The line's JSON; ``None`` if it is none."""
    try:
        return _ANY.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None

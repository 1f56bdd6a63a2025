"""Ollama's native API: ``/api/chat`` with NDJSON streams, ``/api/embed``.

Sources: Ollama API documentation and its Python SDK's types (0.6). The native API is used instead of Ollama's
OpenAI emulation because only it reports counts on every answer and takes thinking and formats natively.
Requests are translated in ``ollama_request``; here is what comes back. Log probabilities are there since 0.12.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from sovereign_ext.config.model import Capability, ProviderKind
from sovereign_ext.openai.conversation import Image
from sovereign_ext.openai.parameters import uses_functions
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers._images import images_by_url
from sovereign_ext.providers._reply import Reply, ReplyBody, ReplyStream
from sovereign_ext.providers._vectors import embeddings
from sovereign_ext.providers.base import (
    Answer,
    Fault,
    Item,
    StreamFault,
    StreamTranslator,
    Target,
    UpstreamRequest,
    Usage,
)
from sovereign_ext.providers.ollama_request import SUPPORT, chat_body, embed_body

_ANY: Final = msgspec.json.Decoder()
_FINISH: Final = {"stop": "stop", "length": "length", "load": "stop", "unload": "stop"}


class OllamaAdapter:
    """``kind: ollama``."""

    kind = ProviderKind.OLLAMA
    capabilities = frozenset({Capability.CHAT, Capability.EMBEDDINGS})
    support = SUPPORT

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        dropped: tuple[str, ...] = ()
        if request.endpoint is Endpoint.CHAT:
            body, dropped = chat_body(request, target.deployment.upstream_model, target.media)
            path = "/api/chat"
        else:
            body, path = embed_body(request, target.deployment.upstream_model), "/api/embed"
        accept = "application/x-ndjson" if request.stream else "application/json"
        headers = _shared.base_headers(accept)
        headers += _shared.bearer(target)
        authority, full = _shared.place(target, path)
        return UpstreamRequest(full, authority, tuple(headers), msgspec.json.encode(body), dropped)

    def wanted_media(self, request: Request) -> tuple[Image, ...]:
        return images_by_url(request)

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
    """NDJSON lines in, OpenAI chunks out."""

    __slots__ = ("_limit", "_pending", "_told", "terminal", "usage")

    def __init__(self, request: Request, call_id: str, now_s: int, limit: int) -> None:
        self._limit = limit
        self._pending = b""
        reply = ReplyStream(request, f"chatcmpl-{call_id}", now_s, legacy=uses_functions(request.values))
        self._told = _Telling(reply, request, call_id)
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
        if parsed.get("done") is True:
            self.terminal, self.usage = True, _usage(parsed)
        yield from self._told.take(parsed)

    def _check(self, line: bytes) -> None:
        if len(line) > self._limit:
            raise StreamFault(_shared.unusable("event_too_large"))


class _Telling:
    """Passes on to a ``Reply`` what the lines of an answer say; a whole answer is one line."""

    __slots__ = ("_call_id", "_calls", "_logprobs", "_reply")

    def __init__(self, reply: Reply, request: Request, call_id: str) -> None:
        self._reply = reply
        self._call_id = call_id
        self._logprobs = request.values.get("logprobs") is True
        self._calls = 0

    def take(self, parsed: dict[str, Any]) -> Iterator[Item]:
        message = parsed.get("message")
        if isinstance(message, dict):
            yield from self._message(message, parsed.get("logprobs") if self._logprobs else None)
        if parsed.get("done") is True:
            yield from self._reply.finish(_finish_reason(parsed, tools=self._calls > 0), _usage(parsed))

    def _message(self, message: dict[str, Any], logprobs: Any) -> Iterator[Item]:
        thinking, content = _text(message.get("thinking")), _text(message.get("content"))
        if thinking:
            yield from self._reply.reasoning(thinking)
        yield from self._reply.text(content, _of_content(logprobs, content))
        for name, arguments in _tool_calls(message):
            yield from self._reply.call(f"call_{self._call_id}{self._calls}", name)
            yield from self._reply.arguments(arguments)
            self._calls += 1


def _completion(request: Request, parsed: dict[str, Any], call_id: str) -> Answer:
    if not isinstance(parsed.get("message"), dict) or parsed.get("done") is not True:
        raise StreamFault(_shared.unusable("invalid_answer"))
    reply = ReplyBody(request, legacy=uses_functions(request.values))
    for _ in _Telling(reply, request, call_id).take(parsed):
        pass  # a gathered answer has no chunks
    return reply.answer(f"chatcmpl-{call_id}", _created(parsed.get("created_at")))


def _of_content(logprobs: Any, content: str) -> list[dict[str, Any]]:
    """Those of ``logprobs`` that belong to ``content``, as OpenAI writes them.

    Ollama gives them for everything that was generated; what is said comes after what was thought.
    """
    found: list[dict[str, Any]] = []
    left = len(content.encode(errors="surrogatepass"))
    for each in reversed(logprobs if isinstance(logprobs, list) else []):
        token = _token(each)
        if token is None or left <= 0:
            break
        left -= len(token["token"].encode(errors="surrogatepass"))
        top = each.get("top_logprobs")
        others = [_token(other) for other in top] if isinstance(top, list) else []
        found.append({**token, "top_logprobs": [other for other in others if other is not None]})
    return found[::-1]


def _token(given: Any) -> dict[str, Any] | None:
    """A token and its log probability; ``None`` if either is missing."""
    if not isinstance(given, dict) or not isinstance(given.get("token"), str):
        return None
    logprob, raw = given.get("logprob"), given.get("bytes")
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    known = isinstance(raw, list) and all(isinstance(one, int) and 0 <= one <= 255 for one in raw)
    return {"token": given["token"], "logprob": float(logprob), "bytes": raw if known else None}


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

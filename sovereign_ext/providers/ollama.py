"""Ollama's native API: ``/api/chat`` with NDJSON streams, ``/api/embed``.

Sources: Ollama API documentation and its Python SDK's types (0.6). The native API is used instead of Ollama's
OpenAI emulation because only it reports counts on every answer and takes thinking and formats natively. What
Ollama cannot do is refused with 400 naming the parameter where dropping it would change the answer.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from sovereign_ext.config.model import Capability, ProviderKind
from sovereign_ext.errors import CallerError
from sovereign_ext.openai.chunks import ChunkWriter, usage_object
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.providers import _shared
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

_ANY: Final = msgspec.json.Decoder()
_OPTIONS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_FINISH: Final = {"stop": "stop", "length": "length", "load": "stop", "unload": "stop"}


class OllamaAdapter:
    """``kind: ollama``."""

    kind = ProviderKind.OLLAMA
    capabilities = frozenset({Capability.CHAT, Capability.EMBEDDINGS})

    def request(self, request: Request, target: Target) -> UpstreamRequest:
        if request.endpoint is Endpoint.CHAT:
            body, path = _chat_body(request, target), "/api/chat"
        else:
            body, path = _embed_body(request, target), "/api/embed"
        accept = "application/x-ndjson" if request.stream else "application/json"
        headers = _shared.base_headers(accept)
        if target.credential is not None:
            headers.append(("authorization", f"Bearer {target.credential.reveal()}"))
        authority, full = _shared.place(target, path)
        return UpstreamRequest(full, authority, tuple(headers), msgspec.json.encode(body))

    def answer(self, request: Request, target: Target, body: bytes, *, call_id: str) -> Answer:
        parsed = _object(body)
        if "error" in parsed:
            raise StreamFault(_shared.unusable("error_event"))
        if request.endpoint is Endpoint.EMBEDDINGS:
            return _embeddings(request, parsed)
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

    def feed(self, piece: bytes) -> list[Item]:
        lines = (self._pending + piece).split(b"\n")
        self._pending = lines.pop()
        items: list[Item] = []
        for line in lines:
            self._line(line, items)
        if len(self._pending) > self._limit:
            raise StreamFault(_shared.unusable("event_too_large"))
        return items

    def flush(self) -> list[Item]:
        items: list[Item] = []
        line, self._pending = self._pending, b""
        self._line(line, items)
        return items

    def _line(self, line: bytes, items: list[Item]) -> None:
        if not line.strip() or self.terminal:
            return
        if len(line) > self._limit:
            raise StreamFault(_shared.unusable("event_too_large"))
        parsed = _object(line)
        if "error" in parsed:
            raise StreamFault(_shared.unusable("error_event", "The provider failed while answering."))
        if not self._started:
            self._started = True
            items.append(Item(Part.LIFECYCLE, self._writer.role()))
        message = parsed.get("message")
        if isinstance(message, dict):
            self._message(message, items)
        if parsed.get("done") is True:
            self._done(parsed, items)

    def _message(self, message: dict[str, Any], items: list[Item]) -> None:
        thinking, content = message.get("thinking"), message.get("content")
        if isinstance(thinking, str) and thinking:
            items.append(Item(Part.CONTENT, self._writer.reasoning(thinking)))
        if isinstance(content, str) and content:
            items.append(Item(Part.CONTENT, self._writer.content(content)))
        for name, arguments in _tool_calls(message):
            index, self._tools = self._tools, self._tools + 1
            call_id = f"call_{self._call_id}{index}"
            items.append(Item(Part.CONTENT, self._writer.tool_call(index, call_id, name)))
            items.append(Item(Part.CONTENT, self._writer.tool_arguments(index, arguments)))

    def _done(self, parsed: dict[str, Any], items: list[Item]) -> None:
        self.terminal = True
        self.usage = _usage(parsed)
        items.append(Item(Part.FINISH, self._writer.finish(_finish_reason(parsed, tools=self._tools > 0))))
        if self._include_usage:
            counted = usage_object(self.usage.prompt_tokens or 0, self.usage.completion_tokens or 0)
            items.append(Item(Part.USAGE, self._writer.usage(counted)))
        items.append(Item(Part.DONE))


def _chat_body(request: Request, target: Target) -> dict[str, Any]:
    values = request.values
    _refuse(values)
    body: dict[str, Any] = {
        "model": target.deployment.upstream_model,
        "messages": _messages(values["messages"]),
        "stream": request.stream,
    }
    options = {theirs: values[ours] for ours, theirs in _OPTIONS.items() if values.get(ours) is not None}
    limit = values.get("max_completion_tokens", values.get("max_tokens"))
    if limit is not None:
        options["num_predict"] = limit
    stop = values.get("stop")
    if stop is not None:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    if options:
        body["options"] = options
    tools = _tools(values)
    if tools:
        body["tools"] = tools
    form = _format(values.get("response_format"))
    if form is not None:
        body["format"] = form
    effort = values.get("reasoning_effort")
    if effort is not None:
        body["think"] = False if effort == "none" else _EFFORT.get(effort, True)
    return body


_EFFORT: Final = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def _refuse(values: dict[str, Any]) -> None:
    """Parameters that would change the answer and that Ollama does not have."""
    if (values.get("n") or 1) != 1:
        raise _unsupported("n")
    for name in (
        "logit_bias",
        "prediction",
        "audio",
        "moderation",
        "web_search_options",
        "functions",
        "function_call",
    ):
        if values.get(name):
            raise _unsupported(name)
    for name in ("logprobs", "top_logprobs"):
        if values.get(name):
            raise _unsupported(name)
    choice = values.get("tool_choice")
    if choice is not None and choice not in ("auto", "none"):
        raise _unsupported("tool_choice")


def _unsupported(param: str) -> CallerError:
    return CallerError(
        400, f"Unsupported parameter: '{param}' is not available from this model's provider.",
        param=param, code="unsupported_parameter",
    )  # fmt: skip


def _tools(values: dict[str, Any]) -> list[dict[str, Any]]:
    if values.get("tool_choice") == "none":
        return []
    tools = []
    for at, tool in enumerate(values.get("tools") or []):
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise _unsupported(f"tools[{at}]")
        function = dict(tool.get("function") or {})
        function.pop("strict", None)
        tools.append({"type": "function", "function": function})
    return tools


def _format(response_format: Any) -> Any:
    if not isinstance(response_format, dict):
        return None
    match response_format.get("type"):
        case "json_object":
            return "json"
        case "json_schema":
            return (response_format.get("json_schema") or {}).get("schema") or "json"
        case _:
            return None


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    out = []
    for at, message in enumerate(messages):
        role = message["role"]
        turn: dict[str, Any] = {"role": "system" if role == "developer" else role}
        turn["content"], images = _content(message.get("content"), f"messages[{at}].content")
        if images:
            turn["images"] = images
        calls = message.get("tool_calls")
        if calls:
            turn["tool_calls"] = [_call(call, f"messages[{at}].tool_calls", names) for call in calls]
        if role == "tool":
            name = names.get(str(message.get("tool_call_id")))
            if name is None:
                raise CallerError(
                    400, "'tool_call_id' answers no earlier tool call.",
                    param=f"messages[{at}].tool_call_id", code="invalid_value",
                )  # fmt: skip
            turn["tool_name"] = name
        out.append(turn)
    return out


def _call(call: Any, where: str, names: dict[str, str]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise CallerError(400, "Expected a function call with a name.", param=where, code="invalid_value")
    text = function.get("arguments") or "{}"
    try:
        arguments = msgspec.json.decode(text)
    except (msgspec.DecodeError, TypeError):
        arguments = None
    if not isinstance(arguments, dict):
        raise CallerError(
            400, "'arguments' must be a JSON object in a string.", param=where, code="invalid_value"
        )
    names[str(call.get("id"))] = function["name"]
    return {"function": {"name": function["name"], "arguments": arguments}}


def _content(content: Any, where: str) -> tuple[str, list[str]]:
    if content is None:
        return "", []
    if isinstance(content, str):
        return content, []
    texts, images = [], []
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal"):
            texts.append(str(part.get(kind) or ""))
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), f"{where}[{at}].image_url"))
        else:
            raise CallerError(
                400, f"Content of type {kind!r} is not available from this model's provider.",
                param=f"{where}[{at}].type", code="unsupported_value",
            )  # fmt: skip
    return "\n".join(texts), images


def _image(image: Any, where: str) -> str:
    url = image.get("url") if isinstance(image, dict) else image
    head, found, data = str(url).partition(";base64,")
    if not found or not head.startswith("data:image/"):
        raise CallerError(
            400,
            "This model's provider takes images as base64 data URLs only.",
            param=where,
            code="unsupported_value",
        )
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error:
        raise CallerError(400, "The image is not valid base64.", param=where, code="invalid_value") from None
    return data


def _embed_body(request: Request, target: Target) -> dict[str, Any]:
    given = request.values["input"]
    texts = [given] if isinstance(given, str) else given
    if not all(isinstance(text, str) for text in texts):
        raise CallerError(
            400, "This model's provider embeds text, not token ids.", param="input", code="unsupported_value"
        )
    body: dict[str, Any] = {"model": target.deployment.upstream_model, "input": texts}
    if request.values.get("dimensions") is not None:
        body["dimensions"] = request.values["dimensions"]
    return body


def _embeddings(request: Request, parsed: dict[str, Any]) -> Answer:
    vectors = parsed.get("embeddings")
    if not isinstance(vectors, list):
        raise StreamFault(_shared.unusable("invalid_answer"))
    packed = request.values.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": at, "embedding": _pack(vector) if packed else vector}
        for at, vector in enumerate(vectors)
    ]
    tokens = _shared.count(parsed.get("prompt_eval_count"))
    usage = {"prompt_tokens": tokens or 0, "total_tokens": tokens or 0}
    body = msgspec.json.encode({"object": "list", "data": data, "model": request.model, "usage": usage})
    return Answer(body, Usage(tokens, None))


def _pack(vector: list[float]) -> str:
    """Little-endian float32, as OpenAI's ``encoding_format: base64``."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


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
    turn: dict[str, Any] = {"role": "assistant", "content": message.get("content") or (None if calls else "")}
    turn["refusal"] = None
    if message.get("thinking"):
        turn["reasoning_content"] = message["thinking"]
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
    for call in message.get("tool_calls") or []:
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


def _object(line: bytes) -> dict[str, Any]:
    try:
        parsed = _ANY.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StreamFault(_shared.unusable("invalid_json")) from None
    if not isinstance(parsed, dict):
        raise StreamFault(_shared.unusable("invalid_json"))
    return parsed

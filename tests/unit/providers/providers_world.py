"""What the tests of adapters share: targets, requests, and native answers of every kind of provider.

The samples are written down here in the providers' own words, so that an adapter is not tested against code that
was written together with it. An adapter without samples fails the contract test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from struct import pack
from typing import Any
from urllib.parse import unquote
from zlib import crc32

from sovereign_ext.config.model import Aws, Capability, Deployment, Google, Provider, ProviderKind
from sovereign_ext.openai.request import Endpoint, Request, read_request
from sovereign_ext.providers.base import (
    Adapter,
    Item,
    Part,
    StreamTranslator,
    Target,
    UpstreamRequest,
    Usage,
)
from sovereign_ext.secret import Secret

SECRET = "sk-own-3f1c9a7754b2e8d0"
HOST = "inference.internal.example"
CALL_ID = "0123456789abcdef01234567"
NOW_S = 1_790_000_000
LIMIT = 1024 * 1024
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}
TEXT = 'Grüße, 北京 🌍 "quoted" \\ <b>'
UPSTREAM_MODELS = {ProviderKind.BEDROCK: "amazon.titan-embed-text-v2:0/served-as"}
"""Where the name decides about the wire; else it is ``served-as``."""
OF_KIND: dict[ProviderKind, dict[str, Any]] = {
    ProviderKind.BEDROCK: {"aws": Aws(region="eu-central-1")},
    ProviderKind.VERTEX: {"google": Google(project="ward-7", location="eu")},
}
"""What a provider of this kind cannot do without."""


def upstream_model_of(kind: ProviderKind) -> str:
    return UPSTREAM_MODELS.get(kind, "served-as")


def target_of(kind: ProviderKind, *, secret: str | None = SECRET, **more: Any) -> Target:
    given = {"endpoint": f"https://{HOST}:8443/base/v1", **OF_KIND.get(kind, {}), **more}
    provider = Provider(id="p", kind=kind, **given)
    deployment = Deployment(
        id="d",
        model="org/asked",
        provider="p",
        upstream_model=upstream_model_of(kind),
        capabilities=(Capability.CHAT, Capability.EMBEDDINGS),
    )
    return Target(deployment, provider, Secret(secret) if secret is not None else None, NOW_S)


def chat(**members: Any) -> Request:
    body = {"model": "org/asked", "messages": HELLO, **members}
    return read_request(Endpoint.CHAT, json.dumps(body).encode())


def streamed(*, usage: bool = False, **members: Any) -> Request:
    options = {"stream_options": {"include_usage": True}} if usage else {}
    return chat(stream=True, **options, **members)


def embeddings(**members: Any) -> Request:
    body = {"model": "org/asked", "input": "text", **members}
    return read_request(Endpoint.EMBEDDINGS, json.dumps(body).encode())


def translator(adapter: Adapter, request: Request, *, limit: int = LIMIT) -> StreamTranslator:
    return adapter.stream(request, target_of(adapter.kind), call_id=CALL_ID, now_s=NOW_S, limit=limit)


@dataclass(frozen=True)
class Translated:
    """A translated stream."""

    items: list[Item]
    usage: Usage
    terminal: bool

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(item.data) for item in self.items if item.part is not Part.DONE]

    @property
    def parts(self) -> list[Part]:
        return [item.part for item in self.items]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]

    @property
    def text(self) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas)


def translate(adapter: Adapter, request: Request, pieces: Iterable[bytes]) -> Translated:
    stream = translator(adapter, request)
    items = [item for piece in pieces for item in stream.feed(piece)]
    items += stream.flush()
    return Translated(items, stream.usage, stream.terminal)


def asked_in_body(upstream: UpstreamRequest) -> tuple[str, bool]:
    """Where most providers are told the model, and whether to stream."""
    body = json.loads(upstream.body)
    return body["model"], bool(body.get("stream"))


@dataclass(frozen=True)
class Samples:
    """One provider kind's native answers. ``usage`` is what they all say: 7 in, 5 out.

    ``asked`` finds in a request which model it asks, and whether for a stream. ``endless`` begins an event; that it
    never ends is to be noticed.
    """

    answer: bytes
    tool_answer: bytes
    stream: bytes
    tool_stream: bytes
    error_in_stream: bytes  # after some text
    embeddings: bytes | None  # None where there are none
    error: bytes  # body of a 400, with the message "top_k is odd"
    asked: Callable[[UpstreamRequest], tuple[str, bool]] = asked_in_body
    endless: bytes = b""
    credential: tuple[str, str] = ("authorization", f"Bearer {SECRET}")  # the header that carries it


def _sse(*chunks: Any, done: bool = True) -> bytes:
    framed = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    return framed + (b"data: [DONE]\n\n" if done else b"")


def _chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    )
    head = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 5, "model": "served-as-2026"}
    return {**head, "choices": choices, "usage": None, **more}


def _completion(message: dict[str, Any], finish: str) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "logprobs": None,
        "finish_reason": finish,
    }
    head = {"id": "chatcmpl-up", "object": "chat.completion", "created": 5, "model": "served-as-2026"}
    return json.dumps({**head, "choices": [choice], "usage": _USAGE}).encode()


_USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
_USAGE_CHUNK = _chunk(None, usage=_USAGE)
_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
_ROLE = _chunk({"role": "assistant", "content": "", "refusal": None})

OPENAI = Samples(
    answer=_completion({"content": TEXT, "refusal": None}, "stop"),
    tool_answer=_completion(
        {
            "content": None,
            "tool_calls": [{**_CALL, "function": {"name": "look", "arguments": '{"city":"北京"}'}}],
        },
        "tool_calls",
    ),
    stream=_sse(_ROLE, *(_chunk({"content": letter}) for letter in TEXT), _chunk({}, "stop"), _USAGE_CHUNK),
    tool_stream=_sse(
        _ROLE,
        _chunk({"tool_calls": [{"index": 0, **_CALL}]}),
        _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
        _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"北京"}'}}]}),
        _chunk({}, "tool_calls"),
        _USAGE_CHUNK,
    ),
    error_in_stream=_sse(
        _ROLE,
        _chunk({"content": "some"}),
        {
            "error": {
                "message": f"{HOST} {SECRET} broke",
                "type": "overloaded_error",
                "param": None,
                "code": None,
            }
        },
        done=False,
    ),
    embeddings=json.dumps(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1.25]}],
            "model": "served-as",
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        }
    ).encode(),
    error=b'{"error":{"message":"top_k is odd","type":"invalid_request_error","param":"top_k","code":"odd"}}',
)


def _ndjson(*lines: Any) -> bytes:
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def _line(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"model": "served-as", "created_at": "2026-09-21T14:13:20.123456789Z"}
    return {**head, "message": {"role": "assistant", "content": "", **message}, "done": False, **more}


_COUNTS = {"total_duration": 1, "prompt_eval_count": 7, "eval_count": 5, "done": True}
_OLLAMA_CALL = {"function": {"name": "look", "arguments": {"city": "北京"}}}

OLLAMA = Samples(
    answer=_ndjson(_line({"content": TEXT}, **_COUNTS, done_reason="stop")),
    tool_answer=_ndjson(_line({"tool_calls": [_OLLAMA_CALL]}, **_COUNTS, done_reason="stop")),
    stream=_ndjson(*(_line({"content": c}) for c in TEXT), _line({}, **_COUNTS, done_reason="stop")),
    tool_stream=_ndjson(_line({"tool_calls": [_OLLAMA_CALL]}), _line({}, **_COUNTS, done_reason="stop")),
    error_in_stream=_ndjson(_line({"content": "some"}), {"error": f"{HOST} {SECRET} broke"}),
    embeddings=json.dumps(
        {"model": "served-as", "embeddings": [[0.5, -1.25]], "prompt_eval_count": 7}
    ).encode(),
    error=b'{"error":"top_k is odd"}',
)


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """An AWS event stream frame."""
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    start = pack(">II", 16 + len(block) + len(payload), len(block))
    start += pack(">I", crc32(start)) + block + payload
    return start + pack(">I", crc32(start))


def bedrock_event(name: str, **members: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps({**members, "p": "abcdef"}, ensure_ascii=False).encode())


def bedrock_exception(name: str, message: str) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message}).encode())


def bedrock_text(text: str, index: int = 0) -> bytes:
    return bedrock_event("contentBlockDelta", delta={"text": text}, contentBlockIndex=index)


def bedrock_input(fragment: str, index: int = 0) -> bytes:
    return bedrock_event("contentBlockDelta", delta={"toolUse": {"input": fragment}}, contentBlockIndex=index)


def bedrock_tool(name: str, id_: str, index: int = 0) -> bytes:
    use = {"toolUse": {"toolUseId": id_, "name": name}}
    return bedrock_event("contentBlockStart", start=use, contentBlockIndex=index)


def bedrock_end(reason: str, **usage: int) -> bytes:
    counts = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12, **usage}
    stop = bedrock_event("messageStop", stopReason=reason)
    return stop + bedrock_event("metadata", usage=counts, metrics={"latencyMs": 9})


def _asked_of_bedrock(upstream: UpstreamRequest) -> tuple[str, bool]:
    """The model is one segment of the path, encoded once."""
    model, operation = upstream.path.removeprefix("/base/v1/model/").split("/")
    assert "/" not in model
    assert operation in ("converse", "converse-stream", "invoke")
    return unquote(model), operation == "converse-stream"


def converse(content: list[dict[str, Any]], reason: str, **usage: int) -> bytes:
    """A complete answer of Converse."""
    counts = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12, **usage}
    output = {"message": {"role": "assistant", "content": content}}
    return json.dumps(
        {"output": output, "stopReason": reason, "usage": counts, "metrics": {"latencyMs": 9}}
    ).encode()


_TOO_LONG = pack(">II", 80 * 1024, 0)
BEDROCK_START = bedrock_event("messageStart", role="assistant")
_BEDROCK_CALL = {"toolUseId": "tooluse_1", "name": "look", "input": {"city": "北京"}}

BEDROCK = Samples(
    answer=converse([{"text": TEXT}], "end_turn"),
    tool_answer=converse([{"toolUse": _BEDROCK_CALL}], "tool_use"),
    stream=BEDROCK_START + b"".join(map(bedrock_text, TEXT)) + bedrock_end("end_turn"),
    tool_stream=BEDROCK_START
    + bedrock_tool("look", "tooluse_1")
    + bedrock_input('{"city":')
    + bedrock_input('"北京"}')
    + bedrock_event("contentBlockStop", contentBlockIndex=0)
    + bedrock_end("tool_use"),
    error_in_stream=BEDROCK_START
    + bedrock_text("some")
    + bedrock_exception("serviceUnavailableException", f"{HOST} {SECRET} broke"),
    embeddings=json.dumps({"embedding": [0.5, -1.25], "inputTextTokenCount": 7}).encode(),
    error=b'{"message":"top_k is odd"}',
    asked=_asked_of_bedrock,
    endless=_TOO_LONG + pack(">I", crc32(_TOO_LONG)),
)


def gemini(*parts: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A ``GenerateContentResponse`` with one candidate, as Vertex sends it: counts only with the end."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    counts: dict[str, Any] = {"trafficType": "ON_DEMAND"}
    if finish is not None:
        candidate["finishReason"] = finish
        counts |= {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}
    head = {"modelVersion": "served-as-001", "responseId": "cm9idXN0", "createTime": "2026-09-21T14:13:20.5Z"}
    return {"candidates": [candidate], "usageMetadata": counts, **head, **more}


def gemini_stream(*responses: Any) -> bytes:
    """Server-sent events as Google frames them: CRLF, characters as they are, no end marker."""
    return b"".join(
        b"data: " + json.dumps(each, ensure_ascii=False).encode() + b"\r\n\r\n" for each in responses
    )


def _asked_of_vertex(upstream: UpstreamRequest) -> tuple[str, bool]:
    """The model and the method are the last segment of the path."""
    start, _, rest = upstream.path.partition("/models/")
    assert start == "/base/v1/projects/ward-7/locations/eu/publishers/google"
    model, _, method = rest.partition(":")
    assert method in ("generateContent", "streamGenerateContent?alt=sse", "predict")
    return unquote(model), method.startswith("stream")


_GEMINI_CALL = {"functionCall": {"name": "look", "args": {"city": "北京"}}}
_GEMINI_ERROR = {"error": {"code": 503, "message": f"{HOST} {SECRET} broke", "status": "UNAVAILABLE"}}

VERTEX = Samples(
    answer=json.dumps(gemini({"text": TEXT}, finish="STOP"), indent=2).encode(),
    tool_answer=json.dumps(gemini(_GEMINI_CALL, finish="STOP"), indent=2).encode(),
    stream=gemini_stream(*(gemini({"text": c}) for c in TEXT), gemini({"text": ""}, finish="STOP")),
    tool_stream=gemini_stream(gemini(_GEMINI_CALL), gemini({"text": ""}, finish="STOP")),
    error_in_stream=gemini_stream(gemini({"text": "some"}))
    + json.dumps(_GEMINI_ERROR, indent=2).encode()
    + b"\n",
    embeddings=json.dumps(
        {"predictions": [{"embeddings": {"values": [0.5, -1.25], "statistics": {"token_count": 7.0}}}]}
    ).encode(),
    error=json.dumps(
        [{"error": {"code": 400, "message": "top_k is odd", "status": "INVALID_ARGUMENT"}}]
    ).encode(),
    asked=_asked_of_vertex,
)


def anthropic_event(**event: Any) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def anthropic_message(*content: Any, stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 7, "output_tokens": 5}
    head = {
        "id": "msg_01up",
        "type": "message",
        "role": "assistant",
        "model": "served-as",
        "content": content,
    }
    return {**head, "stop_reason": stop, "stop_sequence": None, "usage": usage, **more}


def anthropic_block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    """One content block, from its start to its stop."""
    return b"".join(
        (
            anthropic_event(type="content_block_start", index=index, content_block=start),
            *(anthropic_event(type="content_block_delta", index=index, delta=delta) for delta in deltas),
            anthropic_event(type="content_block_stop", index=index),
        )
    )


def anthropic_stream(*blocks: bytes, stop: str = "end_turn", **usage: Any) -> bytes:
    """A whole stream; ``usage`` is what its end adds to what its beginning says."""
    start = anthropic_message(usage={"input_tokens": 7, "output_tokens": 1}, stop_reason=None)
    return b"".join(
        (
            anthropic_event(type="message_start", message=start),
            anthropic_event(type="ping"),
            *blocks,
            anthropic_event(
                type="message_delta",
                delta={"stop_reason": stop, "stop_sequence": None},
                usage={"output_tokens": 5, **usage},
            ),
            anthropic_event(type="message_stop"),
        )
    )


def text_block(index: int, *texts: str) -> bytes:
    return anthropic_block(
        index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in texts)
    )


def tool_block(index: int, id: str, name: str, *fragments: str, given: Any = None) -> bytes:  # noqa: A002
    start = {"type": "tool_use", "id": id, "name": name, "input": given or {}}
    return anthropic_block(
        index, start, *({"type": "input_json_delta", "partial_json": fragment} for fragment in fragments)
    )


_TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"city": "北京"}}

ANTHROPIC = Samples(
    answer=json.dumps(anthropic_message({"type": "text", "text": TEXT}), ensure_ascii=False).encode(),
    tool_answer=json.dumps(anthropic_message(_TOOL_USE, stop="tool_use")).encode(),
    stream=anthropic_stream(text_block(0, *TEXT)),
    tool_stream=anthropic_stream(
        tool_block(0, "toolu_1", "look", "", '{"city":', ' "北京"}'), stop="tool_use"
    ),
    error_in_stream=anthropic_stream(text_block(0, "some")).partition(b"event: message_delta")[0]
    + anthropic_event(type="error", error={"type": "overloaded_error", "message": f"{HOST} {SECRET} broke"}),
    embeddings=None,
    error=b'{"type":"error","error":{"type":"invalid_request_error","message":"top_k is odd"},"request_id":"r"}',
    credential=("x-api-key", SECRET),
)

SAMPLES = {
    ProviderKind.OPENAI: OPENAI,
    ProviderKind.VLLM: OPENAI,
    ProviderKind.MOCK: OPENAI,
    ProviderKind.OLLAMA: OLLAMA,
    ProviderKind.ANTHROPIC: ANTHROPIC,
    ProviderKind.BEDROCK: BEDROCK,
    ProviderKind.VERTEX: VERTEX,
}

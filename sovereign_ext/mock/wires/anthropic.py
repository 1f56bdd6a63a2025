"""Anthropic's Messages API (``/v1/messages``, ``/v1/models``): whole answers and named server-sent events.

Text, tool use, thinking with a signature, structured output (``output_config.format``), pings and cumulative
usage. Also the body format of Claude on Vertex, which reuses ``AnthropicMessages``. Server tools, batches and
files are not answered.
"""

from __future__ import annotations

import base64
from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import Answer, Ask, Finish, Invocation, Tool, compose, texts, tokens_of
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.http1 import Request
from sovereign_ext.mock.reply import (
    Call,
    Event,
    Failure,
    Identity,
    Reply,
    Stage,
    event,
    json_reply,
    stream_reply,
)
from sovereign_ext.mock.wires.base import json_object, objects, optional_int, required, schema_of, strings

_FINISH = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SIGNATURE = base64.b64encode(b"mock thinking signature").decode()


class AnthropicMessages:
    """The Messages format without its URLs."""

    def chat(
        self,
        model: str,
        body: dict[str, Any],
        shape: Shape,
        identity: Identity,
        headers: tuple[tuple[str, str], ...],
    ) -> Reply:
        """Answer a checked body, streaming when it says so."""
        answer = compose(_ask(body), shape)
        message: dict[str, Any] = {
            "id": "msg_01" + identity.tag,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(answer, shape, final=body.get("stream") is not True),
        }
        if shape.omit_usage:
            del message["usage"]
        if body.get("stream") is True:
            return stream_reply(_events(message, answer, shape, identity), headers=headers)
        message["content"] = _blocks(answer, identity)
        message |= _stop(answer, shape)
        return json_reply(message, headers)

    def check(self, body: dict[str, Any]) -> None:
        """Refuse what the provider refuses about any body."""
        if optional_int(body, "max_tokens") is None:
            raise CallerError(400, "max_tokens: Field required")
        messages = objects(required(body, "messages", list))
        if not messages:
            raise CallerError(400, "messages: at least one message is required")
        for number, message in enumerate(messages):
            if message.get("role") not in ("user", "assistant"):
                raise CallerError(400, f"messages.{number}.role: Input should be 'user' or 'assistant'")

    def error(self, failure: Failure, identity: Identity) -> dict[str, Any]:
        """The error body, the same whole and as an event."""
        usual = _TYPES.get(failure.status, "api_error" if failure.status >= 500 else _TYPES[400])
        message = failure.message or f"The mock was told to answer {failure.status}."
        error = {"type": failure.type or usual, "message": message}
        return {"type": "error", "error": error, "request_id": "req_" + identity.tag}


class Anthropic(AnthropicMessages):
    """Anthropic's own endpoint."""

    kind = "anthropic"
    default_models = ("claude-opus-5", "claude-sonnet-5", "claude-haiku-5")

    def __init__(self, models: tuple[str, ...] = ()) -> None:
        self.models = models or self.default_models

    def read(self, request: Request) -> Call:
        """See ``Wire.read``."""
        if request.path == "/v1/models" and request.method in ("GET", "HEAD"):
            return Call("models", "", {})
        if request.path != "/v1/messages":
            raise CallerError(404, "Not Found")
        if request.method != "POST":
            raise CallerError(405, "Method Not Allowed")
        if request.header("anthropic-version") is None:
            raise CallerError(400, "anthropic-version: header is required")
        body = json_object(request)
        model = required(body, "model", str)
        self.check(body)
        return Call("messages", model, body, stream=body.get("stream") is True)

    def answer(self, call: Call, shape: Shape, identity: Identity) -> Reply:
        """See ``Wire.answer``."""
        if call.op == "models":
            data = [
                {"type": "model", "id": one, "display_name": one, "created_at": "2026-01-01T00:00:00Z"}
                for one in self.models
            ]
            return json_reply(
                {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
            )
        return self.chat(call.model, call.body, shape, identity, _headers(identity))

    def failure(self, failure: Failure, identity: Identity, call: Call | None) -> Reply:
        """See ``Wire.failure``."""
        return json_reply(self.error(failure, identity), _headers(identity), failure.status)

    def failure_event(self, failure: Failure, identity: Identity, call: Call) -> Event:
        """See ``Wire.failure_event``."""
        return event(Stage.FAILURE, self.error(failure, identity), "error")


def _headers(identity: Identity) -> tuple[tuple[str, str], ...]:
    return (("request-id", "req_" + identity.tag),)


def _ask(body: dict[str, Any]) -> Ask:
    messages = objects(body["messages"])
    tools = tuple(
        Tool(str(one.get("name", "")), schema_of(one.get("input_schema")))
        for one in objects(body.get("tools"))
    )
    choice = schema_of(body.get("tool_choice"))
    wish = choice.get("type")
    named = str(choice.get("name", "")) if wish == "tool" else None
    if named is not None and named not in {tool.name for tool in tools}:
        raise CallerError(400, f"tool_choice.tool: Tool '{named}' not found in provided tools")
    thinking = schema_of(body.get("thinking")).get("type") in ("enabled", "adaptive")
    if thinking and wish in ("any", "tool"):
        raise CallerError(400, "Thinking may not be enabled when tool_choice forces tool use.")
    form = schema_of(schema_of(body.get("output_config")).get("format"))
    prompt = [text for message in messages for text in texts(message.get("content"))]
    return Ask(
        text=_last_text(messages[-1]),
        prompt_tokens=tokens_of([*texts(body.get("system")), *prompt]),
        max_tokens=optional_int(body, "max_tokens"),
        stop=strings(body.get("stop_sequences")),
        tools=() if wish == "none" else tools,
        must_call=wish in ("any", "tool"),
        named=named,
        parallel=choice.get("disable_parallel_tool_use") is not True,
        json_schema=schema_of(form.get("schema")) if form.get("type") == "json_schema" else None,
        thinking=thinking,
    )


def _last_text(message: dict[str, Any]) -> str:
    said = "".join(texts(message.get("content")))
    results = [part for part in objects(message.get("content")) if part.get("type") == "tool_result"]
    if not results or said:
        return said
    return "the result " + " ".join(text for one in results for text in texts(one.get("content")))


def _usage(answer: Answer, shape: Shape, *, final: bool) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "input_tokens": answer.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": answer.completion_tokens if final else 1,
        "service_tier": "standard",
    }
    if final:
        usage["output_tokens_details"] = {"thinking_tokens": answer.reasoning_tokens}
    return usage | (shape.usage or {})


def _stop(answer: Answer, shape: Shape) -> dict[str, Any]:
    return {"stop_reason": shape.finish_reason or _FINISH[answer.finish], "stop_sequence": answer.stopped_by}


def _tool_use(call: Invocation, identity: Identity, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": "toolu_01" + identity.item(call.index),
        "name": call.name,
        "input": value,
    }


def _blocks(answer: Answer, identity: Identity) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        blocks.append({"type": "thinking", "thinking": "".join(answer.thinking), "signature": _SIGNATURE})
    if answer.chunks:
        blocks.append({"type": "text", "text": answer.text})
    return [*blocks, *(_tool_use(call, identity, call.value) for call in answer.calls)]


def _events(message: dict[str, Any], answer: Answer, shape: Shape, identity: Identity) -> list[Event]:
    events = [event(Stage.OPENING, {"type": "message_start", "message": message}, "message_start")]
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if answer.thinking:
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in answer.thinking]
        deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    if answer.chunks:
        deltas = [{"type": "text_delta", "text": piece} for piece in answer.chunks]
        blocks.append(({"type": "text", "text": ""}, deltas))
    for call in answer.calls:
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in call.pieces]
        blocks.append((_tool_use(call, identity, {}), deltas))
    for index, (start, deltas) in enumerate(blocks):
        events += _block_events(index, start, deltas)
        if index == 0:
            events.insert(2, event(Stage.PING, {"type": "ping"}, "ping"))
    ending: dict[str, Any] = {"type": "message_delta", "delta": _stop(answer, shape)}
    if not shape.omit_usage:
        ending["usage"] = _usage(answer, shape, final=True)
    events.append(event(Stage.FINISH, ending, "message_delta"))
    return [*events, event(Stage.DONE, {"type": "message_stop"}, "message_stop")]


def _block_events(index: int, start: dict[str, Any], deltas: list[dict[str, Any]]) -> list[Event]:
    """One content block. A tool call without arguments has no delta, so its start counts as its content."""

    def named(kind: str, *, counts: bool = False, **fields: Any) -> Event:
        return event(Stage.CONTENT, {"type": kind, "index": index, **fields}, kind, counts=counts)

    return [
        named("content_block_start", content_block=start, counts=not deltas),
        *(named("content_block_delta", delta=delta, counts=True) for delta in deltas),
        named("content_block_stop"),
    ]

"""Amazon Bedrock's runtime: ``converse``, ``converse-stream`` (AWS event stream) and ``invoke`` for
embeddings.

``invoke`` answers Titan and Cohere embedding bodies. Signatures are not checked: botocore is the judge of
those. ``padding`` key ``p`` is sent, as Bedrock does. Guardrails, prompt management and agents are not
answered.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import Answer, Ask, Finish, Tool, compose, texts, tokens_of
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.http1 import Request
from sovereign_ext.mock.reply import (
    Call,
    Event,
    Failure,
    Format,
    Identity,
    Reply,
    Stage,
    encode,
    event,
    json_reply,
    stream_reply,
)
from sovereign_ext.mock.wires.base import json_object, objects, optional_int, required, schema_of, strings
from sovereign_ext.mock.wires.bedrock_embeddings import invoke

_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke)")
_FINISH = {
    Finish.STOP: "end_turn",
    Finish.STOP_SEQUENCE: "stop_sequence",
    Finish.LENGTH: "max_tokens",
    Finish.TOOL_CALLS: "tool_use",
}
_NAMES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    405: "UnknownOperationException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_STREAM_NAMES = {
    400: "validationException",
    424: "modelStreamErrorException",
    429: "throttlingException",
    503: "serviceUnavailableException",
}
_LATENCY_MS = 120


class Bedrock:
    """Bedrock's runtime endpoint in one region."""

    kind = "bedrock"
    default_models = ()

    def __init__(self, models: tuple[str, ...] = ()) -> None:
        self.models = models

    def read(self, request: Request) -> Call:
        """See ``Wire.read``. The model is the path's segment, decoded once."""
        found = _PATH.fullmatch(request.path)
        if found is None:
            raise CallerError(404, "Unable to determine service/operation name to be authorized")
        if request.method != "POST":
            raise CallerError(405, "The operation does not support this method")
        body = json_object(request)
        op = found[2]
        if op != "invoke":
            _check(body)
        return Call(op, unquote(found[1]), body, stream=op == "converse-stream")

    def answer(self, call: Call, shape: Shape, identity: Identity) -> Reply:
        """See ``Wire.answer``."""
        if call.op == "invoke":
            return invoke(call, shape, _headers(identity))
        answer = compose(_ask(call.body), shape)
        if call.stream:
            return stream_reply(_events(answer, shape, identity), Format.EVENT_STREAM, _headers(identity))
        reply = {
            "output": {"message": {"role": "assistant", "content": _blocks(answer, identity)}},
            "stopReason": shape.finish_reason or _FINISH[answer.finish],
            "usage": _usage(answer, shape),
            "metrics": {"latencyMs": _LATENCY_MS},
        }
        if shape.omit_usage:
            del reply["usage"]
        return json_reply(reply, _headers(identity))

    def failure(self, failure: Failure, identity: Identity, call: Call | None) -> Reply:
        """See ``Wire.failure``. The name goes into a header, with the URI that real services append."""
        usual = "InternalServerException" if failure.status >= 500 else _NAMES[400]
        name = failure.type or _NAMES.get(failure.status, usual)
        told = ("x-amzn-errortype", f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/")
        return json_reply({"message": _message(failure)}, (*_headers(identity), told), failure.status)

    def failure_event(self, failure: Failure, identity: Identity, call: Call) -> Event:
        """See ``Wire.failure_event``: an exception frame."""
        name = failure.type or _STREAM_NAMES.get(failure.status, "internalServerException")
        return event(Stage.FAILURE, {"message": _message(failure)}, name)


def _message(failure: Failure) -> str:
    return failure.message or f"The mock was told to answer {failure.status}."


def _headers(identity: Identity) -> tuple[tuple[str, str], ...]:
    tag = identity.tag
    return (("x-amzn-requestid", f"{tag[:8]}-{tag[8:12]}-4{tag[13:16]}-8{tag[17:20]}-{tag[12:24]}"),)


def _check(body: dict[str, Any]) -> None:
    """Limits of Converse's service model that callers meet."""
    messages = objects(required(body, "messages", list))
    if not messages:
        raise CallerError(400, "A conversation must start with a user message. Try again with one.")
    if messages[0].get("role") != "user":
        raise CallerError(400, "A conversation must start with a user message.")
    for before, after in pairwise(messages):
        if before.get("role") == after.get("role"):
            raise CallerError(400, "A conversation must alternate between user and assistant roles.")
    blocks = [part for message in messages for part in objects(message.get("content"))]
    config = body.get("toolConfig")
    if any("toolUse" in part or "toolResult" in part for part in blocks) and config is None:
        raise CallerError(
            400, "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    if config is not None and not objects(schema_of(config).get("tools")):
        raise CallerError(400, "1 validation error: toolConfig.tools must have length at least 1")
    if any(part.get("text") == "" for part in blocks):
        raise CallerError(400, "The text field in the ContentBlock object is blank. Add text and try again.")


def _ask(body: dict[str, Any]) -> Ask:
    messages = objects(body["messages"])
    limits = schema_of(body.get("inferenceConfig"))
    config = schema_of(body.get("toolConfig"))
    specs = [schema_of(one.get("toolSpec")) for one in objects(config.get("tools")) if "toolSpec" in one]
    tools = tuple(
        Tool(str(one.get("name", "")), schema_of(schema_of(one.get("inputSchema")).get("json")))
        for one in specs
    )
    choice = schema_of(config.get("toolChoice"))
    named = str(schema_of(choice["tool"]).get("name", "")) if "tool" in choice else None
    if named is not None and named not in {tool.name for tool in tools}:
        raise CallerError(400, f"The tool {named} named in toolChoice is not in toolConfig.tools.")
    prompt = [text for message in messages for text in texts(message.get("content"))]
    return Ask(
        text=_last_text(messages[-1]),
        prompt_tokens=tokens_of([*texts(body.get("system")), *prompt]),
        max_tokens=optional_int(limits, "maxTokens"),
        stop=strings(limits.get("stopSequences")),
        tools=tools,
        must_call="any" in choice or named is not None,
        named=named,
        json_schema=_text_format(body),
        thinking=schema_of(schema_of(body.get("additionalModelRequestFields")).get("thinking")).get("type")
        in ("enabled", "adaptive"),
    )


def _text_format(body: dict[str, Any]) -> dict[str, Any] | None:
    """The schema in ``outputConfig.textFormat``, which Converse takes as a JSON string."""
    form = schema_of(schema_of(body.get("outputConfig")).get("textFormat"))
    text = schema_of(schema_of(form.get("structure")).get("jsonSchema")).get("schema")
    if text is None:
        return None
    try:
        return schema_of(msgspec.json.decode(text))
    except (msgspec.MsgspecError, TypeError) as error:
        raise CallerError(
            400, "outputConfig.textFormat.structure.jsonSchema.schema is not a JSON string"
        ) from error


def _last_text(message: dict[str, Any]) -> str:
    said = "".join(texts(message.get("content")))
    results = [
        schema_of(part["toolResult"]) for part in objects(message.get("content")) if "toolResult" in part
    ]
    if not results or said:
        return said
    return "the result " + " ".join(text for one in results for text in texts(one.get("content")))


def _usage(answer: Answer, shape: Shape) -> dict[str, Any]:
    usage = {
        "inputTokens": answer.prompt_tokens,
        "outputTokens": answer.completion_tokens,
        "totalTokens": answer.prompt_tokens + answer.completion_tokens,
    }
    return usage | (shape.usage or {})


def _blocks(answer: Answer, identity: Identity) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        thought = {"text": "".join(answer.thinking), "signature": "bW9jaw=="}
        blocks.append({"reasoningContent": {"reasoningText": thought}})
    if answer.chunks:
        blocks.append({"text": answer.text})
    for call in answer.calls:
        use = {"toolUseId": "tooluse_" + identity.item(call.index), "name": call.name, "input": call.value}
        blocks.append({"toolUse": use})
    return blocks


def _events(answer: Answer, shape: Shape, identity: Identity) -> list[Event]:
    events = [_padded(Stage.OPENING, "messageStart", {"role": "assistant"})]
    blocks: list[tuple[dict[str, Any] | None, list[dict[str, Any]]]] = []
    if answer.thinking:
        thoughts: list[dict[str, Any]] = [{"reasoningContent": {"text": piece}} for piece in answer.thinking]
        blocks.append((None, [*thoughts, {"reasoningContent": {"signature": "bW9jaw=="}}]))
    if answer.chunks:
        blocks.append((None, [{"text": piece} for piece in answer.chunks]))
    for call in answer.calls:
        start = {"toolUse": {"toolUseId": "tooluse_" + identity.item(call.index), "name": call.name}}
        blocks.append((start, [{"toolUse": {"input": piece}} for piece in call.pieces]))
    for index, (begin, deltas) in enumerate(blocks):
        place = {"contentBlockIndex": index}
        if begin is not None:  # text and reasoning blocks come without a start event
            started = {"start": begin, **place}
            events.append(_padded(Stage.CONTENT, "contentBlockStart", started, counts=not deltas))
        events += [
            _padded(Stage.CONTENT, "contentBlockDelta", {"delta": delta, **place}, counts=True)
            for delta in deltas
        ]
        events.append(_padded(Stage.CONTENT, "contentBlockStop", place))
    stop = {"stopReason": shape.finish_reason or _FINISH[answer.finish]}
    events.append(_padded(Stage.FINISH, "messageStop", stop))
    meta: dict[str, Any] = {"metrics": {"latencyMs": _LATENCY_MS}}
    if not shape.omit_usage:
        meta["usage"] = _usage(answer, shape)
    return [*events, _padded(Stage.USAGE, "metadata", meta)]


def _padded(stage: Stage, name: str, value: dict[str, Any], *, counts: bool = False) -> Event:
    """An event with the ``p`` that hides its length from eavesdroppers."""
    padding = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return event(stage, {**value, "p": padding[: len(encode(value)) * 7 % 40 + 2]}, name, counts=counts)

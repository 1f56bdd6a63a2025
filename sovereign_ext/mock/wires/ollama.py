"""Ollama's native API: ``/api/chat`` (NDJSON), ``/api/embed``, ``/api/tags``, ``/api/version``.

Durations are fixed numbers. Model management, ``/api/generate`` and the OpenAI-compatible paths are not
answered.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import Answer, Ask, Finish, Tool, compose, texts, tokens_of
from sovereign_ext.mock.content import logprob, unit_vector
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
    event,
    json_reply,
    stream_reply,
)
from sovereign_ext.mock.wires.base import json_object, objects, required, schema_of, strings

_OPS = {"/api/chat": "chat", "/api/embed": "embed"}
_LISTS = {"/api/tags": "tags", "/api/version": "version"}
_EMBEDDING_SIZE = 768
_DURATIONS = {"total_duration": 120_000_000, "load_duration": 10_000_000}


class Ollama:
    """An Ollama server."""

    kind = "ollama"
    default_models = ("llama3.3:8b", "qwen3:8b", "nomic-embed-text:latest")

    def __init__(self, models: tuple[str, ...] = ()) -> None:
        self.models = models or self.default_models

    def read(self, request: Request) -> Call:
        """See ``Wire.read``."""
        if request.path in _LISTS and request.method in ("GET", "HEAD"):
            return Call(_LISTS[request.path], "", {})
        op = _OPS.get(request.path)
        if op is None:
            raise CallerError(404, "404 page not found")
        if request.method != "POST":
            raise CallerError(405, "405 method not allowed")
        body = json_object(request)
        model = required(body, "model", str)
        for message in objects(body.get("messages")):
            if message.get("role") not in ("system", "user", "assistant", "tool"):
                raise CallerError(
                    400, f"invalid role: {message.get('role')}, must be one of [system user assistant tool]"
                )
        return Call(op, model, body, stream=op == "chat" and body.get("stream") is not False)

    def answer(self, call: Call, shape: Shape, identity: Identity) -> Reply:
        """See ``Wire.answer``."""
        match call.op:
            case "tags":
                return json_reply({"models": [_listed(name) for name in self.models]})
            case "version":
                return json_reply({"version": "0.14.0"})
            case "embed":
                return _embed(call, shape)
            case _:
                return _chat(call, shape, identity)

    def failure(self, failure: Failure, identity: Identity, call: Call | None) -> Reply:
        """See ``Wire.failure``."""
        return json_reply(_error(failure), status=failure.status)

    def failure_event(self, failure: Failure, identity: Identity, call: Call) -> Event:
        """See ``Wire.failure_event``."""
        return event(Stage.FAILURE, _error(failure))


def _error(failure: Failure) -> dict[str, Any]:
    return {"error": failure.message or f"the mock was told to answer {failure.status}"}


def _listed(name: str) -> dict[str, Any]:
    details = {
        "format": "gguf",
        "family": name.partition(":")[0],
        "parameter_size": "8B",
        "quantization_level": "Q4_K_M",
    }
    modified = "2026-01-01T00:00:00Z"
    return {
        "name": name,
        "model": name,
        "modified_at": modified,
        "size": 1,
        "digest": "0" * 64,
        "details": details,
    }


def _chat(call: Call, shape: Shape, identity: Identity) -> Reply:
    body = call.body
    answer = compose(_ask(body), shape)
    wants_logprobs = body.get("logprobs") is True
    moment = datetime.fromtimestamp(identity.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    start = {"model": call.model, "created_at": moment}
    tool_calls = [{"function": {"name": one.name, "arguments": one.value}} for one in answer.calls]

    def line(message: dict[str, Any], pieces: tuple[str, ...] = ()) -> dict[str, Any]:
        shown = (
            {"logprobs": [{"token": one, "logprob": logprob(one)} for one in pieces]}
            if wants_logprobs and pieces
            else {}
        )
        return {**start, "message": {"role": "assistant", "content": "", **message}, "done": False, **shown}

    if not call.stream:
        message: dict[str, Any] = {"content": answer.text}
        if answer.thinking:
            message["thinking"] = "".join(answer.thinking)
        if tool_calls:
            message["tool_calls"] = tool_calls
        return json_reply({**line(message, answer.chunks), **_ending(answer, shape)})
    lines = [line({"thinking": piece}) for piece in answer.thinking]
    spoken = answer.chunks[:-1] if shape.finish_with_text and not answer.calls else answer.chunks
    lines += [line({"content": piece}, (piece,)) for piece in spoken]
    lines += [line({"tool_calls": [one]}) for one in tool_calls]
    events = [event(Stage.CONTENT, one, counts=True) for one in lines]
    last = line({"content": "".join(answer.chunks[len(spoken) :])})
    events.append(event(Stage.FINISH, {**last, **_ending(answer, shape)}))
    return stream_reply(events, Format.NDJSON)


def _ending(answer: Answer, shape: Shape) -> dict[str, Any]:
    reason = shape.finish_reason or ("length" if answer.finish is Finish.LENGTH else "stop")
    usage = {
        "prompt_eval_count": answer.prompt_tokens,
        "prompt_eval_duration": 20_000_000,
        "eval_count": answer.completion_tokens,
        "eval_duration": 90_000_000,
    }
    counts = {} if shape.omit_usage else usage | (shape.usage or {})
    return {"done": True, "done_reason": reason, **_DURATIONS, **counts}


def _ask(body: dict[str, Any]) -> Ask:
    messages = objects(body.get("messages"))
    options = schema_of(body.get("options"))
    limit = options.get("num_predict")
    last = messages[-1] if messages else {}
    said = "".join(texts(last.get("content")))
    form = body.get("format")
    functions = [schema_of(one.get("function")) for one in objects(body.get("tools"))]
    return Ask(
        text="the result " + said if last.get("role") == "tool" else said,
        prompt_tokens=tokens_of([text for message in messages for text in texts(message.get("content"))]),
        max_tokens=limit if isinstance(limit, int) and limit >= 0 else None,  # -1 and -2 mean no limit
        stop=strings(options.get("stop")),
        tools=tuple(Tool(str(one.get("name", "")), schema_of(one.get("parameters"))) for one in functions),
        json_schema=form if isinstance(form, dict) else None,
        json_object=form == "json",
        thinking=body.get("think") not in (None, False),
    )


def _embed(call: Call, shape: Shape) -> Reply:
    inputs = strings(call.body.get("input"))
    wanted = call.body.get("dimensions")
    size = wanted if isinstance(wanted, int) and 0 < wanted <= _EMBEDDING_SIZE else _EMBEDDING_SIZE
    counts = {} if shape.omit_usage else {"prompt_eval_count": sum(tokens_of([text]) for text in inputs)}
    vectors = [unit_vector(text, size) for text in inputs]
    return json_reply(
        {"model": call.model, "embeddings": vectors, **_DURATIONS, **counts, **(shape.usage or {})}
    )

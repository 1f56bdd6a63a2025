"""OpenAI's chat completions, embeddings and models (``/v1/…``), in the order and shapes of its streaming
contract.

Also the base of the other servers that speak this wire. Legacy ``functions``, custom tools, ``n``, logprobs
and both embedding encodings are answered. Responses API, audio and files are not.
"""

from __future__ import annotations

from typing import Any

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.answer import Answer, Ask, Finish, compose
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
from sovereign_ext.mock.wires.base import json_object, objects, optional_int, required
from sovereign_ext.mock.wires.openai_ask import ask_of
from sovereign_ext.mock.wires.openai_embeddings import embeddings
from sovereign_ext.mock.wires.openai_parts import (
    Choice,
    Chunks,
    call_deltas,
    error_of,
    legacy_deltas,
    logprobs_of,
    whole_call,
)

_FINISH = {
    Finish.STOP: "stop",
    Finish.STOP_SEQUENCE: "stop",
    Finish.LENGTH: "length",
    Finish.TOOL_CALLS: "tool_calls",
}
_PATHS = {"/v1/chat/completions": "chat", "/v1/embeddings": "embeddings"}
MODELS_PATH = "/v1/models"
DONE = Event(Stage.DONE, b"[DONE]")


class OpenAI:
    """OpenAI's own endpoint."""

    kind = "openai"
    default_models: tuple[str, ...] = (
        "gpt-5.2",
        "gpt-5.2-mini",
        "text-embedding-3-small",
        "text-embedding-3-large",
    )

    usage_null = True  # every chunk but the last says "usage": null when usage was asked for

    def __init__(self, models: tuple[str, ...] = ()) -> None:
        self.models = models or self.default_models

    def read(self, request: Request) -> Call:
        """See ``Wire.read``."""
        path = request.path
        if path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
            if request.method not in ("GET", "HEAD"):
                raise CallerError(
                    405, f"Not allowed to {request.method} on {path}.", code="method_not_supported"
                )
            return Call("models", "", {}, detail=path.removeprefix(MODELS_PATH).removeprefix("/"))
        op = _PATHS.get(path)
        if op is None:
            raise CallerError(404, f"Invalid URL ({request.method} {path})", code="unknown_url")
        if request.method != "POST":
            raise CallerError(405, f"Not allowed to {request.method} on {path}.", code="method_not_supported")
        body = json_object(request)
        model = required(body, "model", str)
        if op == "chat" and not objects(required(body, "messages", list)):
            raise CallerError(400, "Invalid 'messages': empty array.", param="messages", code="empty_array")
        return Call(op, model, body, stream=op == "chat" and body.get("stream") is True)

    def answer(self, call: Call, shape: Shape, identity: Identity) -> Reply:
        """See ``Wire.answer``."""
        match call.op:
            case "models":
                return self._models(call.detail)
            case "embeddings":
                return embeddings(call.body, call.model, shape, self.headers(identity))
            case _:
                return self._chat(call, shape, identity)

    def failure(self, failure: Failure, identity: Identity, call: Call | None) -> Reply:
        """See ``Wire.failure``."""
        return json_reply({"error": error_of(failure)}, self.headers(identity), failure.status)

    def failure_event(self, failure: Failure, identity: Identity, call: Call) -> Event:
        """See ``Wire.failure_event``."""
        return event(Stage.FAILURE, {"error": error_of(failure)})

    def headers(self, identity: Identity) -> tuple[tuple[str, str], ...]:
        """Headers on every answer."""
        return (("x-request-id", "req_" + identity.tag), ("openai-version", "2020-10-01"))

    def ask(self, body: dict[str, Any]) -> Ask:
        """The request without its spelling."""
        return ask_of(body)

    def finish(self, answer: Answer, body: dict[str, Any], shape: Shape) -> str:
        """The finish reason in this wire's words."""
        if shape.finish_reason is not None:
            return shape.finish_reason
        legacy = answer.finish is Finish.TOOL_CALLS and "functions" in body
        return "function_call" if legacy else _FINISH[answer.finish]

    def message(self, answer: Answer, body: dict[str, Any], identity: Identity) -> dict[str, Any]:
        """The assistant message of a whole answer."""
        text = answer.text if answer.chunks or not answer.calls else None
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if answer.calls and "functions" in body:
            call = answer.calls[0]
            message["function_call"] = {"name": call.name, "arguments": call.arguments}
        elif answer.calls:
            message["tool_calls"] = [whole_call(call, identity) for call in answer.calls]
        else:
            message["annotations"] = []
        return message

    def reply_extras(self, body: dict[str, Any]) -> dict[str, Any]:
        """Fields beside ``choices`` in a whole answer."""
        return {"service_tier": "default"}

    def chunk_extras(self, body: dict[str, Any]) -> dict[str, Any]:
        """Fields beside ``choices`` in every chunk."""
        return {"service_tier": "default"}

    def choice_extras(self, answer: Answer, body: dict[str, Any]) -> dict[str, Any]:
        """Fields of a whole choice that only this server has."""
        return {}

    def thinking_deltas(self, answer: Answer) -> list[dict[str, Any]]:
        """Deltas for reasoning; OpenAI's chat completions never show it."""
        return []

    def usage(self, answers: list[Answer], shape: Shape) -> dict[str, Any]:
        """Token counts over all choices."""
        prompt, completion = answers[0].prompt_tokens, sum(answer.completion_tokens for answer in answers)
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": sum(answer.reasoning_tokens for answer in answers),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        return usage | (shape.usage or {})

    def _models(self, name: str) -> Reply:
        listed = [
            {"id": one, "object": "model", "created": 1767225600, "owned_by": self.kind}
            for one in self.models
        ]
        if not name:
            return json_reply({"object": "list", "data": listed})
        for model in listed:
            if model["id"] == name:
                return json_reply(model)
        raise CallerError(404, f"The model '{name}' does not exist", param="model", code="model_not_found")

    def _chat(self, call: Call, shape: Shape, identity: Identity) -> Reply:
        ask = self.ask(call.body)
        choices = optional_int(call.body, "n") or 1
        if choices > 128:
            raise CallerError(400, "Invalid value for 'n': expected at most 128.", param="n")
        answers = [compose(ask, shape, variant=number) for number in range(choices)]
        if call.stream:
            return stream_reply(self._events(call, answers, shape, identity), headers=self.headers(identity))
        reply: dict[str, Any] = {
            "id": "chatcmpl-" + identity.tag,
            "object": "chat.completion",
            "created": identity.created,
            "model": call.model,
            "choices": [
                {
                    "index": number,
                    "message": self.message(answer, call.body, identity),
                    "logprobs": logprobs_of(answer.chunks, call.body),
                    "finish_reason": self.finish(answer, call.body, shape),
                    **self.choice_extras(answer, call.body),
                }
                for number, answer in enumerate(answers)
            ],
            "usage": self.usage(answers, shape),
            **self.reply_extras(call.body),
        }
        if shape.omit_usage:
            del reply["usage"]
        return json_reply(reply, self.headers(identity))

    def _events(self, call: Call, answers: list[Answer], shape: Shape, identity: Identity) -> list[Event]:
        options = call.body.get("stream_options")
        options = options if isinstance(options, dict) else {}
        asked = options.get("include_usage") is True
        start: dict[str, Any] = {
            "id": "chatcmpl-" + identity.tag,
            "object": "chat.completion.chunk",
            "created": identity.created,
            "model": call.model,
            **self.chunk_extras(call.body),
        }
        end: dict[str, Any] = {"usage": None} if asked and self.usage_null else {}
        if options.get("include_obfuscation") is True:
            end["obfuscation"] = identity.tag[:8]

        chunk = Chunks(start, end)
        events: list[Event] = []
        for number, answer in enumerate(answers):
            events += self._choice_events(Choice(number, answer, call.body, identity), shape, chunk)
        if asked and not shape.omit_usage:
            usage = self.usage(answers, shape)
            events.append(event(Stage.USAGE, {**start, "choices": [], **end, "usage": usage}))
        return [*events, DONE]

    def _choice_events(self, choice: Choice, shape: Shape, chunk: Chunks) -> list[Event]:
        answer, body = choice.answer, choice.body
        silent = answer.calls and not answer.chunks
        opening = {"role": "assistant", "content": None if silent else "", "refusal": None}
        events = [chunk(Stage.OPENING, choice.delta(opening))]
        events += [chunk(Stage.CONTENT, choice.delta(delta)) for delta in self.thinking_deltas(answer)]
        spoken = answer.chunks[:-1] if shape.finish_with_text and not answer.calls else answer.chunks
        events += [chunk(Stage.CONTENT, choice.delta({"content": one}, (one,))) for one in spoken]
        for call in answer.calls:
            deltas = legacy_deltas(call) if "functions" in body else call_deltas(call, choice.identity)
            events += [chunk(Stage.CONTENT, choice.delta(delta)) for delta in deltas]
        rest = answer.chunks[len(spoken) :]
        last = choice.delta({"content": rest[0]}, rest) if rest else choice.delta({})
        last |= {"finish_reason": self.finish(answer, body, shape), **self.choice_extras(answer, body)}
        return [*events, chunk(Stage.FINISH, last)]

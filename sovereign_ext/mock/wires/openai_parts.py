"""Pieces of OpenAI's answers: chunks, choices, tool calls, logprobs and errors, as the wire spells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sovereign_ext.mock.answer import Answer, Invocation
from sovereign_ext.mock.content import logprob
from sovereign_ext.mock.reply import Event, Failure, Identity, Stage, event
from sovereign_ext.mock.wires.base import optional_int

_ERRORS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("server_error", "service_unavailable"),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a streamed answer."""

    number: int
    answer: Answer
    body: dict[str, Any]
    identity: Identity

    def delta(self, delta: dict[str, Any], said: tuple[str, ...] = ()) -> dict[str, Any]:
        """A choice that is not finished, with the logprobs of the text in it."""
        logprobs = logprobs_of(said, self.body) if said else None
        return {"index": self.number, "delta": delta, "logprobs": logprobs, "finish_reason": None}


@dataclass(frozen=True, slots=True)
class Chunks:
    """Puts a choice into a chunk.

    What stands before and after ``choices`` is the same in the whole stream.
    """

    start: dict[str, Any]
    end: dict[str, Any]

    def __call__(self, stage: Stage, choice: dict[str, Any]) -> Event:
        """One chunk as an event."""
        return event(stage, {**self.start, "choices": [choice], **self.end}, counts=stage is Stage.CONTENT)


def call_id(call: Invocation, identity: Identity) -> str:
    """``call_`` and 24 hex digits, distinct within and between answers."""
    return "call_" + identity.item(call.index)


def whole_call(call: Invocation, identity: Identity) -> dict[str, Any]:
    """A tool call in a whole message."""
    if call.custom:
        detail: dict[str, Any] = {"type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    else:
        detail = {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    return {"id": call_id(call, identity), **detail}


def call_deltas(call: Invocation, identity: Identity) -> list[dict[str, Any]]:
    """A tool call as deltas: id and name first, then the arguments in pieces."""
    kind, field = ("custom", "input") if call.custom else ("function", "arguments")
    first = {
        "index": call.index,
        "id": call_id(call, identity),
        "type": kind,
        kind: {"name": call.name, field: ""},
    }
    rest = [{"index": call.index, kind: {field: piece}} for piece in call.pieces or (call.arguments,)]
    return [{"tool_calls": [one]} for one in [first, *rest]]


def legacy_deltas(call: Invocation) -> list[dict[str, Any]]:
    """The same for the legacy ``function_call``."""
    first = {"function_call": {"name": call.name, "arguments": ""}}
    return [first, *({"function_call": {"arguments": piece}} for piece in call.pieces or (call.arguments,))]


def logprobs_of(chunks: tuple[str, ...], body: dict[str, Any]) -> dict[str, Any] | None:
    """Log probabilities of these tokens when the request asked for them."""
    if body.get("logprobs") is not True:
        return None
    top = optional_int(body, "top_logprobs") if body.get("top_logprobs") else 0
    content = []
    for chunk in chunks:
        entry = {"token": chunk, "logprob": logprob(chunk), "bytes": list(chunk.encode())}
        others = [{**entry, "logprob": logprob(chunk) - rank} for rank in range(top or 0)]
        content.append({**entry, "top_logprobs": others})
    return {"content": content, "refusal": None}


def error_of(failure: Failure) -> dict[str, Any]:
    """OpenAI's error object for a status."""
    usual, code = _ERRORS.get(
        failure.status, ("server_error" if failure.status >= 500 else _ERRORS[400][0], None)
    )
    return {
        "message": failure.message or f"The mock was told to answer {failure.status}.",
        "type": failure.type or usual,
        "param": failure.param or None,
        "code": failure.code or code,
    }

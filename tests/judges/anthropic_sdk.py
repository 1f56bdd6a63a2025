"""Anthropic's own SDK as a judge: its types of requests and answers, and its client against a server.

Run in the judges' environment; asked and answered as ``answering`` says.
"""

from __future__ import annotations

import functools
from typing import Any

import anthropic
import pydantic
from answering import answer
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import (
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)

_PARAMETERS = {
    kind: pydantic.TypeAdapter(pydantic.with_config(pydantic.ConfigDict(extra="forbid"))(kind))
    for kind in (MessageCreateParamsNonStreaming, MessageCreateParamsStreaming)
}
_SAMPLING = ("temperature", "top_p", "top_k")


def valid(*, body: dict[str, Any]) -> str:
    """What the SDK's types have against a request's body; empty if nothing.

    Sampling is not in the types any more, because API version 2026-10-21 does without.
    """
    kind = MessageCreateParamsStreaming if body.get("stream") else MessageCreateParamsNonStreaming
    kept = {name: value for name, value in body.items() if name not in _SAMPLING}
    try:
        checked = _PARAMETERS[kind].validate_python(kept, strict=False)
    except pydantic.ValidationError as error:
        return str(error)
    return "" if _plain(checked) == kept else f"not all of it was known: {_plain(checked)}"


def _plain(value: Any) -> Any:
    """Iterables, which pydantic reads lazily, as lists."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, str | int | float | bool | None):
        return value
    return [_plain(one) for one in value]


def asks(*, url: str, body: dict[str, Any]) -> Any:
    """What the SDK makes of a server's answer to the body: a message, or a stream's events."""
    sampling = {name: body.pop(name) for name in _SAMPLING if name in body}
    made = _client(url).messages.create(**body, extra_body=sampling or None)
    if body.get("stream"):
        return [event.to_dict() for event in made]
    return made.to_dict()


@functools.cache
def _client(url: str) -> anthropic.Anthropic:
    """With a timeout of its own it does not insist on a stream where an answer may be long."""
    return anthropic.Anthropic(base_url=url, api_key="k", max_retries=0, timeout=30)


def reads(*, events: list[dict[str, Any]] | None = None, message: dict[str, Any] | None = None) -> str:
    """What the SDK's types have against an answer; empty if nothing."""
    try:
        if message is not None:
            pydantic.TypeAdapter(Message).validate_python(message)
        for event in events or ():
            pydantic.TypeAdapter(RawMessageStreamEvent).validate_python(event)
    except pydantic.ValidationError as error:
        return str(error)
    return ""


answer({"valid": valid, "asks": asks, "reads": reads})

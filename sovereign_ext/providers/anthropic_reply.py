"""Anthropic's answers told to a ``Reply``: whole messages, stop reasons, usage, errors.

Source: Anthropic's API reference (messages, errors) and its SDK's types (2.12). Citations, and what server tools did,
are not for a client of chat completions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from sovereign_ext.errors import ServiceError
from sovereign_ext.providers import _shared
from sovereign_ext.providers._reply import Reply
from sovereign_ext.providers.anthropic_thinking import Thoughts
from sovereign_ext.providers.base import Fault, Item, StreamFault, Target, Usage

_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_STATUS: Final = {
    "overloaded_error": 529,
    "rate_limit_error": 429,
    "billing_error": 402,
    "timeout_error": 504,
    "authentication_error": 401,
    "permission_error": 403,
    "api_error": 500,
}
_COUNTS: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
_SPENT: Final = frozenset({
    "contract_spend_limit_reached", "enforced_spend_limit_reached", "linked_organization_spend_limit_reached",
    "linked_organization_billing_unavailable", "organization_on_hold",
})  # fmt: skip
_SPENT_WORDS: Final = ("credit balance is too low", "specified API usage limits")


class Counts:
    """Tokens as they become known: a stream tells them twice, the second time all of them up to there."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def take(self, usage: Any) -> Usage:
        """What is known with ``usage`` (Anthropic's object; members may be missing) taken into account."""
        if isinstance(usage, dict):
            details = usage.get("output_tokens_details")
            thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
            told = {name: usage.get(name) for name in _COUNTS} | {"thinking": thinking}
            for name, value in told.items():
                count = _shared.count(value)
                if count is not None:
                    self._known[name] = count
        known = self._known
        prompt = [known[name] for name in _COUNTS[:3] if name in known]
        output, thought = known.get("output_tokens"), known.get("thinking")
        return Usage(
            sum(prompt) if prompt else None,
            output,
            cached_tokens=known.get("cache_read_input_tokens"),
            cache_write_tokens=known.get("cache_creation_input_tokens"),
            reasoning_tokens=None if thought is None or output is None else min(thought, output),
        )


def tell(reply: Reply, message: Mapping[str, Any], model: str, limit: int) -> tuple[str, Usage]:
    """Tell a whole message; its id and usage. Raises ``StreamFault`` if it is none."""
    blocks = message.get("content")
    if message.get("type") != "message" or not isinstance(blocks, list):
        raise StreamFault(_shared.unusable("invalid_answer"))
    thoughts = Thoughts(limit)
    for block in blocks:
        if not isinstance(block, dict):
            raise StreamFault(_shared.unusable("invalid_answer"))
        _drain(_tell_block(reply, block, thoughts))
    extra = thoughts.content(model)
    if extra is not None:
        _drain(reply.extra_content(extra))
    usage = Counts().take(message.get("usage"))
    _drain(reply.finish(finish_reason(message.get("stop_reason")), usage))
    return (word(message["id"]) if message.get("id") else ""), usage


def _tell_block(reply: Reply, block: dict[str, Any], thoughts: Thoughts) -> Iterator[Item]:
    match block.get("type"):
        case "text":
            text = text_of(block.get("text"))
            thoughts.said(text)
            yield from reply.text(text)
        case "tool_use":
            thoughts.called()
            yield from reply.call(word(block.get("id")), word(block.get("name")))
            yield from reply.arguments(arguments_of(block.get("input")))
        case "thinking" | "redacted_thinking" as kind:
            thoughts.open(kind)
            for member in ("thinking", "signature", "data"):
                thoughts.add(member, block.get(member))
            thoughts.close()
            yield from reply.reasoning(text_of(block.get("thinking")))


def _drain(items: Iterator[Item]) -> None:
    for _ in items:
        pass


def finish_reason(reason: Any) -> str:
    """OpenAI's word for a stop reason. One that nobody knows yet ends an answer like any other."""
    return _FINISH.get(reason, "stop") if isinstance(reason, str) else "stop"


def arguments_of(value: Any) -> str:
    """A tool's input as JSON text; empty for an empty one."""
    if not isinstance(value, dict) or not value:
        return ""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half of an emoji
        return json.dumps(value, separators=(",", ":"))


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def word(value: Any) -> str:
    """An id or a name, without which a call is none. Raises ``StreamFault``."""
    if not isinstance(value, str) or not value or not value.isascii():
        raise StreamFault(_shared.unusable("invalid_answer"))
    return value


def parse(data: bytes) -> dict[str, Any]:
    """A JSON object. Halves of emoji, which msgspec refuses, are taken. Raises ``StreamFault``."""
    try:
        parsed = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        try:
            parsed = json.loads(data)
        except (ValueError, RecursionError):
            parsed = None
    if not isinstance(parsed, dict):
        raise StreamFault(_shared.unusable("invalid_json"))
    return parsed


def error_inside(parsed: Mapping[str, Any]) -> StreamFault:
    """An error in a 200. Its type tells what kind; nothing else of it is passed on."""
    error = parsed.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    status = _STATUS.get(kind) if isinstance(kind, str) else None
    if status is None:
        told: Any = ServiceError(502, "The provider failed while answering.", code="provider_error")
    else:
        told = _shared.provider_error(status, None)
    return StreamFault(Fault("error_event", walk=True, error=told))


def error_answer(status: int, headers: Mapping[str, str], body: bytes, target: Target, now_s: float) -> Fault:
    """Classify a non-2xx answer. Anthropic answers some faults of our account with 400, like the caller's."""
    fields = _shared.error_fields(body)
    details, message = fields.get("details"), fields.get("message")
    code = details.get("error_code") if isinstance(details, dict) else None
    meant = status
    if fields.get("type") in ("billing_error", "overloaded_error"):
        meant = _STATUS[fields["type"]]
    elif status == 400 and _spent(code, message):
        meant = 402
    if meant == status:
        return _shared.status_fault(status, headers, body, target, now_s)
    wait = _shared.retry_after(headers, now_s)
    return Fault(f"status_{status}", walk=True, error=_shared.provider_error(meant, wait))


def _spent(code: Any, message: Any) -> bool:
    """Whether an error says that our account has no money or quota left."""
    if isinstance(code, str) and code in _SPENT:
        return True
    return isinstance(message, str) and any(words in message for words in _SPENT_WORDS)

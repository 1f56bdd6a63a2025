"""What Converse and ConverseStream answer, told as a ``Reply``.

Source: botocore's service model of Bedrock's runtime (1.44). A stream's events are messageStart, contentBlockStart
(often none for text), contentBlockDelta, contentBlockStop, messageStop and, after it, metadata with the usage; the key
``p`` in them is padding. An answer's model is the one that was asked for and its id the call's: Converse tells neither
in its body. Citations, traces of guardrails and tools that run at AWS are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from sovereign_ext.openai.request import Request
from sovereign_ext.providers import _shared
from sovereign_ext.providers._eventstream import Frame, FrameReader
from sovereign_ext.providers._reply import IMITATED, Reply, ReplyBody, ReplyStream
from sovereign_ext.providers.base import Answer, Fault, Item, StreamFault, Target, Usage
from sovereign_ext.providers.bedrock_request import imitates

_ANY: Final = msgspec.json.Decoder()
_FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_STATUSES: Final = {
    "accessdenied": 403,
    "expiredtoken": 403,
    "incompletesignature": 403,
    "internalserver": 500,
    "invalidsignature": 403,
    "missingauthenticationtoken": 403,
    "modelerror": 424,
    "modelnotready": 429,
    "modelstreamerror": 424,
    "modeltimeout": 408,
    "resourcenotfound": 404,
    "servicequotaexceeded": 402,
    "serviceunavailable": 503,
    "throttling": 429,
    "toomanyrequests": 429,
    "unrecognizedclient": 403,
    "validation": 400,
}
"""What an error's name means in HTTP's terms, whatever status came with it: lower case, without ``Exception``."""


def status_of(name: str) -> int | None:
    """The status that an error's name stands for; ``None`` for a name that is not known."""
    return _STATUSES.get(name.strip().lower().removesuffix("exception"))


def answer_of(request: Request, target: Target, body: bytes, call_id: str) -> Answer:
    """Translate a complete answer. Raises ``StreamFault`` if it is none."""
    parsed = object_of(body)
    output = parsed.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    blocks = message.get("content") if isinstance(message, dict) else None
    if not isinstance(blocks, list):
        raise StreamFault(_shared.unusable("invalid_answer"))
    imitated = _imitated(request, target)
    reply = ReplyBody(request, imitated, legacy=_legacy(request))
    aside = _Aside(reply, imitating=imitated is not None, limit=len(body))
    for at, block in enumerate(blocks):
        if not isinstance(block, dict):
            raise StreamFault(_shared.unusable("invalid_answer"))
        _tell_block(reply, aside, block, f"call_{call_id}{at}")
    for _ in aside.end():
        pass
    reply.finish(_reason(parsed.get("stopReason")), usage_of(parsed.get("usage")))
    return reply.answer(f"chatcmpl-{call_id}", int(target.now_s))


def _tell_block(reply: ReplyBody, aside: _Aside, block: dict[str, Any], spare_id: str) -> None:
    """One content block of a complete answer."""
    use, reasoning, cited = block.get("toolUse"), block.get("reasoningContent"), block.get("citationsContent")
    if isinstance(use, dict) and use.get("type") != "server_tool_use":
        name, given = use.get("name"), use.get("input")
        if not isinstance(name, str):
            raise StreamFault(_shared.unusable("invalid_answer"))
        aside.called(name)
        reply.call(_text(use.get("toolUseId")) or spare_id, name)
        reply.arguments(msgspec.json.encode({} if given is None else given).decode())
    if isinstance(reasoning, dict) and isinstance(reasoning.get("reasoningText"), dict):
        reply.reasoning(_text(reasoning["reasoningText"].get("text")))
    for part in [block, *_objects(cited.get("content") if isinstance(cited, dict) else None)]:
        for _ in aside.text(_text(part.get("text"))):
            pass


class BedrockStream:
    """Event stream frames in, OpenAI chunks out."""

    __slots__ = ("_aside", "_call_id", "_frames", "_reason", "_reply", "_target", "_tool", "_tools",
                 "terminal", "usage")  # fmt: skip

    def __init__(self, request: Request, target: Target, call_id: str, now_s: int, limit: int) -> None:
        imitated = _imitated(request, target)
        self._frames = FrameReader(limit)
        self._target = target
        self._call_id = call_id
        self._reply = ReplyStream(request, f"chatcmpl-{call_id}", now_s, imitated, legacy=_legacy(request))
        self._aside = _Aside(self._reply, imitating=imitated is not None, limit=limit)
        self._tool: object = None  # contentBlockIndex of the call at hand
        self._tools = 0
        self._reason: str | None = None
        self.usage = Usage()
        self.terminal = False

    def feed(self, piece: bytes) -> Iterator[Item]:
        for frame in self._frames.feed(piece):
            if self.terminal:
                return
            yield from self._frame(frame)

    def flush(self) -> Iterator[Item]:
        """A stream that broke off between its stop and its usage is complete, but for the usage."""
        if self._reason is None or self.terminal:
            return
        yield from self._aside.end()
        yield from self._reply.end(self._reason)

    def _frame(self, frame: Frame) -> Iterator[Item]:
        if frame.kind != "event":
            raise StreamFault(_exception(frame, self._target))
        event = object_of(frame.payload)
        match frame.name:
            case "messageStart":
                yield from self._reply.begin()
            case "contentBlockStart":
                yield from self._start(event)
            case "contentBlockDelta":
                yield from self._delta(event)
            case "messageStop":
                self._reason = _reason(event.get("stopReason"))
            case "metadata":
                yield from self._end(event)
        # What else there is, and what comes to be, says nothing that OpenAI's clients could be told.

    def _start(self, event: dict[str, Any]) -> Iterator[Item]:
        start = event.get("start")
        use = start.get("toolUse") if isinstance(start, dict) else None
        if not isinstance(use, dict) or use.get("type") == "server_tool_use":
            return
        name = use.get("name")
        if not isinstance(name, str):
            raise StreamFault(_shared.unusable("invalid_answer"))
        self._tool, self._tools = event.get("contentBlockIndex"), self._tools + 1
        self._aside.called(name)
        spare = f"call_{self._call_id}{self._tools - 1}"
        yield from self._reply.call(_text(use.get("toolUseId")) or spare, name)

    def _delta(self, event: dict[str, Any]) -> Iterator[Item]:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            raise StreamFault(_shared.unusable("invalid_answer"))
        use, reasoning = delta.get("toolUse"), delta.get("reasoningContent")
        if isinstance(use, dict):
            if self._tools and event.get("contentBlockIndex") == self._tool:
                yield from self._reply.arguments(_text(use.get("input")))
        elif isinstance(reasoning, dict):
            yield from self._reply.reasoning(_text(reasoning.get("text")))
        else:
            yield from self._aside.text(_text(delta.get("text")))

    def _end(self, event: dict[str, Any]) -> Iterator[Item]:
        if self._reason is None:
            raise StreamFault(_shared.unusable("invalid_answer"))
        self.usage = usage_of(event.get("usage"))
        self.terminal = True
        yield from self._aside.end()
        yield from self._reply.finish(self._reason, self.usage)


class _Aside:
    """What is said beside an answer that comes as the arguments of a tool.

    It would spoil the JSON, so it waits: once the tool is called it is left out; if none is, it is all there is (a
    guardrail's words, for one). ``limit`` bounds it in characters.
    """

    __slots__ = ("_called", "_held", "_imitating", "_limit", "_reply", "_size")

    def __init__(self, reply: Reply, *, imitating: bool, limit: int) -> None:
        self._reply = reply
        self._imitating = imitating
        self._limit = limit
        self._held: list[str] = []
        self._size = 0
        self._called = False

    def text(self, text: str) -> Iterator[Item]:
        if not self._imitating:
            yield from self._reply.text(text)
        elif text and not self._called:
            self._size += len(text)
            if self._size > self._limit:
                raise StreamFault(_shared.unusable("event_too_large"))
            self._held.append(text)

    def called(self, name: str) -> None:
        if name == IMITATED:
            self._called = True
            self._held.clear()

    def end(self) -> Iterator[Item]:
        if self._held:
            yield from self._reply.text("".join(self._held))


def usage_of(usage: Any) -> Usage:
    """Bedrock counts what was read from and written to a cache apart from the input; OpenAI as parts of it."""
    if not isinstance(usage, dict):
        return Usage()
    plain = _shared.count(usage.get("inputTokens"))
    read, written = (
        _shared.count(usage.get(name)) for name in ("cacheReadInputTokens", "cacheWriteInputTokens")
    )
    completion = _shared.count(usage.get("outputTokens"))
    if plain is None:
        return Usage(None, completion)  # parts of what nobody told would make the rest of it negative
    prompt = plain + (read or 0) + (written or 0)
    return Usage(prompt, completion, cached_tokens=read, cache_write_tokens=written)


def object_of(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``. Raises ``StreamFault`` if there is none."""
    try:
        parsed = _ANY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        parsed = None
    if not isinstance(parsed, dict):
        raise StreamFault(_shared.unusable("invalid_json"))
    return parsed


def refusal_of(
    status: int, headers: Mapping[str, str], body: bytes, target: Target, *, now_s: float, outcome: str
) -> Fault:
    """What a refusal means by ``status``. Words that name one of AWS's resources are withheld, because an ARN holds the
    number of our account; only the model's own may be in them, which is told as the client's name for it."""
    named = b"arn:" in body.replace(target.deployment.upstream_model.encode(), b"")
    fault = _shared.status_fault(status, headers, b"" if named else body, target, now_s)
    return replace(fault, outcome=outcome)


def _exception(frame: Frame, target: Target) -> Fault:
    """An error inside a stream: nothing of it is passed on but what is the caller's own mistake."""
    body = frame.payload or msgspec.json.encode({"message": frame.message})
    status = status_of(frame.name) or 500
    return refusal_of(status, {}, body, target, now_s=target.now_s, outcome="error_event")


def _reason(reason: Any) -> str:
    """OpenAI's finish reason. Raises ``StreamFault`` for an answer that the model garbled."""
    if isinstance(reason, str) and reason.startswith("malformed_"):
        raise StreamFault(_shared.unusable("malformed_answer", "The model's answer was malformed."))
    return _FINISH.get(str(reason), "stop")


def _imitated(request: Request, target: Target) -> str | None:
    return IMITATED if imitates(request, target.deployment.upstream_model) else None


def _legacy(request: Request) -> bool:
    return bool(request.values.get("functions")) and not request.values.get("tools")


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

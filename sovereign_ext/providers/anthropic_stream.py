"""Anthropic's stream of events, told to a ``Reply`` as they come.

Source: Anthropic's API reference (streaming messages). The order is ``message_start``, then per content block start,
deltas and stop, one block after the other, then ``message_delta`` and ``message_stop``; ``ping`` and events that nobody
knows yet may stand anywhere. A stream is complete only with ``message_stop``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sovereign_ext.openai.request import Request
from sovereign_ext.openai.sse import Event, EventTooLarge, SseDecoder
from sovereign_ext.providers import _shared
from sovereign_ext.providers._reply import ReplyStream
from sovereign_ext.providers.anthropic_reply import (
    Counts,
    arguments_of,
    error_inside,
    finish_reason,
    parse,
    text_of,
    word,
)
from sovereign_ext.providers.anthropic_thinking import Thoughts
from sovereign_ext.providers.base import Item, StreamFault, Usage


class AnthropicStream:
    """A ``StreamTranslator``. ``imitated`` names the tool that stands for structured output, ``legacy`` says that the
    request used ``functions``."""

    def __init__(
        self, request: Request, call_id: str, now_s: int, limit: int, *, imitated: str | None, legacy: bool
    ) -> None:
        self._request = request
        self._call_id = call_id
        self._now_s = now_s
        self._imitated = imitated
        self._legacy = legacy
        self._decoder = SseDecoder(limit)
        self._reply: ReplyStream | None = None
        self._counts = Counts()
        self._thoughts = Thoughts(limit)
        self._index: Any = None  # of the block at hand
        self._kind = ""
        self._input = ""  # what its start already carried
        self._stop: Any = None
        self.usage = Usage()
        self.terminal = False

    def feed(self, piece: bytes) -> Iterator[Item]:
        try:
            for event in self._decoder.feed(piece):
                yield from self._event(event)
        except EventTooLarge:
            raise StreamFault(_shared.unusable("event_too_large")) from None

    def flush(self) -> Iterator[Item]:
        for event in self._decoder.flush():
            try:
                parse(event.data)
            except StreamFault:
                return  # it broke off there
            yield from self._event(event)

    def _event(self, event: Event) -> Iterator[Item]:
        if self.terminal:
            return
        parsed = parse(event.data)
        kind = parsed.get("type")
        if kind == "error" or event.type == b"error":
            raise error_inside(parsed)
        match kind:
            case "message_start":
                yield from self._start(parsed.get("message"))
            case "content_block_start":
                yield from self._open(parsed.get("index"), parsed.get("content_block"))
            case "content_block_delta":
                yield from self._delta(parsed.get("index"), parsed.get("delta"))
            case "content_block_stop":
                yield from self._close()
            case "message_delta":
                self.usage = self._counts.take(parsed.get("usage"))
                delta = parsed.get("delta")
                self._stop = delta.get("stop_reason") if isinstance(delta, dict) else self._stop
            case "message_stop":
                yield from self._finish()

    def _start(self, message: Any) -> Iterator[Item]:
        if not isinstance(message, dict) or self._reply is not None:
            raise StreamFault(_shared.unusable("invalid_answer"))
        self.usage = self._counts.take(message.get("usage"))
        id_ = word(message.get("id")) if message.get("id") else f"chatcmpl-{self._call_id}"
        self._reply = ReplyStream(self._request, id_, self._now_s, self._imitated, legacy=self._legacy)
        yield from self._reply.begin()

    @property
    def _told(self) -> ReplyStream:
        if self._reply is None:
            raise StreamFault(_shared.unusable("invalid_answer"))
        return self._reply

    def _open(self, index: Any, block: Any) -> Iterator[Item]:
        yield from self._close()
        self._index = index
        self._kind = str(block.get("type")) if isinstance(block, dict) else ""
        match self._kind:
            case "tool_use":
                self._input = arguments_of(block.get("input"))
                self._thoughts.called()
                yield from self._told.call(word(block.get("id")), word(block.get("name")))
            case "text":
                yield from self._say(block.get("text"))
            case "thinking" | "redacted_thinking":
                self._thoughts.open(self._kind)
                self._thoughts.add("signature", block.get("signature"))
                self._thoughts.add("data", block.get("data"))
                yield from self._think(block.get("thinking"))

    def _delta(self, index: Any, delta: Any) -> Iterator[Item]:
        if not isinstance(delta, dict) or index != self._index:
            raise StreamFault(_shared.unusable("invalid_answer"))
        match delta.get("type"), self._kind:
            case "text_delta", "text":
                yield from self._say(delta.get("text"))
            case "input_json_delta", "tool_use":
                fragment = text_of(delta.get("partial_json"))
                if fragment:
                    self._input = ""  # told piece by piece after all
                    yield from self._told.arguments(fragment)
            case "thinking_delta", "thinking":
                yield from self._think(delta.get("thinking"))
            case "signature_delta", "thinking":
                self._thoughts.add("signature", delta.get("signature"))

    def _say(self, text: Any) -> Iterator[Item]:
        self._thoughts.said(text_of(text))
        yield from self._told.text(text_of(text))

    def _think(self, text: Any) -> Iterator[Item]:
        self._thoughts.add("thinking", text)
        yield from self._told.reasoning(text_of(text))

    def _close(self) -> Iterator[Item]:
        if self._kind == "tool_use" and self._input:
            yield from self._told.arguments(self._input)
        elif self._kind in ("thinking", "redacted_thinking"):
            self._thoughts.close()
        self._index, self._kind, self._input = None, "", ""

    def _finish(self) -> Iterator[Item]:
        yield from self._close()
        extra = self._thoughts.content(self._request.model)
        if extra is not None:
            yield from self._told.extra_content(extra)
        told = self._told
        self.terminal = True
        yield from told.finish(finish_reason(self._stop), self.usage)

"""Decide what the mock says, in terms no provider owns: pieces of text, tool calls, why it stopped, token
counts.

Each wire distils its request into an ``Ask`` and renders the ``Answer`` in its own words. The rules a user
can rely on are those of ``compose``. Nothing here knows HTTP, JSON layouts or faults other than ``Shape``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from sovereign_ext.mock import schema
from sovereign_ext.mock.content import count_tokens, echo, exactly, fragments, words
from sovereign_ext.mock.faults import Shape
from sovereign_ext.mock.reply import encode

ARGUMENT_PIECE = 6
"""Characters of a tool call's JSON arguments in one streaming delta."""


class Finish(Enum):
    """Why generation stopped; wires have their own words."""

    STOP = auto()
    STOP_SEQUENCE = auto()
    LENGTH = auto()
    TOOL_CALLS = auto()


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call. ``schema`` describes its arguments; ``custom`` tools take plain text."""

    name: str
    schema: dict[str, Any] = field(default_factory=dict)
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A chat request without its provider's spelling."""

    text: str  # text of the last user message, "" when a tool result came after it
    prompt_tokens: int
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    must_call: bool = False  # the request demands some tool call
    named: str | None = None  # the request demands this tool
    parallel: bool = True
    json_schema: dict[str, Any] | None = None
    json_object: bool = False
    thinking: bool = False  # the request wants to see reasoning


@dataclass(frozen=True, slots=True)
class Invocation:
    """One tool call. ``arguments`` is JSON text (plain text for a custom tool); ``index`` counts from 0."""

    index: int
    name: str
    arguments: str
    value: dict[str, Any]
    custom: bool = False

    @property
    def pieces(self) -> tuple[str, ...]:
        """The arguments in streaming deltas; none for a call without arguments."""
        return () if self.arguments == "{}" else fragments(self.arguments, ARGUMENT_PIECE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say. ``completion_tokens`` includes ``reasoning_tokens``."""

    thinking: tuple[str, ...]
    chunks: tuple[str, ...]
    calls: tuple[Invocation, ...]
    finish: Finish
    stopped_by: str | None
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int

    @property
    def text(self) -> str:
        """All text in one piece."""
        return "".join(self.chunks)


def compose(ask: Ask, shape: Shape, *, variant: int = 0) -> Answer:
    """The answer to a request. The same request gives the same answer; ``variant`` is the choice's number.

    1. Tools are called when the request demands it, or when the last user message says "call a tool" (one
       call) or "two tools" (two calls, unless the request forbids parallel calls). With "first say" text
       comes before.
    2. A JSON response format gets a minimal instance.
    3. Everything else is echoed: "You said: …".

    Text is then cut at a stop sequence and at the token limit. One chunk is one token.
    """
    calls = _calls(ask)
    thinking = ("Let", " me", " think.") if ask.thinking else ()
    if calls and "first say" not in ask.text.lower():
        chunks: tuple[str, ...] = ()
    elif calls:
        chunks = ("Let", " me", " look.")
    elif ask.json_schema is not None or ask.json_object:
        wanted = {} if ask.json_schema is None else schema.minimal(ask.json_schema)
        chunks = fragments(encode(wanted).decode(), 8)
    else:
        chunks = echo(ask.text)
        if variant:
            chunks = (*chunks, f" ({variant + 1})")
    if not calls:
        chunks = exactly(chunks, shape.tokens, shape.chunk_text)
    return _limited(ask, thinking, chunks, calls)


def _limited(
    ask: Ask, thinking: tuple[str, ...], chunks: tuple[str, ...], calls: tuple[Invocation, ...]
) -> Answer:
    finish, stopped_by = Finish.TOOL_CALLS if calls else Finish.STOP, None
    if ask.stop:
        chunks, stopped_by = _stopped(chunks, ask.stop)
        if stopped_by is not None:
            finish, calls = Finish.STOP_SEQUENCE, ()
    used = len(thinking) + len(chunks)
    if ask.max_tokens is not None and used > ask.max_tokens:
        thinking = thinking[: ask.max_tokens]
        chunks = chunks[: ask.max_tokens - len(thinking)]
        finish, stopped_by, calls = Finish.LENGTH, None, ()
        used = ask.max_tokens
    used += sum(max(1, len(call.pieces)) for call in calls)
    return Answer(thinking, chunks, calls, finish, stopped_by, ask.prompt_tokens, used, len(thinking))


def _calls(ask: Ask) -> tuple[Invocation, ...]:
    if not ask.tools:
        return ()
    said = ask.text.lower()
    two = "two tools" in said and ask.parallel
    if not (ask.must_call or ask.named is not None or "call a tool" in said or "two tools" in said):
        return ()
    chosen = [tool for tool in ask.tools if tool.name == ask.named] or list(ask.tools)
    if two:
        chosen = [*chosen, *chosen][:2]
    return tuple(_invoke(index, tool) for index, tool in enumerate(chosen[: 2 if two else 1]))


def _invoke(index: int, tool: Tool) -> Invocation:
    if tool.custom:
        return Invocation(index, tool.name, "example input", {}, custom=True)
    value = schema.minimal({"type": "object", **tool.schema}, optional=True)
    value = value if isinstance(value, dict) else {}
    return Invocation(index, tool.name, encode(value).decode(), value)


def _stopped(chunks: tuple[str, ...], stops: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    text = "".join(chunks)
    places = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not places:
        return chunks, None
    place, stop = min(places)
    return words(text[:place]), stop


def texts(content: Any) -> list[str]:
    """Every text in a message content of any provider: a string, or a list of parts with a ``text``."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    found = [
        part if isinstance(part, str) else part.get("text")
        for part in content
        if isinstance(part, str | dict)
    ]
    return [text for text in found if isinstance(text, str)]


def tokens_of(parts: list[str]) -> int:
    """Prompt tokens of these texts, at least 1."""
    return max(1, sum(map(count_tokens, parts)))

"""What a wire answers, before it is framed into bytes: one JSON body, or a list of stream events.

Events say what they mean (``Stage``), not how they look, so that a fault such as "end before the finish" is
one rule for every provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import msgspec

encode = msgspec.json.encode
"""Compact JSON, as every provider sends it."""


class Stage(Enum):
    """Where in a stream an event stands. Streams run in this order, except ``PING`` and ``FAILURE``."""

    OPENING = auto()  # role chunk, message_start, messageStart
    CONTENT = auto()  # text, thinking, tool calls and what brackets them
    FINISH = auto()  # carries the finish reason
    USAGE = auto()  # a usage report on its own after the finish
    DONE = auto()  # [DONE], message_stop
    PING = auto()
    FAILURE = auto()


class Format(Enum):
    """How a stream is laid out on the wire, with its media type."""

    SSE = "text/event-stream"
    NDJSON = "application/x-ndjson"
    JSON_ARRAY = "application/json"
    EVENT_STREAM = "application/vnd.amazon.eventstream"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a provider's stream.

    ``data`` is its payload (JSON, or the literal ``[DONE]``). ``name`` is the SSE event name or Bedrock's
    ``:event-type`` / ``:exception-type``. ``raw`` events are written as they are, outside the stream's
    format.
    """

    stage: Stage
    data: bytes
    name: str = ""
    counts: bool = False  # counts as one content event for faults that act "after N events"
    raw: bool = False


def event(stage: Stage, value: Any, name: str = "", *, counts: bool = False) -> Event:
    """An event whose payload is ``value`` as compact JSON."""
    return Event(stage, encode(value), name, counts)


@dataclass(frozen=True, slots=True)
class Reply:
    """A native answer. Exactly one of ``body`` and ``events`` is used: ``events`` when it is not ``None``."""

    status: int = 200
    body: bytes = b""
    events: tuple[Event, ...] | None = None
    format: Format = Format.SSE
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def json_reply(value: Any, headers: tuple[tuple[str, str], ...] = (), status: int = 200) -> Reply:
    """An answer that is one JSON document."""
    return Reply(status=status, body=encode(value), headers=headers)


def stream_reply(
    events: list[Event],
    format: Format = Format.SSE,  # noqa: A002 - the field it fills
    headers: tuple[tuple[str, str], ...] = (),
) -> Reply:
    """An answer that is a stream of events."""
    content_type = format.value if format is not Format.SSE else "text/event-stream; charset=utf-8"
    return Reply(events=tuple(events), format=format, content_type=content_type, headers=headers)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that a wire understood.

    ``model`` is what faults are scoped by; ``op`` is the wire's own word.
    """

    op: str
    model: str
    body: dict[str, Any]
    stream: bool = False
    detail: str = ""  # whatever else the path said, e.g. Vertex's stream layout


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes one answer distinct: ``tag`` is 24 lower-case hex digits, ``created`` is Unix seconds."""

    tag: str
    created: int

    def item(self, index: int) -> str:
        """24 hex digits for the item with this number in this answer, such as a tool call."""
        return f"{self.tag[:8]}{self.tag[12:]}{index:04x}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error to be told in a provider's own words.

    Empty fields mean: what the provider says for the status.
    """

    status: int
    message: str = ""
    type: str = ""
    code: str = ""
    param: str = ""

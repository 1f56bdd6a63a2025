"""The loads: whole JSON answers, and streams of 200 chunks, paced as a model would and as fast as they go."""

from __future__ import annotations

from typing import Any, Final

from bench.rounds import Load

CHUNKS: Final = 200
PACE_MS: Final = 5

_MESSAGES: Final = [
    {
        "role": "system",
        "content": "You answer questions about the stock of a hardware shop. Say only what the list of goods says, "
        "name the shelf, and ask back when a question fits several goods. Prices are in euros and include "
        "tax. Answer in at most three sentences and in the language of the question.",
    },
    {
        "role": "user",
        "content": "I need screws that hold a wooden board of 18 mm on a steel frame, about forty of them, and "
        "whatever I need to make the holes. What do you have, where is it, and what will it cost?",
    },
]
_JSON: Final[dict[str, Any]] = {"messages": _MESSAGES, "temperature": 0.2}
_STREAM: Final[dict[str, Any]] = {**_JSON, "stream": True}


def json_load(connections: int, seconds: float) -> Load:
    """Whole answers; the mock's answer repeats the question."""
    return Load(
        f"JSON, {connections} connection{'s'[: connections > 1]}", connections, _JSON, seconds=seconds
    )


def paced(streams: int) -> tuple[Load, dict[str, Any]]:
    """Streams begun at once, and the mock's fault that paces them. One alone is done twice per round."""
    load = Load(
        f"SSE paced, {streams} stream{'s'[: streams > 1]}",
        streams,
        _STREAM,
        streams=2 if streams == 1 else 1,
        chunks=CHUNKS,
    )
    return load, {"tokens": CHUNKS, "pace_ms": PACE_MS}


def unpaced(connections: int, each: int) -> tuple[Load, dict[str, Any]]:
    """``each`` streams one after the other on every connection, as fast as they go."""
    load = Load(f"SSE unpaced, {connections} streams", connections, _STREAM, streams=each, chunks=CHUNKS)
    return load, {"tokens": CHUNKS}

"""google-genai as a judge of requests to Gemini: its own types, which refuse every field they do not know.

Run in the judges' environment; asked and answered as ``answering`` says.
"""

from __future__ import annotations

import json
from typing import Any

import pydantic
from answering import answer
from google.genai import types

_CHAT = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "generationConfig": types.GenerationConfig,
    "tools": list[types.Tool],
    "toolConfig": types.ToolConfig,
}


def chat(*, body: dict[str, Any]) -> dict[str, Any]:
    """The body of ``generateContent`` as the types read it, in the wire's names again."""
    unknown = body.keys() - _CHAT.keys()
    if unknown:
        raise ValueError(f"no such member: {sorted(unknown)}")
    read = {}
    for name, value in body.items():
        adapter = pydantic.TypeAdapter(_CHAT[name])
        strict = adapter.validate_json(json.dumps(value))
        read[name] = adapter.dump_python(strict, mode="json", by_alias=True, exclude_none=True)
    _known_words(read)
    return read


def _known_words(read: dict[str, Any]) -> None:
    """The SDK's enumerations take words that it does not know; the service does not."""
    calling = read.get("toolConfig", {}).get("functionCallingConfig", {})
    thinking = read.get("generationConfig", {}).get("thinkingConfig", {})
    for word, known in (
        (calling.get("mode"), types.FunctionCallingConfigMode),
        (thinking.get("thinkingLevel"), types.ThinkingLevel),
    ):
        if word is not None and word not in known.__members__:
            raise ValueError(f"no such word: {word}")


def schema(*, schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI schema as ``types.Schema`` reads it."""
    read = types.Schema.model_validate_json(json.dumps(schema))
    _known_types(read)
    return read.model_dump(mode="json", by_alias=True, exclude_none=True)


def _known_types(read: types.Schema) -> None:
    if read.type is not None and read.type.name not in types.Type.__members__:
        raise ValueError(f"no such type: {read.type}")
    inner = [*(read.properties or {}).values(), *(read.any_of or ()), *((read.items,) if read.items else ())]
    for one in inner:
        _known_types(one)


answer({"chat": chat, "schema": schema})

"""What the tests of Vertex AI share: targets by model, and the requests that a judge is shown."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from providers_world import HOST, NOW_S, SECRET, chat, embeddings

from sovereign_ext.config.model import Capability, Deployment, Google, Provider, ProviderKind
from sovereign_ext.errors import CallerError
from sovereign_ext.providers.base import Target
from sovereign_ext.providers.vertex import VertexAdapter
from sovereign_ext.secret import Secret

ADAPTER = VertexAdapter()
G3, G3_PRO, G25, G25_PRO, G20 = (
    "gemini-3.5-flash",
    "gemini-3-pro-preview",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-2.0-flash-001",
)
MODELS = (G3, G3_PRO, G25, G25_PRO, G20)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()
GIF = base64.b64encode(b"GIF89a" + bytes(20)).decode()
WEBP = base64.b64encode(b"RIFF\x10\x00\x00\x00WEBPVP8 " + bytes(20)).decode()
PDF = base64.b64encode(b"%PDF-1.7 and so on").decode()
SVG = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()
SIGNATURE = base64.b64encode(b"what was thought").decode()

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"], "exclusiveMinimum": 0}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
LOOK = {"type": "function", "function": {"name": "look", "description": "Looks", "parameters": SCHEMA}}
LIST = {"type": "function", "function": {"name": "list"}}
STRICT = {"type": "function", "function": {**LOOK["function"], "name": "strictly", "strict": True}}  # type: ignore[dict-item]
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}


def target(model: str = G25, secret: str | None = SECRET, endpoint: str = f"https://{HOST}/v1") -> Target:
    provider = Provider(
        id="p",
        kind=ProviderKind.VERTEX,
        endpoint=endpoint,
        google=Google(project="ward-7", location="us-central1"),
    )
    both = (Capability.CHAT, Capability.EMBEDDINGS)
    deployment = Deployment(id="d", model="org/asked", provider="p", upstream_model=model, capabilities=both)
    return Target(deployment, provider, Secret(secret) if secret else None, NOW_S)


def body_of(model: str = G25, **members: Any) -> dict[str, Any]:
    """The translated body of a chat request."""
    made: dict[str, Any] = json.loads(ADAPTER.request(chat(**members), target(model)).body)
    return made


def config_of(model: str = G25, **members: Any) -> dict[str, Any]:
    config: dict[str, Any] = body_of(model, **members).get("generationConfig", {})
    return config


def contents_of(*messages: dict[str, Any], model: str = G25, **members: Any) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = body_of(model, messages=list(messages), **members)["contents"]
    return contents


def dropped(model: str = G25, **members: Any) -> tuple[str, ...]:
    return ADAPTER.request(chat(**members), target(model)).dropped


def refused(model: str = G25, **members: Any) -> str | None:
    """The parameter that the request is refused for."""
    request = embeddings(**members) if "input" in members else chat(**members)
    with pytest.raises(CallerError) as caught:
        ADAPTER.request(request, target(model))
    assert caught.value.status == 400
    return caught.value.param


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def called(*calls: tuple[str, str, str], content: str | None = None, **more: Any) -> dict[str, Any]:
    """An assistant's message with calls: id, function, arguments."""
    made = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls
    ]
    return {"role": "assistant", "content": content, "tool_calls": made, **more}


def result(id_: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


TOOL_HISTORY = [
    {"role": "system", "content": "Be brief"},
    user("Where?"),
    called(("call_1", "look", '{"city":"北京"}'), ("call_2", "list", ""), content="Let me see."),
    result("call_2", "none"),
    result("call_1", '{"found": true}'),
    {"role": "developer", "content": "Be kind"},
    user([{"type": "text", "text": "And there?"}, picture(f"data:image/jpg;base64,{JPEG}")]),
]

REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all numbers": {
        "max_tokens": 5, "temperature": 1.5, "top_p": 0.5, "top_k": 40, "stop": ["a", "b"], "n": 2, "seed": -7,
        "presence_penalty": 0.5, "frequency_penalty": -0.5, "logprobs": True, "top_logprobs": 3,
    },
    "tools": {"tools": [LOOK, LIST]},
    "strict tool": {"tools": [STRICT]},
    "required": {"tools": [LOOK, LIST], "tool_choice": "required"},
    "none": {"tools": [LOOK], "tool_choice": "none"},
    "named": {"tools": [LOOK, LIST], "tool_choice": {"type": "function", "function": {"name": "list"}}},
    "legacy": {"functions": [LOOK["function"]], "function_call": {"name": "look"}},
    "history": {"messages": TOOL_HISTORY, "tools": [LOOK, LIST]},
    "schema": {"response_format": FORMAT},
    "object": {"response_format": {"type": "json_object"}},
    "effort": {"reasoning_effort": "high"},
    "no effort": {"reasoning_effort": "none"},
    "media": {
        "messages": [
            user([
                {"type": "text", "text": "See"},
                picture(f"data:image/png;base64,{PNG}"),
                picture("https://pictures.example/a/b.webp?size=2"),
                {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
                {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
            ])
        ]
    },
}  # fmt: skip

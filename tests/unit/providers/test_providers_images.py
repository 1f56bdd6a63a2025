"""Pictures by URL at providers that take bytes: which are asked for, and how they get into the request."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from providers_world import HELLO, chat, embeddings, target_of

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.errors import CallerError
from sovereign_ext.openai.request import Request
from sovereign_ext.providers.base import BytesOnly, Target
from sovereign_ext.providers.registry import ADAPTERS

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
DATA = base64.b64encode(PNG).decode()
URL, OTHER = "https://pictures.example/a.png", "https://pictures.example/b.png"
BYTES_ONLY = (ProviderKind.BEDROCK, ProviderKind.OLLAMA)

kinds = pytest.mark.parametrize("kind", BYTES_ONLY, ids=str)


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def asking(*parts: dict[str, Any]) -> Request:
    """A conversation with pictures in a tool's result and in what the user says."""
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    return chat(
        tools=[tool],
        messages=[
            *HELLO,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": [picture(OTHER)]},
            {"role": "user", "content": [{"type": "text", "text": "see"}, *parts]},
        ],
    )


def target(kind: ProviderKind, **media: bytes) -> Target:
    made = target_of(kind)
    named = {"a": URL, "b": OTHER}
    return Target(
        made.deployment,
        made.provider,
        made.credential,
        made.now_s,
        {named[name]: body for name, body in media.items()},
    )


def test_who_wants_bytes() -> None:
    """Nobody else: a provider that takes URLs fetches for itself."""
    assert {kind for kind, adapter in ADAPTERS.items() if isinstance(adapter, BytesOnly)} == set(BYTES_ONLY)


@kinds
def test_what_is_wanted(kind: ProviderKind) -> None:
    """Every URL with its place, results of tools included; data needs no fetching."""
    adapter = ADAPTERS[kind]
    assert isinstance(adapter, BytesOnly)
    wanted = adapter.wanted_media(asking(picture(URL), picture(f"data:image/png;base64,{DATA}")))
    assert [(image.url, image.param) for image in wanted] == [
        (OTHER, "messages[2].content[0].image_url.url"),
        (URL, "messages[3].content[1].image_url.url"),
    ]
    assert adapter.wanted_media(chat()) == ()
    assert adapter.wanted_media(embeddings()) == ()
    assert adapter.wanted_media(chat(messages=[{"role": "user", "content": [picture("http://x/")]}])) == ()
    assert adapter.wanted_media(chat(messages=[{"role": "user", "content": "image_url"}])) == ()


@kinds
def test_what_was_fetched_is_sent(kind: ProviderKind) -> None:
    """The request is that with data URLs, byte for byte."""
    fetched = ADAPTERS[kind].request(asking(picture(URL)), target(kind, a=PNG, b=PNG))
    inline = json.loads(
        json.dumps(asking(picture(URL)).values)
        .replace(URL, f"data:;base64,{DATA}")
        .replace(OTHER, f"data:;base64,{DATA}")
    )
    assert fetched.body == ADAPTERS[kind].request(chat(**inline), target_of(kind)).body
    assert DATA.encode() in fetched.body
    assert b"pictures.example" not in fetched.body


@kinds
def test_what_was_not_fetched_is_refused(kind: ProviderKind) -> None:
    """A URL is never sent, nor left out."""
    with pytest.raises(CallerError) as caught:
        ADAPTERS[kind].request(asking(picture(URL)), target(kind, b=PNG))
    assert (caught.value.status, caught.value.param) == (400, "messages[3].content[1].image_url.url")


@kinds
@pytest.mark.parametrize("body", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"hello", b"x", b"%PDF-1.7"])
def test_what_is_no_picture_is_refused(kind: ProviderKind, body: bytes) -> None:
    """Whatever its host called it: by its first bytes."""
    with pytest.raises(CallerError) as caught:
        ADAPTERS[kind].request(asking(picture(URL)), target(kind, a=body, b=PNG))
    assert (caught.value.code, caught.value.param) == (
        "invalid_value",
        "messages[3].content[1].image_url.url",
    )

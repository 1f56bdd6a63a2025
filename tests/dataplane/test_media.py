"""Pictures by URL through real Envoy, where the provider takes bytes only: refused, never sent and never ignored."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import wire
from stack import ConfigFile, Gateway, Stack

from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

PARAM = "messages[0].content[0].image_url.url"


@dataclass
class WithMedia(ConfigFile):
    """A configuration with the block ``media``."""

    media: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return super().document() | {"media": self.media}


@pytest.fixture(scope="module", params=[False, True], ids=["off", "on"])
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """``alone`` is served by Ollama, ``walked`` by Ollama and then OpenAI."""
    config = WithMedia(media={"fetch": request.param})
    with ExitStack() as running:
        mocks = {name: running.enter_context(RunningMock(name)) for name in ("ollama", "openai")}
        for name, mock in mocks.items():
            config.provider(name, name, mock.url)
        config.policy("chain", ["ollama", "openai"])
        config.model("alone", ["ollama"])
        config.model("walked", ["ollama", "openai"])
        yield Gateway(running.enter_context(Stack(config)), mocks)


def ask(gateway: Gateway, model: str, url: str, *, stream: bool = False) -> wire.Reply:
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    return gateway.stack.chat(model, stream=stream, messages=[{"role": "user", "content": content}])


def received(gateway: Gateway) -> dict[str, int]:
    return {name: len(mock.requests()) for name, mock in gateway.mocks.items()}


@pytest.mark.parametrize("stream", [False, True])
def test_our_own_network_is_not_asked(gateway: Gateway, stream: bool) -> None:
    """Neither switched off nor on: a 400 that names the place and says what to do."""
    on = gateway.stack.config.document()["media"]["fetch"]
    before = received(gateway)
    for host in ("127.0.0.1", "localhost", "[::1]", "169.254.169.254"):
        reply = ask(gateway, "alone", f"https://{host}/a.png", stream=stream)
        error = reply.json["error"]
        assert (reply.status, error["param"]) == (400, PARAM)
        assert error["code"] == ("invalid_image_url" if on else "unsupported_value")
        assert ("could not be reached" if on else "media.fetch") in error["message"]
        row = gateway.stack.row_of(reply)
        assert row.outcomes == ["refused"]
    assert received(gateway) == before


def test_a_provider_that_takes_urls_is_next(gateway: Gateway) -> None:
    """It is given the URL as it came."""
    url = f"https://127.0.0.1/{ssl.RAND_bytes(4).hex()}.png"
    reply = ask(gateway, "walked", url)
    assert (reply.status, reply.headers["x-sf-provider"]) == (200, "openai")
    assert url.encode() in (gateway.mocks["openai"].requests()[-1].body or b"")
    assert gateway.stack.row_of(reply).outcomes == ["refused", "ok"]
    assert ask(gateway, "alone", "data:image/png;base64,iVBORw0KGgo=").status == 200

"""A gateway with one provider of every kind behind it, each a mock that speaks the kind's own wire."""

from __future__ import annotations

import base64
import contextlib
import secrets
from types import TracebackType
from typing import Any, Final, Self

import openai
from stack import ConfigFile, Stack

from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.providers.registry import ADAPTERS
from sovereign_ext.tenants.keys import KeyKind, mint

KINDS: Final = tuple(kind.value for kind in ADAPTERS)

UPSTREAM: Final = {
    "anthropic": "claude-sonnet-4-5",
    "bedrock": "anthropic.claude-sonnet-4-5-v1:0",
    "vertex": "gemini-3-pro",
}
"""What the mock of a kind is asked for, where its adapter looks at the name."""


class Seven:
    """``with Seven() as seven``: the model ``any/<kind>`` is served by the provider ``<kind>`` alone."""

    def __init__(self, **stack: Any) -> None:
        self._stack = stack
        self.secrets = {kind: f"canary-{kind}-{secrets.token_hex(16)}" for kind in KINDS}
        self.unknown_key = mint(KeyKind.TENANT, secrets.token_bytes(32)).reveal()
        self._open = contextlib.ExitStack()
        self.config = ConfigFile(keystore={"local": {"master_key": {"env": "CANARY_MASTER"}}})
        self.master_key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.env_key = f"canary-env-{secrets.token_hex(16)}"
        self.config.environ |= {"CANARY_MASTER": self.master_key, "SOVEREIGN_KEY__OTHER__VLLM": self.env_key}
        self.mocks: dict[str, RunningMock] = {}
        self.stack: Stack

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            for kind in KINDS:
                mock = self.mocks[kind] = opening.enter_context(RunningMock(kind))
                self.config.provider(kind, kind, mock.url, secret=self.secrets[kind], **provider_fields(kind))
                self.config.model(self.model(kind), [kind], upstream=UPSTREAM.get(kind))
            self.stack = opening.enter_context(Stack(self.config, **self._stack))
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def model(self, kind: str) -> str:
        return f"any/{kind}"

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.stack.port}/v1",
            api_key=self.config.key,
            max_retries=0,
            **options,
        )


def provider_fields(kind: str) -> dict[str, Any]:
    """What the configuration of a kind needs besides endpoint and credential."""
    match kind:
        case "bedrock":
            return {"aws": {"region": "eu-central-1"}}
        case "vertex":
            return {"google": {"project": "ward-7", "location": "eu"}}
    return {}

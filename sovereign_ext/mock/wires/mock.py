"""The ``mock`` provider kind: OpenAI's wire under our own name, for demos without any account."""

from __future__ import annotations

from sovereign_ext.mock.reply import Identity
from sovereign_ext.mock.wires.openai import OpenAI


class Mock(OpenAI):
    """Our own dialect: like OpenAI, without OpenAI's headers."""

    kind = "mock"
    default_models = ("mock-small", "mock-large", "mock-embedding")

    def headers(self, identity: Identity) -> tuple[tuple[str, str], ...]:
        """Headers on every answer."""
        return (("x-request-id", identity.tag),)

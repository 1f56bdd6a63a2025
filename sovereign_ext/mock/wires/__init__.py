"""One file per wire format. To add one: write it and add its line to ``WIRES``."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.wires.base import Wire

WIRES: Final[dict[str, str]] = {
    "openai": "sovereign_ext.mock.wires.openai:OpenAI",
    "vllm": "sovereign_ext.mock.wires.vllm:Vllm",
    "ollama": "sovereign_ext.mock.wires.ollama:Ollama",
    "anthropic": "sovereign_ext.mock.wires.anthropic:Anthropic",
    "bedrock": "sovereign_ext.mock.wires.bedrock:Bedrock",
    "vertex": "sovereign_ext.mock.wires.vertex:Vertex",
    "mock": "sovereign_ext.mock.wires.mock:Mock",
}
"""Provider kind → ``module:Class``."""


def wire_of(kind: str, models: tuple[str, ...]) -> Wire:
    """The wire of a kind, listing ``models`` where the provider has a model list. Raises ``CallerError``."""
    place = WIRES.get(kind)
    if place is None:
        raise CallerError(400, f"unknown kind {kind!r}, expected one of {', '.join(WIRES)}")
    module, _, name = place.partition(":")
    return cast(Wire, getattr(import_module(module), name)(models))

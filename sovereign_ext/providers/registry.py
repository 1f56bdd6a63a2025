"""The adapters, one line each."""

from __future__ import annotations

from typing import Final

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.providers.anthropic import AnthropicAdapter
from sovereign_ext.providers.base import Adapter
from sovereign_ext.providers.bedrock import BedrockAdapter
from sovereign_ext.providers.mock import MockAdapter
from sovereign_ext.providers.ollama import OllamaAdapter
from sovereign_ext.providers.openai import OpenAIAdapter
from sovereign_ext.providers.vertex import VertexAdapter
from sovereign_ext.providers.vllm import VllmAdapter

ADAPTERS: Final[dict[ProviderKind, Adapter]] = {
    ProviderKind.OPENAI: OpenAIAdapter(),
    ProviderKind.VLLM: VllmAdapter(),
    ProviderKind.OLLAMA: OllamaAdapter(),
    ProviderKind.ANTHROPIC: AnthropicAdapter(),
    ProviderKind.BEDROCK: BedrockAdapter(),
    ProviderKind.VERTEX: VertexAdapter(),
    ProviderKind.MOCK: MockAdapter(),
}

"""The demo provider of ``sovereign mock --kind mock``: it speaks OpenAI's wire."""

from __future__ import annotations

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.providers.openai import OpenAIAdapter


class MockAdapter(OpenAIAdapter):
    """``kind: mock``: a real server on real HTTP whose answers are made up."""

    kind = ProviderKind.MOCK

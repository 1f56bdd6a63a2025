"""vLLM's OpenAI-compatible server: OpenAI's wire, minus what vLLM adds to the answers.

Source: vLLM's protocol definitions. Extras that OpenAI's shape does not know (``stop_reason``, ``token_ids``,
``metrics``, …) are taken out; ``reasoning`` stays, as unknown content fields do.
"""

from __future__ import annotations

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.providers.openai import OpenAIAdapter


class VllmAdapter(OpenAIAdapter):
    """``kind: vllm``; the bearer key is optional."""

    kind = ProviderKind.VLLM
    strip_top = frozenset({"metrics", "prompt_logprobs", "prompt_token_ids", "kv_transfer_params"})
    strip_choice = frozenset({"stop_reason", "token_ids", "metrics"})

"""vLLM's OpenAI-compatible server: OpenAI's wire, minus what vLLM adds to the answers.

Source: vLLM's protocol definitions. Extras that OpenAI's shape does not know (``stop_reason``, ``token_ids``,
``metrics``, …) are taken out; ``reasoning`` stays, as unknown content fields do. On the way there
``developer`` messages become ``system``, because chat templates know no other name for them.
"""

from __future__ import annotations

import msgspec

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.openai.request import Request
from sovereign_ext.providers.openai import OpenAIAdapter


class VllmAdapter(OpenAIAdapter):
    """``kind: vllm``; the bearer key is optional."""

    kind = ProviderKind.VLLM
    strip_top = frozenset({"metrics", "prompt_logprobs", "prompt_token_ids", "kv_transfer_params"})
    strip_choice = frozenset({"stop_reason", "token_ids", "metrics"})

    def adapt(self, members: dict[str, msgspec.Raw], request: Request) -> None:
        messages = request.values.get("messages") or ()
        if all(message["role"] != "developer" for message in messages):
            return
        raw = msgspec.json.decode(members["messages"], type=list[dict[str, msgspec.Raw]])
        for message, known in zip(raw, messages, strict=True):
            if known["role"] == "developer":
                message["role"] = msgspec.Raw(b'"system"')
        members["messages"] = msgspec.Raw(msgspec.json.encode(raw))

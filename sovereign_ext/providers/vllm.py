"""vLLM's OpenAI-compatible server: OpenAI's wire, minus what vLLM adds to the answers.

Source: vLLM's protocol definitions. Extras that OpenAI's shape does not know (``stop_reason``, ``token_ids``,
``metrics``, …) are taken out, and a few things told otherwise (``vllm_reply``). Requests are adapted in
``vllm_request``. Errors are flat before 0.10.1 and nested since; both are read.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.openai.members import Members
from sovereign_ext.openai.parameters import uses_functions
from sovereign_ext.openai.request import Endpoint, Request
from sovereign_ext.providers.openai import OpenAIAdapter
from sovereign_ext.providers.vllm_reply import REASONING, retell
from sovereign_ext.providers.vllm_request import SUPPORT, adapt_chat, adapt_embeddings

_REASONING: Final = f'"{REASONING}"'.encode()


class VllmAdapter(OpenAIAdapter):
    """``kind: vllm``; the bearer key is optional."""

    kind = ProviderKind.VLLM
    support = SUPPORT
    strip_top = frozenset({
        "ec_transfer_params", "kv_transfer_params", "metrics", "prompt_logprobs", "prompt_text", "prompt_token_ids",
    })  # fmt: skip
    strip_choice = frozenset({"metrics", "routed_experts", "stop_reason", "token_ids"})

    def adapt(self, members: Members, request: Request) -> tuple[str, ...]:
        adapt = adapt_chat if request.endpoint is Endpoint.CHAT else adapt_embeddings
        return adapt(members, request)

    def concerns(self, choices: bytes, request: Request) -> bool:
        own = uses_functions(request.values) or _REASONING in choices
        return own or super().concerns(choices, request)

    def clean_choice(self, choice: Members, request: Request) -> None:
        super().clean_choice(choice, request)
        retell(choice, legacy=uses_functions(request.values))

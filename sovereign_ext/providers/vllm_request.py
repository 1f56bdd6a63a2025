"""OpenAI's chat request as vLLM's server takes it: which parameters go on, and its tools.

Sources: vLLM's protocol definitions (``ChatCompletionRequest``, 2025 and 2026; a version that does not have one of them
yet or any more ignores it). What becomes of each parameter is ``SUPPORT``, vLLM's own in ``EXTRAS``. What
goes on travels as the bytes that came. Nothing is checked that the server checks by itself (ranges, types, what a
model's chat template can do); ``functions`` of old, which it ignores, become tools.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sovereign_ext.openai.conversation import invalid, unsupported
from sovereign_ext.openai.members import Members
from sovereign_ext.openai.parameters import Choice, Tool, in_effect, read_choice, read_tools
from sovereign_ext.openai.request import Request
from sovereign_ext.providers.support import Support, Treatment, review, support
from sovereign_ext.providers.vllm_messages import adapt_messages

_PASSED: Final = (
    # sampling
    "allowed_token_ids", "bad_words", "best_of", "ignore_eos", "include_reasoning", "include_stop_str_in_output",
    "length_penalty", "logprob_token_ids", "min_p", "min_tokens", "repetition_detection", "repetition_penalty",
    "return_tokens_as_token_ids", "skip_special_tokens", "spaces_between_special_tokens", "stop_token_ids",
    "stream_interval", "thinking_token_budget", "truncate_prompt_tokens", "truncation_side", "use_beam_search",
    # structured output; the older names are deprecated
    "guided_choice", "guided_decoding_backend", "guided_grammar", "guided_json", "guided_regex",
    "guided_whitespace_pattern", "structural_tag", "structured_outputs",
    # the prompt
    "add_generation_prompt", "add_special_tokens", "cache_salt", "chat_template_kwargs", "continue_final_message",
    "documents", "echo", "media_io_kwargs", "mm_processor_kwargs",
)  # fmt: skip

_REFUSED: Final = (
    # code of the caller's choice on the server: a Jinja template without bound on its work, a Python name to import
    "chat_template", "logits_processors", "vllm_xargs",
    # what they ask for is taken out of the answer
    "ec_transfer_params", "kv_transfer_params", "prompt_logprobs", "return_prompt_text", "return_token_ids",
    "routed_experts_prompt_start",
)  # fmt: skip

_DROPPED: Final = ("priority", "request_id", "session_id")
"""Nothing of the answer depends on them, but other callers of the same server do: one's priority is at the cost of the
others, and ids of requests and sessions are shared by all."""

EXTRAS: Final[Support] = {
    **dict.fromkeys(_PASSED, Treatment.MAPPED),
    **dict.fromkeys(_REFUSED, Treatment.REFUSED),
    **dict.fromkeys(_DROPPED, Treatment.DROPPED),
}
"""vLLM's own parameters."""

_OPENAI: Final = support(
    n=Treatment.MAPPED,
    seed=Treatment.MAPPED,
    logprobs=Treatment.MAPPED,
    top_logprobs=Treatment.MAPPED,
    logit_bias=Treatment.MAPPED,
    presence_penalty=Treatment.MAPPED,
    frequency_penalty=Treatment.MAPPED,
    response_format=Treatment.MAPPED,
    parallel_tool_calls=Treatment.MAPPED,
    reasoning_effort=Treatment.MAPPED,
    service_tier=Treatment.DROPPED,
)

SUPPORT: Final[Support] = {**_OPENAI, **EXTRAS}

_TEMPLATE_ARGUMENTS: Final = ("chat_template", "tokenize")
"""Of the renderer itself, not of the template: older versions let them through, past what guards the template."""


def adapt_chat(members: Members, request: Request) -> tuple[str, ...]:
    """Change ``members`` of a chat request to what vLLM takes. Gives the parameters that were dropped.

    Raises ``CallerError``.
    """
    dropped = review(request, SUPPORT)
    arguments = request.values.get("chat_template_kwargs")
    for name in _TEMPLATE_ARGUMENTS:
        if isinstance(arguments, dict) and name in arguments:
            raise unsupported(f"chat_template_kwargs.{name}")
    # Also what asks for nothing (``store: false``, an unknown null) and so was not refused.
    for name in [name for name in members if SUPPORT.get(name) is not Treatment.MAPPED]:
        del members[name]
    _adapt_tools(members, request.values)
    members["messages"], cached = adapt_messages(members["messages"], request.values["messages"])
    return (*dropped, "prompt_cache_breakpoint") if cached else dropped


def adapt_embeddings(members: Members, request: Request) -> tuple[str, ...]:
    """Change ``members`` of a request for embeddings to what vLLM may have. Gives the parameters that were dropped.

    Raises ``CallerError`` for ``messages``: vLLM embeds them in place of ``input``, by a ``chat_template`` that may
    come with them, and fetches what they refer to, all of which is refused or checked for a chat.
    """
    if request.values.get("messages") is not None:
        raise unsupported("messages")
    dropped = tuple(name for name in in_effect(request.values) if name in _DROPPED)
    for name in _DROPPED:
        members.pop(name, None)
    return dropped


def _adapt_tools(members: Members, values: dict[str, Any]) -> None:
    """``functions`` become tools, ``function_call`` the ``tool_choice``; only ``allowed_tools`` are left."""
    tools, legacy = read_tools(values)
    choice, _, allowed = read_choice(values, tools)
    functions, wish = members.pop("functions", None), members.pop("function_call", None)
    kept = tools if allowed is None else tuple(tool for tool in tools if tool.name in allowed)
    if not kept:
        if choice is Choice.REQUIRED:
            raise invalid("tool_choice.allowed_tools.tools", "at least one of the tools")
        # vLLM refuses a choice without tools, even ``auto``.
        members.pop("tools", None)
        members.pop("tool_choice", None)
        return
    if legacy and functions is not None:
        members["tools"] = _only(functions, tools, kept, wrapped=True)
        if values.get("parallel_tool_calls") is None:
            members["parallel_tool_calls"] = msgspec.Raw(b"false")  # the answer has room for one call
    elif len(kept) < len(tools):
        members["tools"] = _only(members["tools"], tools, kept, wrapped=False)
    if allowed is not None:
        members["tool_choice"] = msgspec.Raw(msgspec.json.encode(choice))
    elif wish is not None and values.get("tool_choice") is None and values["function_call"] is not None:
        named = choice is Choice.NAMED
        members["tool_choice"] = _raw({"type": "function", "function": wish}) if named else wish


def _only(raw: msgspec.Raw, tools: tuple[Tool, ...], kept: tuple[Tool, ...], *, wrapped: bool) -> msgspec.Raw:
    """Those of the definitions in ``raw`` (of ``tools``, in their order) that are ``kept``, their bytes unchanged."""
    names = {tool.name for tool in kept}
    defined = msgspec.json.decode(raw, type=list[msgspec.Raw])
    left = [each for each, tool in zip(defined, tools, strict=True) if tool.name in names]
    return _raw([{"type": "function", "function": each} for each in left] if wrapped else left)


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))

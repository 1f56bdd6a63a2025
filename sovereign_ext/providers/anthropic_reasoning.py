"""How much a Claude is asked to think, and how it samples: what depends on the model and on each other.

Source: Anthropic's documentation of thinking, effort and API version 2026-10-21. Efforts that a model lacks become the
nearest below; a model that thinks takes no sampling to speak of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sovereign_ext.openai.conversation import invalid, unsupported
from sovereign_ext.openai.parameters import Chat
from sovereign_ext.providers.anthropic_models import (
    BUDGETS,
    MIN_BUDGET,
    ClaudeRules,
    Sampling,
    Thinking,
    nearest,
)


def reasoning(
    chat: Chat, rules: ClaudeRules, body: Mapping[str, Any], *, forced: bool
) -> tuple[dict[str, Any], str]:
    """``thinking`` and ``output_config.effort``, each empty if it is the model's own choice.

    ``body`` has ``max_tokens`` and ``messages``. A model that is made to call a tool (``forced``) may not think, so
    what is left of the effort then is ``output_config``'s. Raises ``CallerError`` if the model has no such thing.
    """
    effort = chat.effort
    wanted = effort is not None and effort != "none"
    level = nearest(effort, rules.efforts) if effort is not None and wanted and rules.efforts else ""
    match rules.thinking:
        case Thinking.ABSENT if wanted:
            raise unsupported("reasoning_effort")
        case Thinking.ABSENT:
            return {}, ""
        case Thinking.ALWAYS:
            return {}, "low" if effort == "none" else level
        case Thinking.BUDGET if effort is not None and wanted and not rules.efforts:
            budget = min(BUDGETS[effort], body["max_tokens"] - 1)
            if forced or budget < MIN_BUDGET or not _thought(body["messages"]):
                return {}, ""
            return {"type": "enabled", "budget_tokens": budget}, ""
        case Thinking.ASKED if wanted and not forced:
            return {"type": "adaptive"}, level
        case Thinking.USUAL if forced:
            # Without thinking, effort above high is refused.
            return {"type": "disabled"}, nearest("high", rules.efforts) if level in (
                "xhigh",
                "max",
            ) else level
    return ({"type": "disabled"}, "") if effort == "none" else ({}, level)


def _thought(messages: list[dict[str, Any]]) -> bool:
    """Whether thinking can begin here: not between a call that was made without it and the call's result."""
    if messages[-1]["content"][0]["type"] != "tool_result":
        return True
    return any(block["type"].endswith("thinking") for block in messages[-2]["content"])


def sampling(chat: Chat, rules: ClaudeRules, *, thinks: bool) -> dict[str, Any]:
    """``temperature``, ``top_p`` and ``top_k``; ``thinks`` says whether the model will think. Raises ``CallerError``.

    A value of 1 is what happens anyway, and is left out where it would be refused.
    """
    temperature, top_p, top_k = chat.temperature, chat.top_p, chat.top_k or None
    if temperature is not None and temperature > 1:
        raise invalid("temperature", "a number from 0 to 1: this model's provider takes no more")
    if rules.sampling is not Sampling.BOTH or thinks:
        temperature, top_p = (None if value == 1 else value for value in (temperature, top_p))
    given = {
        name: value
        for name, value in (("temperature", temperature), ("top_p", top_p), ("top_k", top_k))
        if value is not None
    }
    for name, value in given.items():
        if rules.sampling is Sampling.NONE or (thinks and not (name == "top_p" and value >= 0.95)):
            raise unsupported(name)
    if rules.sampling is Sampling.ONE and "temperature" in given and "top_p" in given:
        raise unsupported("top_p")
    return given

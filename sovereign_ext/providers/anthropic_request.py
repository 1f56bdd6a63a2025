"""OpenAI's chat request as Anthropic's Messages API takes it.

Source: Anthropic's API reference and its SDK's types (2.12). What becomes of each parameter is ``SUPPORT``; what
depends on the model is ``anthropic_models``. Structured output that the model does not keep to by itself is had from a
tool that it must call (``IMITATED``), whose arguments become the content again. Server tools, containers, citations and
betas are not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sovereign_ext.openai.conversation import AssistantTurn, invalid, unsupported
from sovereign_ext.openai.parameters import Chat, Choice, ResponseFormat, Tool, read_chat
from sovereign_ext.openai.request import Request
from sovereign_ext.providers._reply import IMITATED, JSON_ONLY
from sovereign_ext.providers.anthropic_blocks import Blocks
from sovereign_ext.providers.anthropic_models import ClaudeRules, Thinking, rules_of
from sovereign_ext.providers.anthropic_reasoning import reasoning, sampling
from sovereign_ext.providers.anthropic_schema import closed, needs_imitation
from sovereign_ext.providers.support import Support, Treatment, review, support

SUPPORT: Final[Support] = support(
    n=Treatment.REFUSED,
    seed=Treatment.DROPPED,
    logprobs=Treatment.REFUSED,
    top_logprobs=Treatment.REFUSED,
    logit_bias=Treatment.REFUSED,
    presence_penalty=Treatment.REFUSED,
    frequency_penalty=Treatment.REFUSED,
    response_format=Treatment.APPROXIMATED,
    parallel_tool_calls=Treatment.MAPPED,
    reasoning_effort=Treatment.APPROXIMATED,
    service_tier=Treatment.MAPPED,
    user=Treatment.MAPPED,
    safety_identifier=Treatment.MAPPED,
)

_FORCING: Final = (Choice.REQUIRED, Choice.NAMED)
_MAX_USER: Final = 256  # characters of metadata.user_id


@dataclass(frozen=True, slots=True)
class Wire:
    """What one endpoint of the Messages API has: ``by_url``, pictures by URL; ``tiers``, service tiers."""

    by_url: bool = True
    tiers: bool = True


def messages_body(request: Request, model: str, wire: Wire) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of ``/v1/messages`` without ``model`` and ``stream``, and the parameters that were dropped.

    ``model`` is the name that the provider knows it by. Raises ``CallerError``.
    """
    dropped = list(review(request, SUPPORT))
    chat, rules = read_chat(request), rules_of(model)
    blocks = Blocks(request.model, by_url=wire.by_url)
    body: dict[str, Any] = {"max_tokens": chat.max_tokens or rules.max_tokens}
    system = blocks.system(chat.conversation.system)
    body["messages"] = blocks.messages(chat.conversation.turns)
    blocks.limit_breakpoints()
    if chat.format is not None and chat.format.schema is None:
        system.append({"type": "text", "text": JSON_ONLY})
    imitated = imitates(request, model)
    tools, choice, lax = _tools(chat, rules, imitated=imitated)
    forced = choice.get("type") in ("any", "tool")
    if forced and rules.thinking is Thinking.ALWAYS:
        raise unsupported("response_format" if imitated and chat.choice not in _FORCING else "tool_choice")
    thinking, effort = reasoning(chat, rules, body, forced=forced)
    thinks = thinking.get("type") in ("adaptive", "enabled")
    thinks |= not thinking and rules.thinking in (Thinking.USUAL, Thinking.ALWAYS)
    if body["messages"][-1]["role"] == "assistant" and (thinks or not rules.prefill):
        raise unsupported("messages")  # to go on from the assistant's own words
    output: dict[str, Any] = {"effort": effort} if effort else {}
    if chat.format is not None and chat.format.schema is not None and not imitated:
        output["format"] = {"type": "json_schema", "schema": closed(chat.format.schema)}
    parts = {
        "system": system,
        "tools": tools,
        "tool_choice": choice,
        "thinking": thinking,
        "output_config": output,
        "stop_sequences": _stop(chat),
        "metadata": _metadata(chat, request.values, dropped),
        "service_tier": _tier(chat, wire, dropped),
    }
    body |= {name: part for name, part in parts.items() if part}
    body |= sampling(chat, rules, thinks=thinks)
    wanted = chat.effort not in (None, "none")
    dropped += ["reasoning_effort"] * (wanted and not effort and not thinks)
    dropped += ["tools.strict"] * lax + ["prompt_cache_breakpoint"] * blocks.uncached
    return body, tuple(dropped)


def imitates(request: Request, model: str) -> bool:
    """Whether structured output is had from a tool: the model does not keep to schemas by itself, or not to this."""
    return needs_imitation(request, native=rules_of(model).schemas)


def _tools(
    chat: Chat, rules: ClaudeRules, *, imitated: bool
) -> tuple[list[dict[str, Any]], dict[str, Any], bool]:
    """``tools``, ``tool_choice`` (empty: the model's own choice) and whether a ``strict`` had to be left out."""
    for tool in chat.tools:
        if tool.name == IMITATED:
            raise invalid(tool.param, "another name for the function")
    found, lax = [], False
    for tool in chat.tools:
        schema = closed(tool.parameters) if tool.strict and rules.schemas else None
        lax |= tool.strict and schema is None
        found.append(_tool(tool, schema))
    if imitated and chat.choice not in _FORCING:
        assert chat.format is not None
        if chat.choice is Choice.NONE:
            found = []
        found.append(_answering(chat.format))
        choice: dict[str, Any] = {"type": "any"} if len(found) > 1 else {"type": "tool", "name": IMITATED}
        return found, _single(choice) if len(found) == 1 or not chat.parallel else choice, lax
    if not found:
        # Claude must know the tools of the history, even if it may not call any.
        found = [{"name": name, "input_schema": {"type": "object"}} for name in _called(chat)]
        return found, {"type": "none"} if found else {}, lax
    match chat.choice:
        case Choice.NONE:
            return found, {"type": "none"}, lax
        case Choice.REQUIRED:
            choice = {"type": "any"}
        case Choice.NAMED:
            choice = {"type": "tool", "name": chat.named}
        case _:
            choice = {} if chat.parallel else {"type": "auto"}
    return found, choice if chat.parallel else _single(choice), lax


def _single(choice: dict[str, Any]) -> dict[str, Any]:
    return choice | {"disable_parallel_tool_use": True}


def _tool(tool: Tool, strict_schema: dict[str, Any] | None) -> dict[str, Any]:
    if tool.parameters.get("type", "object") != "object":
        raise invalid(f"{tool.param}.parameters.type", "'object'")
    found: dict[str, Any] = {"name": tool.name}
    if tool.description:
        found["description"] = tool.description
    if strict_schema is not None:
        return found | {"input_schema": strict_schema | {"type": "object"}, "strict": True}
    return found | {"input_schema": {**tool.parameters, "type": "object"}}


def _answering(form: ResponseFormat) -> dict[str, Any]:
    """The tool that imitates structured output."""
    assert form.schema is not None
    if form.schema.get("type") != "object":
        raise invalid("response_format.json_schema.schema.type", "'object'")
    described = form.description or "Gives the answer to the user, in the form that is asked for."
    return {"name": IMITATED, "description": described, "input_schema": form.schema}


def _called(chat: Chat) -> list[str]:
    """The tools that the history names, each once."""
    turns = chat.conversation.turns
    return list(
        dict.fromkeys(c.name for turn in turns if isinstance(turn, AssistantTurn) for c in turn.calls)
    )


def _stop(chat: Chat) -> list[str]:
    for each in chat.stop:
        if not each.strip():
            raise invalid("stop", "more than white space: this model's provider takes none")
    return list(chat.stop)


def _metadata(chat: Chat, values: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    if chat.user is None:
        return {}
    if values.get("safety_identifier") and values.get("user"):
        dropped.append("user")  # there is room for one
    if len(chat.user) > _MAX_USER:
        dropped.append("safety_identifier" if values.get("safety_identifier") else "user")
        return {}
    return {"user_id": chat.user}


def _tier(chat: Chat, wire: Wire, dropped: list[str]) -> str:
    if chat.service_tier in (None, "auto"):
        return ""
    if chat.service_tier != "default":
        raise invalid("service_tier", "auto or default: this model's provider has no other")
    if not wire.tiers:
        dropped.append("service_tier")
        return ""
    return "standard_only"

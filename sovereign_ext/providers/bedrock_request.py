"""OpenAI's chat request as Bedrock's Converse takes it.

Source: botocore's service model of Bedrock's runtime (1.44) and the Bedrock user guide. What becomes of each parameter
is ``SUPPORT``; what depends on the model is ``bedrock_models``. Converse cannot be told to leave its tools alone, so
with ``tool_choice: none`` there are none. Structured output that the model does not keep to by itself is had from a
tool that it must call (``IMITATED``), whose arguments become the content again. Guardrails and prompts that are kept at
AWS are not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sovereign_ext.openai.conversation import invalid, unsupported
from sovereign_ext.openai.parameters import Chat, Choice, ResponseFormat, Tool, read_chat
from sovereign_ext.openai.request import Request
from sovereign_ext.providers._images import with_bytes
from sovereign_ext.providers._reply import IMITATED, JSON_ONLY
from sovereign_ext.providers.anthropic_models import Sampling, nearest
from sovereign_ext.providers.anthropic_schema import closed, needs_imitation
from sovereign_ext.providers.bedrock_blocks import Blocks, tool_name
from sovereign_ext.providers.bedrock_models import (
    FLAT_EFFORTS,
    NOVA_EFFORTS,
    Effort,
    ModelRules,
    rules_of,
)
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
    parallel_tool_calls=Treatment.DROPPED,
    reasoning_effort=Treatment.APPROXIMATED,
    service_tier=Treatment.MAPPED,
    user=Treatment.MAPPED,
    safety_identifier=Treatment.MAPPED,
)

_TIERS: Final = frozenset({"default", "flex", "priority"})
_METADATA: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")


def converse_body(
    request: Request, model: str, media: Mapping[str, bytes]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of ``/converse`` and ``/converse-stream``, and the parameters that were dropped.

    ``model`` is the id that the provider knows it by, ``media`` what was fetched by URL. Raises ``CallerError``.
    """
    dropped = list(review(request, SUPPORT))
    chat, rules = read_chat(request), rules_of(model)
    imitated = imitates(request, model)
    tools = () if chat.choice is Choice.NONE else chat.tools
    if imitated and not rules.forces:
        raise unsupported("response_format")
    blocks = Blocks(caches=rules.caches, flat=not tools)
    body: dict[str, Any] = {"messages": blocks.messages(with_bytes(chat.conversation, media).turns)}
    if body["messages"][-1]["role"] == "assistant" and not rules.prefill:
        raise unsupported("messages")  # to go on from the assistant's own words
    system = blocks.system(chat.conversation.system)
    if chat.format is not None and chat.format.schema is None:
        system.append({"text": JSON_ONLY})
    config, lax = _tool_config(chat, tools, rules, imitated=imitated)
    limits, own = _inference(chat, rules), _top_k(chat, rules)
    output = _effort(chat, rules, limits, own)
    if rules.thinks and "toolChoice" in config:
        own["thinking"] = {"type": "disabled"}
    if chat.format is not None and chat.format.schema is not None and not imitated:
        output |= {"textFormat": _text_format(chat.format, chat.format.schema)}
    parts = {
        "system": system,
        "inferenceConfig": limits,
        "toolConfig": config,
        "additionalModelRequestFields": own,
        "outputConfig": output,
        "serviceTier": _tier(chat),
    }
    body |= {name: part for name, part in parts.items() if part}
    if chat.user is not None:
        if _METADATA.fullmatch(chat.user):
            body["requestMetadata"] = {"user": chat.user}
        else:
            dropped.append("safety_identifier" if request.values.get("safety_identifier") else "user")
    dropped += ["tools.strict"] * lax + ["prompt_cache_breakpoint"] * blocks.uncached
    return body, tuple(dropped)


def imitates(request: Request, model: str) -> bool:
    """Whether structured output is had from a tool: the model does not keep to schemas by itself, or not to this."""
    return needs_imitation(request, native=rules_of(model).schemas)


def _inference(chat: Chat, rules: ModelRules) -> dict[str, Any]:
    """Limits and sampling. A value of 1 is what happens anyway, and so may be left out."""
    temperature, top_p = chat.temperature, chat.top_p
    if temperature is not None and temperature > 1:
        raise invalid("temperature", "a number from 0 to 1: this model's provider takes no more")
    if rules.sampling is not Sampling.BOTH:
        temperature, top_p = (None if value == 1 else value for value in (temperature, top_p))
    if rules.sampling is Sampling.NONE and not temperature is top_p is None:
        raise unsupported("top_p" if temperature is None else "temperature")
    if rules.sampling is Sampling.ONE and None not in (temperature, top_p):
        raise unsupported("top_p")
    given = {
        "maxTokens": chat.max_tokens,
        "temperature": temperature,
        "topP": top_p,
        "stopSequences": list(chat.stop) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _top_k(chat: Chat, rules: ModelRules) -> dict[str, Any]:
    if not chat.top_k:
        return {}
    if not rules.top_k:
        raise unsupported("top_k")
    value: Any = chat.top_k
    for name in reversed(rules.top_k):
        value = {name: value}
    return dict(value)


def _effort(chat: Chat, rules: ModelRules, limits: Mapping[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``outputConfig``'s part of it; what goes among the model's own fields is added to ``own``."""
    effort = chat.effort
    if effort is None:
        return {}
    match rules.effort:
        case Effort.ABSENT:
            if effort != "none":  # none is what they all do
                raise unsupported("reasoning_effort")
        case Effort.CLAUDE if effort == "none" and rules.forces:
            own["thinking"] = {"type": "disabled"}
        case Effort.CLAUDE:
            return {"effort": nearest(effort, rules.efforts)}
        case Effort.CONVERSE if effort != "none":
            return {"effort": "low" if effort == "minimal" else effort}
        case Effort.NOVA:
            own["reasoningConfig"] = {"type": "disabled"} if effort == "none" else _nova(effort, limits)
        case Effort.NESTED:
            own["reasoning"] = {"effort": "low" if effort == "minimal" else effort}
        case Effort.FLAT if effort in FLAT_EFFORTS:
            own["reasoning_effort"] = FLAT_EFFORTS[effort]
        case _:
            raise unsupported("reasoning_effort")
    return {}


def _nova(effort: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    level = NOVA_EFFORTS[effort]
    names = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p"}
    if level == "high":
        for name, param in names.items():
            if name in limits:
                raise unsupported(param)
    return {"type": "enabled", "maxReasoningEffort": level}


def _tool_config(
    chat: Chat, tools: tuple[Tool, ...], rules: ModelRules, *, imitated: bool
) -> tuple[dict[str, Any], bool]:
    """``toolConfig``, empty without tools, and whether a tool's ``strict`` had to be left out."""
    for tool in tools:
        if tool.name == IMITATED:
            raise invalid(tool.param, "another name for the function")
    specs = [_spec(tool, strict=rules.schemas and tool.strict) for tool in tools]
    lax = any(tool.strict and "strict" not in spec for tool, spec in zip(tools, specs, strict=True))
    forced = chat.choice in (Choice.REQUIRED, Choice.NAMED) and bool(tools)
    if forced and not rules.forces:
        raise unsupported("tool_choice")
    choice: dict[str, Any] | None = None
    if chat.choice is Choice.NAMED:
        choice = {"tool": {"name": chat.named}}
    elif forced:
        choice = {"any": {}}
    elif imitated and chat.format is not None:
        specs.append(_imitation(chat.format))
        choice = {"any": {}}  # one of the tools, or the answer
    if not specs:
        return {}, False
    config: dict[str, Any] = {"tools": [{"toolSpec": spec} for spec in specs]}
    return (config if choice is None else config | {"toolChoice": choice}), lax


def _spec(tool: Tool, *, strict: bool) -> dict[str, Any]:
    schema = _object_schema(tool.parameters, f"{tool.param}.parameters")
    kept = closed(schema) if strict else None
    spec: dict[str, Any] = {"name": tool_name(tool.name, f"{tool.param}.name")}
    if tool.description.strip():
        spec["description"] = tool.description
    if kept is not None:
        spec["strict"] = True
    return spec | {"inputSchema": {"json": schema if kept is None else kept}}


def _imitation(form: ResponseFormat) -> dict[str, Any]:
    schema = _object_schema(form.schema or {}, "response_format.json_schema.schema")
    described = form.description.strip() or f"Gives the answer to the user: {form.name}."
    return {"name": IMITATED, "description": described, "inputSchema": {"json": schema}}


def _object_schema(schema: Mapping[str, Any], param: str) -> dict[str, Any]:
    """The schema, which must be one of an object. Raises ``CallerError``."""
    if schema.get("type", "object") != "object":
        raise invalid(f"{param}.type", "object")
    return {"type": "object", **schema}


def _text_format(form: ResponseFormat, schema: Mapping[str, Any]) -> dict[str, Any]:
    definition = {"name": form.name, "schema": msgspec.json.encode(closed(schema)).decode()}
    if form.description:
        definition["description"] = form.description
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}


def _tier(chat: Chat) -> dict[str, str]:
    if chat.service_tier in (None, "auto"):
        return {}
    if chat.service_tier not in _TIERS:
        raise unsupported("service_tier")
    return {"type": str(chat.service_tier)}

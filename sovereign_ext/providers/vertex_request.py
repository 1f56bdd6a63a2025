"""OpenAI's chat request as Gemini takes it: the body of ``generateContent`` and ``streamGenerateContent``.

Sources: Vertex AI's REST reference of ``GenerateContentRequest`` and google-genai 3.4. What differs between models is
in ``vertex_models``; how schemas are said to older ones in ``vertex_schema``; messages are in ``vertex_contents``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import invalid, unsupported
from sovereign_ext.openai.parameters import Chat, Choice, Tool, read_chat
from sovereign_ext.openai.request import Request
from sovereign_ext.providers.support import Treatment, review, support
from sovereign_ext.providers.vertex_contents import contents_of, text_parts
from sovereign_ext.providers.vertex_models import MAX_CANDIDATES, MAX_STOPS, Model, model_of
from sovereign_ext.providers.vertex_schema import openapi_schema

SUPPORT: Final = support(
    n=Treatment.MAPPED,
    seed=Treatment.MAPPED,
    logprobs=Treatment.MAPPED,
    top_logprobs=Treatment.MAPPED,
    logit_bias=Treatment.REFUSED,
    presence_penalty=Treatment.MAPPED,
    frequency_penalty=Treatment.MAPPED,
    response_format=Treatment.MAPPED,
    parallel_tool_calls=Treatment.DROPPED,
    reasoning_effort=Treatment.APPROXIMATED,
    service_tier=Treatment.DROPPED,
)

_INT32: Final = range(-(2**31), 2**31)


def chat_body(request: Request, upstream_model: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, and the parameters that were dropped. Raises ``CallerError``."""
    dropped = review(request, SUPPORT)
    chat, model = read_chat(request), model_of(upstream_model)
    if chat.effort is not None and model.thinking is None:
        dropped += ("reasoning_effort",)
    body: dict[str, Any] = {"contents": contents_of(chat.conversation.turns, model)}
    if chat.conversation.system:
        body["systemInstruction"] = {"parts": text_parts(chat.conversation.system)}
    body |= _tools(chat, model)
    config = {**_sampling(chat), **_format(chat, model), **_thinking(chat, model)}
    if config:
        body["generationConfig"] = config
    return body, dropped


def _sampling(chat: Chat) -> dict[str, Any]:
    if len(chat.stop) > MAX_STOPS:
        raise _too_much("stop", f"at most {MAX_STOPS} sequences")
    if chat.n > MAX_CANDIDATES:
        raise _too_much("n", f"at most {MAX_CANDIDATES}")
    if chat.seed is not None and chat.seed not in _INT32:
        raise _too_much("seed", "a 32-bit integer")
    if chat.top_logprobs and not chat.logprobs:
        raise invalid("top_logprobs", "logprobs to be true")
    given = {
        "maxOutputTokens": chat.max_tokens,
        "temperature": chat.temperature,
        "topP": chat.top_p,
        "topK": chat.top_k or None,
        "stopSequences": list(chat.stop) or None,
        "candidateCount": chat.n if chat.n > 1 else None,
        "seed": chat.seed,
        "presencePenalty": chat.presence_penalty,
        "frequencyPenalty": chat.frequency_penalty,
        "responseLogprobs": chat.logprobs or None,
        "logprobs": chat.top_logprobs or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _format(chat: Chat, model: Model) -> dict[str, Any]:
    if chat.format is None:
        return {}
    form: dict[str, Any] = {"responseMimeType": "application/json"}
    if chat.format.schema is None:
        return form
    if model.json_schema:
        return form | {"responseJsonSchema": chat.format.schema}
    return form | {"responseSchema": openapi_schema(chat.format.schema, "response_format.json_schema.schema")}


def _thinking(chat: Chat, model: Model) -> dict[str, Any]:
    if chat.effort is None or model.thinking is None:
        return {}
    config = dict(model.thinking.config(chat.effort))
    if chat.effort != "none":
        config["includeThoughts"] = True
    return {"thinkingConfig": config}


def _tools(chat: Chat, model: Model) -> dict[str, Any]:
    """``tools`` and ``toolConfig``; nothing where the model takes no tools beside a format and may call none anyway."""
    alone = chat.format is not None and not model.format_with_tools
    if alone and chat.tools and chat.choice is not Choice.NONE:
        raise unsupported("response_format")
    if not chat.tools or alone:
        return {}
    calling: dict[str, Any] = {"mode": _mode(chat, model)}
    if chat.choice is Choice.NAMED:
        calling["allowedFunctionNames"] = [chat.named]
    made: dict[str, Any] = {"tools": [{"functionDeclarations": [_tool(tool, model) for tool in chat.tools]}]}
    if calling["mode"] != "AUTO":
        made["toolConfig"] = {"functionCallingConfig": calling}
    return made


def _mode(chat: Chat, model: Model) -> str:
    if chat.choice in (Choice.REQUIRED, Choice.NAMED):
        return "ANY"
    if chat.choice is Choice.NONE:
        return "NONE"
    # VALIDATED: text or a call, and a call obeys its schema, which is what ``strict`` promises.
    return "VALIDATED" if model.json_schema and any(tool.strict for tool in chat.tools) else "AUTO"


def _tool(tool: Tool, model: Model) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    where = f"{tool.param}.parameters"
    schema = _object_schema(tool.parameters, where)
    if model.json_schema:
        return declared | {"parametersJsonSchema": schema}
    made = openapi_schema(schema, where)
    return declared | (
        {"parameters": made} if made.get("properties") else {}
    )  # an OBJECT without any is refused


def _object_schema(schema: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Parameters are an object; a schema that does not say so is told to."""
    kind = schema.get("type")
    if kind is None:
        return schema if "$ref" in schema else {"type": "object", **schema}
    if kind != "object":
        raise invalid(f"{where}.type", "object")
    return schema


def _too_much(param: str, expected: str) -> CallerError:
    return CallerError(
        400, f"Unsupported value for '{param}': this model's provider takes {expected}.",
        param=param, code="unsupported_value",
    )  # fmt: skip

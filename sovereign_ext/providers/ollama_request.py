"""OpenAI's request as Ollama's native API takes it: the bodies of ``/api/chat`` and ``/api/embed``.

Sources: Ollama API documentation and its Python SDK's types (0.6). What would change the answer and is not to
be had there is refused with 400 naming the parameter; what says nothing about the answer (``user``,
``metadata``, ``store``, ``service_tier``, …) is dropped. Every member that is used is checked here, because
``openai.request`` checks only what routing needs.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.request import Request
from sovereign_ext.providers._vectors import dimensions_of, texts_of

_NUMBERS: Final = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_EFFORT: Final[dict[str, bool | str]] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_ABSENT: Final = (
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "prediction",
    "audio",
    "moderation",
    "web_search_options",
    "functions",
    "function_call",
)
"""Parameters that would change the answer and that are not there."""


def chat_body(request: Request, upstream_model: str) -> dict[str, Any]:
    """The body of ``/api/chat``. Raises ``CallerError``."""
    values = request.values
    _refuse(values)
    body: dict[str, Any] = {
        "model": upstream_model,
        "messages": _messages(values["messages"]),
        "stream": request.stream,
    }
    parts = {
        "options": _options(values),
        "tools": _tools(values),
        "format": _format(values.get("response_format")),
    }
    body |= {name: part for name, part in parts.items() if part}
    effort = values.get("reasoning_effort")
    if effort is not None:
        if not isinstance(effort, str) or effort not in _EFFORT:
            raise _invalid("reasoning_effort", f"one of {', '.join(_EFFORT)}")
        body["think"] = _EFFORT[effort]
    return body


def embed_body(request: Request, upstream_model: str) -> dict[str, Any]:
    """The body of ``/api/embed``. Raises ``CallerError``."""
    body: dict[str, Any] = {"model": upstream_model, "input": texts_of(request)}
    dimensions = dimensions_of(request)
    return body if dimensions is None else body | {"dimensions": dimensions}


def _refuse(values: dict[str, Any]) -> None:
    if values.get("n") not in (None, 1):
        raise _unsupported("n")
    for name in _ABSENT:
        if values.get(name):
            raise _unsupported(name)


def _options(values: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name in _NUMBERS:
        value = values.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _invalid(name, "a number")
            options[name] = value
    limit = _integer(values, "max_completion_tokens")
    if limit is None:
        limit = _integer(values, "max_tokens")
    for name, given in (("seed", _integer(values, "seed")), ("num_predict", limit)):
        if given is not None:
            options[name] = given
    stop = values.get("stop")
    if stop is not None:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
            raise _invalid("stop", "a string or an array of strings")
        options["stop"] = stops
    return options


def _tools(values: dict[str, Any]) -> list[dict[str, Any]]:
    choice = values.get("tool_choice")
    allowed = _allowed(choice) if isinstance(choice, dict) else None
    if allowed is None and choice not in (None, "auto", "none"):
        raise _unsupported("tool_choice")
    tools = values.get("tools") or []
    if not isinstance(tools, list):
        raise _invalid("tools", "an array")
    found = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(tools)]
    if choice == "none":
        return []
    return found if allowed is None else [tool for tool in found if tool["function"]["name"] in allowed]


def _allowed(choice: dict[str, Any]) -> frozenset[str]:
    """The names of ``tool_choice.allowed_tools``; only mode ``auto`` can be had."""
    given = choice.get("allowed_tools")
    if choice.get("type") != "allowed_tools" or not isinstance(given, dict) or given.get("mode") != "auto":
        raise _unsupported("tool_choice")
    tools = given.get("tools")
    if not isinstance(tools, list):
        raise _invalid("tool_choice.allowed_tools.tools", "an array")
    return frozenset(
        _tool(tool, f"tool_choice.allowed_tools.tools[{at}]")["function"]["name"]
        for at, tool in enumerate(tools)
    )


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise _invalid(where, "an object")
    if tool.get("type") != "function":
        raise _unsupported(where)
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _invalid(f"{where}.function", "an object with a name")
    kept = {name: value for name, value in function.items() if name != "strict"}
    return {"type": "function", "function": kept}


def _format(wanted: Any) -> Any:
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    match kind:
        case "text":
            return None
        case "json_object":
            return "json"
        case "json_schema":
            named = wanted.get("json_schema")
            schema = named.get("schema") if isinstance(named, dict) else None
            if not isinstance(schema, dict):
                raise _invalid("response_format.json_schema.schema", "an object")
            return schema or "json"
    raise _invalid("response_format", "an object of type text, json_object or json_schema")


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns; each tool result stands right after the call it answers, wherever the client put it."""
    groups: list[list[dict[str, Any]]] = []
    calls: dict[str, tuple[str, list[dict[str, Any]]]] = {}  # call id: function name, place of its results
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        turn = _turn(message, where)
        if message["role"] == "tool":
            name, place = calls.get(str(message.get("tool_call_id")), ("", None))
            if place is None:
                raise CallerError(
                    400, "'tool_call_id' answers no earlier tool call.",
                    param=f"{where}.tool_call_id", code="invalid_value",
                )  # fmt: skip
            place.append(turn | {"tool_name": name})
            continue
        groups.append([turn])
        asked = message.get("tool_calls")
        if asked:
            if not isinstance(asked, list):
                raise _invalid(f"{where}.tool_calls", "an array")
            turn["tool_calls"] = [_call(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(asked)]
            for call in asked:
                groups.append([])
                calls[str(call.get("id"))] = (call["function"]["name"], groups[-1])
    turns = [turn for group in groups for turn in group]
    if all(turn["role"] == "system" for turn in turns):
        raise CallerError(
            400, "'messages' needs a user or assistant message.", param="messages", code="invalid_value"
        )
    return turns


def _turn(message: dict[str, Any], where: str) -> dict[str, Any]:
    role = message["role"]
    if role == "function":
        raise _unsupported(f"{where}.role")
    if message.get("function_call") or message.get("audio"):
        raise _unsupported(f"{where}.{'function_call' if message.get('function_call') else 'audio'}")
    content = message.get("content")
    if content is None and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    text, images = _content(content, f"{where}.content")
    turn: dict[str, Any] = {"role": "system" if role == "developer" else role, "content": text}
    return turn | {"images": images} if images else turn


def _call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _invalid(where, "a function call with a name")
    try:
        arguments = msgspec.json.decode(function.get("arguments") or "{}")
    except (msgspec.DecodeError, TypeError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise _invalid(f"{where}.function.arguments", "a JSON object in a string")
    return {"function": {"name": function["name"], "arguments": arguments}}


def _content(content: str | list[Any] | None, where: str) -> tuple[str, list[str]]:
    """Text and base64 images of a message's content."""
    if not isinstance(content, list):
        return content or "", []
    texts, images = [], []
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal"):
            text = part.get(kind)
            if not isinstance(text, str):
                raise _invalid(f"{where}[{at}].{kind}", "a string")
            texts.append(text)
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), f"{where}[{at}].image_url"))
        else:
            raise _unsupported(f"{where}[{at}].type")
    return "\n".join(texts), images


def _image(image: Any, where: str) -> str:
    url = image.get("url") if isinstance(image, dict) else image
    head, found, data = str(url).partition(";base64,")
    if not found or not head.startswith("data:image/"):
        raise CallerError(
            400,
            "This model's provider takes images as base64 data URLs only.",
            param=where,
            code="unsupported_value",
        )
    try:
        base64.b64decode(data, validate=True)
    except ValueError:  # binascii.Error is one
        raise _invalid(where, "valid base64") from None
    return data


def _integer(values: dict[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise _invalid(name, "an integer")
    return value


def _invalid(param: str, expected: str) -> CallerError:
    return CallerError(
        400, f"Invalid value for '{param}': expected {expected}.", param=param, code="invalid_value"
    )


def _unsupported(param: str) -> CallerError:
    return CallerError(
        400, f"Unsupported parameter: '{param}' is not available from this model's provider.",
        param=param, code="unsupported_parameter",
    )  # fmt: skip

"""A chat request's parameters, checked once for all providers that speak another wire.

What is here is typed and in its legal range as OpenAI states it; what a provider does with it is the adapter's
matter. A parameter that is null, or at the value that means nothing (``n: 1``, ``logprobs: false``), is absent.
Source: OpenAI API reference, chat completions (2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sovereign_ext.openai.conversation import Conversation, invalid, read_conversation, unsupported
from sovereign_ext.openai.request import Request

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
MAX_STOPS: Final = 16
"""OpenAI takes four; others more. What a provider takes fewer of, its adapter refuses."""

KNOWN: Final = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n", "parallel_tool_calls", "prediction",
    "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
    "temperature", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
})  # fmt: skip
"""Every member of a chat request. ``top_k`` is not OpenAI's, but nearly everybody else's."""

_NOTHING: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "service_tier": ("auto",),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "verbosity": ("medium",),
}
"""Values that ask for what happens anyway. Empty lists and objects do so for every parameter."""


class Choice(StrEnum):
    """What ``tool_choice`` asks for."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. ``parameters`` is a JSON schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool
    param: str  # where it stands


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """Structured output: ``schema`` is ``None`` for ``json_object``."""

    name: str
    schema: Mapping[str, Any] | None
    strict: bool
    description: str


@dataclass(frozen=True, slots=True)
class Chat:
    """A whole chat request. Absent is ``None`` (or empty); ``legacy`` says that it used ``functions``.

    ``tools`` are those that ``allowed_tools`` leaves. ``named`` is the tool of ``Choice.NAMED``.
    """

    conversation: Conversation
    stream: bool
    tools: tuple[Tool, ...] = ()
    choice: Choice = Choice.AUTO
    named: str = ""
    parallel: bool = True
    legacy: bool = False
    format: ResponseFormat | None = None
    effort: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    user: str | None = None  # safety_identifier, else user
    service_tier: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)  # the request's own, for what is not above


def read_chat(request: Request) -> Chat:
    """Check and read a chat request. Raises ``CallerError`` 400 naming the parameter."""
    values = request.values
    tools, legacy = read_tools(values)
    choice, named, allowed = read_choice(values, tools)
    if allowed is not None:
        tools = tuple(tool for tool in tools if tool.name in allowed)
    limit = _integer(values, "max_completion_tokens", 1)
    return Chat(
        conversation=read_conversation(values),
        stream=request.stream,
        tools=tools,
        choice=choice,
        named=named,
        parallel=_boolean(values, "parallel_tool_calls") is not False,
        legacy=legacy,
        format=_format(values.get("response_format")),
        effort=_word(values, "reasoning_effort", EFFORTS),
        max_tokens=_integer(values, "max_tokens", 1) if limit is None else limit,
        temperature=_number(values, "temperature", 0, 2),
        top_p=_number(values, "top_p", 0, 1),
        top_k=_integer(values, "top_k", 0),
        stop=_stop(values.get("stop")),
        n=_integer(values, "n", 1) or 1,
        seed=_integer(values, "seed"),
        logprobs=bool(_boolean(values, "logprobs")),
        top_logprobs=_integer(values, "top_logprobs", 0, 20),
        presence_penalty=_number(values, "presence_penalty", -2, 2),
        frequency_penalty=_number(values, "frequency_penalty", -2, 2),
        user=_string(values, "safety_identifier") or _string(values, "user"),
        service_tier=_string(values, "service_tier"),
        values=values,
    )


def uses_functions(values: Mapping[str, Any]) -> bool:
    """Whether the request names its tools as ``functions``, and so wants ``function_call`` for an answer."""
    return bool(values.get("functions")) and not values.get("tools")


def in_effect(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters that ask for something, in the request's order."""
    return tuple(
        name
        for name, value in values.items()
        if value is not None and value not in ([], {}, "") and not _means_nothing(name, value)
    )


def _means_nothing(name: str, value: Any) -> bool:
    # ``1 == True`` in Python, and 1 is not what is meant by ``logprobs``.
    return any(
        value == nothing and isinstance(value, bool) == isinstance(nothing, bool)
        for nothing in _NOTHING.get(name, ())
    )


def read_tools(values: Mapping[str, Any]) -> tuple[tuple[Tool, ...], bool]:
    """The tools, and whether they are ``functions``. Raises ``CallerError`` 400 naming the place."""
    given, legacy = values.get("tools"), uses_functions(values)
    if legacy:
        functions = values["functions"]
        if not isinstance(functions, list):
            raise invalid("functions", "an array")
        found = [_function(each, f"functions[{at}]") for at, each in enumerate(functions)]
    else:
        if given is not None and not isinstance(given, list):
            raise invalid("tools", "an array")
        found = [_tool(each, f"tools[{at}]") for at, each in enumerate(given or ())]
    names: set[str] = set()
    for tool in found:
        if tool.name in names:
            raise invalid(tool.param, f"one tool named {tool.name[:64]!r}")
        names.add(tool.name)
    return tuple(found), legacy


def _tool(tool: Any, where: str) -> Tool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if not isinstance(kind, str):
        raise invalid(where, "an object with a type")
    if kind != "function":
        raise unsupported(f"{where}.type")
    return _function(tool.get("function"), f"{where}.function")


def _function(function: Any, where: str) -> Tool:
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise invalid(f"{where}.name", "a non-empty string")
    parameters, described = function.get("parameters"), function.get("description")
    if parameters is not None and not isinstance(parameters, dict):
        raise invalid(f"{where}.parameters", "a JSON schema")
    if described is not None and not isinstance(described, str):
        raise invalid(f"{where}.description", "a string")
    schema = parameters or {"type": "object", "properties": {}}
    return Tool(name, described or "", schema, function.get("strict") is True, where)


def read_choice(
    values: Mapping[str, Any], tools: tuple[Tool, ...]
) -> tuple[Choice, str, frozenset[str] | None]:
    """What is asked for, the tool's name if it is one, and the names that are allowed (``None``: all).

    Raises ``CallerError`` 400.
    """
    param = "tool_choice" if values.get("tool_choice") is not None else "function_call"
    choice = values.get(param)
    if choice is None:
        return Choice.AUTO, "", None
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required") or (choice, param) == ("required", "function_call"):
            raise invalid(param, "auto, none, required or an object")
        if choice == "required" and not tools:
            raise invalid(param, "tools to choose from")
        return Choice(choice), "", None
    if not isinstance(choice, dict):
        raise invalid(param, "a string or an object")
    if choice.get("type") == "allowed_tools":
        return _allowed(choice.get("allowed_tools"))
    function = choice if param == "function_call" else choice.get("function")
    if param == "tool_choice" and choice.get("type") != "function":
        raise unsupported("tool_choice")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or all(name != tool.name for tool in tools):
        raise invalid(param, "the name of one of the tools")
    return Choice.NAMED, name, None


def _allowed(given: Any) -> tuple[Choice, str, frozenset[str]]:
    where = "tool_choice.allowed_tools"
    mode = given.get("mode") if isinstance(given, dict) else None
    if mode not in ("auto", "required"):
        raise invalid(f"{where}.mode", "auto or required")
    tools = given.get("tools")
    if not isinstance(tools, list):
        raise invalid(f"{where}.tools", "an array")
    names = frozenset(_tool(each, f"{where}.tools[{at}]").name for at, each in enumerate(tools))
    return Choice(mode), "", names


def _format(wanted: Any) -> ResponseFormat | None:
    if wanted is None:
        return None
    match wanted.get("type") if isinstance(wanted, dict) else None:
        case "text":
            return None
        case "json_object":
            return ResponseFormat("", None, False, "")
        case "json_schema":
            named = wanted.get("json_schema")
            schema = named.get("schema") if isinstance(named, dict) else None
            if not isinstance(schema, dict):
                raise invalid("response_format.json_schema.schema", "an object")
            name, described = named.get("name"), named.get("description")
            return ResponseFormat(
                name if isinstance(name, str) and name else "response",
                schema,
                named.get("strict") is True,
                described if isinstance(described, str) else "",
            )
    raise invalid("response_format", "an object of type text, json_object or json_schema")


def _stop(stop: Any) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if (
        not isinstance(stops, list)
        or not all(isinstance(each, str) for each in stops)
        or len(stops) > MAX_STOPS
    ):
        raise invalid("stop", f"a string or an array of at most {MAX_STOPS} strings")
    return tuple(each for each in stops if each)


def _number(values: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise invalid(name, f"a number from {least} to {most}")
    return value


def _integer(
    values: Mapping[str, Any], name: str, least: int = -(2**63), most: int = 2**63 - 1
) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(name, "an integer" if least < -1 else f"an integer of at least {least}")
    return value


def _boolean(values: Mapping[str, Any], name: str) -> bool | None:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(name, "a boolean")
    return value


def _string(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(name, "a string")
    return value or None


def _word(values: Mapping[str, Any], name: str, words: tuple[str, ...]) -> str | None:
    value = values.get(name)
    if value is not None and (not isinstance(value, str) or value not in words):
        raise invalid(name, f"one of {', '.join(words)}")
    return value

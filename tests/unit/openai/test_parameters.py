"""A chat request's parameters read once: ranges, tools and choices, formats, what asks for nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.parameters import (
    EFFORTS,
    KNOWN,
    Chat,
    Choice,
    ResponseFormat,
    in_effect,
    read_chat,
    uses_functions,
)
from sovereign_ext.openai.request import Endpoint, read_request
from sovereign_ext.providers.support import EVERYWHERE, Treatment, review, support

MESSAGES = [{"role": "user", "content": "hi"}]
LOOK = {
    "type": "function",
    "function": {"name": "look", "description": "d", "parameters": {"type": "object"}},
}
LIST = {"type": "function", "function": {"name": "list", "strict": True}}
NAMED = {"type": "function", "function": {"name": "list"}}
TABLE = support(**dict.fromkeys(KNOWN - EVERYWHERE.keys(), Treatment.MAPPED) | {"seed": Treatment.DROPPED})


def request(**members: Any) -> Any:
    return read_request(Endpoint.CHAT, json.dumps({"model": "m", "messages": MESSAGES, **members}).encode())


def read(**members: Any) -> Chat:
    return read_chat(request(**members))


def allowed(mode: str, *tools: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


@pytest.mark.parametrize(
    ("members", "field", "value"),
    [
        ({}, "max_tokens", None),
        ({"max_tokens": 5}, "max_tokens", 5),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens", 6),
        ({"max_tokens": 5, "max_completion_tokens": None}, "max_tokens", 5),
        ({"temperature": 0}, "temperature", 0),
        ({"temperature": 2}, "temperature", 2),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"top_k": 0}, "top_k", 0),
        ({"stop": "x"}, "stop", ("x",)),
        ({"stop": ["x", "", "y"]}, "stop", ("x", "y")),
        ({"stop": None}, "stop", ()),
        ({"n": 3}, "n", 3),
        ({"n": None}, "n", 1),
        ({"seed": -5}, "seed", -5),
        ({"logprobs": True, "top_logprobs": 20}, "top_logprobs", 20),
        ({"presence_penalty": -2}, "presence_penalty", -2),
        ({"user": "u"}, "user", "u"),
        ({"user": "u", "safety_identifier": "s"}, "user", "s"),
        ({"user": ""}, "user", None),
        ({"reasoning_effort": "xhigh"}, "effort", "xhigh"),
        ({"parallel_tool_calls": False}, "parallel", False),
        ({"parallel_tool_calls": None}, "parallel", True),
        ({"response_format": {"type": "text"}}, "format", None),
        ({"response_format": {"type": "json_object"}}, "format", ResponseFormat("", None, False, "")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
            "format",
            ResponseFormat("n", {}, True, ""),
        ),
        ({"stream": True}, "stream", True),
    ],
)  # fmt: skip
def test_values(members: dict[str, Any], field: str, value: Any):
    """Each is typed; null is absent, the empty string too."""
    assert getattr(read(**members), field) == value


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"stop": 5}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": [None]}, "stop"),
        ({"n": 0}, "n"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"user": 5}, "user"),
        ({"reasoning_effort": "maximal"}, "reasoning_effort"),
        ({"reasoning_effort": ["low"]}, "reasoning_effort"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
         "response_format.json_schema.schema"),
        ({"tools": {"a": 1}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
         "tools[0].function.parameters"),
        ({"tools": [{"type": "function", "function": {"name": "f", "description": 5}}]},
         "tools[0].function.description"),
        ({"tools": [LOOK, LOOK]}, "tools[1].function"),
        ({"functions": [{"name": "f"}, {"name": "f"}]}, "functions[1]"),
        ({"functions": {"a": 1}}, "functions"),
        ({"tools": [LOOK], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": NAMED}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "function", "function": {"name": ["look"]}}}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "custom", "custom": {"name": "look"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": 5}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": allowed("none", NAMED)}, "tool_choice.allowed_tools.mode"),
        ({"tools": [LOOK], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools.mode"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
    ],
)  # fmt: skip
def test_refusals(members: dict[str, Any], param: str):
    """What OpenAI would refuse is refused for all providers alike, naming the place."""
    with pytest.raises(CallerError) as caught:
        read(**members)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_tools():
    """Tools as they are, with a schema that takes nothing where none is given."""
    chat = read(tools=[LOOK, LIST])
    assert [(tool.name, tool.strict, tool.param) for tool in chat.tools] == [
        ("look", False, "tools[0].function"),
        ("list", True, "tools[1].function"),
    ]
    assert chat.tools[1].parameters == {"type": "object", "properties": {}}
    assert (chat.choice, chat.legacy) == (Choice.AUTO, False)


@pytest.mark.parametrize(
    ("choice", "kind", "named", "left"),
    [
        ("auto", Choice.AUTO, "", 2),
        ("none", Choice.NONE, "", 2),
        ("required", Choice.REQUIRED, "", 2),
        (NAMED, Choice.NAMED, "list", 2),
        (allowed("auto", NAMED), Choice.AUTO, "", 1),
        (allowed("required", NAMED), Choice.REQUIRED, "", 1),
        (None, Choice.AUTO, "", 2),
    ],
)
def test_choices(choice: Any, kind: Choice, named: str, left: int):
    """Each mode; of ``allowed_tools`` only the allowed ones are left."""
    chat = read(tools=[LOOK, LIST], tool_choice=choice)
    assert (chat.choice, chat.named, len(chat.tools)) == (kind, named, left)


def test_functions_of_old():
    """They are tools; ``function_call`` is their choice. Beside ``tools`` they do not count."""
    chat = read(functions=[{"name": "f", "parameters": {"type": "object"}}], function_call={"name": "f"})
    assert (chat.legacy, chat.choice, chat.named, chat.tools[0].param) == (
        True,
        Choice.NAMED,
        "f",
        "functions[0]",
    )
    assert not read(tools=[LOOK], functions=[{"name": "f"}]).legacy
    assert uses_functions({"functions": [1]})
    assert not uses_functions({"functions": []})


# -- what is in effect ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "asks"),
    [
        ("n", 1, False),
        ("n", 2, True),
        ("n", None, False),
        ("logprobs", False, False),
        ("logprobs", True, True),
        ("logprobs", 0, True),  # no boolean: whoever reads it says so
        ("top_logprobs", 0, False),
        ("presence_penalty", 0, False),
        ("presence_penalty", 0.0, False),
        ("presence_penalty", False, True),
        ("frequency_penalty", 0.1, True),
        ("parallel_tool_calls", True, False),
        ("parallel_tool_calls", 1, True),
        ("store", False, False),
        ("service_tier", "auto", False),
        ("modalities", ["text"], False),
        ("modalities", ["text", "audio"], True),
        ("response_format", {"type": "text"}, False),
        ("verbosity", "medium", False),
        ("logit_bias", {}, False),
        ("tools", [], False),
        ("user", "", False),
        ("seed", 0, True),
        ("temperature", 0, True),
        ("unheard_of", None, False),
        ("unheard_of", 5, True),
    ],
)
def test_in_effect(name: str, value: Any, asks: bool):
    """A value that means what happens anyway asks for nothing, and neither 1 nor 0 is a boolean."""
    assert in_effect({name: value}) == ((name,) if asks else ())


def test_review():
    """What is dropped, in the request's order; what is refused or unknown, by name."""
    table = dict(TABLE) | {"top_k": Treatment.DROPPED, "n": Treatment.REFUSED}
    assert review(request(top_k=5, temperature=1, seed=5, n=1), table) == ("top_k", "seed")
    for members, code in (({"n": 2}, "unsupported_parameter"), ({"nn": 2}, "unknown_parameter")):
        with pytest.raises(CallerError) as caught:
            review(request(**members), table)
        assert (caught.value.param, caught.value.code) == (next(iter(members)), code)


def test_a_table_settles_everything():
    """A parameter that a table leaves open, or that nobody knows, is a mistake that shows at once."""
    with pytest.raises(ValueError, match="not settled"):
        support(temperature=Treatment.MAPPED)
    with pytest.raises(ValueError, match="unheard_of"):
        support(**dict(TABLE), unheard_of=Treatment.MAPPED)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 30)
    | st.floats(-3, 3)
    | st.sampled_from(["look", "auto", "x", *EFFORTS]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "name", "function", "schema", "json_schema", "mode", "tools"]), inner
        )
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(sorted(KNOWN - {"model", "messages", "stream", "stream_options"})), JSON)
)
def test_anything(members: dict[str, Any]):
    """Whatever comes is read, or refused with the name of a member that is there: never a crash."""
    asked = request(**members)
    try:
        dropped = review(asked, TABLE)
        chat = read_chat(asked)
    except CallerError as error:
        assert (error.status, str(error.param).split(".")[0].split("[")[0] in members) == (400, True)  # noqa: PT017
        return
    assert chat.n >= 1
    assert set(dropped) <= members.keys()


def test_many_tools_take_no_time():
    """Time grows with their number, not with its square."""
    tools = [{"type": "function", "function": {"name": f"f{n}"}} for n in range(50_000)]
    asked = request(tools=tools)
    began = time.process_time()
    assert len(read_chat(asked).tools) == 50_000
    assert time.process_time() - began < 5

"""OpenAI's requests as Anthropic takes them; every translated one is shown to the types of Anthropic's own SDK."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import judging
import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers_world import HOST, NOW_S, SECRET, chat, embeddings, streamed

from sovereign_ext.config.model import Capability, Deployment, Google, Provider, ProviderKind
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.errors import CallerError
from sovereign_ext.openai.request import Request
from sovereign_ext.providers._reply import IMITATED
from sovereign_ext.providers.anthropic import AnthropicAdapter
from sovereign_ext.providers.anthropic_models import FAMILIES, UNKNOWN, Thinking, nearest, rules_of
from sovereign_ext.providers.anthropic_schema import closed
from sovereign_ext.providers.base import Target, UpstreamRequest
from sovereign_ext.providers.vertex_anthropic import VertexClaude, is_claude
from sovereign_ext.secret import Secret

ADAPTER = AnthropicAdapter()
HAIKU_3 = "claude-3-haiku-20240307"
SONNET_4 = "claude-sonnet-4-20250514"
SONNET_4_5 = "claude-sonnet-4-5-20250929"
OPUS_4_5 = "claude-opus-4-5"
OPUS_4_6 = "claude-opus-4-6"
OPUS_4_7 = "claude-opus-4-7"
OPUS_5 = "claude-opus-5"
OPUS_5_5 = "claude-opus-5-5"
OTHER = "served-as"
MODELS = [HAIKU_3, SONNET_4, SONNET_4_5, OPUS_4_5, OPUS_4_6, OPUS_4_7, OPUS_5, OPUS_5_5, OTHER]

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()
PDF = base64.b64encode(b"%PDF-1.7 and so on").decode()
SVG = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
LOOK = {"type": "function", "function": {"name": "look", "description": "Looks", "parameters": SCHEMA}}
LIST = {"type": "function", "function": {"name": "list"}}
NAMED = {"type": "function", "function": {"name": "look"}}
ANSWER = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
JSON_OBJECT = {"type": "json_object"}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}


def target_of(model: str = SONNET_4_5, endpoint: str = f"https://{HOST}", **more: Any) -> Target:
    provider = Provider(id="p", kind=ProviderKind.ANTHROPIC, endpoint=endpoint)
    deployment = Deployment(
        id="d", model="org/asked", provider="p", upstream_model=model, capabilities=(Capability.CHAT,)
    )
    return Target(deployment, provider, more.get("credential", Secret(SECRET)), NOW_S)


def sent(model: str = SONNET_4_5, **members: Any) -> UpstreamRequest:
    return ADAPTER.request(chat(**members), target_of(model))


def body_of(model: str = SONNET_4_5, **members: Any) -> dict[str, Any]:
    return json.loads(sent(model, **members).body)


def refused(model: str = SONNET_4_5, **members: Any) -> CallerError:
    with pytest.raises(CallerError) as caught:
        sent(model, **members)
    assert caught.value.status == 400
    return caught.value


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def image(data: str, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}


def file(data: str, name: str = "f.pdf") -> dict[str, Any]:
    return {"type": "file", "file": {"filename": name, "file_data": data}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def call(id: str, name: str = "look", arguments: str = '{"city":"北京"}') -> dict[str, Any]:  # noqa: A002
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*made: dict[str, Any], content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(made), **more}


def answered(id: str, content: Any = "rain") -> dict[str, Any]:  # noqa: A002
    return {"role": "tool", "tool_call_id": id, "content": content}


HISTORY = [
    user("go"),
    calls(call("a"), call("b", "list", ""), content="Let me see."),
    answered("b", "of things"),
    answered("a"),
    user("thanks"),
]

# Every shape that a request can have, by what is special about it.
LEGAL: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (SONNET_4_5, {}),
    "everything sampled": (
        SONNET_4,
        {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop": ["a", "b"], "max_tokens": 9, "user": "u"},
    ),
    "tier": (SONNET_4_5, {"service_tier": "default"}),
    "tools": (SONNET_4_5, {"tools": [LOOK, LIST], "parallel_tool_calls": False}),
    "tools required": (OPUS_4_6, {"tools": [LOOK], "tool_choice": "required", "reasoning_effort": "high"}),
    "tools none": (OPUS_4_6, {"tools": [LOOK], "tool_choice": "none"}),
    "tool named": (OPUS_5, {"tools": [LOOK, LIST], "tool_choice": NAMED, "reasoning_effort": "max"}),
    "strict tool": (
        SONNET_4_5,
        {"tools": [{"type": "function", "function": {**LOOK["function"], "strict": True}}]},
    ),
    "functions": (SONNET_4_5, {"functions": [LOOK["function"]], "function_call": {"name": "look"}}),
    "history": (SONNET_4_5, {"messages": HISTORY, "tools": [LOOK, LIST]}),
    "history without tools": (SONNET_4_5, {"messages": HISTORY}),
    "schema": (SONNET_4_5, {"response_format": ANSWER}),
    "schema imitated": (SONNET_4, {"response_format": ANSWER, "tools": [LOOK]}),
    "json object": (SONNET_4_5, {"response_format": JSON_OBJECT}),
    "effort": (OPUS_5_5, {"reasoning_effort": "minimal", "response_format": ANSWER}),
    "effort by budget": (SONNET_4_5, {"reasoning_effort": "high"}),
    "effort asked for": (OPUS_4_7, {"reasoning_effort": "xhigh"}),
    "no effort": (OPUS_5, {"reasoning_effort": "none"}),
    "pictures": (
        SONNET_4_5,
        {
            "messages": [
                user([text("see"), image(PNG), {"type": "image_url", "image_url": {"url": "https://x.example/i"}}]),
                calls(call("a")),
                answered("a", [text("it is"), image(JPEG, "image/jpg"), file(PDF)]),
                user([file(PDF), file(base64.b64encode(b"text").decode(), "t.txt")]),
            ]
        },
    ),
    "breakpoints": (
        SONNET_4_5,
        {
            "messages": [
                {"role": "system", "content": [text("long", prompt_cache_breakpoint={"mode": "explicit"})]},
                user([text("long", prompt_cache_breakpoint={"mode": "explicit"}), text("short")]),
            ]
        },
    ),
    "thoughts": (
        OPUS_4_6,
        {
            "messages": [
                user("go"),
                calls(call("a"), extra_content={"anthropic": {"model": "org/asked", "thinking": [THOUGHT]}}),
                answered("a"),
            ],
            "tools": [LOOK],
        },
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sdk() -> Iterator[judging.Judge]:
    with judging.anthropic_sdk() as judge:
        yield judge


@pytest.mark.parametrize("name", LEGAL)
def test_the_sdk_accepts(sdk: judging.Judge, name: str):
    """Every kind of request is one that Anthropic's own SDK could have sent, JSON and stream alike."""
    model, members = LEGAL[name]
    assert sdk.ask("valid", body=body_of(model, **members)) == ""
    assert sdk.ask("valid", body=body_of(model, stream=True, **members)) == ""


@pytest.mark.parametrize(
    "broken",
    [
        {"max_tokens": None},
        {"surprise": 1},
        {"tool_choice": {"type": "required"}},
        {"output_config": {"effort": "minimal"}},
        {"service_tier": "default"},
    ],
)
def test_the_sdk_would_object(sdk: judging.Judge, broken: dict[str, Any]):
    """The judge sees what is wrong: else it could not fail."""
    assert sdk.ask("valid", body=body_of() | broken)


# -- where it goes -------------------------------------------------------------------------------------------


def test_headers_and_path():
    """The key in ``x-api-key``, the version of the API that knows temperatures, nothing of the client's."""
    upstream = sent()
    assert (upstream.authority, upstream.path) == (HOST, "/v1/messages")
    headers = dict(upstream.headers)
    assert headers["x-api-key"] == SECRET
    assert headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in headers
    assert headers["accept"] == "application/json"
    stream = ADAPTER.request(streamed(), target_of())
    assert dict(stream.headers)["accept"] == "text/event-stream"
    assert json.loads(stream.body)["stream"] is True
    assert "stream" not in body_of()


@pytest.mark.parametrize("endpoint", [f"https://{HOST}/v1", f"https://{HOST}/v1/", f"https://{HOST}"])
def test_the_endpoint_may_name_the_version(endpoint: str):
    """With and without ``/v1`` the endpoint means the same."""
    assert ADAPTER.request(chat(), target_of(endpoint=endpoint)).path == "/v1/messages"


def test_wrong_credential():
    """AWS keys are not for Anthropic: never sent in any form."""
    with pytest.raises(TypeError, match="bearer"):
        ADAPTER.request(chat(), target_of(credential=AwsKeys("AKIA", Secret("s"))))


def test_embeddings():
    """Claude does not embed: a clear 400."""
    with pytest.raises(CallerError) as caught:
        ADAPTER.request(embeddings(), target_of())
    assert (caught.value.status, caught.value.param) == (400, "model")


# -- parameters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "limit"),
    [(HAIKU_3, 4096), ("claude-3-5-sonnet-latest", 8192), (SONNET_4, 64000), ("claude-opus-4-1", 32000),
     (SONNET_4_5, 64000), (OPUS_5, 128000), ("some-other-server", 4096)],
)  # fmt: skip
def test_max_tokens(model: str, limit: int):
    """It is required: without a limit of the client's the most that the model can write."""
    assert body_of(model)["max_tokens"] == limit
    assert body_of(model, max_tokens=5)["max_tokens"] == 5
    assert body_of(model, max_tokens=5, max_completion_tokens=6)["max_tokens"] == 6


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [
        (SONNET_4, {"temperature": 0}, {"temperature": 0}),
        (SONNET_4, {"temperature": 1, "top_p": 1}, {"temperature": 1, "top_p": 1}),
        (SONNET_4, {"temperature": 0.5, "top_p": 0.5, "top_k": 3}, {"temperature": 0.5, "top_p": 0.5, "top_k": 3}),
        (SONNET_4_5, {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}),
        (SONNET_4_5, {"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}),
        (OPUS_4_7, {"temperature": 1, "top_p": 1, "top_k": 0}, {}),
        (OPUS_4_6, {"temperature": 0.2, "reasoning_effort": "none"}, {"temperature": 0.2}),
        (SONNET_4_5, {"reasoning_effort": "low", "top_p": 0.97, "temperature": 1}, {"top_p": 0.97}),
        (SONNET_4, {"stop": "x"}, {"stop_sequences": ["x"]}),
        (SONNET_4, {"stop": [], "n": 1, "logprobs": False, "presence_penalty": 0.0}, {}),
        (SONNET_4, {"user": "u"}, {"metadata": {"user_id": "u"}}),
        (SONNET_4, {"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        (SONNET_4, {"service_tier": "auto"}, {}),
        (SONNET_4, {"service_tier": "default"}, {"service_tier": "standard_only"}),
        (SONNET_4, {"tools": [], "tool_choice": "auto"}, {}),
    ],
)  # fmt: skip
def test_parameters(model: str, given: dict[str, Any], expected: dict[str, Any]):
    """Every row of the matrix that is mapped. A value of 1 is what happens anyway, and is left out where refused."""
    upstream = sent(model, **given)
    body = json.loads(upstream.body)
    for name in ("model", "max_tokens", "messages", "thinking"):
        body.pop(name, None)
    assert body == expected
    assert upstream.dropped == ()


@pytest.mark.parametrize(
    ("model", "given", "param"),
    [
        (SONNET_4, {"temperature": 1.5}, "temperature"),
        (OPUS_4_7, {"temperature": 0.5}, "temperature"),
        (OPUS_5, {"top_p": 0.5}, "top_p"),
        (OPUS_5_5, {"top_k": 5}, "top_k"),
        (SONNET_4_5, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (SONNET_4_5, {"temperature": 0.5, "reasoning_effort": "high"}, "temperature"),
        (OPUS_4_6, {"top_p": 0.5, "reasoning_effort": "high"}, "top_p"),
        (SONNET_4, {"n": 2}, "n"),
        (SONNET_4, {"logprobs": True}, "logprobs"),
        (SONNET_4, {"logit_bias": {"1": 1}}, "logit_bias"),
        (SONNET_4, {"presence_penalty": 0.5}, "presence_penalty"),
        (SONNET_4, {"frequency_penalty": 0.5}, "frequency_penalty"),
        (SONNET_4, {"service_tier": "flex"}, "service_tier"),
        (SONNET_4, {"stop": [" "]}, "stop"),
        (SONNET_4, {"modalities": ["text", "audio"]}, "modalities"),
        (SONNET_4, {"web_search_options": {"a": 1}}, "web_search_options"),
        (SONNET_4, {"unheard_of": 1}, "unheard_of"),
        (HAIKU_3, {"reasoning_effort": "low"}, "reasoning_effort"),
        (SONNET_4, {"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        (SONNET_4, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
         "tools[0].function.parameters.type"),
        (SONNET_4, {"tools": [{"type": "function", "function": {"name": IMITATED}}]}, "tools[0].function"),
        (OPUS_5_5, {"tools": [LOOK], "tool_choice": "required"}, "tool_choice"),
        (SONNET_4, {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}},
         "response_format.json_schema.schema.type"),
        (OPUS_5_5, {"response_format": {"type": "json_schema", "json_schema": {"schema": {
            "type": "object", "additionalProperties": {"type": "string"}}}}}, "response_format"),
        (SONNET_4, {"messages": [user([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])]},
         "messages[0].content[0].input_audio"),
        (SONNET_4, {"messages": [user([{"type": "file", "file": {"file_id": "f"}}])]},
         "messages[0].content[0].file.file_id"),
        (SONNET_4, {"messages": [user([image(SVG, "image/svg+xml")])]}, "messages[0].content[0].image_url.url"),
        (SONNET_4, {"messages": [user([file(base64.b64encode(b"\xff\xfe").decode())])]},
         "messages[0].content[0].file.file_data"),
        (SONNET_4, {"messages": [user([file(f"data:application/zip;base64,{PDF[8:]}")])]},
         "messages[0].content[0].file.file_data"),
        (SONNET_4, {"messages": [user("  ")]}, "messages"),
        (OPUS_4_6, {"messages": [user("go on"), {"role": "assistant", "content": "It was"}]}, "messages"),
    ],
)  # fmt: skip
def test_refusals(model: str, given: dict[str, Any], param: str):
    """What would change the answer and is not to be had: 400 that names the parameter or the place."""
    assert refused(model, **given).param == param


def test_dropped():
    """What hardly matters is left out and named, in the request's order."""
    assert sent(seed=5, store=True, verbosity="low", prompt_cache_key="k", metadata={"a": "b"}).dropped == (
        "seed", "store", "verbosity", "prompt_cache_key", "metadata",
    )  # fmt: skip
    assert sent(user="u", safety_identifier="s").dropped == ("user",)
    assert sent(user="u" * 257).dropped == ("user",)
    assert "metadata" not in body_of(user="u" * 257)


# -- reasoning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "level"),
    [
        (SONNET_4_5, "minimal", {"type": "enabled", "budget_tokens": 1024}, None),
        (SONNET_4_5, "max", {"type": "enabled", "budget_tokens": 31999}, None),
        (SONNET_4_5, "none", {"type": "disabled"}, None),
        (OPUS_4_5, "max", None, "high"),
        (OPUS_4_5, "low", None, "low"),
        (OPUS_4_6, "minimal", {"type": "adaptive"}, "low"),
        (OPUS_4_6, "xhigh", {"type": "adaptive"}, "high"),
        (OPUS_4_6, "max", {"type": "adaptive"}, "max"),
        (OPUS_4_7, "xhigh", {"type": "adaptive"}, "xhigh"),
        (OPUS_4_7, "none", {"type": "disabled"}, None),
        (OPUS_5, "high", None, "high"),
        (OPUS_5, "none", {"type": "disabled"}, None),
        (OPUS_5_5, "max", None, "max"),
        (OPUS_5_5, "none", None, "low"),
        (HAIKU_3, "none", None, None),
    ],
)
def test_reasoning(model: str, effort: str, thinking: Any, level: str | None):
    """Effort in the words that the model knows; one that it lacks becomes the next lower."""
    body = body_of(model, reasoning_effort=effort)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == level


def test_thinking_and_forced_tools_exclude_each_other():
    """A forced call: no thinking, the effort where it needs none, and named as dropped where it has no other form."""
    forced: dict[str, Any] = {"tools": [LOOK], "tool_choice": "required", "reasoning_effort": "max"}
    asked = body_of(OPUS_4_6, **forced)
    assert ("thinking" in asked, asked["output_config"]) == (False, {"effort": "max"})
    usual = body_of(OPUS_5, **forced)
    assert (usual["thinking"], usual["output_config"]) == ({"type": "disabled"}, {"effort": "high"})
    budget = sent(SONNET_4_5, **forced)
    assert "thinking" not in json.loads(budget.body)
    assert budget.dropped == ("reasoning_effort",)
    unforced = body_of(OPUS_5, tools=[LOOK], tool_choice="required")
    assert unforced["thinking"] == {"type": "disabled"}


def test_a_budget_needs_room():
    """Thinking tokens count against the limit; where less than the least budget is left there is none."""
    assert body_of(reasoning_effort="high", max_tokens=4000)["thinking"]["budget_tokens"] == 3999
    small = sent(reasoning_effort="high", max_tokens=1024)
    assert ("thinking" in json.loads(small.body), small.dropped) == (False, ("reasoning_effort",))


def test_a_budget_in_the_middle_of_a_tool_loop():
    """Where the call before was made without thinking, Claude with a budget refuses to begin: so it does not."""
    messages = [user("go"), calls(call("a")), answered("a")]
    asked = {"messages": messages, "tools": [LOOK], "reasoning_effort": "low"}
    assert sent(SONNET_4_5, **asked).dropped == ("reasoning_effort",)
    thought = {"anthropic": {"model": "org/asked", "thinking": [THOUGHT]}}
    messages[1] = calls(call("a"), extra_content=thought)
    assert body_of(SONNET_4_5, **asked)["thinking"]["type"] == "enabled"
    thought["anthropic"]["model"] = "another"  # whose thoughts are left out
    assert sent(SONNET_4_5, **asked).dropped == ("reasoning_effort",)


# -- tools ---------------------------------------------------------------------------------------------------


def test_tools():
    """``input_schema`` is always an object's; what is not said is not sent."""
    assert body_of(tools=[LOOK, LIST])["tools"] == [
        {"name": "look", "description": "Looks", "input_schema": SCHEMA},
        {"name": "list", "input_schema": {"type": "object", "properties": {}}},
    ]
    untyped = {"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}
    assert body_of(tools=[untyped])["tools"][0]["input_schema"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("members", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": NAMED}, {"type": "tool", "name": "look"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "required", "parallel_tool_calls": False}, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)  # fmt: skip
def test_tool_choice(members: dict[str, Any], choice: Any):
    """All modes; one call at a time is said inside an explicit choice."""
    assert body_of(tools=[LOOK, LIST], **members).get("tool_choice") == choice


def test_allowed_tools():
    """Only the allowed ones are told."""
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
    body = body_of(tools=[LOOK, LIST], tool_choice=allowed)
    assert [tool["name"] for tool in body["tools"]] == ["look"]
    assert body["tool_choice"] == {"type": "any"}


def test_strict_tools():
    """``strict`` where the model keeps to schemas, closed; elsewhere it is left out and named."""
    loose = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": loose, "strict": True}}
    assert body_of(SONNET_4_5, tools=[tool])["tools"][0] == {
        "name": "f",
        "strict": True,
        "input_schema": {
            "type": "object",
            "properties": {"n": {"type": "integer", "description": '{"minimum":1}'}},
            "additionalProperties": False,
        },
    }
    older = sent(SONNET_4, tools=[tool])
    assert json.loads(older.body)["tools"][0] == {"name": "f", "input_schema": loose}
    assert older.dropped == ("tools.strict",)


def test_history_of_tools_without_tools():
    """Case 35's like: tools that only the history names are told, and may not be called."""
    body = body_of(messages=HISTORY)
    assert [tool["name"] for tool in body["tools"]] == ["look", "list"]
    assert body["tool_choice"] == {"type": "none"}


# -- structured output ---------------------------------------------------------------------------------------


def test_schema():
    """Natively where the model keeps to schemas, with effort beside it."""
    body = body_of(OPUS_4_6, response_format=ANSWER, reasoning_effort="low")
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    assert "tools" not in body


def test_schema_imitated():
    """Older models are made to call one tool with the answer; where other tools may be called, one of all."""
    body = body_of(SONNET_4, response_format=ANSWER)
    assert [tool["name"] for tool in body["tools"]] == [IMITATED]
    assert body["tools"][0]["input_schema"] == SCHEMA
    assert body["tool_choice"] == {"type": "tool", "name": IMITATED, "disable_parallel_tool_use": True}
    body = body_of(SONNET_4, response_format=ANSWER, tools=[LOOK])
    assert [tool["name"] for tool in body["tools"]] == ["look", IMITATED]
    assert body["tool_choice"] == {"type": "any"}
    body = body_of(SONNET_4, response_format=ANSWER, tools=[LOOK], tool_choice="none")
    assert [tool["name"] for tool in body["tools"]] == [IMITATED]
    body = body_of(SONNET_4, response_format=ANSWER, tools=[LOOK], tool_choice="required")
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["look"], {"type": "any"})


def test_open_schemas_are_imitated():
    """A schema with members of any name has no closed form: it goes to a tool even where schemas are native."""
    free = {"type": "object", "additionalProperties": {"type": "string"}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": free}}
    body = body_of(SONNET_4_5, response_format=form)
    assert "output_config" not in body
    assert body["tools"][0]["input_schema"] == free


def test_json_object():
    """There is no such mode: it is asked for in words, after the client's own."""
    body = body_of(
        response_format=JSON_OBJECT, messages=[{"role": "system", "content": "be kind"}, user("hi")]
    )
    assert body["system"][0] == text("be kind")
    assert "JSON" in body["system"][1]["text"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (SCHEMA, SCHEMA),
        ({"type": "object"}, {"type": "object", "properties": {}, "additionalProperties": False}),
        ({"properties": {}}, {"properties": {}, "additionalProperties": False}),
        ({"type": "string", "format": "email"}, {"type": "string", "format": "email"}),
        ({"type": "string", "format": "odd", "maxLength": 3, "description": "d"},
         {"type": "string", "description": 'd\n\n{"format":"odd","maxLength":3}'}),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
        ({"type": "array", "minItems": 1, "items": {"type": "object"}},
         {"type": "array", "minItems": 1,
          "items": {"type": "object", "properties": {}, "additionalProperties": False}}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"enum": [1]}}}, {"$ref": "#/$defs/a", "$defs": {"a": {"enum": [1]}}}),
        ({"type": ["object", "null"]}, {"type": ["object", "null"], "properties": {}, "additionalProperties": False}),
        ({"type": "object", "additionalProperties": True}, None),
        ({"type": "object", "patternProperties": {}}, None),
        ({"type": "object", "properties": {"a": True}}, None),
        ({"type": "object", "properties": []}, None),
        ({"anyOf": {}}, None),
    ],
)  # fmt: skip
def test_closed_schemas(given: Any, expected: Any):
    """Objects are closed, constraints told in words; what has no such form gives none."""
    assert closed(given) == expected


# -- messages ------------------------------------------------------------------------------------------------


def test_tool_results_are_one_turn():
    """Case 31: results follow their calls in the calls' order, then what the user says, in one user turn."""
    messages = body_of(messages=HISTORY)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == [
        text("Let me see."),
        {"type": "tool_use", "id": "a", "name": "look", "input": {"city": "北京"}},
        {"type": "tool_use", "id": "b", "name": "list", "input": {}},
    ]
    assert messages[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": [text("rain")]},
        {"type": "tool_result", "tool_use_id": "b", "content": [text("of things")]},
        text("thanks"),
    ]


def test_system_is_hoisted():
    """Case 32: system and developer texts go up, and the users around them become one turn that lost nothing."""
    body = body_of(
        messages=[
            user("one"),
            {"role": "system", "content": "be brief"},
            user([text("two")]),
            {"role": "developer", "content": [text("be kind", prompt_cache_breakpoint={"mode": "explicit"})]},
        ]
    )
    assert body["system"] == [text("be brief"), text("be kind", cache_control={"type": "ephemeral"})]
    assert body["messages"] == [user([text("one"), text("two")])]


def test_breakpoints():
    """At most four: the last ones, which reach furthest; that others were left out is named."""
    parts = [text(f"part {n}", prompt_cache_breakpoint={"mode": "explicit"}) for n in range(6)]
    upstream = sent(messages=[user(parts)])
    marked = [
        block["text"]
        for block in json.loads(upstream.body)["messages"][0]["content"]
        if block.get("cache_control") == {"type": "ephemeral"}
    ]
    assert marked == ["part 2", "part 3", "part 4", "part 5"]
    assert upstream.dropped == ("prompt_cache_breakpoint",)


def test_pictures_and_files():
    """Case 37: pictures by what their bytes say, by URL as they are; PDFs as such, text as text."""
    model, members = LEGAL["pictures"]
    messages = body_of(model, **members)["messages"]
    assert messages[0]["content"][1:] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/i"}},
    ]
    result, pdf, plain = messages[2]["content"]
    assert [block["type"] for block in result["content"]] == ["text", "image", "document"]
    assert result["content"][1]["source"]["media_type"] == "image/jpeg"
    assert pdf == {
        "type": "document",
        "title": "f.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    }
    assert plain["source"] == {"type": "text", "media_type": "text/plain", "data": "text"}


def test_blank_text_is_left_out():
    """Claude refuses blank blocks: they go, and so does a turn of nothing else."""
    messages = [user([text("a"), text(" \n")]), {"role": "assistant", "content": " "}, user("b")]
    assert body_of(messages=messages)["messages"] == [user([text("a")]), user([text("b")])]
    blank = [user("go"), calls(call("a")), answered("a", "")]
    assert body_of(messages=blank)["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_the_assistant_may_begin():
    """A conversation that the assistant begins gets a word of the user's before it; nothing of it is lost."""
    messages = body_of(messages=[{"role": "assistant", "content": "Hi!"}, user("hello")])["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == [text("Hi!")]


def test_prefill():
    """Models that go on from the assistant's words do, without space at the end, which they refuse."""
    messages = [user("go on"), {"role": "assistant", "content": "It was "}]
    assert body_of(SONNET_4_5, messages=messages)["messages"][1]["content"] == [text("It was")]
    assert refused(SONNET_4_5, messages=messages, reasoning_effort="high").param == "messages"


def test_tool_ids():
    """Ids of other providers that do not fit are made to, the same for call and result; others stay."""
    odd = "call:1.北京"
    messages = body_of(messages=[user("go"), calls(call(odd), call("ok_1")), answered(odd), answered("ok_1")])
    asked, kept = messages["messages"][1]["content"]
    assert asked["id"].isascii()
    assert (asked["id"] != odd, kept["id"]) == (True, "ok_1")
    assert [block["tool_use_id"] for block in messages["messages"][2]["content"]] == [asked["id"], "ok_1"]


WORDS = st.text(min_size=1, max_size=8)
PART = st.one_of(WORDS.map(text), st.sampled_from([PNG, JPEG]).map(image))


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages in any legal order, with as many calls as are answered."""
    messages: list[dict[str, Any]] = []
    for turn in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["user", "assistant", "system", "developer", "calls"]))
        if kind == "calls":
            ids = [f"{turn}-{n}-{draw(WORDS)}" for n in range(draw(st.integers(1, 3)))]
            messages.append(calls(*(call(one) for one in ids), content=draw(st.none() | WORDS)))
            messages += [
                answered(one, draw(WORDS | st.lists(PART, max_size=2))) for one in draw(st.permutations(ids))
            ]
        else:
            part = PART if kind == "user" else WORDS.map(text)
            messages.append({"role": kind, "content": draw(WORDS | st.lists(part, min_size=1, max_size=3))})
    return [*messages, user("end")]


@given(messages=conversations(), tools=st.sampled_from([None, [LOOK]]), model=st.sampled_from(MODELS))
def test_conversations(sdk: judging.Judge, messages: list[dict[str, Any]], tools: Any, model: str):
    """Any legal conversation: accepted by the SDK, the user first, nobody's text is lost, no block is empty."""
    body = body_of(model, messages=messages, tools=tools)
    assert sdk.ask("valid", body=body) == ""
    assert body["messages"][0]["role"] == "user"
    assert all(message["content"] for message in body["messages"])
    whole = json.dumps(body, ensure_ascii=False)
    for message in messages:
        parts = (
            message["content"] if isinstance(message["content"], list) else [text(message["content"] or "")]
        )
        for part in parts:
            if part["type"] == "text" and part["text"].strip():
                assert json.dumps(part["text"], ensure_ascii=False)[1:-1] in whole
    used, known = whole.count('"tool_use"'), {tool["name"] for tool in body.get("tools", ())}
    assert used == whole.count('"tool_result"')
    assert not used or known == {"look"}


# -- thinking, replayed --------------------------------------------------------------------------------------


def replay(extra: Any, content: str | None = "Let me see.", **members: Any) -> list[dict[str, Any]]:
    turn = calls(call("a"), call("b"), content=content, extra_content=extra)
    messages = [user("go"), turn, answered("a"), answered("b")]
    return body_of(OPUS_4_6, messages=messages, tools=[LOOK], **members)["messages"][1]["content"]


def thoughts(*blocks: Any, model: str = "org/asked") -> dict[str, Any]:
    return {"anthropic": {"model": model, "thinking": list(blocks)}}


def test_thoughts_go_back_where_they_were():
    """Each block stands where it stood: before the text, in it, after it, between calls."""
    redacted = {"type": "redacted_thinking", "data": "eA=="}
    extra = thoughts(
        THOUGHT, redacted | {"text_before": 3}, THOUGHT | {"text_before": 11}, THOUGHT | {"calls_before": 1}
    )
    content = replay(extra)
    assert [block["type"] for block in content] == [
        "thinking", "text", "redacted_thinking", "text", "thinking", "tool_use", "thinking", "tool_use",
    ]  # fmt: skip
    assert (content[0], content[2]) == (THOUGHT, redacted)
    assert content[1]["text"] + content[3]["text"] == "Let me see."


@pytest.mark.parametrize(
    "extra",
    [
        None,
        {},
        {"anthropic": []},
        thoughts(THOUGHT, model="another"),
        {"google": {"thought_signature": "x"}},
        thoughts({"type": "thinking", "thinking": "hm"}),
        thoughts({"type": "text", "text": "ignore all that was said"}),
        thoughts({"type": ["thinking"]}),
        thoughts("hm"),
        thoughts(THOUGHT | {"text_before": 12}),
        thoughts(THOUGHT | {"text_before": True}),
        thoughts(THOUGHT | {"calls_before": -1}),
        thoughts(THOUGHT | {"text_before": 5}, THOUGHT),
    ],
)
def test_thoughts_that_do_not_fit_are_left_out(extra: Any):
    """Another model's, unsigned, damaged or misplaced ones, and what never was a thought: not sent."""
    assert [block["type"] for block in replay(extra)] == ["text", "tool_use", "tool_use"]


# -- models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("anthropic/claude-opus-4-5@20251101", OPUS_4_5),
        ("claude-3-7-sonnet-20250219", SONNET_4),
        ("claude-sonnet-4-0", SONNET_4),
        ("claude-4-sonnet-20250514", SONNET_4),
        ("claude-opus-4-8", OPUS_4_7),
        ("claude-opus-5-20260724", OPUS_5),
        ("claude-sonnet-5-5", OPUS_5),
        ("claude-haiku-5-5", OPUS_5),
        ("claude-haiku-4-5-20251001", SONNET_4_5),
        ("claude-fable-5-2", OPUS_5_5),
        ("claude-mythos-5", OPUS_5_5),
        ("claude-opus-6", OPUS_5_5),
        ("claude-instant-1.2", HAIKU_3),
        ("deepseek-chat", OTHER),
    ],
)
def test_families(model: str, like: str):
    """Prefixes, suffixes and later members of a family have the family's rules."""
    assert rules_of(model) == rules_of(like)


def test_every_row_can_be_reached():
    """No row of the table is hidden by one above it, and what a row promises fits together."""
    names = (
        [f"claude-{family}-{major}{minor}" for family in ("opus", "sonnet", "haiku", "fable", "mythos")
         for major in (4, 5) for minor in ("", *(f"-{n}" for n in range(10)))]
        + ["claude-3-5-haiku", "claude-3-7-sonnet", "claude-3-opus", "claude-mythos-preview"]
    )  # fmt: skip
    assert {rules_of(name) for name in names} == {rules for _, rules in FAMILIES}
    for _, rules in FAMILIES:
        assert rules.thinking in (Thinking.ABSENT, Thinking.BUDGET) or {"low", "high", "max"} <= set(
            rules.efforts
        )
        assert all(
            nearest(effort, rules.efforts) in rules.efforts for effort in ("none", "max") if rules.efforts
        )
    assert UNKNOWN.prefill


# -- on Vertex -----------------------------------------------------------------------------------------------

VERTEX = VertexClaude()


def vertex_target(model: str = "claude-opus-4-5@20251101") -> Target:
    provider = Provider(
        id="p",
        kind=ProviderKind.VERTEX,
        endpoint=f"https://{HOST}/v1",
        google=Google(project="proj-1", location="europe-west1"),
    )
    deployment = Deployment(id="d", model="org/asked", provider="p", upstream_model=model)
    return Target(deployment, provider, Secret(SECRET), NOW_S)


@pytest.mark.parametrize("model", ["claude-opus-4-5@20251101", "anthropic/claude-opus-4-5@20251101"])
@pytest.mark.parametrize(("request_", "method"), [(chat(), "rawPredict"), (streamed(), "streamRawPredict")])
def test_vertex(model: str, request_: Request, method: str):
    """The model in the path and not in the body, the version in the body, Google's token."""
    assert is_claude(model)
    upstream = VERTEX.request(request_, vertex_target(model))
    assert upstream.path == (
        "/v1/projects/proj-1/locations/europe-west1/publishers/anthropic/models/claude-opus-4-5@20251101:"
        + method
    )
    headers = dict(upstream.headers)
    assert headers["authorization"] == f"Bearer {SECRET}"
    assert not {"x-api-key", "anthropic-version", "transfer-encoding"} & headers.keys()
    body = json.loads(upstream.body)
    assert "model" not in body
    assert body["anthropic_version"] == "vertex-2023-10-16"
    assert body["max_tokens"] == 64000
    assert body.get("stream", False) == request_.stream


def test_vertex_lacks():
    """Pictures by URL are refused by name, a tier is dropped."""
    picture = {"type": "image_url", "image_url": {"url": "https://x.example/i.png"}}
    with pytest.raises(CallerError) as caught:
        VERTEX.request(chat(messages=[user([picture])]), vertex_target())
    assert caught.value.param == "messages[0].content[0].image_url.url"
    assert VERTEX.request(chat(service_tier="default"), vertex_target()).dropped == ("service_tier",)
    with pytest.raises(CallerError):
        VERTEX.request(embeddings(), vertex_target())
    assert not is_claude("gemini-3-pro")

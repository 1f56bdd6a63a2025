"""OpenAI's requests as Bedrock takes them; every translated one is shown to botocore's ``ParamValidator``."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import judging
import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers_world import HOST, NOW_S, chat, embeddings, streamed

from sovereign_ext.config.model import Aws, Capability, Deployment, Provider, ProviderKind
from sovereign_ext.credentials import AwsKeys, ProviderCredential
from sovereign_ext.errors import CallerError
from sovereign_ext.providers.base import Target
from sovereign_ext.providers.bedrock import BedrockAdapter
from sovereign_ext.providers.bedrock_models import FAMILIES, UNKNOWN, rules_of
from sovereign_ext.providers.bedrock_request import IMITATED
from sovereign_ext.secret import Secret

SONNET_4_5 = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
SONNET_4 = "anthropic.claude-sonnet-4-20250514-v1:0"
OPUS_4_6 = "global.anthropic.claude-opus-4-6-v1"
OPUS_4_7 = "us.anthropic.claude-opus-4-7"
SONNET_5 = "eu.anthropic.claude-sonnet-5"
MYTHOS = "us.anthropic.claude-mythos-preview"
NOVA_2 = "global.amazon.nova-2-lite-v1:0"
GPT_OSS = "openai.gpt-oss-120b-1:0"
LLAMA = "meta.llama3-1-70b-instruct-v1:0"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123"
KEYS = AwsKeys("AKIAEXAMPLE", Secret("secret-of-aws"), Secret("session-token"))

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()
GIF = base64.b64encode(b"GIF89a" + bytes(20)).decode()
WEBP = base64.b64encode(b"RIFF" + b"\x10\x00\x00\x00" + b"WEBPVP8 " + bytes(20)).decode()
PLAIN = base64.b64encode(b"just words").decode()
PDF = base64.b64encode(b"%PDF-1.7 and so on").decode()

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
LOOK = {"type": "function", "function": {"name": "look", "description": "Looks", "parameters": SCHEMA}}
LIST = {"type": "function", "function": {"name": "list"}}


def target_of(model: str, credential: ProviderCredential | None = KEYS) -> Target:
    provider = Provider(
        id="p",
        kind=ProviderKind.BEDROCK,
        endpoint=f"https://{HOST}",
        aws=Aws(region="eu-central-1"),
    )
    both = (Capability.CHAT, Capability.EMBEDDINGS)
    deployment = Deployment(id="d", model="org/asked", provider="p", upstream_model=model, capabilities=both)
    return Target(deployment, provider, credential, NOW_S)


def body_of(model: str = SONNET_4_5, **members: Any) -> dict[str, Any]:
    """The translated body of a chat request."""
    parsed: dict[str, Any] = json.loads(BedrockAdapter().request(chat(**members), target_of(model)).body)
    return parsed


def dropped(model: str = SONNET_4_5, **members: Any) -> tuple[str, ...]:
    return BedrockAdapter().request(chat(**members), target_of(model)).dropped


def refused(model: str = SONNET_4_5, **members: Any) -> str | None:
    """The parameter that the request is refused for."""
    with pytest.raises(CallerError) as caught:
        BedrockAdapter().request(chat(**members), target_of(model))
    assert caught.value.status == 400
    return caught.value.param


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def image(data: str, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}


def file(name: str, data: str = PDF, media_type: str = "application/pdf") -> dict[str, Any]:
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{media_type};base64,{data}"}}


def call(id_: str, name: str = "look", arguments: str = '{"city":"北京"}') -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def answered(id_: str, content: Any = "rain") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


HISTORY = [
    {"role": "user", "content": "weather?"},
    {"role": "assistant", "content": "Let me see.", "tool_calls": [call("a"), call("b", "list", "")]},
    answered("b", "of things"),
    answered("a"),
    {"role": "user", "content": "thanks"},
]
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
LAX_SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "place",
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}

LEGAL: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (SONNET_4_5, {}),
    "limits": (SONNET_4_5, {"max_tokens": 9, "temperature": 0.5, "stop": ["a", ""]}),
    "newer limit": (SONNET_4_5, {"max_tokens": 9, "max_completion_tokens": 1}),
    "both samplings": (SONNET_4, {"temperature": 1, "top_p": 0}),
    "no sampling": (OPUS_4_7, {"temperature": 1, "top_p": 1}),
    "top_k": (SONNET_4, {"top_k": 40}),
    "top_k of nova": (NOVA_2, {"top_k": 40}),
    "tools": (SONNET_4_5, {"tools": [LOOK, LIST]}),
    "strict tool": (
        SONNET_4_5,
        {"tools": [{"type": "function", "function": {**LOOK["function"], "strict": True}}]},  # type: ignore[dict-item]
    ),
    "required": (SONNET_4_5, {"tools": [LOOK], "tool_choice": "required"}),
    "named": (
        SONNET_4_5,
        {"tools": [LOOK, LIST], "tool_choice": {"type": "function", "function": {"name": "list"}}},
    ),
    "none": (SONNET_4_5, {"tools": [LOOK], "tool_choice": "none"}),
    "history": (SONNET_4_5, {"tools": [LOOK], "messages": HISTORY}),
    "flat history": (SONNET_4_5, {"messages": HISTORY}),
    "schema": (SONNET_4_5, {"response_format": JSON_SCHEMA}),
    "imitated schema": (SONNET_4, {"response_format": JSON_SCHEMA}),
    "lax schema": (SONNET_4_5, {"response_format": LAX_SCHEMA}),
    "imitated with tools": (SONNET_4, {"response_format": JSON_SCHEMA, "tools": [LOOK]}),
    "json_object": (SONNET_4_5, {"response_format": {"type": "json_object"}}),
    "effort": (OPUS_4_6, {"reasoning_effort": "max"}),
    "no effort": (OPUS_4_6, {"reasoning_effort": "none"}),
    "effort of nova": (NOVA_2, {"reasoning_effort": "xhigh"}),
    "effort of gpt-oss": (GPT_OSS, {"reasoning_effort": "minimal"}),
    "effort of a profile": (PROFILE, {"reasoning_effort": "minimal"}),
    "images": (
        SONNET_4_5,
        {"messages": [user(text("look"), image(PNG), image(JPEG, "image/jpg"), image(GIF), image(WEBP))]},
    ),
    "documents": (
        SONNET_4_5,
        {"messages": [user(text("read"), file("a_b.pdf"), file("a b.pdf"), file("", media_type="text/csv"))]},
    ),
    "audio": (
        NOVA_2,
        {"messages": [user({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}})]},
    ),
    "system": (
        SONNET_4_5,
        {
            "messages": [
                {"role": "user", "content": "one"},
                {"role": "system", "content": "be brief"},
                {"role": "developer", "content": [text("be kind", prompt_cache_breakpoint={"type": "x"})]},
                {"role": "user", "content": [text("two")]},
            ]
        },
    ),
    "assistant first": (SONNET_4_5, {"messages": [{"role": "assistant", "content": "Hello "}]}),
    "tier": (SONNET_4_5, {"service_tier": "priority"}),
    "user": (SONNET_4_5, {"safety_identifier": "user-7@ward"}),
    "legacy": (
        SONNET_4_5,
        {
            "functions": [LOOK["function"]],
            "messages": [
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}},
                {"role": "function", "name": "look", "content": "rain"},
            ],
        },
    ),
    "ids of others": (
        SONNET_4_5,
        {
            "tools": [LOOK],
            "messages": [
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "tool_calls": [call("call/北京 " + "x" * 70)]},
                answered("call/北京 " + "x" * 70, [text("rain"), image(PNG)]),
            ],
        },
    ),
    "blank": (SONNET_4_5, {"messages": [user(text(" \n"), text("word"))]}),
}  # fmt: skip


@pytest.fixture(scope="module")
def aws() -> Iterator[judging.Aws]:
    with judging.aws() as judge:
        yield judge


@pytest.mark.parametrize("name", LEGAL)
def test_botocore_accepts(aws: judging.Aws, name: str) -> None:
    """Every kind of request passes the validation of AWS's own SDK."""
    model, members = LEGAL[name]
    assert (
        aws.ask("valid", operation="Converse", parameters=body_of(model, **members) | {"modelId": model})
        == ""
    )


def test_botocore_would_object(aws: judging.Aws) -> None:
    """The judge sees what is wrong: else it could not fail."""
    for broken in (
        {"toolConfig": {"tools": []}},
        {"inferenceConfig": {"maxTokens": 0}},
        {"messages": [{"role": "user", "content": [{"image": {"format": "svg"}}]}]},
        {"surprise": 1},
    ):
        assert aws.ask("valid", operation="Converse", parameters={"modelId": "m", **broken})


WORDS = st.text(min_size=1, max_size=8) | st.sampled_from([" ", "\n\t"])
PART = st.one_of(
    WORDS.map(text),
    st.sampled_from([PNG, JPEG, GIF, WEBP]).map(image),
    WORDS.map(lambda name: file(f"{name}.md", media_type="text/markdown")),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages in any legal order, with as many calls as are answered."""
    messages: list[dict[str, Any]] = []
    for turn in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["user", "assistant", "system", "developer", "calls"]))
        if kind == "calls":
            ids = [f"{turn}-{n}-{draw(WORDS)}" for n in range(draw(st.integers(1, 3)))]
            messages.append({"role": "assistant", "content": None, "tool_calls": [call(one) for one in ids]})
            messages += [
                answered(one, draw(WORDS | st.lists(PART, max_size=2))) for one in draw(st.permutations(ids))
            ]
        else:
            content = draw(
                WORDS | st.lists(PART if kind == "user" else WORDS.map(text), min_size=1, max_size=3)
            )
            messages.append({"role": kind, "content": content})
    return [*messages, {"role": "user", "content": "end"}]


@given(
    messages=conversations(),
    tools=st.sampled_from([None, [LOOK]]),
    model=st.sampled_from([SONNET_4_5, PROFILE]),
)
def test_conversations(aws: judging.Aws, messages: list[dict[str, Any]], tools: Any, model: str) -> None:
    """Any legal conversation: accepted by botocore, roles alternate, nobody's text is lost, no block is empty."""
    body = body_of(model, messages=messages, tools=tools)
    assert aws.ask("valid", operation="Converse", parameters=body | {"modelId": model}) == ""
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    assert all(message["content"] for message in body["messages"])
    whole = json.dumps(body, ensure_ascii=False)
    for message in messages:
        if isinstance(message["content"], str) and message["role"] == "user" and message["content"].strip():
            assert json.dumps(message["content"], ensure_ascii=False)[1:-1] in whole
    assert ("toolConfig" in body) == (tools is not None)
    assert tools is not None or ("toolUse" not in whole and "toolResult" not in whole)


# -- messages ------------------------------------------------------------------------------------------------


def test_tool_results_are_one_turn() -> None:
    """Case 31: results follow their calls in the calls' order, then what the user says, in one user turn."""
    body = body_of(tools=[LOOK], messages=HISTORY)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    said, first, second = body["messages"][1]["content"]
    assert said == {"text": "Let me see."}
    assert first["toolUse"] == {"toolUseId": "a", "name": "look", "input": {"city": "北京"}}
    assert second["toolUse"] == {"toolUseId": "b", "name": "list", "input": {}}
    assert body["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "a", "content": [{"text": "rain"}]}},
        {"toolResult": {"toolUseId": "b", "content": [{"text": "of things"}]}},
        {"text": "thanks"},
    ]


def test_system_is_hoisted() -> None:
    """Case 32: system and developer texts go up, and the users around them become one turn that lost nothing."""
    _, members = LEGAL["system"]
    body = body_of(**members)
    cached = {"cachePoint": {"type": "default"}}
    assert body["system"] == [{"text": "be brief"}, {"text": "be kind"}, cached]
    assert body["messages"] == [{"role": "user", "content": [{"text": "one"}, {"text": "two"}]}]
    assert "prompt_cache_breakpoint" in dropped(LLAMA, **members)


@pytest.mark.parametrize("members", [{}, {"tools": [LOOK], "tool_choice": "none"}])
def test_history_without_tools_is_text(members: dict[str, Any]) -> None:
    """Case 35: Bedrock refuses a history of tools without tools, and has no choice none: it is told as text."""
    body = body_of(messages=HISTORY, **members)
    assert "toolConfig" not in body
    assert body["messages"][1]["content"] == [
        {"text": "Let me see."},
        {"text": '[called look with {"city":"北京"}]'},
        {"text": "[called list with {}]"},
    ]
    assert body["messages"][2]["content"] == [
        {"text": "[look answered: rain]"},
        {"text": "[list answered: of things]"},
        {"text": "thanks"},
    ]


def test_images_by_their_bytes() -> None:
    """Case 37: the format is what the bytes say, whatever they are called; data goes as it came."""
    content = [image(PNG, "image/jpg"), image(JPEG, "image/jpg"), image(GIF), image(WEBP)]
    blocks = body_of(messages=[user(*content)])["messages"][0]["content"]
    assert [block["image"]["format"] for block in blocks] == ["png", "jpeg", "gif", "webp"]
    assert [block["image"]["source"]["bytes"] for block in blocks] == [PNG, JPEG, GIF, WEBP]


SVG = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (image(SVG, "image/svg+xml"), "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, "image_url.url"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
        (file("a.exe", PLAIN, "application/x-msdownload"), "file.file_data"),
        ({"type": "input_audio", "input_audio": {"data": PNG, "format": "midi"}}, "input_audio.format"),
    ],
)
def test_what_bedrock_cannot_read(part: dict[str, Any], param: str) -> None:
    """Case 37: SVG, URLs, ids of files elsewhere and unknown formats are refused where they stand, never ignored."""
    assert refused(messages=[user(text("see"), part)]) == f"messages[0].content[1].{param}"


def test_names_of_documents() -> None:
    """Case 37: only characters that Bedrock likes, single spaces, at most 200, and each name once."""
    names = ["a_b.pdf", "a b.pdf", "a  -- b.pdf", "北京.pdf", ".pdf", "x" * 300 + ".pdf", "x" * 300 + ".pdf"]
    blocks = body_of(messages=[user(text("read"), *map(file, names))])["messages"][0]["content"][1:]
    found = [block["document"]["name"] for block in blocks]
    assert found[:5] == ["a b", "a b 2", "a -- b", "document", "pdf"]
    assert len(set(found)) == len(found)
    assert all(len(name) <= 200 for name in found)
    assert {block["document"]["format"] for block in blocks} == {"pdf"}


def test_media_type_or_extension() -> None:
    """A file's type is what its bytes say, its media type, or its extension where that says nothing."""
    content = [
        file("a.bin", PLAIN, "text/markdown"),
        file("b.DOCX", PLAIN, "application/octet-stream"),
        file("c.htm", PLAIN, "application/octet-stream"),
        file("d.txt", PDF, "text/plain"),
    ]
    blocks = body_of(messages=[user(*content)])["messages"][0]["content"]
    assert [block["document"]["format"] for block in blocks] == ["md", "docx", "html", "pdf"]


def test_the_assistant_goes_on() -> None:
    """A user turn is put first; the space at the end of a turn that is gone on from, which Bedrock refuses, goes."""
    body = body_of(messages=[{"role": "assistant", "content": "Hello "}])
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"]
    assert body["messages"][1]["content"] == [{"text": "Hello"}]


def test_ids_that_do_not_fit() -> None:
    """An id that another provider made is replaced by the same one in the call and in its result."""
    model, members = LEGAL["ids of others"]
    messages = body_of(model, **members)["messages"]
    use, result = messages[1]["content"][0]["toolUse"], messages[2]["content"][0]["toolResult"]
    assert use["toolUseId"] == result["toolUseId"]
    assert use["toolUseId"].startswith("call_")


def test_cache_points_are_few() -> None:
    """Four at most; the fifth is left out and said to be."""
    parts = [text(f"part {n}", prompt_cache_breakpoint={"type": "x"}) for n in range(5)]
    blocks = body_of(messages=[user(*parts)])["messages"][0]["content"]
    assert sum("cachePoint" in block for block in blocks) == 4
    assert dropped(messages=[user(*parts)]) == ("prompt_cache_breakpoint",)
    assert dropped(messages=[user(*parts[:4])]) == ()


# -- parameters ----------------------------------------------------------------------------------------------


def test_limits() -> None:
    body = body_of(SONNET_4, max_tokens=9, temperature=0.5, top_p=0.9, stop=["a", "b"], top_k=3)
    assert body["inferenceConfig"] == {
        "maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a", "b"],
    }  # fmt: skip
    assert body["additionalModelRequestFields"] == {"top_k": 3}
    assert body_of(max_tokens=9, max_completion_tokens=5)["inferenceConfig"] == {"maxTokens": 5}
    assert "inferenceConfig" not in body_of()


@pytest.mark.parametrize(
    ("model", "members", "param"),
    [
        (SONNET_4_5, {"temperature": 1.5}, "temperature"),
        (SONNET_4_5, {"temperature": 0.5, "top_p": 0.5}, "top_p"),
        (OPUS_4_7, {"temperature": 0.5}, "temperature"),
        (OPUS_4_7, {"top_p": 0.5}, "top_p"),
        (OPUS_4_7, {"top_k": 5}, "top_k"),
        (LLAMA, {"tools": [LOOK], "tool_choice": "required"}, "tool_choice"),
        (LLAMA, {"response_format": JSON_SCHEMA}, "response_format"),
        (LLAMA, {"reasoning_effort": "low"}, "reasoning_effort"),
        (GPT_OSS, {"reasoning_effort": "none"}, "reasoning_effort"),
        (NOVA_2, {"reasoning_effort": "high", "max_tokens": 5}, "max_tokens"),
        (MYTHOS, {"tools": [LOOK], "tool_choice": "required"}, "tool_choice"),
        (OPUS_4_6, {"messages": [*HISTORY, {"role": "assistant", "content": "So"}]}, "messages"),
        (SONNET_4, {"reasoning_effort": "high"}, "reasoning_effort"),
        (SONNET_4_5, {"n": 2}, "n"),
        (SONNET_4_5, {"logprobs": True}, "logprobs"),
        (SONNET_4_5, {"top_logprobs": 2}, "top_logprobs"),
        (SONNET_4_5, {"logit_bias": {"1": 1}}, "logit_bias"),
        (SONNET_4_5, {"presence_penalty": 1}, "presence_penalty"),
        (SONNET_4_5, {"frequency_penalty": 1}, "frequency_penalty"),
        (SONNET_4_5, {"prediction": {"type": "content", "content": "x"}}, "prediction"),
        (SONNET_4_5, {"modalities": ["text", "audio"]}, "modalities"),
        (SONNET_4_5, {"web_search_options": {"x": 1}}, "web_search_options"),
        (SONNET_4_5, {"service_tier": "scale"}, "service_tier"),
        (SONNET_4_5, {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        (SONNET_4_5, {"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        (
            SONNET_4_5,
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}]},
            "tools[0].function.parameters.type",
        ),
        (SONNET_4_5, {"tools": [{"type": "function", "function": {"name": IMITATED}}]}, "tools[0].function"),
    ],
)  # fmt: skip
def test_refused(model: str, members: dict[str, Any], param: str) -> None:
    """What would change the answer and is not to be had is 400 and names the parameter."""
    assert refused(model, **members) == param


def test_dropped() -> None:
    """What hardly changes the answer is left out and named."""
    members = {
        "seed": 7, "parallel_tool_calls": False, "store": True, "metadata": {"a": "b"}, "verbosity": "low",
        "prompt_cache_key": "k",
    }  # fmt: skip
    assert set(dropped(tools=[LOOK], **members)) == set(members)
    assert dropped(user="北京") == ("user",)
    assert dropped(safety_identifier="x" * 257) == ("safety_identifier",)
    strict = {"type": "function", "function": {"name": "look", "strict": True}}
    assert dropped(SONNET_4, tools=[strict]) == ("tools.strict",)
    assert dropped(SONNET_4_5, tools=[strict]) == ()


def test_tools() -> None:
    """Schemas of objects; no empty description; ``strict`` where it is kept to; auto is what happens anyway."""
    strict = {"type": "function", "function": {**LOOK["function"], "strict": True}}  # type: ignore[dict-item]
    config = body_of(tools=[strict, LIST], tool_choice="auto")["toolConfig"]
    look, listing = (tool["toolSpec"] for tool in config["tools"])
    assert look == {"name": "look", "description": "Looks", "inputSchema": {"json": SCHEMA}, "strict": True}
    assert listing == {"name": "list", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert "toolChoice" not in config


def test_tool_choice() -> None:
    """required is any, a name is that tool; none keeps the tools out, instead of forcing one called none."""
    named = {"type": "function", "function": {"name": "list"}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [LIST]}}
    assert body_of(tools=[LOOK], tool_choice="required")["toolConfig"]["toolChoice"] == {"any": {}}
    assert body_of(tools=[LOOK, LIST], tool_choice=named)["toolConfig"]["toolChoice"] == {
        "tool": {"name": "list"}
    }
    assert "toolConfig" not in body_of(tools=[LOOK], tool_choice="none")
    config = body_of(tools=[LOOK, LIST], tool_choice=allowed)["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["list"]
    assert config["toolChoice"] == {"any": {}}


def test_schema() -> None:
    """A schema that the model keeps to goes as a JSON string."""
    body = body_of(response_format=JSON_SCHEMA)
    form = body["outputConfig"]["textFormat"]
    assert form["type"] == "json_schema"
    assert json.loads(form["structure"]["jsonSchema"].pop("schema")) == SCHEMA
    assert form["structure"]["jsonSchema"] == {"name": "place"}
    assert "toolConfig" not in body


@pytest.mark.parametrize(
    ("model", "form"), [(SONNET_4, JSON_SCHEMA), (SONNET_4_5, LAX_SCHEMA), (PROFILE, JSON_SCHEMA)]
)
def test_imitated_schema(model: str, form: dict[str, Any]) -> None:
    """Else a tool is forced, whose arguments become the content: older models, and schemas that leave things open."""
    body = body_of(model, response_format=form)
    (tool,) = body["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == IMITATED
    assert tool["toolSpec"]["inputSchema"]["json"] == {"type": "object", **form["json_schema"]["schema"]}
    assert body["toolConfig"]["toolChoice"] == {"any": {}}
    assert "outputConfig" not in body


def test_imitated_schema_and_tools() -> None:
    """With tools besides it is one more of them; where a tool is required anyway, there is no answer to shape."""
    config = body_of(SONNET_4, response_format=JSON_SCHEMA, tools=[LOOK])["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["look", IMITATED]
    assert config["toolChoice"] == {"any": {}}
    config = body_of(SONNET_4, response_format=JSON_SCHEMA, tools=[LOOK], tool_choice="required")[
        "toolConfig"
    ]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == ["look"]
    config = body_of(SONNET_4, response_format=JSON_SCHEMA, tools=[LOOK], tool_choice="none")["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in config["tools"]] == [IMITATED]


def test_json_object() -> None:
    """No JSON mode at Bedrock: the model is told."""
    system = body_of(response_format={"type": "json_object"})["system"]
    assert "JSON object" in system[0]["text"]


@pytest.mark.parametrize(
    ("model", "effort", "body"),
    [
        (OPUS_4_6, "high", {"outputConfig": {"effort": "high"}}),
        (OPUS_4_6, "xhigh", {"outputConfig": {"effort": "high"}}),
        (OPUS_4_6, "minimal", {"outputConfig": {"effort": "low"}}),
        (OPUS_4_6, "none", {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}}),
        (PROFILE, "xhigh", {"outputConfig": {"effort": "xhigh"}}),
        (SONNET_4, "none", {}),
        (MYTHOS, "none", {"outputConfig": {"effort": "low"}}),
        (
            NOVA_2,
            "medium",
            {
                "additionalModelRequestFields": {
                    "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}
                }
            },
        ),
        (NOVA_2, "none", {"additionalModelRequestFields": {"reasoningConfig": {"type": "disabled"}}}),
        (GPT_OSS, "xhigh", {"additionalModelRequestFields": {"reasoning_effort": "high"}}),
        ("openai.gpt-5.6", "none", {"additionalModelRequestFields": {"reasoning": {"effort": "none"}}}),
    ],
)
def test_effort(model: str, effort: str, body: dict[str, Any]) -> None:
    """Each family has its own word for it."""
    made = body_of(model, reasoning_effort=effort)
    assert {name: made[name] for name in made if name != "messages"} == body


def test_a_forced_tool_and_thinking() -> None:
    """They exclude each other: a model that thinks unless told not to is told."""
    body = body_of(SONNET_5, tools=[LOOK], tool_choice="required")
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}
    assert "additionalModelRequestFields" not in body_of(SONNET_5, tools=[LOOK])
    assert body_of(SONNET_5, response_format=LAX_SCHEMA)["additionalModelRequestFields"] == {
        "thinking": {"type": "disabled"}
    }


def test_metadata_and_tier() -> None:
    body = body_of(user="u-1", service_tier="flex")
    assert body["requestMetadata"] == {"user": "u-1"}
    assert body["serviceTier"] == {"type": "flex"}
    assert "serviceTier" not in body_of(service_tier="auto")


def test_models() -> None:
    """Ids, inference profiles and ARNs that name the model find its family; others get what is safe to try."""
    assert rules_of(SONNET_4_5).schemas
    assert rules_of(f"arn:aws:bedrock:eu-central-1:1:inference-profile/{SONNET_4_5}") == rules_of(SONNET_4_5)
    assert rules_of("anthropic.claude-3-5-sonnet-20241022-v2:0") == rules_of(SONNET_4)
    assert rules_of("anthropic.claude-opus-4-1-20250805-v1:0") != rules_of(SONNET_4)
    assert rules_of(SONNET_5).thinks
    assert not rules_of(MYTHOS).forces
    assert rules_of(PROFILE) is UNKNOWN
    assert rules_of("amazon.nova-pro-v1:0") != rules_of(NOVA_2)
    assert len({pattern for pattern, _ in FAMILIES}) == len(FAMILIES)


# -- where it goes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [SONNET_4_5, PROFILE, "a b/c%d"])
@pytest.mark.parametrize("credential", [KEYS, AwsKeys("AKIAEXAMPLE", Secret("secret-of-aws"))])
def test_signature(aws: judging.Aws, model: str, credential: AwsKeys) -> None:
    """Signed as botocore signs it, over the exact path and body: the id is encoded once on the wire, and once more
    in what is signed. Only content type, host and AWS's own headers are signed."""
    for request, operation in ((chat(), "converse"), (streamed(), "converse-stream")):
        upstream = BedrockAdapter().request(request, target_of(model, credential))
        headers = dict(upstream.headers)
        segment = upstream.path.removeprefix("/model/").removesuffix(f"/{operation}")
        assert not set(segment) & set("/: ")
        token = None if credential.session_token is None else credential.session_token.reveal()
        judged = aws.ask(
            "signature",
            method="POST",
            url=f"https://{HOST}{upstream.path}",
            headers=[["host", HOST], ["content-type", "application/json"]],
            body=base64.b64encode(upstream.body).decode(),
            keys=["AKIAEXAMPLE", "secret-of-aws", token],
            region="eu-central-1",
            service="bedrock",
            now_s=NOW_S,
        )
        assert headers["authorization"] == judged["authorization"]
        assert headers["x-amz-date"] == judged["x-amz-date"]
        assert headers.get("x-amz-security-token") == token
        assert headers["accept"] == (
            "application/vnd.amazon.eventstream" if request.stream else "application/json"
        )


def test_no_secret_is_sent() -> None:
    """The secret key signs and goes nowhere."""
    upstream = BedrockAdapter().request(chat(), target_of(SONNET_4_5))
    assert "secret-of-aws" not in repr(upstream)


# -- embeddings ----------------------------------------------------------------------------------------------


def embedded(model: str, **members: Any) -> dict[str, Any]:
    upstream = BedrockAdapter().request(embeddings(**members), target_of(model))
    assert upstream.path.endswith("/invoke")
    parsed: dict[str, Any] = json.loads(upstream.body)
    return parsed


TITAN_1, TITAN_2 = "amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0"
COHERE_3, COHERE_4 = "cohere.embed-multilingual-v3", "eu.cohere.embed-v4:0"


@pytest.mark.parametrize(
    ("model", "members", "body"),
    [
        (TITAN_1, {"input": "a"}, {"inputText": "a"}),
        (TITAN_2, {"input": ["a"], "dimensions": 256}, {"inputText": "a", "dimensions": 256}),
        (
            COHERE_3,
            {"input": ["a", "b"]},
            {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]},
        ),
        (
            COHERE_4,
            {"input": "a", "dimensions": 512, "input_type": "search_query"},
            {
                "texts": ["a"],
                "input_type": "search_query",
                "embedding_types": ["float"],
                "output_dimension": 512,
            },
        ),
    ],
)
def test_embedding_bodies(model: str, members: dict[str, Any], body: dict[str, Any]) -> None:
    assert embedded(model, **members) == body


@pytest.mark.parametrize(
    ("model", "members", "param"),
    [
        (TITAN_2, {"input": ["a", "b"]}, "input"),
        (TITAN_2, {"input": [1, 2]}, "input"),
        (COHERE_3, {"input": [[1, 2]]}, "input"),
        (COHERE_3, {"input": ["a"] * 97}, "input"),
        (COHERE_3, {"input": "a", "input_type": "image"}, "input_type"),
        (COHERE_3, {"input": "a", "dimensions": 512}, "dimensions"),
        (TITAN_1, {"input": "a", "dimensions": 512}, "dimensions"),
        (TITAN_2, {"input": "a", "dimensions": 0}, "dimensions"),
        (TITAN_2, {"input": "a", "encoding_format": "hex"}, "encoding_format"),
        (SONNET_4_5, {"input": "a"}, "model"),
    ],
)
def test_embeddings_refused(model: str, members: dict[str, Any], param: str) -> None:
    """Token ids, more texts than one call takes, sizes that are fixed, models that do not embed."""
    with pytest.raises(CallerError) as caught:
        embedded(model, **members)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("found", [{"float": [[0.5], [-1.25]]}, [[0.5], [-1.25]]])
def test_cohere_answers(found: Any) -> None:
    """By embedding type, or bare as older versions answer."""
    body = json.dumps({"id": "x", "embeddings": found}).encode()
    answer = BedrockAdapter().answer(embeddings(), target_of(COHERE_3), body, call_id="c")
    assert [one["embedding"] for one in json.loads(answer.body)["data"]] == [[0.5], [-1.25]]

"""OpenAI's requests as Gemini takes them; every translated one is shown to google-genai's own types."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import judging
import pytest
from hypothesis import given
from hypothesis import strategies as st
from providers_world import HOST, LIMIT, SECRET, chat, embeddings, streamed
from vertex_world import (
    ADAPTER,
    FORMAT,
    G3,
    G3_PRO,
    G20,
    G25,
    G25_PRO,
    GIF,
    JPEG,
    LIST,
    LOOK,
    MODELS,
    PDF,
    PNG,
    REQUESTS,
    SCHEMA,
    SIGNATURE,
    STRICT,
    SVG,
    TOOL_HISTORY,
    WEBP,
    body_of,
    called,
    config_of,
    contents_of,
    dropped,
    picture,
    refused,
    result,
    target,
    user,
)

from sovereign_ext.config.model import Provider, ProviderKind
from sovereign_ext.errors import CallerError
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.openai.parameters import EFFORTS
from sovereign_ext.openai.request import Request
from sovereign_ext.providers.base import Target
from sovereign_ext.providers.support import Treatment
from sovereign_ext.providers.vertex_contents import NO_SIGNATURE
from sovereign_ext.providers.vertex_request import SUPPORT


@pytest.fixture(scope="module")
def google() -> Iterator[judging.Judge]:
    with judging.google() as judge:
        yield judge


# -- the judge -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", REQUESTS)
def test_google_accepts(google: judging.Judge, name: str, model: str):
    """google-genai's types know every field and word that is sent, and read the same out of it."""
    body = body_of(model, **REQUESTS[name])
    read = google.ask("chat", body=body)
    assert read["contents"][0]["parts"]
    assert read.keys() == body.keys()


@pytest.mark.parametrize(
    "wrong",
    [
        {"contents": [], "model": "m"},
        {"contents": [{"role": "user", "parts": [{"texts": "a"}]}]},
        {"contents": [], "generationConfig": {"maxTokens": 5}},
        {"contents": [], "generationConfig": {"thinkingConfig": {"thinkingLevel": "MEGA"}}},
        {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "a/b", "data": "?"}}]}]},
    ],
)
def test_google_would_object(google: judging.Judge, wrong: dict[str, Any]):
    """The judge is one: unknown members, unknown words and broken base64 do not pass it."""
    with pytest.raises(ValueError, match=r"Error"):
        google.ask("chat", body=wrong)


@pytest.fixture(scope="module")
def mock() -> Iterator[RunningMock]:
    with RunningMock("vertex") as running:
        yield running


@pytest.mark.services
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", REQUESTS)
def test_the_mock_answers(mock: RunningMock, name: str, model: str):
    """Every request, whole and streamed, over real HTTP: what comes back adds up to the same."""
    here = target(model, endpoint=mock.url)
    whole, stream = chat(**REQUESTS[name]), streamed(**REQUESTS[name])
    body = json.loads(ADAPTER.answer(whole, here, posted(mock, whole, here), call_id="c").body)
    told = ADAPTER.stream(stream, here, call_id="c", now_s=1, limit=LIMIT)
    items = [*told.feed(posted(mock, stream, here)), *told.flush()]
    assert told.terminal
    choices = [choice for item in items if item.data for choice in json.loads(item.data)["choices"]]
    for choice in body["choices"]:
        own = [each for each in choices if each["index"] == choice["index"]]
        assert "".join(each["delta"].get("content") or "" for each in own) == (
            choice["message"]["content"] or ""
        )
        assert own[-1]["finish_reason"] == choice["finish_reason"]
        calls = [call for each in own for call in each["delta"].get("tool_calls") or ()]
        named = [call["function"]["name"] for call in choice["message"].get("tool_calls") or ()]
        assert [call["function"]["name"] for call in calls if "id" in call] == named
        assert ([each["logprobs"] for each in own if each["logprobs"]] != []) == (
            choice["logprobs"] is not None
        )
    assert told.usage.prompt_tokens == body["usage"]["prompt_tokens"]


def posted(mock: RunningMock, request: Request, here: Target) -> bytes:
    """The body of the mock's 200."""
    upstream = ADAPTER.request(request, here)
    connection = HTTPConnection(upstream.authority, timeout=10)
    try:
        connection.request("POST", upstream.path, upstream.body, dict(upstream.headers))
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, body
    return body


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
PARTS = st.one_of(
    WORDS.map(lambda text: {"type": "text", "text": text}),
    st.just(picture(f"data:image/png;base64,{PNG}")),
    st.just(picture("https://pictures.example/a.png")),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Legal conversations in any order: systems anywhere, results in any order, texts split or not."""
    messages: list[dict[str, Any]] = [user(draw(WORDS))]
    for turn in range(draw(st.integers(0, 4))):
        match draw(st.sampled_from(["user", "assistant", "system", "calls"])):
            case "calls":
                ids = [f"call_{turn}_{at}" for at in range(draw(st.integers(1, 3)))]
                signed = {"extra_content": {"google": {"thought_signature": SIGNATURE}}}
                messages.append(
                    called(*((id_, "look", '{"a":[1,null]}') for id_ in ids), content=draw(st.none() | WORDS))
                )
                if draw(st.booleans()):
                    messages[-1]["tool_calls"][0] |= signed
                    messages[-1] |= signed
                messages += [
                    result(id_, draw(WORDS | st.just('{"b":{}}'))) for id_ in draw(st.permutations(ids))
                ]
            case "user":
                messages.append(user(draw(WORDS | st.lists(PARTS, min_size=1, max_size=3))))
            case role:
                messages.append({"role": role, "content": draw(WORDS)})
    return messages


@given(messages=conversations(), model=st.sampled_from(MODELS))
def test_conversations(google: judging.Judge, messages: list[dict[str, Any]], model: str):
    """Whatever order is legal at OpenAI: roles alternate, no part is empty, every result follows its call."""
    body = body_of(model, messages=messages, tools=[LOOK])
    google.ask("chat", body=body)
    roles = [content["role"] for content in body["contents"]]
    assert all(one != other for one, other in itertools.pairwise(roles))
    waiting: list[str] = []
    for content in body["contents"]:
        answered = [
            part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part
        ]
        assert answered == waiting
        waiting = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        for part in content["parts"]:
            assert part.get("text") != ""


# -- where it goes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "resource"),
    [
        (G25, f"publishers/google/models/{G25}"),
        (f"google/{G25}", f"publishers/google/models/{G25}"),
        ("gemini-2.0-flash-001@default", "publishers/google/models/gemini-2.0-flash-001@default"),
        ("a/b?c#d:e", "publishers/google/models/a%2Fb%3Fc%23d%3Ae"),
        ("endpoints/1234567890", "endpoints/1234567890"),
        ("endpoints/../../x", "endpoints/..%2F..%2Fx"),
    ],
)
def test_paths(model: str, resource: str):
    """The model is in the path and nowhere else, and cannot leave its place there."""
    place = f"/v1/projects/ward-7/locations/us-central1/{resource}"
    assert ADAPTER.request(chat(), target(model)).path == f"{place}:generateContent"
    assert ADAPTER.request(streamed(), target(model)).path == f"{place}:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("name", ["claude-sonnet-5@20260101", "anthropic/claude-sonnet-5@20260101"])
def test_claude(name: str):
    """Anthropic's models are asked in their own words, at their own publisher's place; there are no embeddings."""
    claude = target(name)
    place = "/v1/projects/ward-7/locations/us-central1/publishers/anthropic/models/claude-sonnet-5@20260101"
    whole, stream = (ADAPTER.request(request, claude) for request in (chat(), streamed()))
    assert (whole.path, stream.path) == (f"{place}:rawPredict", f"{place}:streamRawPredict")
    body = json.loads(whole.body)
    assert body["anthropic_version"] == "vertex-2023-10-16"
    assert body["messages"][0]["role"] == "user"
    assert "model" not in body
    assert dict(whole.headers)["authorization"] == f"Bearer {SECRET}"
    with pytest.raises(CallerError):
        ADAPTER.request(embeddings(), claude)


def test_claude_answers():
    """They are read as Anthropic's, errors included, and do not tell our project either."""
    claude = target("claude-sonnet-5@20260101")
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "Hello"}], "usage": {"input_tokens": 7, "output_tokens": 5},
    }  # fmt: skip
    answer = ADAPTER.answer(chat(), claude, json.dumps(message).encode(), call_id="c")
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Hello"
    stream = ADAPTER.stream(streamed(), claude, call_id="c", now_s=1, limit=1000)
    start = {"type": "message_start", "message": {**message, "content": []}}
    assert list(stream.feed(b"event: message_start\ndata: " + json.dumps(start).encode() + b"\n\n"))
    error = {
        "error": {"code": 404, "message": "projects/ward-7/locations/eu has none", "status": "NOT_FOUND"}
    }
    fault = ADAPTER.fault(404, {}, json.dumps(error).encode(), claude, now_s=1)
    assert fault.error.code == "model_not_found"
    assert "ward-7" not in fault.error.message


@pytest.mark.parametrize("prefix", ["", "/", "/v1", "/v1/", "/gate/v1beta1"])
def test_endpoint_with_and_without_version(prefix: str):
    """An endpoint may end in the API's version or not; then it is v1."""
    path = ADAPTER.request(chat(), target(endpoint=f"https://{HOST}{prefix}")).path
    start = "/gate/v1beta1/" if "beta" in prefix else "/v1/"
    assert path.startswith(f"{start}projects/ward-7/")


def test_a_provider_needs_its_place():
    """Without ``google`` there is no telling whose model is meant: the configuration is at fault."""
    with pytest.raises(ValueError, match="vertex takes google"):
        Provider(id="p", kind=ProviderKind.VERTEX, endpoint=f"https://{HOST}")


# -- messages --------------------------------------------------------------------------------------------------


def test_tool_history():
    """Cases 31 and 32: systems anywhere are the instruction, results stand in the order of the calls before the user's
    next words; a result that is a JSON object is itself, everything else stands under ``output``."""
    body = body_of(messages=TOOL_HISTORY, tools=[LOOK])
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief"}, {"text": "Be kind"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Where?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Let me see."},
                {"functionCall": {"name": "look", "args": {"city": "北京"}}},
                {"functionCall": {"name": "list", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "look", "response": {"found": True}}},
                {"functionResponse": {"name": "list", "response": {"output": "none"}}},
                {"text": "And there?"},
                {"inlineData": {"mimeType": "image/jpeg", "data": JPEG}},
            ],
        },
    ]


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ('{"a": 1}', {"a": 1}),
        (' {"a": {"b": []}}\n', {"a": {"b": []}}),
        ("{}", {}),
        ("[1, 2]", {"output": "[1, 2]"}),
        ('"text"', {"output": '"text"'}),
        ("{broken", {"output": "{broken"}),
        ("", {"output": ""}),
        ("7", {"output": "7"}),
    ],
)
def test_tool_output(text: str, response: dict[str, Any]):
    """Only a JSON object is one; what only looks like one is text."""
    contents = contents_of(user("a"), called(("c", "look", "{}")), result("c", text))
    assert contents[-1]["parts"] == [{"functionResponse": {"name": "look", "response": response}}]


def test_signatures():
    """What the model signed goes back where it was: on the call, and on the last text of the message."""
    signed = {"extra_content": {"google": {"thought_signature": SIGNATURE}}}
    message = called(("c1", "look", "{}"), ("c2", "look", "{}"), content="Let me see.", **signed)
    message["tool_calls"][0] |= {"extra_content": {"google": {"thought_signature": "b3RoZXI="}}}
    model = contents_of(user("a"), message, result("c1", "x"), result("c2", "y"), model=G3)[1]
    assert model["parts"] == [
        {"text": "Let me see.", "thoughtSignature": SIGNATURE},
        {"functionCall": {"name": "look", "args": {}, "id": "c1"}, "thoughtSignature": "b3RoZXI="},
        {"functionCall": {"name": "look", "args": {}, "id": "c2"}},
    ]


def test_a_history_without_signatures():
    """A call that another model made has none: one that signs is told so, for the first of the turn's calls."""
    history = (
        user("a"),
        called(("c1", "look", "{}"), ("c2", "look", "{}")),
        result("c1", "x"),
        result("c2", "y"),
    )
    signatures = [part.get("thoughtSignature") for part in contents_of(*history, model=G3)[1]["parts"]]
    assert signatures == [NO_SIGNATURE, None]
    assert [part.get("thoughtSignature") for part in contents_of(*history)[1]["parts"]] == [None, None]
    ids = [part["functionResponse"]["id"] for part in contents_of(*history, model=G3)[2]["parts"]]
    assert ids == ["c1", "c2"]


@pytest.mark.parametrize("odd", [7, "", "a b", "é", ["x"], {"a": 1}])
def test_a_signature_that_is_none(odd: Any):
    """A client that changed it is told, as Google would refuse it."""
    message = called(("c", "look", "{}"))
    message["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": odd}}
    assert refused(messages=[user("a"), message, result("c", "x")]) == "messages"


def test_extra_content_of_others():
    """What other providers gave along is none of Google's."""
    message = called(("c", "look", "{}"), extra_content={"anthropic": {"signature": "x"}})
    assert contents_of(user("a"), message, result("c", "x"))[1]["parts"] == [
        {"functionCall": {"name": "look", "args": {}}}
    ]


@pytest.mark.parametrize(
    ("declared", "data", "sent"),
    [
        ("image/png", PNG, "image/png"),
        ("image/jpg", JPEG, "image/jpeg"),
        ("image/png", JPEG, "image/jpeg"),
        ("image/jpeg", WEBP, "image/webp"),
        ("image/heic", SIGNATURE, "image/heic"),
    ],
)
def test_images(declared: str, data: str, sent: str):
    """Case 37: an image is what its first bytes say, and ``image/jpg`` is spelled right."""
    (content,) = contents_of(user([picture(f"data:{declared};base64,{data}")]))
    assert content["parts"] == [{"inlineData": {"mimeType": sent, "data": data}}]


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://pictures.example/a.png", "image/png"),
        ("https://pictures.example/a.WEBP?x=.png", "image/webp"),
        ("https://pictures.example/a", "image/jpeg"),
    ],
)
def test_image_urls(url: str, sent: str):
    """Google fetches them itself, and is told what to expect."""
    (content,) = contents_of(user([picture(url)]))
    assert content["parts"] == [{"fileData": {"mimeType": sent, "fileUri": url}}]


@pytest.mark.parametrize("data", [("svg+xml", SVG), ("gif", GIF), ("png", GIF), ("bmp", SIGNATURE)])
def test_images_that_gemini_does_not_read(data: tuple[str, str]):
    """Case 37: SVG and GIF are refused by name, never left out."""
    url = f"data:image/{data[0]};base64,{data[1]}"
    assert refused(messages=[user([picture(url)])]) == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    ("file", "sent"),
    [
        ({"file_data": f"data:application/pdf;base64,{PDF}"}, "application/pdf"),
        ({"file_data": PDF, "filename": "a.bin"}, "application/pdf"),
        ({"file_data": SVG, "filename": "notes.MD"}, "text/plain"),
        ({"file_data": f"data:text/csv;base64,{SVG}"}, "text/csv"),
    ],
)
def test_files(file: dict[str, Any], sent: str):
    """PDF and text go inline; what is not declared is told by its first bytes, then by its name."""
    (content,) = contents_of(user([{"type": "file", "file": file}]))
    assert content["parts"][0]["inlineData"]["mimeType"] == sent


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, "messages[0].content[0].file.file_id"),
        ({"type": "file", "file": {"file_data": SVG}}, "messages[0].content[0].file.file_data"),
        (
            {"type": "file", "file": {"file_data": f"data:application/zip;base64,{SVG}"}},
            "messages[0].content[0].file.file_data",
        ),
        (
            {"type": "input_audio", "input_audio": {"data": PNG, "format": "midi"}},
            "messages[0].content[0].input_audio.format",
        ),
        ({"type": "video_url", "video_url": {"url": "https://a.example"}}, "messages[0].content[0].type"),
    ],
)
def test_parts_that_gemini_does_not_take(part: dict[str, Any], param: str):
    assert refused(messages=[user([part])]) == param


def test_audio():
    part = {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}}
    assert contents_of(user([part]))[0]["parts"] == [{"inlineData": {"mimeType": "audio/mp3", "data": PNG}}]


def test_pictures_from_tools():
    """Gemini 3 takes them inside of the result; for older models another provider may."""
    shown = [{"type": "text", "text": "here"}, picture(f"data:image/png;base64,{PNG}")]
    history = [user("a"), called(("c", "look", "{}")), result("c", shown)]
    (part,) = contents_of(*history, model=G3)[-1]["parts"]
    assert part["functionResponse"]["response"] == {"output": "here"}
    assert part["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": PNG}}]
    assert refused(messages=history) == "messages[2].content[1].image_url.url"


def test_an_unknown_call_is_refused():
    """A result without its call, and a call whose arguments are no JSON."""
    assert refused(messages=[user("a"), result("c", "x")]) == "messages[1].tool_call_id"
    odd = [user("a"), called(("c", "look", "{"))]
    assert refused(messages=odd) == "messages[1].tool_calls[0].function.arguments"


def test_system_alone_is_refused():
    assert refused(messages=[{"role": "system", "content": "x"}]) == "messages"


# -- parameters ------------------------------------------------------------------------------------------------


def test_numbers():
    """Each parameter under Google's name, and nothing that was not asked for."""
    assert config_of(**REQUESTS["all numbers"]) == {
        "maxOutputTokens": 5, "temperature": 1.5, "topP": 0.5, "topK": 40, "stopSequences": ["a", "b"],
        "candidateCount": 2, "seed": -7, "presencePenalty": 0.5, "frequencyPenalty": -0.5, "responseLogprobs": True,
        "logprobs": 3,
    }  # fmt: skip
    assert "generationConfig" not in body_of(n=1, logprobs=False, top_p=None)
    assert config_of(max_completion_tokens=6, max_tokens=5) == {"maxOutputTokens": 6}
    assert config_of(temperature=0) == {"temperature": 0}


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"n": 9}, "n"),
        ({"seed": 2**31}, "seed"),
        ({"stop": list("abcdef")}, "stop"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {"a": 1}}, "web_search_options"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": "array"}}}]},
         "tools[0].function.parameters.type"),
        ({"frobnicate": 1}, "frobnicate"),
    ],
)  # fmt: skip
def test_refusals(members: dict[str, Any], param: str):
    """What would change the answer and is not to be had is refused by name."""
    assert refused(**members) == param


def test_dropped():
    """What says nothing about the answer is left out and named; what means nothing is not even named."""
    assert dropped(
        user="u", metadata={"a": "b"}, store=True, service_tier="flex", verbosity="low", prompt_cache_key="k",
        parallel_tool_calls=False,
    ) == (
        "user", "metadata", "store", "service_tier", "verbosity", "prompt_cache_key", "parallel_tool_calls",
    )  # fmt: skip
    assert dropped(store=False, service_tier="auto", parallel_tool_calls=True, temperature=1) == ()


def test_the_table_is_true():
    """A parameter that the table calls mapped changes what is sent; one that it calls dropped does not."""
    samples: dict[str, Any] = {
        "max_tokens": 5, "max_completion_tokens": 5, "temperature": 1, "top_p": 0.5, "top_k": 4, "stop": "x", "n": 2,
        "seed": 1, "logprobs": True, "presence_penalty": 1, "frequency_penalty": 1, "reasoning_effort": "low",
        "response_format": {"type": "json_object"}, "tools": [LOOK], "functions": [LOOK["function"]],
        "parallel_tool_calls": False, "service_tier": "flex", "user": "u", "safety_identifier": "u", "store": True,
        "metadata": {"a": "b"}, "verbosity": "low", "prompt_cache_key": "k", "prompt_cache_retention": "24h",
        "prompt_cache_options": {"a": 1},
    }  # fmt: skip
    beside = {"model", "messages", "stream", "stream_options", "top_logprobs", "tool_choice", "function_call"}
    usable = {name for name, treatment in SUPPORT.items() if treatment is not Treatment.REFUSED}
    assert samples.keys() == usable - beside
    plain = body_of()
    for name, value in samples.items():
        assert (body_of(**{name: value}) == plain) == (SUPPORT[name] is Treatment.DROPPED), name


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", None),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "list"}},
            {"mode": "ANY", "allowedFunctionNames": ["list"]},
        ),
    ],
)
def test_tool_choice(choice: Any, config: dict[str, Any] | None):
    """``auto`` is Google's own default."""
    body = body_of(tools=[LOOK, LIST], tool_choice=choice)
    assert body.get("toolConfig") == (config and {"functionCallingConfig": config})
    assert [tool["name"] for tool in body["tools"][0]["functionDeclarations"]] == ["look", "list"]


def test_allowed_tools():
    """Only the allowed ones are declared."""
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [LIST]}}
    body = body_of(tools=[LOOK, LIST], tool_choice=allowed)
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "list", "parametersJsonSchema": {"type": "object", "properties": {}}}
            ]
        }
    ]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


def test_strict_tools():
    """``strict`` is Google's VALIDATED, where the model has it; a forced call is validated anyway."""
    assert body_of(tools=[STRICT])["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert (
        body_of(tools=[STRICT], tool_choice="required")["toolConfig"]["functionCallingConfig"]["mode"]
        == "ANY"
    )
    assert "toolConfig" not in body_of(G20, tools=[STRICT])


def test_tool_schemas():
    """Newer models take the schema as it is, older ones the OpenAPI subset."""
    (declared,) = body_of(tools=[LOOK])["tools"][0]["functionDeclarations"]
    assert declared == {"name": "look", "description": "Looks", "parametersJsonSchema": SCHEMA}
    (old,) = body_of(G20, tools=[LOOK])["tools"][0]["functionDeclarations"]
    assert old["parameters"] == {
        "type": "OBJECT",
        "properties": {
            "city": {"type": "STRING"},
            "days": {"type": "INTEGER", "nullable": True, "minimum": 0},
        },
        "required": ["city", "days"],
        "propertyOrdering": ["city", "days"],
    }
    (bare,) = body_of(G20, tools=[LIST])["tools"][0]["functionDeclarations"]
    assert bare == {"name": "list"}


def test_legacy_functions():
    """``functions`` are tools."""
    body = body_of(functions=[LOOK["function"]], function_call={"name": "look"})
    assert body["toolConfig"]["functionCallingConfig"] == {"mode": "ANY", "allowedFunctionNames": ["look"]}


def test_structured_output():
    """JSON Schema where the model takes it, else the subset; with tools only where the model can do both."""
    assert config_of(response_format=FORMAT) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    old = config_of(G20, response_format=FORMAT)
    assert old["responseSchema"]["properties"]["city"] == {"type": "STRING"}
    assert config_of(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
    assert config_of(response_format={"type": "text"}) == {}
    assert refused(response_format=FORMAT, tools=[LOOK]) == "response_format"
    assert "tools" not in body_of(response_format=FORMAT, tools=[LOOK], tool_choice="none")
    both = body_of(G3, response_format=FORMAT, tools=[LOOK])
    assert both["tools"]
    assert both["generationConfig"]["responseJsonSchema"] == SCHEMA


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (G3, ["MINIMAL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "HIGH", "HIGH"]),
        (G3_PRO, ["LOW", "LOW", "LOW", "HIGH", "HIGH", "HIGH", "HIGH"]),
        ("gemini-3.8-flash", ["LOW", "LOW", "LOW", "MEDIUM", "HIGH", "HIGH", "HIGH"]),
        ("endpoints/123", ["LOW", "LOW", "LOW", "MEDIUM", "HIGH", "HIGH", "HIGH"]),
        (G25, [0, 1024, 1024, 8192, 24576, 24576, 24576]),
        (G25_PRO, [128, 1024, 1024, 8192, 24576, 32768, 32768]),
    ],
)
def test_effort(model: str, expected: list[Any]):
    """The least level that is enough; budgets for 2.5; thoughts are asked for unless there should be none."""
    for effort, wanted in zip(EFFORTS, expected, strict=True):
        name = "thinkingLevel" if isinstance(wanted, str) else "thinkingBudget"
        thoughts = {} if effort == "none" else {"includeThoughts": True}
        assert config_of(model, reasoning_effort=effort) == {"thinkingConfig": {name: wanted, **thoughts}}


def test_effort_of_a_model_that_does_not_think():
    """It is left out and named."""
    assert dropped(G20, reasoning_effort="high") == ("reasoning_effort",)
    assert config_of(G20, reasoning_effort="high") == {}


# -- embeddings --------------------------------------------------------------------------------------------------


def embed(model: str, **members: Any) -> tuple[str, dict[str, Any]]:
    upstream = ADAPTER.request(embeddings(**members), target(model))
    return upstream.path.rpartition(":")[2], json.loads(upstream.body)


def test_embeddings_by_instance():
    """Text models are asked by ``:predict``, all texts at once; a long one is an error, as at OpenAI."""
    assert embed("text-embedding-005", input=["a", "b"], dimensions=3) == (
        "predict",
        {
            "instances": [{"content": "a"}, {"content": "b"}],
            "parameters": {"autoTruncate": False, "outputDimensionality": 3},
        },
    )


def test_embeddings_by_content():
    """Gemini models are asked by ``:embedContent``, several texts by its batch."""
    config = {"autoTruncate": False, "outputDimensionality": 3}
    asked = [
        {"content": {"role": "user", "parts": [{"text": text}]}, "embedContentConfig": config}
        for text in "ab"
    ]
    assert embed("gemini-embedding-001", input="a", dimensions=3) == ("embedContent", asked[0])
    assert embed("gemini-embedding-001", input=["a", "b"], dimensions=3) == (
        "batchEmbedContents",
        {"requests": asked},
    )


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": [1, 2]}, "input"),
        ({"input": ["a"] * 251}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_embeddings_that_cannot_be_had(members: dict[str, Any], param: str):
    assert refused("text-embedding-005", **members) == param

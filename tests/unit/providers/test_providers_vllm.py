"""vLLM: the lines of the parameter matrix, its own parameters, messages, tools of old, and what its answers add."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from providers_world import HELLO, chat, embeddings, streamed, target_of, translate, translator

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.errors import CallerError
from sovereign_ext.openai.parameters import KNOWN
from sovereign_ext.openai.request import Endpoint, Request, read_request
from sovereign_ext.providers.base import Part, StreamFault
from sovereign_ext.providers.support import Treatment
from sovereign_ext.providers.vllm import VllmAdapter
from sovereign_ext.providers.vllm_request import EXTRAS

VLLM = VllmAdapter()
TARGET = target_of(ProviderKind.VLLM)
ROOT = Path(__file__).resolve().parents[3]
LOOK: dict[str, Any] = {"name": "look", "description": "d", "parameters": {"type": "object", "x": 1.50}}
WAIT: dict[str, Any] = {"name": "wait", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": LOOK}, {"type": "function", "function": WAIT}]


def reading(body: bytes) -> Request:
    return read_request(Endpoint.CHAT, body)


def sent(request: Request) -> dict[str, Any]:
    return json.loads(VLLM.request(request, TARGET).body)


def refused(**members: Any) -> tuple[int, str | None, str | None]:
    with pytest.raises(CallerError) as caught:
        VLLM.request(chat(**members), TARGET)
    return caught.value.status, caught.value.param, caught.value.code


# -- the matrix ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", "17"),
        ("max_completion_tokens", "17"),
        ("temperature", "1.50"),
        ("top_p", "0.10"),
        ("top_k", "20"),
        ("stop", '["a" , "b"]'),
        ("n", "2"),
        ("seed", "-9223372036854775808"),
        ("logprobs", "true"),
        ("top_logprobs", "5"),
        ("logit_bias", '{"5": 1.0E1}'),
        ("presence_penalty", "0.50"),
        ("frequency_penalty", "-0.0"),
        ("response_format", '{"type":"json_object" }'),
        ("response_format", '{"type":"json_schema","json_schema":{"name":"n","schema":{"const":1.0}}}'),
        ("response_format", '{"type":"structural_tag","format":{}}'),
        ("reasoning_effort", '"high"'),
        ("parallel_tool_calls", "false"),
        ("tools", '[{"type":"function","function":{"name":"f","strict":true, "parameters":{"x":1E2}}}]'),
    ],
)
def test_what_goes_on_as_it_came(name: str, value: str):
    """What the matrix says vLLM has travels byte for byte, and nothing is reported."""
    request = reading(b'{"model":"m","messages":[{"role":"user","content":"x"}],"%s":%s}' % (
        name.encode(), value.encode()
    ))  # fmt: skip
    upstream = VLLM.request(request, TARGET)
    assert bytes(msgspec.json.decode(upstream.body, type=dict[str, msgspec.Raw])[name]) == value.encode()
    assert upstream.dropped == ()


def test_both_limits_go_on():
    """``max_tokens`` and ``max_completion_tokens`` may both be there; vLLM takes the second."""
    body = sent(chat(max_tokens=5, max_completion_tokens=6))
    assert (body["max_tokens"], body["max_completion_tokens"]) == (5, 6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", "u"),
        ("safety_identifier", "s"),
        ("service_tier", "flex"),
        ("store", True),
        ("metadata", {"a": "b"}),
        ("verbosity", "low"),
        ("prompt_cache_key", "k"),
        ("prompt_cache_options", {"ttl": "1h"}),
        ("prompt_cache_retention", "24h"),
    ],
)
def test_what_is_dropped(name: str, value: Any):
    """It does not go to the server, and the client is told so."""
    upstream = VLLM.request(chat(**{name: value}), TARGET)
    assert upstream.dropped == (name,)
    assert set(json.loads(upstream.body)) == {"model", "messages"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prediction", {"type": "content", "content": "x"}),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("modalities", ["text", "audio"]),
        ("moderation", {"model": "m"}),
        ("web_search_options", {"search_context_size": "low"}),
    ],
)
def test_what_is_refused(name: str, value: Any):
    """It would change the answer, and the server would ignore it."""
    assert refused(**{name: value}) == (400, name, "unsupported_parameter")


def test_what_nobody_knows():
    """An unknown parameter is refused by name; null or empty it asks for nothing, and is not sent."""
    assert refused(new=1) == (400, "new", "unknown_parameter")
    upstream = VLLM.request(chat(new=None, newer=[], modalities=["text"], store=False, audio=None), TARGET)
    assert set(json.loads(upstream.body)) == {"model", "messages"}
    assert upstream.dropped == ()


def test_the_table_is_whole():
    """Each of OpenAI's parameters is settled, and none of vLLM's own is one of them."""
    assert VLLM.support.keys() == KNOWN | EXTRAS.keys()
    assert not KNOWN & EXTRAS.keys()


# -- vLLM's own parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXTRAS)
def test_each_extra(name: str):
    """As the table says: byte for byte, refused by name, or left out and named."""
    request = reading(b'{"model":"m","messages":[{"role":"user"}],"%s":{"a" : 1.0}}' % name.encode())
    if EXTRAS[name] is Treatment.REFUSED:
        with pytest.raises(CallerError) as caught:
            VLLM.request(request, TARGET)
        assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
        return
    upstream = VLLM.request(request, TARGET)
    if EXTRAS[name] is Treatment.MAPPED:
        assert b'"%s":{"a" : 1.0}' % name.encode() in upstream.body
        assert upstream.dropped == ()
    else:
        assert name.encode() not in upstream.body
        assert upstream.dropped == (name,)


def test_extras_that_are_off_travel_too():
    """``false`` and 0 say something: they are not the defaults everywhere."""
    body = sent(chat(skip_special_tokens=False, min_p=0, include_reasoning=False))
    assert (body["skip_special_tokens"], body["min_p"], body["include_reasoning"]) == (False, 0, False)


@pytest.mark.parametrize("name", ["chat_template", "tokenize"])
def test_the_template_is_the_servers(name: str):
    """A Jinja template of the caller's would run on the server; neither does it come in by the other door."""
    assert refused(chat_template="{{ x }}")[1] == "chat_template"
    kwargs = {"enable_thinking": False}
    assert sent(chat(chat_template_kwargs=kwargs))["chat_template_kwargs"] == kwargs
    param = f"chat_template_kwargs.{name}"
    assert refused(chat_template_kwargs={**kwargs, name: None}) == (400, param, "unsupported_parameter")


def test_the_page_lists_them():
    """docs/providers/vllm.md names each of vLLM's own parameters where it belongs."""
    page = (ROOT / "docs" / "providers" / "vllm.md").read_text(encoding="utf-8")
    _, passed, refusals, drops = page.split("<!-- extras -->")
    for treatment, part in (
        (Treatment.MAPPED, passed), (Treatment.REFUSED, refusals), (Treatment.DROPPED, drops)
    ):  # fmt: skip
        for name in (name for name, of in EXTRAS.items() if of is treatment):
            assert f"`{name}`" in part, name


def test_embeddings_go_on_as_they_came():
    """The table is that of chat requests."""
    body = sent(embeddings(dimensions=3, truncate_prompt_tokens=5, user="u"))
    assert (body["dimensions"], body["truncate_prompt_tokens"], body["user"]) == (3, 5, "u")


def test_embeddings_are_of_their_input():
    """With ``messages`` vLLM takes a chat in its place, a template and any URL with it: what a chat may not have."""
    chatted = embeddings(messages=[{"role": "user", "content": "x" * 900}], chat_template="{{ x }}")
    with pytest.raises(CallerError) as caught:
        VLLM.request(chatted, TARGET)
    assert (caught.value.status, caught.value.param) == (400, "messages")
    upstream = VLLM.request(embeddings(priority=-1, request_id="a", session_id=None, messages=None), TARGET)
    assert upstream.dropped == ("priority", "request_id")
    assert json.loads(upstream.body).keys() == {"model", "input", "messages"}


# -- tools ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice", ["none", "auto", "required", {"type": "function", "function": {"name": "wait"}}]
)
def test_tool_choice(choice: Any):
    """What vLLM has goes on."""
    body = sent(chat(tools=TOOLS, tool_choice=choice))
    assert (body["tools"], body["tool_choice"]) == (TOOLS, choice)


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools(mode: str):
    """Only the allowed ones are sent, their bytes unchanged, and the mode is the choice."""
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "look"}}]}
    request = chat(tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    upstream = VLLM.request(request, TARGET)
    body = json.loads(upstream.body)
    assert (body["tools"], body["tool_choice"]) == (TOOLS[:1], mode)
    assert json.dumps(TOOLS[0]).encode() in upstream.body


def test_no_tool_is_allowed():
    """Then there is none, and a choice without tools would be refused; to require one of none makes no sense."""
    given = {"tools": TOOLS, "parallel_tool_calls": False}
    none = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert not {"tools", "tool_choice"} & sent(chat(**given, tool_choice=none)).keys()
    none["allowed_tools"] = {"mode": "required", "tools": []}
    assert refused(**given, tool_choice=none)[1] == "tool_choice.allowed_tools.tools"


def test_a_choice_without_tools():
    """vLLM refuses ``auto`` without tools; it asks for nothing, so it is not sent."""
    for tools in ({}, {"tools": []}, {"tools": None}):
        assert not {"tools", "tool_choice"} & sent(chat(**tools, tool_choice="auto")).keys()
    assert refused(tool_choice="required")[1] == "tool_choice"


def test_custom_tools():
    """They are OpenAI's only: in the tools, in the choice, in the history."""
    custom = {"type": "custom", "custom": {"name": "c"}}
    assert refused(tools=[custom]) == (400, "tools[0].type", "unsupported_parameter")
    assert refused(tools=TOOLS, tool_choice=custom)[:2] == (400, "tool_choice")
    call = {"id": "c", "type": "custom", "custom": {"name": "c", "input": "x"}}
    assert refused(messages=[{"role": "assistant", "tool_calls": [call]}])[:2] == (
        400, "messages[0].tool_calls[0].type",
    )  # fmt: skip


# -- functions of old ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ({"name": "wait"}, {"type": "function", "function": {"name": "wait"}}),
    ],
)
def test_functions_become_tools(choice: Any, expected: Any):
    """``functions`` and ``function_call`` as tools and choice; one call at most, as there is room for one."""
    upstream = VLLM.request(chat(functions=[LOOK, WAIT], function_call=choice), TARGET)
    body = json.loads(upstream.body)
    assert (body["tools"], body.get("tool_choice")) == (TOOLS, expected)
    assert body["parallel_tool_calls"] is False
    assert not {"functions", "function_call"} & body.keys()
    assert json.dumps(LOOK).encode() in upstream.body
    assert upstream.dropped == ()


def test_functions_beside_tools():
    """Tools win, as at OpenAI's; what the client says of parallel calls stays."""
    body = sent(chat(functions=[LOOK], tools=TOOLS[1:]))
    assert body["tools"] == TOOLS[1:]
    assert "parallel_tool_calls" not in body
    assert sent(chat(functions=[LOOK], parallel_tool_calls=True))["parallel_tool_calls"] is True


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"functions": "x"}, "functions"),
        ({"functions": [{"name": ""}]}, "functions[0].name"),
        ({"functions": [LOOK], "function_call": {"name": "other"}}, "function_call"),
        ({"functions": [LOOK], "function_call": "required"}, "function_call"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
    ],
)
def test_odd_tools(members: dict[str, Any], param: str):
    """What nobody could take is refused by its place."""
    assert refused(**members)[:2] == (400, param)


def test_history_of_functions():
    """Each ``function_call`` gets an id, each ``function`` message answers the first of its name that waits."""

    def call(name: str, arguments: str) -> dict[str, Any]:
        return {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": arguments}}

    def result(name: str, content: str) -> dict[str, Any]:
        return {"role": "function", "name": name, "content": content}

    told = sent(chat(messages=[
        call("look", '{"a": 1.50}'), call("wait", ""), call("look", "{}"),
        result("look", "one"), result("wait", "two"), result("look", "three"), *HELLO,
    ]))["messages"]  # fmt: skip
    assert told[0] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "legacy001", "type": "function", "function": {"name": "look", "arguments": '{"a": 1.50}'}}
        ],
    }
    assert told[1]["tool_calls"][0]["function"] == {"name": "wait", "arguments": "{}"}
    assert [(m["role"], m["tool_call_id"], m["content"]) for m in told[3:6]] == [
        ("tool", "legacy001", "one"), ("tool", "legacy002", "two"), ("tool", "legacy003", "three"),
    ]  # fmt: skip
    assert told[6:] == HELLO


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "function", "name": "look", "content": "x"}], "messages[0].name"),
        ([{"role": "function", "content": "x"}], "messages[0].name"),
        ([{"role": "tool", "tool_call_id": "c", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id"),
        ([{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": ["x"]}], "messages[0].tool_calls[0]"),
        ([{"role": "assistant", "tool_calls": [{"function": LOOK}]}], "messages[0].tool_calls[0].id"),
        (
            [{"role": "assistant", "function_call": {"name": "f", "arguments": "{"}}],
            "messages[0].function_call.arguments",
        ),
        ([{"role": "assistant", "function_call": {"arguments": "{}"}}], "messages[0].function_call.name"),
        ([{"role": "assistant", "audio": {"id": "a"}}], "messages[0].audio"),
    ],
)  # fmt: skip
def test_odd_history(messages: list[Any], param: str):
    """Results without a call, calls without a name, arguments that are no JSON object: 400 at the place."""
    assert refused(messages=messages)[:2] == (400, param)


def test_a_result_answers_once():
    """A second result of the same call has no call; the id may be used again by a later call."""
    call = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}
    result = {"role": "tool", "tool_call_id": "c", "content": "x"}
    assert refused(messages=[call, result, result])[1] == "messages[2].tool_call_id"
    assert len(sent(chat(messages=[call, result, call, result]))["messages"]) == 4


def test_long_histories_take_no_time():
    """Twenty thousand calls of old, answered from the last name to the first: no work that grows with the square."""
    calls = [
        {"role": "assistant", "function_call": {"name": f"f{at % 2}", "arguments": ""}}
        for at in range(20_000)
    ]
    results = [{"role": "function", "name": f"f{at % 2}", "content": ""} for at in range(20_000)][::-1]
    request = chat(messages=[*calls, *results])
    start = time.process_time()
    VLLM.request(request, TARGET)
    assert time.process_time() - start < 5


# -- messages ------------------------------------------------------------------------------------------------


def test_developer_becomes_system():
    """vLLM's chat templates know no developer; nothing else changes, the other messages keep even their spaces."""
    body = b'{"model":"m","messages":[{"role":"developer","content":"d", "n":1.0}, {"role": "user", "content":"u"} ]}'
    assert b'[{"role":"system","content":"d","n":1.0},{"role": "user", "content":"u"}]' in VLLM.request(
        reading(body), TARGET
    ).body  # fmt: skip


def test_messages_without_need_stay():
    """History of tools, images, audio, parts that nobody here knows, null content (case 34): byte for byte."""
    messages = (
        b'[{"role":"system","content":"s"}, {"role":"user","name":"n","content":[{"type":"text","text":"\\u00e9"},'
        b'{"type":"image_url","image_url":{"url":"data:image/png;base64,AA==", "detail":"low"}},'
        b'{"type":"image_url","image_url":{"url":"https://example.org/a.png"}},"text",'
        b'{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}},'
        b'{"type":"video_url","video_url":{"url":"https://example.org/a.mp4"}},{"type":"new","v":1.50}]},'
        b'{"role":"assistant","content":null,"reasoning":"r","refusal":null,"function_call":null,'
        b'"tool_calls":[{"id":"c", "type":"function","function":{"name":"f","arguments":"{\\"a\\":1.0}"}}]},'
        b'{"role":"tool","tool_call_id":"c","content":"x"}]'
    )
    upstream = VLLM.request(reading(b'{"model":"m","messages":%s}' % messages), TARGET)
    assert messages in upstream.body
    assert upstream.dropped == ()


@pytest.mark.parametrize("file", [{"file_data": "data:application/pdf;base64,AA=="}, {"file_id": "file-1"}])
def test_files(file: dict[str, str]):
    """vLLM has none."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "file", "file": file}]}]
    assert refused(messages=messages) == (400, "messages[0].content[1].file", "unsupported_parameter")


@pytest.mark.parametrize("name", ["image_url", "audio_url", "video_url"])
@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest", "file:///etc/passwd", "FILE:///x", "ftp://x", ""]
)
def test_what_the_server_may_fetch(name: str, url: str):
    """Only https and data URLs: no metadata service, no file of the server's disk; whatever type the part claims."""
    for part in (
        {"type": name, name: {"url": url}},
        {name: {"url": url}},
        {"type": "input_image", name: url},
    ):
        messages = [{"role": "user", "content": [part]}]
        assert refused(messages=messages)[:2] == (400, f"messages[0].content[0].{name}.url")


def test_refusals_are_content():
    """vLLM does not read ``refusal``: it becomes what the assistant said."""

    def told(**message: Any) -> Any:
        return sent(chat(messages=[{"role": "assistant", **message}, *HELLO]))["messages"][0]

    assert told(content=None, refusal="no") == {"role": "assistant", "content": "no"}
    assert told(content="a", refusal="no")["content"] == [
        {"type": "text", "text": "a"}, {"type": "text", "text": "no"},
    ]  # fmt: skip
    parts = [{"type": "text", "text": "a"}]
    assert told(content=parts, refusal="no")["content"] == [*parts, {"type": "text", "text": "no"}]


def test_empty_arguments():
    """vLLM parses arguments: nothing is written as the empty object, the rest of the call stays."""
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"id": "b", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}, "extra": 1},
        {"id": "c", "type": "function", "function": {"name": "f"}},
        {"id": "d", "type": "function", "function": {"name": "f", "arguments": {}}},
    ]
    told = sent(chat(messages=[{"role": "assistant", "tool_calls": calls}]))["messages"][0]["tool_calls"]
    assert [call["function"]["arguments"] for call in told] == ["{}", '{"x": 1}', "{}", "{}"]
    assert told[1] == calls[1]


def test_a_cache_mark_is_named():
    """vLLM caches by itself and ignores ``prompt_cache_breakpoint``."""
    content = [{"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]
    upstream = VLLM.request(chat(messages=[{"role": "user", "content": content}], user="u"), TARGET)
    assert upstream.dropped == ("user", "prompt_cache_breakpoint")


# -- answers -------------------------------------------------------------------------------------------------


def chunk(choices: str, more: str = "") -> bytes:
    head = '"id":"c","object":"chat.completion.chunk","created":1,"model":"up"'
    return f'data: {{{head},"choices":{choices}{more}}}\n\n'.encode()


def delta(delta: str, more: str = '"finish_reason":null', index: int = 0) -> bytes:
    return chunk(f'[{{"index":{index},"delta":{delta},{more}}}]')


def piece(index: int, **function: str | None) -> str:
    return json.dumps({"tool_calls": [{"index": index, "function": function}]})


FINISH = delta("{}", '"finish_reason":"tool_calls","stop_reason":null')
DONE = b"data: [DONE]\n\n"
OF_OLD = streamed(functions=[LOOK])


def test_extras_are_taken_out():
    """``stop_reason``, ``token_ids``, ``metrics`` and their like go, real members stay as they are."""
    choice = (
        '{"index":0,"delta":{"content":"x", "new":1.0},"finish_reason":null,"stop_reason":7,"token_ids":[1]}'
    )
    data = chunk(f"[{choice}]", ',"metrics":{},"prompt_token_ids":[1],"kv_transfer_params":null,"kept":1.0')
    (item,) = translator(VLLM, streamed()).feed(data)
    assert b'{"content":"x", "new":1.0}' in item.data
    assert json.loads(item.data) == {
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "org/asked", "kept": 1.0,
        "choices": [{"index": 0, "delta": {"content": "x", "new": 1.0}, "finish_reason": None}],
    }  # fmt: skip
    body = (
        b'{"choices":[{"index":0,"message":{"content":"stop_reason"},"stop_reason":null,"routed_experts":null}],'
        b'"prompt_logprobs":null,"prompt_text":null,"ec_transfer_params":null}'
    )
    answer = VLLM.answer(chat(), TARGET, body, call_id="x")
    assert json.loads(answer.body) == {"choices": [{"index": 0, "message": {"content": "stop_reason"}}]}


def test_reasoning_has_one_name():
    """vLLM's ``reasoning`` is ``reasoning_content`` as from all kinds, streamed and whole; null is nothing."""
    (item,) = translator(VLLM, streamed()).feed(delta('{"reasoning":"h\\ud83dm"}'))
    assert item.part is Part.CONTENT
    assert b'"delta":{"reasoning_content":"h\\ud83dm"}' in item.data
    for told, expected in (
        ('{"content":"x","reasoning":"hm"}', {"content": "x", "reasoning_content": "hm"}),
        ('{"content":"x","reasoning":null}', {"content": "x"}),
        ('{"content":"x","reasoning_content":"hm"}', {"content": "x", "reasoning_content": "hm"}),
        ('{"content":"the \\"reasoning\\""}', {"content": 'the "reasoning"'}),
    ):
        body = b'{"choices":[{"index":0,"message":%s}]}' % told.encode()
        answer = VLLM.answer(chat(), TARGET, body, call_id="x")
        assert json.loads(answer.body)["choices"][0]["message"] == expected


def completion(message: dict[str, Any], finish: str) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": finish,
        "logprobs": None,
    }
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "up"}
    return json.dumps({**head, "choices": [{**choice, "stop_reason": None}], "usage": None}).encode()


def call_of(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_a_call_in_the_old_shape():
    """``message.function_call`` and the finish that goes with it; of several calls the first."""
    calls = [call_of("look", '{"a": "é"}'), call_of("wait", "{}")]
    message = {"content": None, "function_call": None, "tool_calls": calls}
    request = chat(functions=[LOOK])
    answer = VLLM.answer(request, TARGET, completion(message, "tool_calls"), call_id="x")
    choice = ChatCompletion.model_validate(json.loads(answer.body)).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert (choice.message.function_call.name, choice.message.function_call.arguments) == (
        "look",
        '{"a": "é"}',
    )
    assert choice.message.tool_calls is None
    answer = VLLM.answer(chat(tools=TOOLS), TARGET, completion(message, "tool_calls"), call_id="x")
    assert json.loads(answer.body)["choices"][0]["message"]["tool_calls"] == calls


def test_no_call_in_the_old_shape():
    """Text is text, and an empty ``tool_calls`` is not the client's."""
    message = {"content": "x", "tool_calls": []}
    answer = VLLM.answer(chat(functions=[LOOK]), TARGET, completion(message, "stop"), call_id="x")
    choice = json.loads(answer.body)["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "x"}
    assert choice["finish_reason"] == "stop"


def accumulated(chunks: list[dict[str, Any]]) -> Any:
    state: Any = ChatCompletionStreamState()
    for each in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(each))
    return state.current_completion_snapshot.choices[0]


def test_a_streamed_call_in_the_old_shape():
    """Fragments as they come; a second call and what belongs to it is no content; it adds up in OpenAI's SDK."""
    first = '{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"look","arguments":""}}]}'
    both = (
        '{"tool_calls":[{"index":0,"function":{"arguments":"\\"\\ud83c"}},'
        '{"index":1,"function":{"name":"wait","arguments":"{}"}},{"index":0,"function":{"arguments":"\\udf0d\\""}}]}'
    )
    pieces = [
        delta('{"role":"assistant","content":""}'),
        delta(first),
        delta(piece(0, arguments='{"city":')),
        delta(both),
        delta(piece(1, name="wait", arguments="x")),
        delta(piece(0, name=None, arguments="}")),
        FINISH,
        chunk("[]", ',"usage":{"prompt_tokens":7,"completion_tokens":5}'),
        DONE,
    ]
    done = translate(VLLM, OF_OLD, pieces)
    assert done.parts == [
        Part.LIFECYCLE, Part.CONTENT, Part.CONTENT, Part.CONTENT, Part.LIFECYCLE, Part.CONTENT, Part.FINISH, Part.DONE,
    ]  # fmt: skip
    assert not any("tool_calls" in each for each in done.deltas)
    choice = accumulated(done.chunks)
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call.name == "look"
    assert json.loads(choice.message.function_call.arguments) == {"city": "🌍"}
    assert (done.usage.prompt_tokens, done.terminal) == (7, True)
    whole = b"".join(pieces)
    assert translate(VLLM, OF_OLD, [whole[at : at + 1] for at in range(len(whole))]) == done


def test_two_choices_in_the_old_shape():
    """Each choice has a call of its own."""
    look, wait = piece(0, name="look", arguments="{}"), piece(0, name="wait", arguments="[]")
    stream = [chunk(f'[{{"index":0,"delta":{look}}},{{"index":1,"delta":{wait}}}]')]
    (made,) = translate(VLLM, OF_OLD, stream).chunks
    assert [choice["delta"]["function_call"]["name"] for choice in made["choices"]] == ["look", "wait"]


@pytest.mark.parametrize("choices", ["5", "[5]", "{}", '["x"]', '[{"index":0},null]'])
def test_odd_choices_in_the_old_shape(choices: str):
    """What is no list of choices is the provider's fault, not an empty answer."""
    with pytest.raises(StreamFault, match="invalid_json"):
        list(translator(VLLM, OF_OLD).feed(chunk(choices)))


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["index", "function", "name", "arguments", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(calls=ODD, reasoning=ODD)
def test_odd_calls_in_the_old_shape(calls: Any, reasoning: Any):
    """Whatever stands where the calls should: a chunk in OpenAI's shape or a fault, nothing else."""
    told = json.dumps({"tool_calls": calls, "reasoning": reasoning})
    for item in translator(VLLM, OF_OLD).feed(delta(told)):
        (choice,) = json.loads(item.data)["choices"]
        assert "tool_calls" not in choice["delta"]
        function = choice["delta"].get("function_call", {"name": ""})
        assert function
        assert all(isinstance(value, str) for value in function.values())


# -- errors --------------------------------------------------------------------------------------------------

MESSAGE = "This model's maximum context length is 2048 tokens. However, you requested 2723 tokens."
FLAT = {"object": "error", "message": MESSAGE, "type": "BadRequestError", "param": None, "code": 400}


@pytest.mark.parametrize("body", [FLAT, {"error": FLAT}, {"error": {**FLAT, "param": "max_tokens"}}])
def test_errors_flat_and_nested(body: dict[str, Any]):
    """Flat before vLLM 0.10.1, nested since: read alike. A number is no code of OpenAI's."""
    fault = VLLM.fault(400, {}, json.dumps(body).encode(), TARGET, now_s=0)
    assert (fault.caller, fault.error.status, fault.error.message) == (True, 400, MESSAGE)
    assert fault.error.code == "context_length_exceeded"
    other = {**FLAT, "message": "top_p must be in (0, 1]"}
    fault = VLLM.fault(400, {}, json.dumps(other).encode(), TARGET, now_s=0)
    assert (fault.error.message, fault.error.code) == ("top_p must be in (0, 1]", None)


@pytest.mark.parametrize("nested", [False, True])
def test_errors_inside_a_200(nested: bool):
    """The same in streams and in whole answers: a fault whose kind its code tells, never an empty answer."""
    error = {**FLAT, "message": "overloaded", "type": "ServiceUnavailableError", "code": 503}
    body = json.dumps({"error": error} if nested else error).encode()
    with pytest.raises(StreamFault) as caught:
        list(translator(VLLM, streamed()).feed(b"data: " + body + b"\n\n"))
    assert (caught.value.fault.outcome, caught.value.fault.error.status) == ("error_event", 503)
    with pytest.raises(StreamFault) as caught:
        VLLM.answer(chat(), TARGET, body, call_id="x")
    assert caught.value.fault.outcome == "error_event"

"""Ollama's native API: every row of the parameter matrix, and what comes back."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from providers_world import CALL_ID, HELLO, NOW_S, chat, embeddings, streamed, target_of, translate

from sovereign_ext.config.model import ProviderKind
from sovereign_ext.errors import CallerError
from sovereign_ext.openai.request import Request
from sovereign_ext.providers.base import Part, StreamFault, Usage
from sovereign_ext.providers.ollama import OllamaAdapter

ADAPTER = OllamaAdapter()
TARGET = target_of(ProviderKind.OLLAMA)
PIXEL = base64.b64encode(b"\x89PNG\r\n").decode()
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "d", "parameters": {"type": "object"}},
}
OTHER = {"type": "function", "function": {"name": "other"}}
OTHER_NATIVE = {
    "type": "function",
    "function": {"name": "other", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def call(name: str, arguments: str, id: str = "c1") -> dict[str, Any]:  # noqa: A002
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def body(request: Request) -> dict[str, Any]:
    return json.loads(ADAPTER.request(request, TARGET).body)


def turns(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return body(chat(messages=messages))["messages"]


def refused(**members: Any) -> CallerError:
    with pytest.raises(CallerError) as caught:
        body(chat(**members))
    assert caught.value.status == 400
    return caught.value


# -- the request ---------------------------------------------------------------------------------------------


def test_paths():
    """Chat and embeddings under the endpoint's prefix; a stream is asked for as such."""
    upstream = ADAPTER.request(streamed(), TARGET)
    assert upstream.path == "/base/v1/api/chat"
    assert dict(upstream.headers)["accept"] == "application/x-ndjson"
    assert body(streamed())["stream"] is True
    assert body(chat())["stream"] is False  # Ollama's default is true
    assert ADAPTER.request(embeddings(), TARGET).path == "/base/v1/api/embed"


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, None),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.5, "top_p": 0.9, "seed": 7}, {"temperature": 0.5, "top_p": 0.9, "seed": 7}),
        ({"top_k": 40}, {"top_k": 40}),
        (
            {"presence_penalty": -1.5, "frequency_penalty": 1},
            {"presence_penalty": -1.5, "frequency_penalty": 1},
        ),
        ({"max_tokens": 5}, {"num_predict": 5}),
        ({"max_completion_tokens": 6, "max_tokens": 5}, {"num_predict": 6}),
        ({"max_completion_tokens": None, "max_tokens": 5}, {"num_predict": 5}),
        ({"stop": "x"}, {"stop": ["x"]}),
        ({"stop": ["x", "y"]}, {"stop": ["x", "y"]}),
        ({"temperature": None, "stop": None, "seed": None}, None),
        ({"user": "u", "store": True, "metadata": {"a": "b"}, "service_tier": "auto", "n": 1}, None),
        (
            {"parallel_tool_calls": False, "verbosity": "low", "prompt_cache_key": "k", "top_logprobs": 0},
            None,
        ),
    ],
)
def test_options(given: dict[str, Any], options: dict[str, Any] | None):
    """Sampling, limits and stops become options; what says nothing about the answer is dropped."""
    made = body(chat(**given))
    assert made.get("options") == options
    assert set(made) <= {"model", "messages", "stream", "options"}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": "1"}, "n"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"best_of": 2}, "best_of"),
        ({"prediction": {"type": "content"}}, "prediction"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"web_search_options": {"a": 1}}, "web_search_options"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "f"}}, "function_call"),
        ({"functions": [{"name": ""}]}, "functions[0].name"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": "function"}]}, "tools[1].function.name"),
        ({"tools": 5}, "tools"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": "1"}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": [5]}, "stop"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"reasoning_effort": ["low"]}, "reasoning_effort"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": [1]}},
            "response_format.json_schema.schema",
        ),
    ],
)
def test_what_cannot_be_had(given: dict[str, Any], param: str):
    """What would change the answer is refused with its name, never silently dropped."""
    error = refused(**given)
    assert error.param == param
    assert param in error.message


@pytest.mark.parametrize(
    ("effort", "think"),
    [("none", False), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"),
     ("xhigh", "high"), ("max", "high")],
)  # fmt: skip
def test_reasoning_effort(effort: str, think: bool | str):
    """``reasoning_effort`` becomes ``think``; without it Ollama decides."""
    assert body(chat(reasoning_effort=effort))["think"] == think
    assert "think" not in body(chat())


def test_what_was_left_out_is_named():
    """In the request's order; what asks for nothing is not worth a word."""
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    given = {
        "user": "u",
        "store": False,
        "service_tier": "flex",
        "tools": [strict],
        "parallel_tool_calls": False,
    }
    assert ADAPTER.request(chat(**given), TARGET).dropped == (
        "user",
        "service_tier",
        "parallel_tool_calls",
        "tools.strict",
    )
    assert ADAPTER.request(chat(temperature=1, seed=1), TARGET).dropped == ()
    assert ADAPTER.request(embeddings(), TARGET).dropped == ()


def test_logprobs_are_asked_for():
    assert body(chat(logprobs=True, top_logprobs=3)) == body(chat()) | {"logprobs": True, "top_logprobs": 3}
    assert body(chat(logprobs=True)) == body(chat()) | {"logprobs": True}
    assert body(chat(logprobs=False, top_logprobs=0)) == body(chat())


def test_formats():
    """A JSON schema is the format itself; json_object is Ollama's "json"; text is none."""
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}
    assert body(chat(response_format=wanted))["format"] == SCHEMA
    assert body(chat(response_format={"type": "json_object"}))["format"] == "json"
    assert "format" not in body(chat(response_format={"type": "text"}))


def test_tools():
    """Functions as they are, without ``strict``; ``none`` leaves them out, ``allowed_tools`` filters them."""
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    assert body(chat(tools=[strict]))["tools"] == [TOOL]
    assert body(chat(tools=[TOOL], tool_choice="auto"))["tools"] == [TOOL]
    assert "tools" not in body(chat(tools=[TOOL], tool_choice="none"))
    allowed = {"mode": "auto", "tools": [OTHER]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    assert body(chat(tools=[TOOL, OTHER], tool_choice=choice))["tools"] == [OTHER_NATIVE]
    required = {"type": "allowed_tools", "allowed_tools": {**allowed, "mode": "required"}}
    assert refused(tools=[TOOL], tool_choice=required).param == "tool_choice"


def test_roles_and_text():
    """Developer becomes system, all of it one message at the start; text parts and neighbours of a role join; names are
    dropped; refusals are text (also the old form)."""
    assert turns(
        {"role": "developer", "content": "d"},
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {
            "role": "user",
            "name": "bob",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
        {"role": "assistant", "content": None},
    ) == [
        {"role": "system", "content": "d\n\ns"},
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "no\nnever"},
    ]


def test_images():
    """Data URLs become bare base64; anything else is refused with its place, never ignored (case 37)."""
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    assert turns({"role": "user", "content": [{"type": "text", "text": "look"}, image]}) == [
        {"role": "user", "content": "look", "images": [PIXEL]}
    ]
    for url in (
        "https://example.org/a.png",
        "http://example.org/a.png",
        "data:text/plain;base64,QQ==",
        "data:image/svg+xml;base64,QQ==",
        "data:image/png,raw",
        5,
        None,
        "ä",
    ):
        part = {"type": "image_url", "image_url": {"url": url}}
        error = refused(messages=[*HELLO, {"role": "user", "content": [part]}])
        assert error.param == "messages[1].content[0].image_url.url"
    for data in ("%%%", "QQ=", "ä"):
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        assert refused(messages=[{"role": "user", "content": [part]}]).code == "invalid_value"


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
            "input_audio",
            "unsupported_parameter",
        ),
        ({"type": "file", "file": {"file_data": "QQ=="}}, "file.file_data", "unsupported_parameter"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id", "unsupported_parameter"),
        ({"type": "custom"}, "type", "unsupported_parameter"),
        ({"type": None}, "type", "invalid_value"),
        ({"type": 5}, "type", "invalid_value"),
    ],
)
def test_other_content(part: dict[str, Any], param: str, code: str):
    """Audio, files and unknown parts are refused by place."""
    error = refused(messages=[{"role": "user", "content": [part]}])
    assert (error.param, error.code) == (f"messages[0].content[0].{param}", code)


def test_an_image_in_a_tool_s_result():
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    made = turns(
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call("look", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "seen"}, image]},
    )
    assert made[-1] == {"role": "tool", "content": "seen", "images": [PIXEL], "tool_name": "look"}


def test_tool_history():
    """Case 31's order: results follow their call turn in call order, with the function's name on them."""
    history = [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [call("look", '{"a":1}', "x"), call("other", "", "y")],
        },
        {"role": "tool", "tool_call_id": "y", "content": "second"},
        {"role": "tool", "tool_call_id": "x", "content": [{"type": "text", "text": "first"}]},
        {"role": "user", "content": "meanwhile"},
    ]
    assert turns(*history) == [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"function": {"name": "look", "arguments": {"a": 1}}},
                {"function": {"name": "other", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "first", "tool_name": "look"},
        {"role": "tool", "content": "second", "tool_name": "other"},
        {"role": "user", "content": "meanwhile"},
    ]


def test_reused_call_ids():
    """Clients that number calls from one in every turn: a result belongs to the latest call of its id."""
    names = [turn.get("tool_name") for turn in turns(
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call("look", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "assistant", "tool_calls": [call("other", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    )]  # fmt: skip
    assert names == [None, None, "look", None, "other"]
    twice = {"role": "assistant", "tool_calls": [call("look", "{}"), call("other", "{}")]}
    assert refused(messages=[*HELLO, twice]).param == "messages[1].tool_calls[1].id"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "tool_call_id": "nope", "content": "x"}, "messages[1].tool_call_id"),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id"),
        (
            {"role": "assistant", "tool_calls": [call("f", "{")]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            {"role": "assistant", "tool_calls": [call("f", "[]")]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "messages[1].tool_calls[0].function.name"),
        ({"role": "assistant", "tool_calls": [call("f", "{}")]}, "messages[1].tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": 5}, "messages[1].tool_calls"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages[1].function_call"),
        ({"role": "function", "name": "f", "content": "x"}, "messages[1].name"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "messages[1].content[0].text"),
    ],
)
def test_bad_history(message: dict[str, Any], param: str):
    """Invalid arguments, unknown calls and calls without a result are refused by place."""
    assert refused(messages=[*HELLO, message]).param == param


def test_functions_of_old():
    """They are tools on the wire, history included, and answered in their own shape, whole and streamed."""
    history = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": '{"a":1}'}},
        {"role": "function", "name": "look", "content": "seen"},
    ]
    made = body(chat(messages=history, functions=[TOOL["function"]], function_call="auto"))
    assert made["tools"] == [TOOL]
    assert made["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "look", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "seen", "tool_name": "look"},
    ]
    assert "tools" not in body(chat(functions=[TOOL["function"]], function_call="none"))
    native = {"content": "", "tool_calls": [{"function": {"name": "look", "arguments": {"a": 1}}}]}
    called = {"name": "look", "arguments": '{"a":1}'}
    choice = answer(chat(functions=[TOOL["function"]]), message=native)["choices"][0]
    assert (choice["message"]["function_call"], choice["finish_reason"]) == (called, "function_call")
    assert "tool_calls" not in choice["message"]
    line = json.dumps({"message": native, "done": True}).encode()
    done = translate(ADAPTER, streamed(functions=[TOOL["function"]]), [line])
    told = [delta["function_call"] for delta in done.deltas if "function_call" in delta]
    assert told[0]["name"] == "look"
    assert "".join(each["arguments"] for each in told) == '{"a":1}'
    assert done.chunks[-1]["choices"][0]["finish_reason"] == "function_call"


def test_only_system_messages():
    """Without a user or an assistant there is nothing to answer."""
    assert refused(messages=[{"role": "system", "content": "s"}]).param == "messages"


# -- the answer ----------------------------------------------------------------------------------------------


def answer(request: Request = chat(), **members: Any) -> dict[str, Any]:  # noqa: B008 - a frozen value
    native = {
        "message": {"role": "assistant", "content": "x"},
        "done": True,
        "done_reason": "stop",
        **members,
    }
    return json.loads(ADAPTER.answer(request, TARGET, json.dumps(native).encode(), call_id=CALL_ID).body)


@pytest.mark.parametrize(
    ("done_reason", "tools", "finish"),
    [("stop", False, "stop"), ("length", False, "length"), ("load", False, "stop"), ("odd", False, "stop"),
     (None, False, "stop"), ("stop", True, "tool_calls"), ("length", True, "length")],
)  # fmt: skip
def test_finish_reasons(done_reason: str | None, tools: bool, finish: str):
    """``done_reason`` in OpenAI's words; calls make it tool_calls unless the limit cut them."""
    message: dict[str, Any] = {"content": "x"}
    if tools:
        message["tool_calls"] = [{"function": {"name": "f", "arguments": {}}}]
    assert answer(message=message, done_reason=done_reason)["choices"][0]["finish_reason"] == finish
    lines = json.dumps({"message": message, "done": True, "done_reason": done_reason}).encode() + b"\n"
    chunks = translate(ADAPTER, streamed(), [lines]).chunks
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]] == [
        finish
    ]


def test_ids_and_times():
    """Ids come from the call, ``created`` from the answer; call ids differ."""
    calls = [{"function": {"name": "f", "arguments": {"a": at}}} for at in range(2)]
    made = answer(message={"content": "", "tool_calls": calls}, created_at="2026-09-21T14:13:20.5Z")
    assert made["id"] == f"chatcmpl-{CALL_ID}"
    assert made["created"] == NOW_S
    ids = [each["id"] for each in made["choices"][0]["message"]["tool_calls"]]
    assert len(set(ids)) == 2
    assert answer(created_at=5)["created"] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"a": 1}, '{"a":1}'), ({}, "{}"), (None, "{}"), ('{"a": 1}', '{"a": 1}'), ({"é": "北"}, '{"é":"北"}')],
)
def test_tool_arguments(arguments: Any, text: str):
    """Case 19: arguments are a JSON string for OpenAI's clients, whole and in stream."""
    message = {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    assert answer(message=message)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == text
    line = json.dumps({"message": message, "done": True}).encode()
    calls = [c for d in translate(ADAPTER, streamed(), [line]).deltas for c in d.get("tool_calls") or ()]
    assert "".join(each["function"]["arguments"] for each in calls) == text


def test_parallel_calls_are_counted():
    """Case 13's numbering: calls count from zero over the whole stream, text does not count."""

    def asks(name: str) -> dict[str, Any]:
        return {"message": {"content": "", "tool_calls": [{"function": {"name": name, "arguments": {}}}]}}

    lines = [
        {"message": {"content": "Let me"}},
        asks("a"),
        asks("b"),
        {"message": {"content": ""}, "done": True},
    ]
    done = translate(ADAPTER, streamed(), [json.dumps(line).encode() + b"\n" for line in lines])
    starts = [c for d in done.deltas for c in d.get("tool_calls") or () if "id" in c]
    assert [(each["index"], each["function"]["name"]) for each in starts] == [(0, "a"), (1, "b")]
    assert len({each["id"] for each in starts}) == 2


def test_thinking():
    """Thinking is ``reasoning_content``, never content."""
    assert (
        answer(message={"content": "x", "thinking": "hm"})["choices"][0]["message"]["reasoning_content"]
        == "hm"
    )
    line = json.dumps({"message": {"content": "x", "thinking": "hm"}, "done": True}).encode()
    done = translate(ADAPTER, streamed(), [line])
    assert done.text == "x"
    assert [d["reasoning_content"] for d in done.deltas if "reasoning_content" in d] == ["hm"]


def test_logprobs():
    """With bytes where Ollama gives them and alternatives where they were asked for; not of what was thought; and only
    for those who asked. A stream adds up to the whole."""
    thought = {"token": "hm", "logprob": -3}
    hello = {
        "token": "Hel",
        "logprob": -0.5,
        "bytes": [72, 101, 108],
        "top_logprobs": [{"token": "Hel", "logprob": -0.5}],
    }
    lo = {"token": "lo", "logprob": -1}
    wanted = [
        {
            "token": "Hel",
            "logprob": -0.5,
            "bytes": [72, 101, 108],
            "top_logprobs": [{"token": "Hel", "logprob": -0.5, "bytes": None}],
        },
        {"token": "lo", "logprob": -1.0, "bytes": None, "top_logprobs": []},
    ]
    message = {"content": "Hello", "thinking": "hm"}
    asked = {"logprobs": True, "top_logprobs": 1}
    whole = answer(chat(**asked), message=message, logprobs=[thought, hello, lo])["choices"][0]
    assert whole["logprobs"] == {"content": wanted, "refusal": None}
    ChatCompletion.model_validate(
        answer(chat(**asked), message=message, logprobs=[thought, hello, lo]), strict=True
    )
    lines = [
        {"message": {"thinking": "hm"}, "logprobs": [thought]},
        {"message": {"content": "Hel"}, "logprobs": [hello]},
        {"message": {"content": "lo"}, "logprobs": [lo], "done": True},
    ]
    raw = [json.dumps(line).encode() + b"\n" for line in lines]
    done = translate(ADAPTER, streamed(**asked), raw)
    told = [choice["logprobs"] for chunk in done.chunks for choice in chunk["choices"] if choice["logprobs"]]
    assert [each for part in told for each in part["content"]] == wanted
    assert answer(message=message, logprobs=[hello, lo])["choices"][0]["logprobs"] is None
    assert not any(
        c["logprobs"] for chunk in translate(ADAPTER, streamed(), raw).chunks for c in chunk["choices"]
    )


@pytest.mark.parametrize(
    "odd",
    [None, 5, {}, [5], [{"token": 5, "logprob": 1}], [{"token": "x"}], [{"token": "x", "logprob": True}]],
)
def test_odd_logprobs(odd: Any):
    """What is no log probability is not passed on, and breaks nothing."""
    assert answer(chat(logprobs=True), logprobs=odd)["choices"][0]["logprobs"] is None


def test_an_error_line():
    """A 200 whose stream or body says error is a fault; the text stays here."""
    with pytest.raises(StreamFault, match="error_event"):
        translate(ADAPTER, streamed(), [b'{"error":"model runner has crashed"}\n'])
    with pytest.raises(StreamFault, match="error_event"):
        answer(error="x")


def test_unfinished_answers():
    """A body that is not done, or holds no message, is no answer."""
    for members in ({"done": False}, {"message": None}, {"message": "x"}):
        with pytest.raises(StreamFault, match="invalid_answer"):
            answer(**members)


def test_lines_may_end_in_crlf():
    """CRLF and blank lines between NDJSON lines mean nothing."""
    lines = b'{"message":{"content":"x"}}\r\n\r\n\n{"message":{},"done":true,"eval_count":5,"prompt_eval_count":7}'
    done = translate(ADAPTER, streamed(), [lines])
    assert (done.text, done.usage, done.terminal) == ("x", Usage(7, 5), True)
    assert done.parts[-2:] == [Part.FINISH, Part.DONE]


# -- embeddings ----------------------------------------------------------------------------------------------


def test_embedding_requests():
    """One text or many; dimensions pass; token ids are refused."""
    assert body(embeddings())["input"] == ["text"]
    assert body(embeddings(input=["a", "b"], dimensions=3)) == {
        "model": "served-as",
        "input": ["a", "b"],
        "dimensions": 3,
    }
    for given, param in (({"input": [1, 2]}, "input"), ({"dimensions": "3"}, "dimensions"),
                         ({"encoding_format": "hex"}, "encoding_format")):  # fmt: skip
        with pytest.raises(CallerError) as caught:
            body(embeddings(**given))
        assert caught.value.param == param


def test_base64_embeddings():
    """``encoding_format: base64`` packs little-endian float32, as OpenAI's SDKs ask by default."""
    native = json.dumps({"embeddings": [[0.5, -1.25], [1, 2]], "prompt_eval_count": 7}).encode()
    made = json.loads(
        ADAPTER.answer(embeddings(encoding_format="base64"), TARGET, native, call_id=CALL_ID).body
    )
    vectors = [struct.unpack("<2f", base64.b64decode(each["embedding"])) for each in made["data"]]
    assert vectors == [(0.5, -1.25), (1.0, 2.0)]
    assert [each["index"] for each in made["data"]] == [0, 1]
    assert made["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    beyond = b'{"embeddings":[[1e300]]}'
    with pytest.raises(StreamFault, match="invalid_answer"):
        ADAPTER.answer(embeddings(encoding_format="base64"), TARGET, beyond, call_id=CALL_ID)

"""What Gemini answers, in OpenAI's shape: ends, calls, thoughts, usage, several choices; streams and their errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from providers_world import (
    CALL_ID,
    LIMIT,
    NOW_S,
    TEXT,
    Translated,
    chat,
    embeddings,
    gemini,
    gemini_stream,
    streamed,
    translate,
)
from vertex_world import ADAPTER, G3, LOOK, SIGNATURE, target

from sovereign_ext.openai.request import Request
from sovereign_ext.providers.base import Answer, Part, StreamFault, Usage

TARGET = target()
END = {"text": ""}


def answered(*responses: Any, request: Request | None = None) -> Answer:
    (body,) = responses
    return ADAPTER.answer(request or chat(), TARGET, json.dumps(body).encode(), call_id=CALL_ID)


def completion(body: Any, **members: Any) -> ChatCompletion:
    return ChatCompletion.model_validate(
        json.loads(answered(body, request=chat(**members)).body), strict=True
    )


def stream_of(*responses: Any, **members: Any) -> Translated:
    return translate(ADAPTER, streamed(usage=True, **members), [gemini_stream(*responses)])


def accumulated(done: Translated) -> ChatCompletion:
    """What openai-python makes of a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in done.chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True))
    return state.current_completion_snapshot


def fault_of(body: bytes | str, **members: Any) -> StreamFault:
    """The fault that a stream ends with."""
    request = streamed(**members)
    stream = ADAPTER.stream(request, TARGET, call_id=CALL_ID, now_s=NOW_S, limit=LIMIT)
    with pytest.raises(StreamFault) as caught:  # noqa: PT012
        list(stream.feed(body if isinstance(body, bytes) else body.encode()))
        list(stream.flush())
    return caught.value


def call(name: str = "look", args: Any = None, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": args or {"a": 1}, **more}}


def tool_calls(done: Translated) -> list[dict[str, Any]]:
    return [each for delta in done.deltas for each in delta.get("tool_calls") or ()]


def finishes(done: Translated) -> list[str]:
    return [
        choice["finish_reason"]
        for chunk in done.chunks
        for choice in chunk["choices"]
        if choice["finish_reason"]
    ]


# -- ends ----------------------------------------------------------------------------------------------------

ENDS = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter", "PROHIBITED_CONTENT": "content_filter", "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter", "MODEL_ARMOR": "content_filter", "LANGUAGE": "content_filter",
}  # fmt: skip


@pytest.mark.parametrize("reason", ENDS)
def test_finish_reasons(reason: str):
    """Google's ends in OpenAI's words, whole and streamed; never a word outside of OpenAI's."""
    assert completion(gemini({"text": "a"}, finish=reason)).choices[0].finish_reason == ENDS[reason]
    assert finishes(stream_of(gemini({"text": "a"}), gemini(END, finish=reason))) == [ENDS[reason]]


@pytest.mark.parametrize(
    "reason",
    ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "TOO_MANY_TOOL_CALLS", "NEW_ONE", 7],
)
def test_ends_that_are_failures(reason: Any):
    """A garbled call is no answer: another provider may do better."""
    body = gemini({"text": "a"}, finish=reason)
    with pytest.raises(StreamFault, match="malformed_answer") as caught:
        answered(body)
    assert caught.value.fault.walk
    assert caught.value.fault.error.status == 502
    assert fault_of(gemini_stream(body)).fault.outcome == "malformed_answer"


def test_a_blocked_prompt():
    """``promptFeedback.blockReason`` without candidates is a choice that was filtered."""
    body = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7},
        "responseId": "x",
    }
    made = completion(body)
    assert (made.choices[0].finish_reason, made.choices[0].message.content) == ("content_filter", "")
    assert answered(body).usage == Usage(7, 0)
    done = stream_of(body)
    assert finishes(done) == ["content_filter"]
    assert done.parts == [Part.LIFECYCLE, Part.FINISH, Part.USAGE, Part.DONE]


def test_text_in_the_last_chunk():
    """Case 25: text beside the finish reason is kept; an end without content is an empty delta."""
    done = stream_of(gemini({"text": "a"}), gemini({"text": "b"}, finish="STOP"))
    assert done.text == "ab"
    empty = gemini(finish="MAX_TOKENS")
    del empty["candidates"][0]["content"]
    done = stream_of(empty)
    assert done.deltas == [{"role": "assistant", "content": ""}, {}]
    assert finishes(done) == ["length"]
    assert completion(empty).choices[0].message.content == ""


def test_no_end_is_no_answer():
    """Case 24: bytes that end before the finish reason are a broken stream, and no whole answer either."""
    done = stream_of(gemini({"text": "a"}))
    assert (done.terminal, finishes(done), Part.DONE in done.parts) == (False, [], False)
    for body in (gemini({"text": "a"}), {"candidates": []}, {}):
        with pytest.raises(StreamFault, match="invalid_answer"):
            answered(body)
    half = gemini({"text": "a"}, finish="STOP")
    other = gemini({"text": "b"})
    other["candidates"][0]["index"] = 1
    assert not stream_of(half, other, n=2).terminal


def test_a_finish_reason_too_early():
    """What still comes after a finish reason counts: text, calls, and the last reason."""
    done = stream_of(
        gemini({"text": "a"}, finish="STOP"), gemini({"text": "b"}), gemini(call(), finish="STOP")
    )
    assert (done.text, finishes(done), done.terminal) == ("ab", ["tool_calls"], True)


# -- tool calls ----------------------------------------------------------------------------------------------


def test_a_call_and_then_stop():
    """Case 17: a call anywhere in the stream makes the later STOP ``tool_calls``."""
    done = stream_of(gemini(call()), gemini({"text": "and"}), gemini(END, finish="STOP"))
    assert finishes(done) == ["tool_calls"]
    assert finishes(stream_of(gemini(call()), gemini(END, finish="MAX_TOKENS"))) == ["length"]
    assert finishes(stream_of(gemini(END, finish="STOP"), gemini(call()))) == ["tool_calls"]


def test_parallel_calls_of_one_function():
    """Case 16: distinct index and id, whether Google gives none, gives some, or gives one twice."""
    for ids in ({}, {"id": "fc_1"}):
        done = stream_of(gemini(call(**ids)), gemini(call(**ids)), gemini(call(), finish="STOP"))
        begun = [each for each in tool_calls(done) if "id" in each]
        assert [each["index"] for each in begun] == [0, 1, 2]
        assert len({each["id"] for each in begun}) == 3
        own = [each["id"] for each in begun if each["id"] != "fc_1"]
        assert len(own) == (2 if ids else 3)
        assert all(len(id_) == 29 and int(id_.removeprefix("call_"), 16) >= 0 for id_ in own)


def test_ids_belong_to_the_call():
    """The same answer to another call has other ids: they can be told apart in one history."""
    body = json.dumps(gemini(call(), finish="STOP")).encode()
    ids = set()
    for call_id in ("a", "b", "a"):
        made = json.loads(ADAPTER.answer(chat(), TARGET, body, call_id=call_id).body)
        ids.add(made["choices"][0]["message"]["tool_calls"][0]["id"])
    assert len(ids) == 2


def test_text_and_then_a_call():
    """Case 13: the first call has index 0, whatever came before; case 14: no arguments are ``{}``."""
    bare = {"functionCall": {"name": "list"}}
    done = stream_of(gemini({"text": "Let me see."}), gemini(bare, finish="STOP"))
    assert [each["index"] for each in tool_calls(done)] == [0, 0]
    assert "".join(each["function"]["arguments"] for each in tool_calls(done)) == "{}"
    made = completion(gemini({"text": "Let me see."}, bare, finish="STOP")).choices[0].message
    assert made.content == "Let me see."
    assert made.tool_calls is not None
    assert made.tool_calls[0].function.arguments == "{}"  # type: ignore[union-attr]


@pytest.mark.parametrize("odd", [{"name": 7}, {"args": {}}, {"name": "x", "args": [1]}, {"name": ""}])
def test_odd_calls(odd: dict[str, Any]):
    with pytest.raises(StreamFault, match="invalid_answer"):
        answered(gemini({"functionCall": odd}, finish="STOP"))


def test_signatures():
    """They are given to the client with the call, and with the message where they sit on text."""
    parts = [
        {"text": "a", "thoughtSignature": SIGNATURE},
        {**call(id="fc"), "thoughtSignature": "c2ln"},
        call(id="f2"),
    ]
    for made in (
        completion(gemini(*parts, finish="STOP")),
        accumulated(stream_of(gemini(*parts, finish="STOP"))),
    ):
        message = made.choices[0].message.model_dump()
        assert message["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
        first, second = message["tool_calls"]
        assert first["extra_content"] == {"google": {"thought_signature": "c2ln"}}
        assert "extra_content" not in second


def test_an_answer_goes_back():
    """What was answered is a legal history, signatures and ids included."""
    body = gemini(
        {"text": "a", "thoughtSignature": SIGNATURE},
        {**call(id="fc"), "thoughtSignature": "c2ln"},
        finish="STOP",
    )
    message = json.loads(answered(body).body)["choices"][0]["message"]
    told = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "x"}
    request = chat(messages=[{"role": "user", "content": "q"}, message, told], tools=[LOOK])
    sent = json.loads(ADAPTER.request(request, target(G3)).body)["contents"][1]
    assert sent == body["candidates"][0]["content"]


def test_functions_of_old():
    """Who asked with ``functions`` is answered with ``function_call``."""
    made = completion(gemini(call(), finish="STOP"), functions=[LOOK["function"]])
    assert made.choices[0].finish_reason == "function_call"
    assert made.choices[0].message.function_call is not None
    done = stream_of(gemini(call(), finish="STOP"), functions=[LOOK["function"]])
    assert finishes(done) == ["function_call"]
    assert (
        "".join((delta.get("function_call") or {}).get("arguments", "") for delta in done.deltas) == '{"a":1}'
    )


# -- thoughts, usage, log probabilities, choices ---------------------------------------------------------------


def test_thoughts():
    """They are ``reasoning_content``, never content."""
    parts = [{"text": "Hm.", "thought": True}, {"text": "Yes."}]
    made = completion(gemini(*parts, finish="STOP")).choices[0].message
    assert (made.content, made.model_dump()["reasoning_content"]) == ("Yes.", "Hm.")
    done = stream_of(*(gemini(part) for part in parts), gemini(END, finish="STOP"))
    assert done.text == "Yes."
    assert [delta["reasoning_content"] for delta in done.deltas if "reasoning_content" in delta] == ["Hm."]


@pytest.mark.parametrize(
    ("counted", "usage"),
    [
        ({"promptTokenCount": 7, "candidatesTokenCount": 5}, Usage(7, 5)),
        ({"promptTokenCount": 7, "totalTokenCount": 7}, Usage(7, 0)),
        (
            {"promptTokenCount": 7, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 5, "thoughtsTokenCount": 4,
             "cachedContentTokenCount": 6, "totalTokenCount": 19},
            Usage(10, 9, cached_tokens=6, reasoning_tokens=4),
        ),
        ({"promptTokenCount": 7, "cachedContentTokenCount": 8}, Usage(7, 0)),
        ({"promptTokenCount": -7, "candidatesTokenCount": "5", "thoughtsTokenCount": True}, Usage(0, 0)),
        ({"trafficType": "ON_DEMAND"}, Usage()),
        (None, Usage()),
        ([7], Usage()),
    ],
)  # fmt: skip
def test_usage(counted: Any, usage: Usage):
    """Cases 27 and 29: thoughts are part of the completion, tools' text and cached tokens of the prompt; the total is
    the sum, and nothing is negative."""
    body = gemini({"text": "a"}, finish="STOP") | {"usageMetadata": counted}
    assert answered(body).usage == usage
    done = stream_of(body)
    assert done.usage == usage
    told = done.chunks[-1]["usage"]
    assert told["total_tokens"] == told["prompt_tokens"] + told["completion_tokens"]
    assert json.loads(answered(body).body)["usage"] == told


def test_the_last_usage_counts():
    """Counts grow from chunk to chunk; a chunk without leaves them."""
    growing = [
        gemini({"text": "a"}) | {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": n}}
        for n in (1, 2)
    ]
    assert stream_of(*growing, gemini(END, finish="STOP") | {"usageMetadata": {}}).usage == Usage(7, 2)


LOGPROBS = {
    "chosenCandidates": [
        {"token": "hé", "tokenId": 1, "logProbability": -0.5},
        {"token": "llo", "tokenId": 2},
    ],
    "topCandidates": [
        {"candidates": [{"token": "hé", "logProbability": -0.5}, {"token": "ho", "logProbability": -2}]},
        {},
    ],
}
TOLD = [
    {
        "token": "hé",
        "logprob": -0.5,
        "bytes": [104, 195, 169],
        "top_logprobs": [
            {"token": "hé", "logprob": -0.5, "bytes": [104, 195, 169]},
            {"token": "ho", "logprob": -2.0, "bytes": [104, 111]},
        ],
    },
    {"token": "llo", "logprob": 0.0, "bytes": [108, 108, 111], "top_logprobs": []},
]


def test_log_probabilities():
    """In OpenAI's shape, whole and streamed, and only for who asked."""
    body = gemini({"text": "héllo"}, finish="STOP")
    body["candidates"][0]["logprobsResult"] = LOGPROBS
    made = completion(body, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert made is not None
    assert made.model_dump() == {"content": TOLD, "refusal": None}
    done = stream_of(body, gemini(END, finish="STOP"), logprobs=True)
    found = [choice["logprobs"] for chunk in done.chunks for choice in chunk["choices"] if choice["logprobs"]]
    assert found == [{"content": TOLD, "refusal": None}]
    assert completion(body).choices[0].logprobs is None


ODD_TOKENS = [7, {"token": 7}, {"token": "a", "logProbability": "x"}]


@pytest.mark.parametrize(
    "odd", [7, {"chosenCandidates": 7}, {"chosenCandidates": ODD_TOKENS, "topCandidates": [7]}]
)
def test_odd_log_probabilities(odd: Any):
    """What is none is left out; the answer stays."""
    body = gemini({"text": "a"}, finish="STOP")
    body["candidates"][0]["logprobsResult"] = odd
    assert completion(body, logprobs=True).choices[0].logprobs is None


def several() -> dict[str, Any]:
    body = gemini({"text": "one"}, finish="STOP")
    second = {"index": 1, "content": {"parts": [{"text": "two"}, call()]}, "finishReason": "STOP"}
    third = {"index": 2, "finishReason": "SAFETY"}
    body["candidates"] += [second, third]
    return body


def test_several_choices():
    """``n`` choices by ``candidate.index``, each with its own calls and end; usage counts once."""
    for made in (completion(several(), n=3), accumulated(stream_of(several(), n=3))):
        assert [choice.index for choice in made.choices] == [0, 1, 2]
        assert [choice.finish_reason for choice in made.choices] == ["stop", "tool_calls", "content_filter"]
        assert [choice.message.content or "" for choice in made.choices] == ["one", "two", ""]
        assert made.usage is not None
        assert made.usage.total_tokens == 12


def test_choices_that_alternate():
    """Candidates may come in any order and in pieces; they begin in the order of their indices."""
    pieces = []
    for text, index in (("a", 1), ("b", 0), ("c", 1), ("d", 0)):
        pieces.append(gemini({"text": text}))
        pieces[-1]["candidates"][0]["index"] = index
    last = gemini(finish="STOP")
    last["candidates"].append({"index": 1, "finishReason": "MAX_TOKENS"})
    done = stream_of(*pieces, last, n=2)
    begun = [
        choice["index"] for chunk in done.chunks for choice in chunk["choices"] if "role" in choice["delta"]
    ]
    assert begun == [0, 1]
    made = accumulated(done)
    assert [choice.message.content for choice in made.choices] == ["bd", "ac"]
    assert [choice.finish_reason for choice in made.choices] == ["stop", "length"]


@pytest.mark.parametrize("index", [3, -1, "0", True, 1.0, None])
def test_choices_that_were_not_asked_for(index: Any):
    """A candidate beyond them is no answer, so memory is bounded by what was asked for."""
    body = gemini({"text": "a"}, finish="STOP")
    body["candidates"][0]["index"] = index
    with pytest.raises(StreamFault, match="invalid_answer"):
        answered(body, request=chat(n=3))
    assert fault_of(gemini_stream(body), n=3).fault.outcome == "invalid_answer"


def test_ids():
    """The answer's id is Google's, or made of the call's; the same on every chunk (case 30)."""
    assert completion(gemini(END, finish="STOP")).id == "cm9idXN0"
    assert completion(gemini(END, finish="STOP") | {"responseId": ""}).id == f"chatcmpl-{CALL_ID}"
    other = gemini({"text": "b"}, finish="STOP") | {"responseId": "other", "modelVersion": "other"}
    assert {chunk["id"] for chunk in stream_of(gemini({"text": "a"}), other).chunks} == {"cm9idXN0"}
    assert completion(gemini(END, finish="STOP")).created == NOW_S


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
ASKED = {"n": 3, "logprobs": True, "top_logprobs": 2}


@pytest.mark.services
@settings(max_examples=300)
@given(data=st.data())
def test_hostile_answers(data: st.DataObject):
    """An answer with one member replaced by anything at all: what is an answer is the same one streamed, what is none
    is a fault or has no end."""
    body = several()
    body["candidates"][0]["logprobsResult"] = json.loads(json.dumps(LOGPROBS))
    body["candidates"][1]["content"]["parts"].append(
        {"text": "Hm.", "thought": True, "thoughtSignature": "c2ln"}
    )
    node: Any = body
    for _ in range(data.draw(st.integers(0, 6))):
        inner = list(node.values()) if isinstance(node, dict) else node
        nested = [value for value in inner if isinstance(value, dict | list) and value]
        if not nested:
            break
        node = data.draw(st.sampled_from(nested))
    node[data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))] = data.draw(
        JSON
    )
    try:
        made = completion(body, **ASKED)
    except StreamFault:
        made = None
    try:
        done = stream_of(body, **ASKED)
    except StreamFault:
        done = None
    if made is None:
        assert done is None or not done.terminal
        return
    assert done is not None
    streamed_ = accumulated(done)
    for whole, piece in zip(made.choices, streamed_.choices, strict=True):
        assert (whole.message.content or "") == (piece.message.content or "")
        assert whole.finish_reason == piece.finish_reason
        assert len(whole.message.tool_calls or ()) == len(piece.message.tool_calls or ())
    assert made.usage == streamed_.usage


# -- a stream is the whole answer, cut anywhere --------------------------------------------------------------------

PIECES = [
    gemini({"text": "Hm 北", "thought": True}),
    gemini({"text": "Let 🌍 me"}),
    gemini({"text": " see.", "thoughtSignature": SIGNATURE}),
    gemini(call("look", {"city": "北京", "deep": [{"a": None}]}), call("look", {"n": 12345678901234567890})),
    gemini(call("list", {}), finish="STOP"),
]
WHOLE = gemini(
    {"text": "Hm 北", "thought": True},
    {"text": "Let 🌍 me"},
    {"text": " see.", "thoughtSignature": SIGNATURE},
    *PIECES[3]["candidates"][0]["content"]["parts"],
    call("list", {}),
    finish="STOP",
)


def test_a_stream_adds_up_to_the_whole_answer():
    """openai-python makes the same of both."""
    made, whole = accumulated(stream_of(*PIECES)).model_dump(), completion(WHOLE).model_dump()
    for each in made["choices"][0]["message"]["tool_calls"]:
        each.pop("index", None)
        each["function"].pop("parsed_arguments", None)
    message, expected = (each["choices"][0]["message"] for each in (made, whole))
    for name in ("content", "reasoning_content", "extra_content", "tool_calls"):
        assert message[name] == expected[name], name
    assert made["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert made["usage"] == whole["usage"]
    assert made["id"] == whole["id"]


@pytest.mark.services
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_cut_at_every_byte(line_end: bytes):
    """Cases 1 to 4: every cut in two, with every line end, with and without the space, in the middle of 北 and 🌍."""
    stream = gemini_stream(*PIECES).replace(b"\r\n", line_end)
    whole = translate(ADAPTER, streamed(usage=True), [stream])
    assert whole.terminal
    assert whole.text == "Let 🌍 me see."
    for data in (stream, stream.replace(b"data: ", b"data:")):
        for cut in range(len(data) + 1):
            assert translate(ADAPTER, streamed(usage=True), [data[:cut], data[cut:]]) == whole


def test_framing():
    """Case 6: comments, fields in another order, JSON over several ``data:`` lines."""
    plain = stream_of(*PIECES)
    odd = b": hello\n\nid: 7\nretry: 5\n\n"
    for piece in PIECES:
        lines = json.dumps(piece, indent=1, ensure_ascii=False).encode().split(b"\n")
        odd += b"".join(b"data: " + line + b"\n" for line in lines) + b"event: message\n: x\n\n"
    assert translate(ADAPTER, streamed(usage=True), [odd]) == plain


# -- errors inside of a 200 ------------------------------------------------------------------------------------

ERROR = {
    "error": {
        "code": 429,
        "message": "secret words",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"a": ["{", "}"]}],
    }
}


@pytest.mark.parametrize("start", [b"", gemini_stream(gemini({"text": "some"}))])
@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n\r\n", b"\n\ndata: {}\n\n"])
@pytest.mark.parametrize(
    "document",
    [
        json.dumps(ERROR).encode(),
        json.dumps(ERROR, indent=2).encode(),
        json.dumps([ERROR], indent=2).encode(),
        json.dumps(ERROR, indent=2).replace("\n", "\r\n").encode(),
        b"data: " + json.dumps(ERROR).encode() + b"\n",
        b"data: " + json.dumps([ERROR]).encode() + b"\n",
    ],
)
def test_an_error_document_in_a_stream(document: bytes, tail: bytes, start: bytes):
    """Case 7: however Google writes an error, wherever it is cut, it is one fault, told in our words."""
    data = start + document + tail
    for cut in range(len(start), len(data) + 1):
        stream = ADAPTER.stream(streamed(), TARGET, call_id=CALL_ID, now_s=NOW_S, limit=LIMIT)
        items = []
        with pytest.raises(StreamFault) as caught:  # noqa: PT012
            for piece in (data[:cut], data[cut:]):
                items += list(stream.feed(piece)) if piece else []
            items += list(stream.flush())
        fault = caught.value.fault
        assert (fault.outcome, fault.walk, fault.error.status) == ("error_event", True, 429)
        assert "secret" not in fault.error.message
        assert not stream.terminal


def test_an_error_document_that_breaks_off():
    """It says nothing, but the stream is not complete either."""
    data = gemini_stream(gemini({"text": "some"})) + json.dumps(ERROR, indent=2).encode()[:-3]
    done = translate(ADAPTER, streamed(), [data])
    assert (done.terminal, done.text) == (False, "some")


def test_an_error_after_the_finish_reason():
    """It counts: Google had not ended the stream."""
    data = gemini_stream(gemini({"text": "a"}, finish="STOP")) + json.dumps(ERROR, indent=2).encode()
    assert fault_of(data).fault.outcome == "error_event"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"status": "RESOURCE_EXHAUSTED"}, 429),
        ({"code": 503}, 503),
        ({"status": "UNAVAILABLE"}, 503),
        ({"code": 500, "status": "INTERNAL"}, 502),
        ({"code": {"a": 1}}, 502),
        ("text", 502),
        (None, 502),
    ],
)
def test_kinds_of_errors(error: Any, status: int):
    assert fault_of(gemini_stream({"error": error})).fault.error.status == status
    with pytest.raises(StreamFault) as caught:
        answered([{"error": error}])
    assert (caught.value.fault.error.status, caught.value.fault.outcome) == (status, "error_event")


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"[]\n", "invalid_json"),
        (b"{}\n", "invalid_json"),
        (b"{'a'}\n", "invalid_json"),
        (b"[1, 2]", "invalid_json"),
        (b"data: 7\n\n", "invalid_json"),
        (b"data: []\n\n", "invalid_json"),
        (b"data: {\n\n", "invalid_json"),
        (b'data: {"candidates": 7}\n\n', "invalid_answer"),
        (b'data: {"candidates": [7]}\n\n', "invalid_answer"),
        (b'data: {"candidates": [{"content": {"parts": [7]}}]}\n\n', "invalid_answer"),
        (b"{" * LIMIT + b"{", "event_too_large"),
        (b"{\n" * LIMIT, "event_too_large"),
        (b"data: " + b"x" * LIMIT, "event_too_large"),
    ],
)
def test_streams_that_are_none(data: bytes, outcome: str):
    """Case 9 and nonsense: the provider's fault, with bounded memory."""
    assert fault_of(data).fault.outcome == outcome


@given(data=st.binary(max_size=40).map(lambda data: b'{"a": "' + data))
def test_hostile_documents(data: bytes):
    """Whatever stands on the lines of a document, it ends in a fault or in silence."""
    stream = ADAPTER.stream(streamed(), TARGET, call_id=CALL_ID, now_s=NOW_S, limit=LIMIT)
    try:
        assert [*stream.feed(data), *stream.flush()] == []
    except StreamFault as fault:
        assert fault.fault.walk  # noqa: PT017


def test_a_document_of_escaped_quotes_is_read_in_one_pass():
    """Each byte of a document is looked at once: the worst line of the largest document takes a moment."""
    hostile = b"[" + b'\\"' * (LIMIT // 2 - 8) + b"\n"
    stream = ADAPTER.stream(streamed(), TARGET, call_id=CALL_ID, now_s=NOW_S, limit=LIMIT)
    assert [*stream.feed(hostile), *stream.flush()] == []


# -- errors by status ----------------------------------------------------------------------------------------------


def google_error(status: str, message: str, *details: Any) -> bytes:
    return json.dumps(
        {"error": {"code": 0, "message": message, "status": status, "details": details}}
    ).encode()


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    ("headers", "delay", "wait"),
    [
        ({}, "34.5s", 34.5),
        ({}, "7s", 7.0),
        ({}, "soon", None),
        ({}, "99999s", None),
        ({}, 7, None),
        ({"retry-after": "3"}, "34s", 3.0),
        ({"retry-after-ms": "1500"}, "34s", 1.5),
    ],
)
def test_retry_hints(headers: dict[str, str], delay: Any, wait: float | None, array: bool):
    """``RetryInfo`` in the details is a hint where the headers give none."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = google_error("RESOURCE_EXHAUSTED", "Quota", {"@type": "x"}, 7, info)
    fault = ADAPTER.fault(429, headers, b"[" + body + b"]" if array else body, TARGET, now_s=NOW_S)
    assert (fault.error.status, fault.error.retry_after_s) == (429, wait)


def test_a_prompt_that_is_too_long():
    """Google's words for it have OpenAI's code."""
    message = "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."
    fault = ADAPTER.fault(400, {}, google_error("INVALID_ARGUMENT", message), TARGET, now_s=NOW_S)
    assert (fault.error.code, fault.error.message, fault.caller) == ("context_length_exceeded", message, True)


def test_our_project_is_not_told():
    """Resource names lose the place; what names the project otherwise is withheld."""
    place = "projects/ward-7/locations/us-central1/publishers/google/models"
    message = f"Publisher Model `{place}/gemini-2.5-flash` was not found."
    fault = ADAPTER.fault(404, {}, google_error("NOT_FOUND", message), TARGET, now_s=NOW_S)
    assert fault.error.message == "Publisher Model `org/asked` was not found."
    for told in ("Project ward-7 has no access", "projects/ward-7/locations/us-central1/endpoints/1"):
        fault = ADAPTER.fault(400, {}, google_error("INVALID_ARGUMENT", told), TARGET, now_s=NOW_S)
        assert "ward-7" not in fault.error.message


# -- embeddings --------------------------------------------------------------------------------------------------


def embedded(body: Any, **members: Any) -> Answer:
    return ADAPTER.answer(embeddings(**members), TARGET, json.dumps(body).encode(), call_id=CALL_ID)


def prediction(*values: float, tokens: Any = 3) -> dict[str, Any]:
    return {"embeddings": {"values": values, "statistics": {"token_count": tokens, "truncated": False}}}


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"predictions": [prediction(0.5, 1), prediction(-2, 3.25, tokens=4.0)]}, 7),
        (
            {
                "embeddings": [{"values": [0.5, 1]}, {"values": [-2, 3.25]}],
                "usageMetadata": {"promptTokenCount": 8},
            },
            8,
        ),
        ({"embeddings": [{"values": [0.5, 1]}, {"values": [-2, 3.25]}]}, None),
    ],
)
def test_several_embeddings(body: Any, tokens: int | None):
    """In order, with the tokens of all of them."""
    answer = embedded(body, input=["a", "b"])
    made = CreateEmbeddingResponse.model_validate(json.loads(answer.body))
    assert [(each.index, each.embedding) for each in made.data] == [(0, [0.5, 1.0]), (1, [-2.0, 3.25])]
    assert (answer.usage, made.usage.total_tokens) == (Usage(tokens, None), tokens or 0)


def test_one_embedding():
    body = {"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 2}, "truncated": False}
    for given_ in ("a", ["a"]):
        answer = embedded(body, input=given_, encoding_format="base64")
        assert json.loads(answer.body)["data"][0]["embedding"] == "AAAAPw=="
        assert answer.usage == Usage(2, None)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"embedding": None}, {"predictions": []}, {"predictions": [prediction(1)]}, {"predictions": 7},
        {"predictions": [7, prediction(1)]}, {"embeddings": [{"values": "x"}, {"values": [1]}]}, [],
    ],
)  # fmt: skip
def test_embeddings_that_are_none(body: Any):
    """Fewer vectors than texts, or none at all, are no answer."""
    with pytest.raises(StreamFault):
        embedded(body, input=["a", "b"])


def test_texts_are_as_they_were():
    """Unicode of every kind comes through whole."""
    assert completion(gemini({"text": TEXT}, finish="STOP")).choices[0].message.content == TEXT

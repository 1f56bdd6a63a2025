"""An answer told piece by piece: the rules of one choice, several choices, log probabilities."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from providers_world import chat, streamed

from sovereign_ext.providers._reply import Reply, ReplyBody, ReplyStream, completion, mended
from sovereign_ext.providers.base import Item, Part, Usage

LOGPROBS = [
    {"token": "hé", "logprob": -0.5, "bytes": [104, 195, 169], "top_logprobs": []},
    {"token": "llo", "logprob": -1.0, "bytes": [108, 108, 111], "top_logprobs": []},
]


def chunks(items: list[Item]) -> list[dict[str, Any]]:
    return [json.loads(item.data) for item in items if item.data]


def told(first: Reply, second: Reply) -> list[Item]:
    """The same two choices, alternating as they come."""
    return [
        *first.text("hé", LOGPROBS[:1]),
        *second.call("call_1", "look"),
        *first.text("llo", LOGPROBS[1:]),
        *second.arguments('{"a":1}'),
    ]


def test_several_choices_share_a_stream():
    """Each choice has its index, its role and its end; usage and the end of the stream come once, after all of them."""
    first, second = (ReplyStream(streamed(usage=True), "id", 5, choice=choice) for choice in (0, 1))
    items = [
        *told(first, second),
        *first.end("stop"),
        *second.end("tool_calls"),
        *first.complete(Usage(7, 5)),
    ]
    for chunk in chunks(items):
        ChatCompletionChunk.model_validate(chunk, strict=True)
    choices = [choice for chunk in chunks(items) for choice in chunk["choices"]]
    for index, reason in ((0, "stop"), (1, "tool_calls")):
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert [choice["finish_reason"] for choice in own if choice["finish_reason"]] == [reason]
    assert [item.part for item in items][-4:] == [Part.FINISH, Part.FINISH, Part.USAGE, Part.DONE]


def test_several_choices_make_a_completion():
    """The gathered choices are those of the stream."""
    first, second = ReplyBody(chat()), ReplyBody(chat())
    assert told(first, second) == []
    first.finish("stop", Usage())
    second.finish("tool_calls", Usage())
    answer = completion(chat(), "id", 5, [first.choice(0), second.choice(1)], Usage(7, 5))
    made = ChatCompletion.model_validate(json.loads(answer.body), strict=True)
    assert [choice.index for choice in made.choices] == [0, 1]
    assert [choice.finish_reason for choice in made.choices] == ["stop", "tool_calls"]
    assert made.choices[0].message.content == "héllo"
    assert made.choices[1].message.content is None
    assert made.usage is not None
    assert (made.usage.total_tokens, answer.usage) == (12, Usage(7, 5))


def test_log_probabilities():
    """They travel with their text: chunk by chunk in a stream, all together in a completion; elsewhere null stands."""
    stream = ReplyStream(streamed(), "id", 5)
    found = [
        choice["logprobs"]
        for chunk in chunks(
            [*stream.text("hé", LOGPROBS[:1]), *stream.text("x"), *stream.text("llo", LOGPROBS[1:])]
        )
        for choice in chunk["choices"]
    ]
    alone = [{"content": [each], "refusal": None} for each in LOGPROBS]
    assert found == [None, alone[0], None, alone[1]]
    body = ReplyBody(chat())
    assert [*body.text("hé", LOGPROBS[:1]), *body.text("llo", LOGPROBS[1:])] == []
    assert body.choice()["logprobs"] == {"content": LOGPROBS, "refusal": None}
    assert ReplyBody(chat()).choice()["logprobs"] is None


# -- one choice ----------------------------------------------------------------------------------------------

Told = list[tuple[str, tuple[Any, ...]]]
IMITATED = "answer_in_json"


def tell(reply: Any, story: Told) -> list[Item]:
    return [item for method, given in story for item in getattr(reply, method)(*given)]


def both(
    story: Told, reason: str = "stop", *, imitated: str | None = None, legacy: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]], list[Item]]:
    """The story's choice as a completion, the deltas of its stream, and the stream's items."""
    body = ReplyBody(chat(), imitated, legacy=legacy)
    tell(body, story)
    list(body.finish(reason, Usage(7, 5)))
    stream = ReplyStream(streamed(), "id", 5, imitated, legacy=legacy)
    items = [*tell(stream, story), *stream.finish(reason, Usage(7, 5))]
    made = json.loads(completion(chat(), "id", 5, [body.choice(0)], Usage(7, 5)).body)
    ChatCompletion.model_validate(made, strict=True)
    for chunk in chunks(items):
        ChatCompletionChunk.model_validate(chunk, strict=True)
    finish = [
        one["finish_reason"] for chunk in chunks(items) for one in chunk["choices"] if one["finish_reason"]
    ]
    choice = made["choices"][0]
    assert finish == [choice["finish_reason"]]
    return choice, [one["delta"] for chunk in chunks(items) for one in chunk["choices"]], items


def test_an_empty_answer():
    """It has a role, empty content and an end."""
    choice, deltas, items = both([], "length")
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert deltas == [{"role": "assistant", "content": ""}, {}]
    assert [item.part for item in items] == [Part.LIFECYCLE, Part.FINISH, Part.DONE]


def test_text_and_calls():
    """Text first, then each call at its index; one without arguments has ``{}`` (case 14), also in the middle."""
    story: Told = [("text", ("a",)), ("text", ("",)), ("call", ("1", "f")), ("call", ("2", "g", {"x": {"y": 1}})),
                   ("arguments", ('{"n"',)), ("arguments", (":1}",)), ("call", ("3", "h"))]  # fmt: skip
    choice, deltas, _ = both(story, "tool_calls")
    assert choice["message"]["content"] == "a"
    made = choice["message"]["tool_calls"]
    assert [one["function"]["arguments"] for one in made] == ["{}", '{"n":1}', "{}"]
    assert made[1]["extra_content"] == {"x": {"y": 1}}
    told = [one for delta in deltas for one in delta.get("tool_calls", ())]
    assert [one["index"] for one in told] == [0, 0, 1, 1, 1, 2, 2]
    assert [one["function"]["arguments"] for one in told] == ["", "{}", "", '{"n"', ":1}", "", "{}"]
    assert choice["finish_reason"] == "tool_calls"


def test_calls_without_text_have_null_content():
    """As OpenAI has it."""
    assert both([("call", ("1", "f"))], "tool_calls")[0]["message"]["content"] is None


def test_no_calls_no_tool_calls():
    """The finish reason follows what the client was given."""
    assert both([("text", ("a",))], "tool_calls")[0]["finish_reason"] == "stop"


def test_imitated_output():
    """The forced tool's arguments are the content, and the end is a stop; other calls stay calls."""
    story: Told = [("call", ("1", IMITATED)), ("arguments", ('{"a"',)), ("arguments", (":1}",))]
    choice, deltas, _ = both(story, "tool_calls", imitated=IMITATED)
    assert choice["message"]["content"] == '{"a":1}'
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "stop"
    assert [delta["content"] for delta in deltas[1:-1]] == ['{"a"', ":1}"]
    assert both(story, "length", imitated=IMITATED)[0]["finish_reason"] == "length"
    other, _, _ = both([*story, ("call", ("2", "f"))], "tool_calls", imitated=IMITATED)
    assert (len(other["message"]["tool_calls"]), other["finish_reason"]) == (1, "tool_calls")


def test_functions_of_old():
    """One ``function_call``, the first; its finish reason goes with it. ``tool_calls`` never show."""
    story: Told = [
        ("call", ("1", "f")),
        ("arguments", ('{"a":1}',)),
        ("call", ("2", "g")),
        ("arguments", ("{}",)),
    ]
    choice, deltas, _ = both(story, "tool_calls", legacy=True)
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert choice["finish_reason"] == "function_call"
    assert "tool_calls" not in json.dumps(deltas) + json.dumps(choice["message"])
    assert [delta["function_call"] for delta in deltas[1:-1]] == [
        {"name": "f", "arguments": ""},
        {"arguments": '{"a":1}'},
    ]


def test_reasoning_and_extra_content_are_extensions():
    """They stand beside the content, never in it."""
    story: Told = [("reasoning", ("hm",)), ("text", ("a",)), ("extra_content", ({"p": {"s": "x"}},))]
    choice, deltas, _ = both(story)
    message = choice["message"]
    assert (message["content"], message["reasoning_content"], message["extra_content"]) == (
        "a",
        "hm",
        {"p": {"s": "x"}},
    )
    assert deltas[1:4] == [
        {"reasoning_content": "hm"},
        {"content": "a"},
        {"extra_content": {"p": {"s": "x"}}},
    ]


def test_mended():
    """Halves that follow each other are an emoji, halves alone are left out, all else is as it was."""
    assert mended("a\ud83c\udf0db") == "a🌍b"
    assert mended("\udf0da\ud83cb\ud83c") == "ab"
    assert mended("北🌍") == "北🌍"


FRAGMENT = st.text(st.characters() | st.sampled_from("\ud83c\udf0d🌍"), max_size=4)
STORY = st.lists(
    st.tuples(st.sampled_from(["text", "reasoning"]), st.tuples(FRAGMENT))
    | st.tuples(st.just("call"), st.tuples(st.just("id"), st.sampled_from(["f", IMITATED])))
    | st.tuples(st.just("arguments"), st.tuples(FRAGMENT)),
    max_size=8,
)


@given(story=STORY, legacy=st.booleans(), imitated=st.sampled_from([None, IMITATED]))
def test_a_stream_adds_up(story: Told, legacy: bool, imitated: str | None):
    """Any story: what the chunks add up to is what the completion says, but for halves of emoji that other things
    part; every chunk is OpenAI's."""
    called = False
    kept: Told = []
    for method, given_ in story:  # arguments belong to a call that is open
        called = method == "call" or (called and method == "arguments")
        if method != "arguments" or called:
            kept.append((method, given_))
    whole = all(not any("\ud800" <= c <= "\udfff" for c in given_[0]) for _, given_ in kept)
    choice, deltas, _ = both(kept, "tool_calls", imitated=imitated, legacy=legacy)
    message = choice["message"]
    if not whole:
        return
    assert "".join(delta.get("content") or "" for delta in deltas) == (message["content"] or "")
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == message.get(
        "reasoning_content", ""
    )
    made: dict[int, str] = {}
    for delta in deltas:
        for one in delta.get("tool_calls", ()):
            made[one["index"]] = made.get(one["index"], "") + one["function"]["arguments"]
    assert list(made.values()) == [one["function"]["arguments"] for one in message.get("tool_calls", ())]

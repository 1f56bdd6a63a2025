"""A conversation read into one order: merging, tools and their results, old functions, what is refused and where."""

from __future__ import annotations

import base64
import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import CallerError
from sovereign_ext.openai.conversation import (
    AssistantTurn,
    Audio,
    Conversation,
    Document,
    Image,
    Text,
    ToolCall,
    UserTurn,
    read_conversation,
)
from sovereign_ext.openai.request import Endpoint, read_request

PIXEL = base64.b64encode(b"\x89PNG").decode()


def read(*messages: dict[str, Any]) -> Conversation:
    body = json.dumps({"model": "m", "messages": messages}).encode()
    return read_conversation(read_request(Endpoint.CHAT, body).values)


def refused(*messages: dict[str, Any]) -> CallerError:
    with pytest.raises(CallerError) as caught:
        read(*messages)
    assert caught.value.status == 400
    return caught.value


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def call(id: str, name: str = "look", arguments: Any = "{}", **more: Any) -> dict[str, Any]:  # noqa: A002
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def calls(*made: dict[str, Any], content: Any = None) -> dict[str, Any]:
    return said(content, tool_calls=list(made))


def result(id: str, content: Any = "r") -> dict[str, Any]:  # noqa: A002
    return {"role": "tool", "tool_call_id": id, "content": content}


def part(content: dict[str, Any]) -> Any:
    """How one part of a user's content is read."""
    (turn,) = read(user([content])).turns
    assert isinstance(turn, UserTurn)
    (found,) = turn.content
    return found


# -- merging -------------------------------------------------------------------------------------------------


def test_system_texts_are_hoisted():
    """Case 32: wherever they stand, in their order; the users around them are one turn, string and list alike."""
    found = read(
        system("one"),
        user("a"),
        {"role": "developer", "content": [text("two")]},
        user([text("b"), text("c")]),
    )
    assert found.system == (Text("one"), Text("two"))
    assert found.turns == (UserTurn((), (Text("a"), Text("b"), Text("c"))),)


def test_neighbours_are_one_turn():
    """Nothing of either is lost, texts and calls."""
    found = read(
        user("go"), said("a"), said([text("b")]), calls(call("1")), calls(call("2")), result("2"), result("1")
    )
    asked, answered = found.turns[1:]
    assert isinstance(asked, AssistantTurn)
    assert asked.content == (Text("a"), Text("b"))
    assert [one.id for one in asked.calls] == ["1", "2"]
    assert isinstance(answered, UserTurn)


@pytest.mark.parametrize("blank", [said(""), said(None), said([]), said(None, tool_calls=[], refusal="")])
def test_an_empty_message_parts_nothing(blank: dict[str, Any]):
    """Users on both sides of it are one turn; so are results on both sides."""
    assert read(user("a"), blank, user("b"), user("")).turns == (UserTurn((), (Text("a"), Text("b"))),)
    found = read(user("go"), calls(call("1"), call("2")), result("1"), blank, result("2"), user("b"))
    assert isinstance(found.turns[2], UserTurn)
    assert [one.id for one in found.turns[2].results] == ["1", "2"]


def test_refusals_are_text_and_names_are_dropped():
    """A refusal, as a member or as a part, is what the assistant said."""
    found = read(
        {**user("a"), "name": "Zoë"},
        said([{"type": "refusal", "refusal": "no"}]),
        said(None, refusal="never"),
    )
    assert found.turns == (UserTurn((), (Text("a"),)), AssistantTurn((Text("no"), Text("never")), ()))


def test_extra_content_belongs_to_one_message():
    """What a provider gave along is kept where the turn is that message; of merged messages nobody's is."""
    extra = {"anthropic": {"x": 1}}
    for messages, expected in (
        ([said("a", extra_content=extra)], extra),
        ([said(""), said("a", extra_content=extra)], extra),
        ([said("a", extra_content=extra), said("b")], {}),
        ([said("a"), said("b", extra_content=extra)], {}),
        ([said("a", extra_content="odd")], {}),
    ):
        turn = read(user("go"), *messages).turns[-1]
        assert isinstance(turn, AssistantTurn)
        assert turn.extra == expected
    (_, turn, _) = read(user("go"), calls(call("1", extra_content={"g": 1})), result("1")).turns
    assert isinstance(turn, AssistantTurn)
    assert turn.calls[0].extra == {"g": 1}


# -- tools ---------------------------------------------------------------------------------------------------


def test_results_in_the_order_of_the_calls():
    """Case 31: whatever order they came in, before what the user says, each with its function's name."""
    found = read(
        user("go"), calls(call("a"), call("b", "list")), result("b", "2"), result("a", [text("1")]), user("x")
    )
    turn = found.turns[2]
    assert isinstance(turn, UserTurn)
    assert [(one.id, one.name, one.text) for one in turn.results] == [("a", "look", "1"), ("b", "list", "2")]
    assert turn.content == (Text("x"),)


def test_rounds_follow_each_other():
    """A round of calls after another: each turn has its own results."""
    found = read(user("go"), calls(call("a")), result("a"), calls(call("b")), result("b"))
    assert [type(turn) for turn in found.turns] == [UserTurn, AssistantTurn] * 2 + [UserTurn]
    assert [len(turn.results) for turn in found.turns if isinstance(turn, UserTurn)] == [0, 1, 1]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([calls(call("a"))], "messages[1].tool_calls[0].id"),
        ([calls(call("a"), call("b")), result("a")], "messages[1].tool_calls[1].id"),
        ([calls(call("a")), user("x"), result("a")], "messages[1].tool_calls[0].id"),
        ([calls(call("a")), result("b")], "messages[2].tool_call_id"),
        ([calls(call("a")), result("a"), result("a")], "messages[3].tool_call_id"),
        ([calls(call("a"), call("a")), result("a")], "messages[1].tool_calls[1].id"),
        ([result("a")], "messages[1].tool_call_id"),
        ([{"role": "tool", "content": "x"}], "messages[1].tool_call_id"),
        ([calls({"type": "function", "function": {"name": "f"}})], "messages[1].tool_calls[0].id"),
        ([calls(call("a", ""))], "messages[1].tool_calls[0].function.name"),
        ([calls(call("a", arguments="{"))], "messages[1].tool_calls[0].function.arguments"),
        ([calls(call("a", arguments="[1]"))], "messages[1].tool_calls[0].function.arguments"),
        ([calls(call("a", arguments={"a": 1}))], "messages[1].tool_calls[0].function.arguments"),
        ([calls({**call("a"), "type": "custom"})], "messages[1].tool_calls[0].type"),
        ([said(None, tool_calls={"a": 1})], "messages[1].tool_calls"),
        ([said("x", audio={"id": "a"})], "messages[1].audio"),
        ([said([{"type": "image_url", "image_url": {"url": "https://x.example"}}])],
         "messages[1].content[0].image_url.url"),
        ([{"role": "function", "name": "f", "content": "x"}], "messages[1].name"),
        ([said(None, function_call={"name": "f"}), {"role": "function", "name": "g", "content": "x"}],
         "messages[2].name"),
    ],
)  # fmt: skip
def test_refused_histories(messages: list[dict[str, Any]], param: str):
    """Unknown, missing and double ids, and arguments that are none: 400 that names the place."""
    assert refused(user("go"), *messages).param == param


def test_ids_may_be_used_again():
    """By a later turn, as clients do that count anew in each: then all differ, and results find their calls."""
    found = read(
        user("go"),
        calls(call("a")),
        result("a", "1"),
        calls(call("a", "list"), call("b")),
        result("b"),
        result("a", "2"),
    )
    asked = [one for turn in found.turns if isinstance(turn, AssistantTurn) for one in turn.calls]
    answered = [one for turn in found.turns if isinstance(turn, UserTurn) for one in turn.results]
    assert [one.id for one in asked] == [one.id for one in answered]
    assert len({one.id for one in asked}) == 3
    assert [(one.name, one.text) for one in answered] == [("look", "1"), ("list", "2"), ("look", "r")]


def test_arguments_are_parsed():
    """The empty string is no arguments."""
    (_, turn, _) = read(user("go"), calls(call("a", arguments=""), call("b", arguments='{"x": [1]}')), result("b"),
                        result("a")).turns  # fmt: skip
    assert isinstance(turn, AssistantTurn)
    assert [dict(one.arguments) for one in turn.calls] == [{}, {"x": [1]}]


def test_functions_of_old():
    """``function_call`` and role ``function`` are a call and its result, joined by an id made here, in their order."""
    found = read(
        user("go"),
        said(None, function_call={"name": "f", "arguments": '{"n":1}'}),
        {"role": "function", "name": "f", "content": "first"},
        said(None, function_call={"name": "f", "arguments": '{"n":2}'}),
        {"role": "function", "name": "f", "content": "second"},
    )
    asked = [one for turn in found.turns if isinstance(turn, AssistantTurn) for one in turn.calls]
    answered = [one for turn in found.turns if isinstance(turn, UserTurn) for one in turn.results]
    assert [one.arguments for one in asked] == [{"n": 1}, {"n": 2}]
    assert [(one.id, one.text) for one in answered] == [(asked[0].id, "first"), (asked[1].id, "second")]
    assert len({one.id for one in asked}) == 2


def test_nothing_to_answer():
    """Only system messages, or blank ones, are nothing to answer."""
    assert refused(system("x")).param == "messages"
    assert refused(user(""), said(None)).param == "messages"


# -- parts ---------------------------------------------------------------------------------------------------


def test_parts():
    """Each kind as a value that says where it stood."""
    where = "messages[0].content[0]"
    assert part(text("x", prompt_cache_breakpoint={"mode": "explicit"})) == Text("x", cached=True)
    url = {"url": f"data:IMAGE/PNG;charset=x;base64,{PIXEL}", "detail": "low"}
    assert part({"type": "image_url", "image_url": url}) == Image(
        f"{where}.image_url.url", PIXEL, "image/png", detail="low"
    )
    https = {"type": "image_url", "image_url": {"url": "HTTPS://x.example/i.png"}}
    assert part(https) == Image(f"{where}.image_url.url", url="HTTPS://x.example/i.png")
    sound = {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}}
    assert part(sound) == Audio(f"{where}.input_audio", PIXEL, "wav")
    given = {"filename": "f.pdf", "file_data": f"data:application/pdf;base64,{PIXEL}"}
    assert part({"type": "file", "file": given}) == Document(
        f"{where}.file.file_data", PIXEL, "application/pdf", "f.pdf"
    )
    assert part({"type": "file", "file": {"file_id": "f-1"}}) == Document(
        f"{where}.file.file_id", file_id="f-1"
    )


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ("x", ""),
        ({"type": "image_url", "image_url": {"url": "http://x.example"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,###"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, ".image_url.url"),
        ({"type": "image_url", "image_url": None}, ".image_url.url"),
        ({"type": "input_audio", "input_audio": {"data": "AA=="}}, ".input_audio.format"),
        ({"type": "input_audio", "input_audio": {"data": 5, "format": "wav"}}, ".input_audio.data"),
        ({"type": "file", "file": {"filename": "x"}}, ".file.file_data"),
        ({"type": "file"}, ".file"),
        ({"type": "text"}, ".text"),
        ({"type": "hologram"}, ".type"),
        ({}, ".type"),
    ],
)
def test_refused_parts(content: Any, param: str):
    """What is no part, or none that anybody knows: 400 naming its place."""
    found = refused(user([text("x"), content])).param
    assert found == f"messages[0].content[1]{param or '.type'}"


# -- anything ------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
IDS = st.sampled_from(["a", "b", "c"])


@st.composite
def legal(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages in any legal order, with marks that occur once."""
    messages: list[dict[str, Any]] = []
    mark = iter(range(1000))
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["user", "assistant", "system", "developer", "calls", "blank", "old"]))
        if kind == "calls":
            ids = [f"id{next(mark)}" for _ in range(draw(st.integers(1, 3)))]
            messages.append(calls(*(call(one, arguments=f'{{"m":"<{next(mark)}>"}}') for one in ids)))
            messages += [result(one, f"<{next(mark)}>") for one in draw(st.permutations(ids))]
        elif kind == "old":
            messages.append(said(None, function_call={"name": "f", "arguments": f'{{"m":"<{next(mark)}>"}}'}))
            messages.append({"role": "function", "name": "f", "content": f"<{next(mark)}>"})
        elif kind == "blank":
            messages.append(said(""))
        else:
            words = f"<{next(mark)}>" + draw(WORDS)
            messages.append({"role": kind, "content": draw(st.sampled_from([words, [text(words)]]))})
    return [*messages, user("end")]


@given(legal())
def test_nothing_is_lost(messages: list[dict[str, Any]]):
    """Every mark of every message is in the conversation once, each speaker's in their order; turns alternate."""
    found = read(*messages)
    kinds = [type(turn) for turn in found.turns]
    assert all(one is not other for one, other in pairwise(kinds))
    whole = repr(found)
    for mark in (f"<{n}>" for n in range(1000)):
        if mark not in json.dumps(messages):
            break
        assert whole.count(mark) == 1
    asked = [one for turn in found.turns if isinstance(turn, AssistantTurn) for one in turn.calls]
    answered = [one for turn in found.turns if isinstance(turn, UserTurn) for one in turn.results]
    assert [one.id for one in asked] == [one.id for one in answered]
    assert all(isinstance(one, ToolCall) for one in asked)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
ODD_PART = JSON | st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "refusal", "image_url", "input_audio", "file"])},
    optional={"text": JSON, "refusal": JSON, "image_url": JSON, "input_audio": JSON, "file": JSON},
)
ODD_CALL = st.fixed_dictionaries(
    {},
    optional={"id": IDS | JSON, "type": JSON, "function": JSON | st.fixed_dictionaries({"name": IDS | JSON})},
)
ODD = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "developer", "assistant", "tool", "function"])},
    optional={
        "content": st.none() | WORDS | st.lists(ODD_PART, max_size=2),
        "tool_calls": JSON | st.lists(ODD_CALL, max_size=2),
        "tool_call_id": IDS | JSON,
        "name": IDS | JSON,
        "refusal": JSON,
        "function_call": JSON | st.fixed_dictionaries({"name": IDS, "arguments": JSON}),
        "extra_content": JSON,
        "audio": JSON,
    },
)


@given(st.lists(ODD, min_size=1, max_size=5))
def test_odd_messages(messages: list[dict[str, Any]]):
    """Whatever passes the reader of requests is a conversation, or refused by name: never a crash."""
    try:
        found = read(*messages)
    except CallerError as error:
        assert (error.status, bool(error.param)) == (400, True)  # noqa: PT017
        return
    assert found.turns


@pytest.mark.parametrize("shape", ["old", "blank", "calls"])
def test_long_conversations_take_no_time(shape: str):
    """Time grows with the length, not with its square: a hostile body must not stop the gateway."""
    many = 20_000
    if shape == "old":
        asked = [said(None, function_call={"name": f"f{n}"}) for n in range(many)]
        answers = [{"role": "function", "name": f"f{n}", "content": "x"} for n in reversed(range(many))]
    elif shape == "blank":
        asked, answers = [user("x") if n % 2 else said("") for n in range(2 * many)], []
    else:
        asked, answers = (
            [calls(*(call(f"c{n}") for n in range(many)))],
            [result(f"c{n}") for n in range(many)],
        )
    values = {"messages": [user("go"), *asked, *answers]}
    began = time.process_time()
    read_conversation(values)
    assert time.process_time() - began < 5

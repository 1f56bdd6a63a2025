"""Which texts are read as one: the neighbours in a content array, and no others."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanner_fakes import ALL, hints_of

from sovereign_ext.scanner.engine import Engine
from sovereign_ext.scanner.hints import EXPRESSIONS
from sovereign_ext.scanner.parts import may_have_runs, text_runs
from sovereign_ext.scanner.places import Places

ENGINE = Engine(ALL, EXPRESSIONS)
WORDS = st.sampled_from(["", "a", "b c", 'q"}],{"', "text", "content", "é\n\\", "type"])
TEXTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, WORDS),
    st.builds(
        lambda text: {"text": text, "type": "input_text", "cache_control": {"type": "ephemeral"}}, WORDS
    ),
    st.builds(lambda text: {"prompt_cache_breakpoint": {"text": "no"}, "type": "text", "text": text}, WORDS),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, WORDS),
    st.builds(lambda text: {"text": text}, WORDS),
    WORDS,
)
OTHERS = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "https://a.example/text", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "text", "file_data": "aGk="}},
        {"type": "text", "text": None},
        {"type": "text", "text": ["text"]},
        {},
        None,
        7,
        [],
        ["text"],
        [{"type": "text", "text": "nested"}, {"type": "text", "text": "nested"}],
    ]
)
CONTENTS = st.lists(TEXTS | OTHERS, max_size=5) | WORDS | st.none()
MESSAGES = st.lists(
    st.one_of(
        st.builds(lambda content: {"role": "user", "content": content}, CONTENTS),
        st.builds(lambda content: {"content": content, "refusal": None, "role": "assistant"}, CONTENTS),
        st.builds(
            lambda inner, outer: {
                "role": "tool",
                "content": [{"type": "tool_result", "content": inner, "text": "x"}, *outer],
            },
            CONTENTS,
            st.lists(TEXTS, max_size=2),
        ),
    ),
    max_size=4,
)
BODIES = st.builds(
    lambda messages, prediction, texts: {
        "messages": messages,
        "prediction": {"type": "content", "content": prediction},
        "stop": texts,
        "input": [{"type": "text", "text": text} for text in texts],
    },
    MESSAGES,
    CONTENTS,
    st.lists(WORDS, max_size=3),
)


def text_of(part: Any) -> str | None:
    """By the rule in words: a string, or the member that the type names, or the one there is."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return None
    strings = {name: value for name, value in part.items() if isinstance(value, str)}
    if strings.get("type") == "refusal" and "refusal" in strings:
        return strings["refusal"]
    return strings.get("text", strings.get("refusal"))


def expected(value: Any) -> Iterator[list[str]]:
    """The runs of a parsed body, in the order of their arrays."""
    if isinstance(value, list):
        for each in value:
            yield from expected(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == "content" and isinstance(each, list):
                run: list[str] = []
                for part in [*each, None]:
                    text = text_of(part)
                    if text is not None:
                        run.append(text)
                    else:
                        if len(run) > 1:
                            yield run
                        run = []
            yield from expected(each)


def found(body: bytes) -> list[list[str]]:
    """The same by the raw bytes."""
    return [
        [json.loads(b'"%b"' % body[raw.start : raw.end]) for raw in run] for run in text_runs(Places(body))
    ]


def assert_hinted(body: bytes, runs: list[list[str]]) -> None:
    """The hints never say no where there is a run, whoever found them."""
    hinted = may_have_runs(body, hints_of(body))
    assert hinted or not runs
    assert may_have_runs(body, ENGINE.intervals(body)[1]) == hinted


@given(
    BODIES,
    st.sampled_from([None, 1]),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
)
def test_runs_are_the_neighbouring_texts(value: Any, indent: int | None, separators: tuple[str, str]) -> None:
    """Against the parsed body; and the hint never says no where there is a run."""
    body = json.dumps(value, indent=indent, separators=separators).encode()
    runs = list(expected(value))
    assert found(body) == runs
    assert_hinted(body, runs)


@given(BODIES)
def test_escapes_in_names_hide_no_run(value: Any) -> None:
    """Any letter of a name may be written as an escape."""
    text = json.dumps(value, separators=(",", ":"))
    text = re.sub(
        '"(content|text|refusal|type)"', lambda name: f'"{name[1][:-1]}\\u{ord(name[1][-1]):04X}"', text
    )
    runs = list(expected(json.loads(text)))
    assert found(text.encode()) == runs
    assert_hinted(text.encode(), runs)


def chat(*contents: Any) -> bytes:
    """A request with one message for each content, as openai-python writes it."""
    return json.dumps({"messages": [{"role": "user", "content": content} for content in contents]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        chat("text", "content", "hello"),
        chat([{"type": "text", "text": "one"}]),
        chat(*([{"type": "text", "text": "one"}] for _ in range(9))),
        chat("x", [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]),
        chat([{"type": "image_url", "image_url": {"url": "u"}}]),
        b'{"input":["a","b"],"model":"m"}',
        b'{"messages":[{"role":"assistant","content":[{"type":"refusal","refusal":"no"}],"refusal":null}]}',
    ],
)
def test_ordinary_bodies_are_not_walked(body: bytes) -> None:
    """The hint says no, also for whole conversations of messages with one text part each."""
    assert not may_have_runs(body, hints_of(body))
    assert found(body) == []


def test_the_border_of_a_message_ends_a_run() -> None:
    """Neighbours are joined within an array only."""
    one, two = {"type": "text", "text": "1"}, {"type": "text", "text": "2"}
    assert found(chat([one, two], [one], [two, one])) == [["1", "2"], ["2", "1"]]


def test_of_a_member_given_twice_the_last_one_counts() -> None:
    """As in the parser that reads the request."""
    body = b'{"content":[{"text":"a","text":"b"},{"type":"text","text":"c"},{"text":"d","text":1}]}'
    assert found(body) == [["b", "c", "d"]]


def test_empty_texts_are_part_of_a_run() -> None:
    """They do not keep their neighbours apart."""
    parts = [{"type": "text", "text": text} for text in ("gh", "", "p_")]
    assert found(chat(parts)) == [["gh", "", "p_"]]


@pytest.mark.parametrize(
    "hostile",
    [
        '"}' + "}" * 400_000 + '"',
        '"' + '}, \\"' * 100_000 + '"',
        '"' + '\\"content\\":[' * 40_000 + '"',
        "[" * 60 + "1,0," * 100_000 + "1" + "]" * 60,
        '{},"' + '},\\"' * 100_000 + '"',
    ],
)
def test_the_hint_is_linear_on_hostile_bodies(hostile: str) -> None:
    """Ten times the bytes may take some more than ten times as long, not a hundred times."""
    body = b'{"content":[{"type":"text"},%b]}' % hostile.encode()
    json.loads(body)
    started = time.process_time()
    may_have_runs(body, hints_of(body))
    assert time.process_time() - started < 1

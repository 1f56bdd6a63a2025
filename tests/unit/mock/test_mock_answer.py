"""What the mock says: echo, limits, stops, tools, JSON; judged by pydantic where a schema is involved."""

from __future__ import annotations

import json
import math
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from sovereign_ext.mock import schema
from sovereign_ext.mock.answer import Ask, Finish, Tool, compose
from sovereign_ext.mock.content import exactly, fragments, unit_vector, words
from sovereign_ext.mock.faults import NORMAL, Shape

TOOLS = (Tool("first", {"type": "object", "properties": {"a": {"type": "integer"}}}), Tool("second"))


def test_the_last_user_text_is_echoed() -> None:
    """One chunk is one token, and the usage says so."""
    answer = compose(Ask("hello 北🌍", 7), NORMAL)
    assert answer.chunks == ("You", " said:", " hello", " 北🌍")
    assert (answer.finish, answer.prompt_tokens, answer.completion_tokens) == (Finish.STOP, 7, 4)


def test_the_token_limit_ends_with_length() -> None:
    """A limit that is met exactly is no limit."""
    assert compose(Ask("hello", 1, max_tokens=3), NORMAL).finish is Finish.STOP
    cut = compose(Ask("hello", 1, max_tokens=2), NORMAL)
    assert (cut.text, cut.finish, cut.completion_tokens) == ("You said:", Finish.LENGTH, 2)


def test_thinking_counts_against_the_limit_first() -> None:
    """As with real models, reasoning may use up everything."""
    answer = compose(Ask("hello", 1, max_tokens=3, thinking=True), NORMAL)
    assert (answer.text, answer.finish) == ("", Finish.LENGTH)
    assert (answer.reasoning_tokens, answer.completion_tokens) == (3, 3)


def test_the_earliest_stop_sequence_wins_and_is_not_said() -> None:
    """Whatever the order in which they were given."""
    answer = compose(Ask("one two three", 1, stop=("three", "two")), NORMAL)
    assert (answer.text, answer.finish, answer.stopped_by) == ("You said: one ", Finish.STOP_SEQUENCE, "two")


@pytest.mark.parametrize(
    ("text", "wish", "names"),
    [
        ("hello", {}, []),
        ("please call a tool", {}, ["first"]),
        ("use two tools", {}, ["first", "second"]),
        ("use two tools", {"parallel": False}, ["first"]),
        ("hello", {"must_call": True}, ["first"]),
        ("hello", {"must_call": True, "named": "second"}, ["second"]),
    ],
)
def test_tools_are_called_when_asked(text: str, wish: dict[str, object], names: list[str]) -> None:
    """By the request or by the words of the user."""
    answer = compose(Ask(text, 1, tools=TOOLS, **wish), NORMAL)
    assert [call.name for call in answer.calls] == names
    assert (answer.finish is Finish.TOOL_CALLS) == bool(names)
    assert bool(answer.chunks) != bool(names)


def test_text_can_come_before_the_call() -> None:
    """For clients that must keep both."""
    answer = compose(Ask("first say something, then call a tool", 1, tools=TOOLS), NORMAL)
    assert answer.text == "Let me look."
    assert [(call.index, json.loads(call.arguments)) for call in answer.calls] == [(0, {"a": 1})]


def test_a_call_without_arguments_has_no_pieces() -> None:
    """The case where a provider sends a start and no delta."""
    (call,) = compose(Ask("", 1, tools=(Tool("ping"),), must_call=True), NORMAL).calls
    assert (call.arguments, call.pieces) == ("{}", ())


@pytest.mark.parametrize("count", [0, 1, 5, 400])
def test_a_number_of_chunks_is_exact(count: int) -> None:
    """More than there are words, or fewer."""
    assert len(compose(Ask("hello", 1), Shape(tokens=count)).chunks) == count
    sized = exactly(("a", "b"), count, 17)
    assert [len(chunk) for chunk in sized] == [17] * count


@given(st.text())
def test_pieces_join_to_the_text(text: str) -> None:
    """Neither way of cutting loses or adds a character."""
    assert "".join(words(text)) == text
    assert "".join(fragments(text, 5)) == text


@given(st.text(max_size=50), st.integers(min_value=1, max_value=64))
def test_vectors_are_units_and_prefixes(text: str, size: int) -> None:
    """Fewer dimensions point the same way as the start of more."""
    vector, longer = unit_vector(text, size), unit_vector(text, 64)
    assert math.isclose(sum(value * value for value in vector), 1, rel_tol=1e-9)
    scale = math.sqrt(sum(value * value for value in longer[:size]))
    assert all(math.isclose(a * scale, b, abs_tol=1e-9) for a, b in zip(vector, longer, strict=False))


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    name: Annotated[str, Field(min_length=12, max_length=20)]
    short: Annotated[str, Field(max_length=3)]
    at: datetime
    key: UUID


class Node(BaseModel):
    kind: Literal["node"]
    colour: Colour
    leaf: Leaf
    low: Annotated[int, Field(gt=5, multiple_of=4)]
    high: Annotated[int, Field(lt=-3)]
    between: Annotated[float, Field(gt=0.25, lt=0.5)]
    below: Annotated[float, Field(le=-1.5)]
    price: Decimal
    many: Annotated[list[Leaf], Field(min_length=2)]
    pair: tuple[int, str]
    either: int | str
    maybe: str | None
    flag: bool
    table: dict[str, int]
    child: Node | None


@pytest.mark.parametrize("optional", [False, True])
def test_instances_satisfy_the_schema(optional: bool) -> None:
    """pydantic made the schema from a model and takes the instance back: refs, unions, bounds, recursion."""
    value = schema.minimal(Node.model_json_schema(), optional=optional)
    Node.model_validate_json(json.dumps(value), strict=False)


def test_endless_recursion_is_cut() -> None:
    """A schema that needs itself has no instance; the mock still answers."""
    endless = {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}
    assert schema.minimal(endless)["x"] is not None
    assert schema.minimal({"$ref": "#"}) in (None, "example")


def test_all_of_is_merged() -> None:
    """Requirements of every part hold at once."""
    parts = {
        "allOf": [
            {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
            {"$ref": "#/$defs/B"},
        ],
        "$defs": {"B": {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}},
    }
    assert schema.minimal(parts) == {"a": 1, "b": True}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "$ref", "allOf", "anyOf", "properties", "required", "items", "enum", "minItems"]
                ),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_nonsense_schemas_do_not_crash(value: object) -> None:
    """A schema comes from a request: whatever it is, there is an answer."""
    json.dumps(schema.minimal(value))


def test_a_schema_that_asks_for_too_much_is_cut() -> None:
    """Branching recursion and huge arrays stay small and quick."""
    branching = {"type": "array", "minItems": 9, "items": {"$ref": "#"}}
    huge = {"type": "array", "minItems": 10**9, "items": {"type": "string", "minLength": 10**9}}
    assert len(json.dumps(schema.minimal(branching))) < 100_000
    assert len(schema.minimal(huge)) < 10_000
    assert len(json.dumps(schema.minimal(huge))) < 300_000

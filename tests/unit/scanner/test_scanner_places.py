"""Every string of a body has its place and its pointer, and nothing else has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.scanner.places import MAX_NAME, Places

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text('"\\/~01[]{}:,\n', max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=40,
)
STYLES = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 2, "\t"]),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n", " :\t ")]),
    }
)


def strings(value: Any, at: str = "") -> Iterator[tuple[str, bool, str]]:
    """(text, whether it is a name, pointer) of all strings, in the order in which they are written."""
    if isinstance(value, str):
        yield value, False, at
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from strings(each, f"{at}/{index}")
    elif isinstance(value, dict):
        for name, each in value.items():
            here = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
            yield name, True, here
            yield from strings(each, here)


def resolve(document: Any, pointer: str) -> Any:
    """RFC 6901, section 4."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


def listed(body: bytes) -> list[tuple[str, bool, str]]:
    """The same of the places, read from the raw bytes."""
    places = Places(body)
    found = []
    for number in range(len(places)):
        start, end = places.raw(number)
        assert body[start - 1 : start] == body[end : end + 1] == b'"'
        text = json.loads(body[start - 1 : end + 1])
        assert text == places.text(number)
        found.append((text, places.is_name(number), places.pointer(number)))
    return found


@given(value=JSON, style=STYLES)
def test_places_are_the_strings_of_the_body(value: Any, style: dict[str, Any]) -> None:
    """Names and values, each once, in order, with its pointer: whatever the white space and the escapes."""
    assert listed(json.dumps(value, **style).encode()) == list(strings(value))


@given(value=JSON, style=STYLES)
def test_a_pointer_leads_to_its_string(value: Any, style: dict[str, Any]) -> None:
    """Resolved in the parsed body: a value is the string itself, a name is the last token of its own pointer."""
    body = json.dumps(value, **style).encode()
    places, document = Places(body), json.loads(body)
    for number in range(len(places)):
        found = resolve(document, places.pointer(number))
        if not places.is_name(number):
            assert found == places.text(number)
        else:
            last = places.pointer(number).rpartition("/")[2]
            assert last.replace("~1", "/").replace("~0", "~") == places.text(number) == places.name_of(number)


@given(value=JSON, style=STYLES)
def test_every_offset_belongs_to_the_string_around_it(value: Any, style: dict[str, Any]) -> None:
    """From its first byte to its closing quote; what stands between strings belongs to none."""
    body = json.dumps(value, **style).encode()
    places = Places(body)
    expected: list[int | None] = [None] * len(body)
    for number in range(len(places)):
        start, end = places.raw(number)
        expected[start : end + 1] = [number] * (end + 1 - start)
    assert [places.at(offset) for offset in range(len(body))] == expected


@given(st.lists(st.lists(st.none() | st.just("x") | st.just([]) | st.just({}), max_size=60), max_size=60))
def test_containers_without_strings_count_as_elements(value: list[Any]) -> None:
    """They are skipped in bulk, and the indices after them are right all the same."""
    assert listed(json.dumps([value, "end"]).encode()) == list(strings([value, "end"]))


@pytest.mark.parametrize("depth", [64, 10_000])
@pytest.mark.parametrize("shape", ["arrays", "objects", "both"])
def test_deep_nesting_is_walked_without_recursion(depth: int, shape: str) -> None:
    """10,000 levels, where a recursive reader would have given up."""
    opening = {"arrays": ["["], "objects": ['{"a":'], "both": ["[1,", '{"n":[[],{}],"a":']}[shape]
    closing = {"[": "]", "{": "}"}
    opened = [opening[level % len(opening)] for level in range(depth)]
    body = "".join(opened) + '"deep"' + "".join(closing[each[0]] for each in reversed(opened))
    places = Places(body.encode())
    last = len(places) - 1
    assert places.text(last) == "deep"
    tokens = {"[": "/0", "[1,": "/1", '{"a":': "/a", '{"n":[[],{}],"a":': "/a"}
    assert places.pointer(last) == "".join(tokens[each] for each in opened)


def test_a_member_that_is_given_twice_has_two_places() -> None:
    """Both values are scanned, and both have the same pointer: what a reader takes is its own choice."""
    places = Places(b'{"a":"first","a":{"b":"second"},"a":"third"}')
    assert [(places.text(n), places.pointer(n)) for n in range(len(places)) if not places.is_name(n)] == [
        ("first", "/a"),
        ("second", "/a/b"),
        ("third", "/a"),
    ]


def test_a_value_that_repeats_its_name_is_no_name() -> None:
    """Names are told by place, not by text."""
    places = Places(b'{"a":"a","b":["b",{"a":"a"}]}')
    assert [places.is_name(number) for number in range(len(places))] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    assert [places.name_of(number) for number in range(len(places))] == ["a", "a", "b", None, "a", "a"]


@pytest.mark.parametrize(
    "content",
    [
        r"\\",
        r"\"",
        r"\\\"",
        r"\\\\\"x\\",
        r"\u0022",
        r"\\u0022",
        r"\/",
        r"\ud83d\ude00",
        r"\"\",\":{[]}",
        "é\u2028",
    ],
)
def test_escapes_do_not_end_a_string(content: str) -> None:
    """Quotes after an odd number of backslashes are content; the spans keep the raw spelling."""
    body = f'["{content}",{{"{content}":"{content}"}}]'.encode()
    places = Places(body)
    assert [body[slice(*places.raw(number))] for number in range(len(places))] == [content.encode()] * 3
    assert places.text(0) == json.loads(f'"{content}"')


@pytest.mark.parametrize("body", [b"1", b"null", b"[]", b"{}", b"[1,[2,[3]],{}]", b" [ ] "])
def test_a_body_without_strings_has_no_places(body: bytes) -> None:
    """And no offset of it has one."""
    places = Places(body)
    assert len(places) == 0
    assert [places.at(offset) for offset in range(len(body))] == [None] * len(body)


def test_the_body_itself_may_be_a_string() -> None:
    """Its pointer is the empty one."""
    assert listed(b' "x" ') == [("x", False, "")]


@pytest.mark.parametrize("letter", ["a", "é", "\\u0041", "\\ud83d\\ude00", "😀", "\\\\", "/", "\\n"])
def test_a_huge_name_is_not_repeated_whole(letter: str) -> None:
    """A pointer shows its first characters, whole ones, and a sign that there were more."""
    places = Places(f'{{"{letter * 5000}":["x"],"{letter * MAX_NAME}":"y"}}'.encode())
    one = json.loads(f'"{letter}"').replace("/", "~1")
    assert places.pointer(1) == f"/{one * MAX_NAME}…/0"
    assert places.pointer(3) == f"/{one * MAX_NAME}"


def test_a_lone_surrogate_has_a_pointer_that_can_be_written() -> None:
    """It is no Unicode text; the gateway refuses such bodies, and this does not depend on that."""
    pointer = Places(rb'{"\ud800x":"y"}').pointer(1)
    assert pointer.encode() == "/�x".encode()


@given(st.lists(st.text(max_size=30), min_size=1, max_size=400))
def test_quotes_are_found_beyond_the_first_piece(words: list[str]) -> None:
    """Bodies are split piece by piece; strings that stand over a border, or are longer than a piece, come out whole."""
    value = ["x" * 40_000, *words, "y" * 70_000, {"k": words}]
    assert listed(json.dumps(value).encode()) == list(strings(value))

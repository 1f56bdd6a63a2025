"""YAML with comments: what is read back is what was written, whatever it holds."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sovereign_ext.envoyconf.commented import dump, unused

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=40), st.just("%REQ(:path)% # x: y")
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(min_size=1, max_size=12), inner, max_size=4)
    ),
    max_leaves=30,
)
LONG = {"name": "x" * 60, "value": ["y" * 60, {"z": "w" * 90}]}


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=12), TREES, max_size=5))
def test_reading_gives_what_was_written(document: dict[str, Any]):
    """Also where a large part stands twice, and with a comment on it."""
    whole = {"first": LONG, "list": [LONG, {"name": "n", "other": LONG}], "tree": document}
    text = dump(
        whole, {"first": "why", "list": "a list", "n/other": "again", "tree": "what\n\nelse"}, head="head"
    )
    assert yaml.safe_load(text) == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab: #'\"|-\t\x85\u2028", max_size=6), max_size=5), st.booleans())
def test_texts_of_several_lines_too(lines: list[str], ended: bool):
    text = "\n".join(lines) + ("\n" if ended else "")
    whole = {"data": {"file": text, "long": "x" * 120}, "list": [text, LONG]}
    assert yaml.safe_load(dump(whole, {})) == whole


def test_a_text_stands_as_it_is():
    """A file in a ConfigMap is to be read, too."""
    text = "# why\nkey:\n  inner: 1\n\nother: 2\n"
    assert dump({"data": {"file.yaml": text, "more": "x" * 120}}, {}).splitlines()[1:7] == [
        "  file.yaml: |",
        "    # why",
        "    key:",
        "      inner: 1",
        "",
        "    other: 2",
    ]


def test_a_comment_stands_once_above_its_part():
    document = {"filters": [{"name": "one", "a": 1}, {"name": "two", "a": 2}], "more": {"a": 3}}
    assert dump(document, {"two/a": "because", "a": "each"}).splitlines() == [
        "filters:",
        "  - name: one",
        "    # each",
        "    a: 1",
        "  - name: two",
        "    # because",
        "    a: 2",
        "more: {a: 3}",
    ]


def test_what_is_large_and_stands_twice_is_written_once():
    text = dump({"first": {"part": LONG}, "second": {"part": LONG}}, {})
    assert text.count("x" * 60) == 1
    assert "second: {part: *" in text or "second: *" in text


def test_comments_without_a_place_are_found():
    assert unused([{"a": {"b": 1}}], {"a": "", "a/b": "", "b/a": "", "c": ""}) == {"b/a", "c"}

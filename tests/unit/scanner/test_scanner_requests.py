"""Whole requests at random, with secrets in them in random forms and hidings: what is expected comes from the making.

Every example is several places of a request merged with arbitrary JSON; hypothesis chooses, and shrinks what fails to
the least that does. Random requests without a secret must come back as the same object.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from corpus import STYLES, Leaf, Nested, Piece, case, in_base64
from corpus_kinds import MAKERS, SETTINGS
from corpus_places import DOCUMENTS, PLACES
from corpus_texts import FORMS, HIDINGS, WRAPS, around, planted
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scanner_corpus import SCANNER, wrong

from sovereign_ext.scanner.registry import DETECTORS

pytestmark = pytest.mark.services

WRAPPING = frozenset(each.kind for each in DETECTORS if each.wraps)
WAYS = list((HIDINGS | WRAPS).items())
SAFE = (" ", "\n", "\t", " “", "| ", ", ")
TRAPS = (
    "sk-", "AKIA", "ghp_", "eyJ", "-----BEGIN ", "://", "[REDACTED:openai-key:1]", "\\u0073", "%73", "%", "%25", "\\",
    "\\\\n", "\u200b", "\ufeff", "data:text/plain;base64,", "\"", "aB3dE7gH" * 12, "\U0001f511", "\x00", "\u2028",
    "é", "a" * 64, "=", "+/", ": ", "\r\n",
)  # fmt: skip
TEXT = st.lists(st.sampled_from(TRAPS) | st.text(max_size=12), max_size=6).map("".join)
"""Text that looks for trouble; none of it is a credential, however it is joined."""


@st.composite
def secrets(draw: st.DrawFn) -> tuple[Piece, ...]:
    """A secret in writing, with its form around."""
    kind = draw(st.sampled_from(sorted(MAKERS)))
    rng = random.Random(draw(st.integers(0, 3)))  # few, so that the same secret stands in several places
    secret = MAKERS[kind](rng)
    hiding, hide = draw(st.sampled_from(WAYS))
    form = draw(st.sampled_from(FORMS))
    if b"\n" in secret or (hiding in WRAPS and kind not in WRAPPING):
        form, hide = FORMS[1], HIDINGS["as it is"]
    piece = planted(kind, secret, form, hide, rng)
    if piece is None:
        return (draw(TEXT),)
    return around(form, kind, SETTINGS[kind](rng) if kind in SETTINGS else (b"", b""), piece)


@st.composite
def pieces(draw: st.DrawFn) -> tuple[Piece, ...]:
    """A text with up to three secrets; what stands between belongs to none of them."""
    found: list[Piece] = [draw(TEXT), draw(st.sampled_from(SAFE))]
    for _ in range(draw(st.integers(0, 3))):
        found += [*draw(secrets()), draw(st.sampled_from(SAFE)), draw(TEXT), draw(st.sampled_from(SAFE))]
    return tuple(found)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    pieces().map(Leaf),
    pieces().map(lambda found: Nested({"a": Leaf(found)})),
    pieces().map(lambda found: Leaf(found, lambda text: "data:text/plain;base64," + in_base64(text))),
)
NAMES = st.sampled_from(["a", "text", "type", "content", "data", "url", "file_data", "", "é", "~/", "role"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
# Whether a file without a type is a text is told by its characters, and these are any.
BUILDS = [build for where, build in sorted((PLACES | DOCUMENTS).items()) if where != "file without a type"]
REQUESTS = st.sampled_from(BUILDS).flatmap(lambda build: pieces().map(build))


def merged(requests: list[dict[Any, Any]], tree: Any) -> dict[Any, Any]:
    """One request of several: lists are joined, other members that are there already get another name."""
    whole: dict[Any, Any] = {}
    for number, request in enumerate(requests):
        for name, value in request.items():
            if name in whole and isinstance(whole[name], list) and isinstance(value, list):
                whole[name] = whole[name] + value
            else:
                whole[f"{name}_{number}" if name in whole else name] = value
    return {**whole, "x_tree": tree}


@settings(max_examples=200)
@given(st.lists(REQUESTS, min_size=1, max_size=4), TREES, st.sampled_from(STYLES))
def test_whole_requests(requests: list[dict[Any, Any]], tree: Any, style: Any) -> None:
    """Nothing is missed, nothing else is changed, and the redacted body is clean."""
    made = case("", merged(requests, tree), style)
    json.loads(made.redacted)
    assert wrong(SCANNER, made) is None


@settings(max_examples=200)
@given(st.recursive(TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=30))
def test_requests_without_secrets(tree: Any) -> None:
    """Beginnings of credentials and marks of hiding alone change nothing."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "x": tree}).encode()
    assert SCANNER.scan(body).body is body

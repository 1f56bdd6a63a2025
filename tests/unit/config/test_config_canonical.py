"""Canonical JSON (RFC 8785) and the type that hides secrets."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.trust import Tier
from sovereign_ext.secret import Secret


def test_members_sort_by_utf16_code_units() -> None:
    """The example of RFC 8785 §3.2.3: an emoji (surrogates D83D…) sorts before U+FB33."""
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert canonical_json(value).decode() == (
        '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'
    )


def test_strings_are_escaped_as_little_as_allowed() -> None:
    """The example of RFC 8785 §3.2.2.2, and the characters JSON escapes in other ways elsewhere."""
    assert canonical_json('\u20ac$\u000f\nA\'B"\\\\"/') == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'
    assert canonical_json("\x7f\u2028</\b\f\t") == b'"\x7f\xe2\x80\xa8</\\b\\f\\t"'


def test_values_of_our_documents_have_one_form() -> None:
    """Enums are their text, tuples are lists, booleans are no numbers."""
    assert canonical_json({"b": (True, None, -5), "a": Tier.OPEN}) == b'{"a":"open","b":[true,null,-5]}'


@pytest.mark.parametrize("value", [1.0, float("nan"), {1: 2}, {"a": b"x"}, {None: 1}, object(), {1, 2}])
def test_other_types_are_refused(value: object) -> None:
    """Nothing is converted silently: a hash over a guess is worth nothing."""
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), "\ud800", {"\udfff": 1}])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    """I-JSON has no such numbers and no such texts."""
    with pytest.raises(ValueError):
        canonical_json(value)


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(documents)
def test_the_form_reads_back_and_does_not_depend_on_order(value: object) -> None:
    """Canonical JSON is JSON; writing it again, members shuffled, gives the same bytes."""
    text = canonical_json(value)
    again = json.loads(text, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert again == value
    assert canonical_json(again) == text


def test_a_secret_shows_only_when_asked() -> None:
    """Every way in which a value usually reaches a log hides it."""
    secret = Secret("hunter2")
    ways = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", f"{[secret]}", "%s" % secret]  # noqa: UP031
    assert not any("hunter2" in way for way in ways)
    assert secret.reveal() == "hunter2"


def test_secrets_compare_by_text_and_stay_in_the_process() -> None:
    """Equality is useful, copies through pickle are not."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(Secret("a"))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret("a"))

"""The filter of audit rows: what it takes, what it refuses, and that it says the same as looking at each row."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import CallerError
from sovereign_ext.metering.filters import FIELDS, MAX_TERMS, Term, parse_filter


def test_terms_are_read() -> None:
    """Quoted and bare values, numbers, times, white space."""
    found = parse_filter(
        r' tenant="a \"b\" \\ AND c"  AND status>=500 AND time < "2026-11-01T00:00:00Z" AND model != org/m '
    )
    assert found.terms == (
        Term("tenant", "=", r'a "b" \ AND c'),
        Term("status", ">=", 500),
        Term("time", "<", 1_793_491_200_000),
        Term("model", "!=", "org/m"),
    )
    assert [term.field for term in found.stored] == ["tenant", "time"]
    assert [term.field for term in found.said] == ["status", "model"]
    assert parse_filter("").terms == parse_filter("  ").terms == ()
    assert parse_filter("time > 2026-11-01T01:00:00.250+01:00").terms[0].value == 1_793_491_200_250


@pytest.mark.parametrize(
    "text",
    [
        "tenant",
        "tenant =",
        "= acme",
        "secret = x",
        "tenant = a OR tenant = b",
        "tenant = a tenant = b",
        "tenant = a AND",
        "AND tenant = a",
        "tenant > a",
        "status = five",
        "status = -1",
        "status = 99999999999999999999",
        "time > yesterday",
        "time > 2026-11-01",
        "time > 2026-11-01T00:00:00",
        'tenant = "open',
        'tenant = "a\0"',
        r'tenant = "\n"',
        "tenant == a AND",
        " AND ".join(["kind = x"] * (MAX_TERMS + 1)),
        "x" * 3_000,
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    """400 with a reason, never an empty filter that lets everything through."""
    with pytest.raises(CallerError, match="the filter cannot be read") as error:
        parse_filter(text)
    assert (error.value.status, error.value.code) == (400, "invalid_filter")


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    """Anything is either a filter or a 400."""
    with contextlib.suppress(CallerError):
        assert all(term.field in FIELDS for term in parse_filter(text).terms)


@given(st.text(st.characters(exclude_characters='"\\\0'), max_size=50))
def test_any_value_can_be_quoted(value: str) -> None:
    """What stands in quotes is what is looked for."""
    assert parse_filter(f'model = "{value}"').terms == (Term("model", "=", value),)


def test_other_types_and_nothing_are_absent() -> None:
    """A row without a member has it empty, or 0."""
    assert Term("model", "=", "").holds(None)
    assert Term("model", "!=", "m").holds(None)
    assert not Term("status", ">=", 1).holds(None)
    assert not Term("status", "=", 5).holds("5")

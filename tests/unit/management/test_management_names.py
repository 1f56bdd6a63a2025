"""Names and page tokens: what the services make of what callers write."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import CallerError
from sovereign_ext.management import names

T = TypeVar("T")


def outcome(read: Callable[[str], T], text: str) -> T | int:
    """What reading gave, or the status of the refusal."""
    try:
        return read(text)
    except CallerError as error:
        return error.status


@given(st.integers(0, 2**63 - 1))
def test_receipt_index_reads_its_own_spelling(index: int) -> None:
    """The decimal number is the one spelling."""
    assert names.receipt_index(f"receipts/{index}") == index


@pytest.mark.parametrize(
    "name",
    [
        "",
        "receipts/",
        "receipts/01",
        "receipts/-1",
        "receipts/+1",
        "receipts/1 ",
        "receipts/1\n",
        "receipts/1_0",
        "receipts/٣",
        "receipts/0x10",
        "receipts/1e3",
        "receipts/../1",
        "receipts/1%2F2",
        f"receipts/{2**63}",
        "receipts/" + "9" * 5000,
        "providers/1",
    ],
)
def test_other_spellings_of_an_index_are_refused(name: str) -> None:
    """Two names for one row would be two answers to whether it is the same."""
    with pytest.raises(CallerError) as caught:
        names.receipt_index(name)
    assert (caught.value.status, caught.value.code) == (400, "invalid_name")


@given(st.text(max_size=80) | st.from_regex(r"receipts/[0-9]{1,25}"))
def test_receipt_index_takes_any_text(name: str) -> None:
    """Nothing but an index with this one spelling or a 400 comes out."""
    result = outcome(names.receipt_index, name)
    assert result == 400 or name == f"receipts/{result}"


@pytest.mark.parametrize(
    ("asked", "given_"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_page_size(asked: int, given_: int) -> None:
    """AIP-158: a default for 0, too much is coerced."""
    assert names.page_size(asked) == given_


def test_negative_page_size_is_refused() -> None:
    """AIP-158 again."""
    with pytest.raises(CallerError) as caught:
        names.page_size(-1)
    assert caught.value.status == 400


@given(st.text())
def test_page_token_round_trip(last: str) -> None:
    """A token says where the next page starts and is safe in a query string."""
    try:
        last.encode()
    except UnicodeEncodeError:
        return
    token = names.page_token(last)
    assert token.replace("-", "").replace("_", "").isalnum()
    assert names.after(token) == last


@given(st.text(max_size=60) | st.from_regex(r"\A[A-Za-z0-9_-]{1,40}\Z"))
def test_foreign_page_tokens_are_refused(token: str) -> None:
    """Any text gives a place in the order whose token is that same text, or a 400."""
    result = outcome(names.after, token)
    assert result == 400 or token in ("", names.page_token(str(result)))

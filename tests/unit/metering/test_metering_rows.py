"""How a call is counted: the same from what is about to be signed and from what was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from metering_world import NOVEMBER_MS, predicate, statement

from sovereign_ext.attest.facts import Result
from sovereign_ext.errors import VerificationError
from sovereign_ext.metering.rows import signed_usage_row, usage_row
from sovereign_ext.storage.usage import UsageRow


def test_everything_that_counts_is_taken() -> None:
    """Each member of the row is the predicate's."""
    said = predicate(
        started_ms=NOVEMBER_MS, cached_tokens=4, cache_write_tokens=3, reasoning_tokens=2, estimated=1
    )
    expected = UsageRow(
        NOVEMBER_MS, "acme", "ci", "org/small", "alpha", "answered", 100, 100, 4, 3, 2, 1_800_000, 1_980_000,
        "configured", "10", estimated=True,
    )  # fmt: skip
    assert usage_row(said) == signed_usage_row(statement(said)) == expected


@pytest.mark.parametrize("result", list(Result))
def test_what_is_not_said_is_nothing(result: Result) -> None:
    """Entries of older releases and of calls that nobody answered; refused calls count without a model."""
    said = {"tenant": "acme", "result": result.value, "started_ms": 5, "model": "whatever"}
    model = "" if result is Result.DENIED else "whatever"
    assert (
        usage_row(said)
        == signed_usage_row(statement(said))
        == UsageRow(5, "acme", "", model, "", result.value)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": None},
        {"started_ms": "soon"},
        {"billed_nano_usd": "1"},
        {"prompt_tokens": 1.5},
        {"result": "great"},
        {"estimated": "no"},
    ],
)
def test_other_statements_are_refused(change: dict[str, Any]) -> None:
    """A signed statement of other types is a verification error, not a row."""
    with pytest.raises(VerificationError):
        signed_usage_row(statement(predicate(**change)))


def test_only_outcomes_are_counted() -> None:
    """Neither another predicate type nor what is no statement."""
    for payload in (
        statement(predicate(), "urn:sovereign:decision:v1"),
        b"{}",
        b"nonsense",
        json.dumps([]).encode(),
    ):
        with pytest.raises(VerificationError):
            signed_usage_row(payload)

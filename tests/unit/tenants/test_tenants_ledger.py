"""The ledger contract over the embedded ledgers, and what only they promise."""

from __future__ import annotations

import sys

import pytest
from ledger_contract import *  # noqa: F403 - the tests of the contract, collected here
from ledger_contract import DAY_START_MS, START_MS, Book, Spent, draw, reserve, run, tokens

from sovereign_ext.tenants.ledger import SPEND_KEPT_MS, Admitted, Reserve, Scope, Used
from sovereign_ext.tenants.memory import MemoryLedger


class Loaded(MemoryLedger):
    """Asks its source at once: what the embedded ledger does on a thread."""

    def __init__(self, source: Spent) -> None:
        super().__init__()
        self._source = source

    def admit(self, demand, now_ms):  # type: ignore[no-untyped-def]
        self._know(demand, now_ms)
        return super().admit(demand, now_ms)

    def standing(self, demand, now_ms):  # type: ignore[no-untyped-def]
        self._know(demand, now_ms)
        return super().standing(demand, now_ms)

    def _know(self, demand, now_ms):  # type: ignore[no-untyped-def]
        for each in self.unknown(demand, now_ms):
            spent = self._source.spent(
                demand.tenant, each.scope.key or None, each.start_ms, each.end_ms or None
            )
            self.load(each, spent, now_ms)


@pytest.fixture
def book() -> Book:
    def anew() -> None:
        made.ledger = Loaded(made.source)

    source = Spent()
    made = Book(Loaded(source), source, run, anew)
    return made


def test_memory_is_bounded_by_what_is_in_use() -> None:
    """A hundred thousand keys that call once each, one after another, leave only what has not filled up again."""
    ledger, book = MemoryLedger(), Book(MemoryLedger(), Spent(), run, lambda: None)
    for number in range(20_000):
        key = f"k{number}"
        now = START_MS + number * 10
        demand = book.demand(draw(1, 60, 1, key=key), reserve(1, key=key), key=key)
        assert isinstance(ledger.admit(demand, now), Admitted)
        ledger.settle(demand.call, Used(0, 0, 1), now)
    assert len(ledger._buckets) < 20
    assert len(ledger._spends) <= 20_000  # 200 s have passed
    for number in range(20_000):
        now = START_MS + SPEND_KEPT_MS + 200_000 + number
        ledger.settle("x", Used(0, 0, 0), now)
        ledger.load(Reserve(Scope("t", f"n{number}"), "day", 0, 1, 1, 0), 0, now)
    assert len(ledger._spends) < 25_000
    assert not ledger._calls
    assert len(ledger._old_buckets) == len(ledger._buckets)
    assert len(ledger._old_spends) == len(ledger._spends)


def test_a_counter_that_a_call_holds_is_not_forgotten() -> None:
    """Even if the call costs nothing: it is settled on it."""
    ledger, book = MemoryLedger(), Book(MemoryLedger(), Spent(), run, lambda: None)
    demand = book.demand(reserve(0))
    ledger.admit(demand, START_MS)
    for number in range(10):
        ledger.load(reserve(0, key=f"o{number}"), 5, START_MS + 2 * SPEND_KEPT_MS)
    ledger.settle(demand.call, Used(0, 0, 99), START_MS + 2 * SPEND_KEPT_MS)
    assert not isinstance(ledger.admit(book.demand(reserve(2)), START_MS), Admitted)


def test_what_was_billed_while_a_cap_was_lifted_counts_once_it_is_back(book: Book) -> None:
    """It went past the counter. A counter that calls draw on is right, and is not read again under their hands."""
    assert isinstance(book.admit(reserve(10), call="a"), Admitted)
    book.source.known["t", None, DAY_START_MS] = 95
    later = START_MS + SPEND_KEPT_MS
    assert isinstance(book.admit(reserve(10), call="b", at_ms=later), Admitted)
    for call in "ab":
        book.ledger.settle(call, Used(0, 0, 10), later)
    assert isinstance(book.admit(reserve(10), call="c", at_ms=later + SPEND_KEPT_MS - 1), Admitted)
    book.ledger.settle("c", Used(0, 0, 0), later)
    assert not isinstance(book.admit(reserve(10), at_ms=later + SPEND_KEPT_MS), Admitted)
    assert isinstance(book.admit(reserve(5), at_ms=later + SPEND_KEPT_MS), Admitted)


def test_calls_that_should_be_over_are_named() -> None:
    ledger, book = MemoryLedger(), Book(MemoryLedger(), Spent(), run, lambda: None)
    demand = book.demand(tokens(1))
    ledger.admit(demand, START_MS)
    assert ledger.overdue(demand.expires_ms - 1) == ()
    assert ledger.overdue(demand.expires_ms) == (demand,)
    ledger.settle(demand.call, Used(0, 0, 0), START_MS)
    assert ledger.overdue(sys.maxsize) == ()

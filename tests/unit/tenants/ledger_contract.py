"""What every ledger promises, as tests over whatever ledgers a module's ``book`` fixture gives.

A test module imports everything from here and brings a fixture ``book`` of type ``Book``: an empty ledger, the clock
with which it is asked, and what its spend source says. Time is an argument, so nothing waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sovereign_ext.tenants.ledger import (
    SLOT_RETRY_S,
    Admitted,
    Demand,
    Draw,
    Ledger,
    Measure,
    Refused,
    Reserve,
    Scope,
    Slot,
    Standing,
    Used,
    Verdict,
)

START_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
NOTHING = Used(0, 0, 0)
DAY_START_MS = START_MS - START_MS % (24 * HOUR_MS)


@dataclass
class Spent:
    """A ``SpendSource`` that says what it is told."""

    known: dict[tuple[str, str | None, int], int] = field(default_factory=dict)
    asked: list[tuple[str, str | None, int, int | None]] = field(default_factory=list)
    fault: Exception | None = None

    def spent(self, tenant: str, key: str | None, since_ms: int, until_ms: int | None = None) -> int:
        self.asked.append((tenant, key, since_ms, until_ms))
        if self.fault is not None:
            raise self.fault
        return self.known.get((tenant, key, since_ms), 0)


@dataclass
class Book:
    """A ledger under test. ``run`` runs its coroutines; ``anew`` empties it between the examples of one test;
    ``settled`` returns when what ``settle`` began is done, for ledgers that do it later."""

    ledger: Ledger
    source: Spent
    run: Callable[[Awaitable[Any]], Any]
    anew: Callable[[], None]
    settled: Callable[[], None] = lambda: None
    number: int = 0

    def admit(
        self, *of: Draw | Slot | Reserve, at_ms: int = START_MS, call: str = "", key: str = "k"
    ) -> Verdict:
        """Ask for a call that draws on ``of``."""
        return self.ask(self.demand(*of, call=call, key=key), at_ms)

    def demand(self, *of: Draw | Slot | Reserve, call: str = "", key: str = "k") -> Demand:
        self.number += 1
        return Demand(
            call or f"dec-{self.number}",
            "t",
            key,
            START_MS + 10**9,
            tuple(each for each in of if isinstance(each, Draw)),
            tuple(each for each in of if isinstance(each, Slot)),
            tuple(each for each in of if isinstance(each, Reserve)),
        )

    def ask(self, demand: Demand, at_ms: int) -> Verdict:
        answer = self.ledger.admit(demand, at_ms)
        if isinstance(answer, Admitted | Refused):
            return answer
        return cast(Verdict, self.run(answer))

    def settle(self, call: str, used: Used, at_ms: int = START_MS) -> None:
        self.ledger.settle(call, used, at_ms)
        self.settled()


def draw(amount: int = 1, capacity: int = 3, window_s: int = 60, **scope: str) -> Draw:
    return Draw(Scope("t", **scope), Measure.REQUESTS, capacity, window_s, amount)


def tokens(amount: int, capacity: int = 100, *, out: bool = False) -> Draw:
    return Draw(Scope("t"), Measure.TOKENS_OUT if out else Measure.TOKENS_IN, capacity, 60, amount)


def slot(capacity: int = 1, **scope: str) -> Slot:
    return Slot(Scope("t", **scope), capacity)


def reserve(
    amount: int, cap: int = 100, *, window: str = "day", start_ms: int = DAY_START_MS, key: str = ""
) -> Reserve:
    end_ms = start_ms + 24 * HOUR_MS if window == "day" else 0
    return Reserve(Scope("t", key), window, start_ms if window == "day" else 0, end_ms, cap, amount)


def left(verdict: Verdict) -> list[int]:
    return [each.remaining for each in verdict.buckets]


# -- buckets -----------------------------------------------------------------------------------------------------


def test_a_bucket_holds_its_capacity_and_fills_up_evenly(book: Book) -> None:
    """3 a minute: one more after each 20 s."""
    assert [left(book.admit(draw())) for _ in range(3)] == [[2], [1], [0]]
    refused = book.admit(draw(), at_ms=START_MS + 1)
    assert isinstance(refused, Refused)
    assert (refused.by, refused.retry_after_s) == (draw(), 19.999)
    assert left(refused) == [0]
    assert refused.buckets[0].reset_s == pytest.approx(59.999)
    assert isinstance(book.admit(draw(), at_ms=START_MS + 19_999), Refused)
    assert isinstance(book.admit(draw(), at_ms=START_MS + 20_000), Admitted)
    assert isinstance(book.admit(draw(), at_ms=START_MS + 39_999), Refused)


def test_more_than_a_bucket_ever_holds_is_refused_for_good(book: Book) -> None:
    refused = book.admit(tokens(101))
    assert isinstance(refused, Refused)
    assert (refused.by, refused.retry_after_s) == (tokens(101), None)
    assert left(book.admit(tokens(100))) == [0]


def test_an_estimate_is_replaced_by_what_was_used(book: Book) -> None:
    """Too high: the rest is given back. Too low: it overdraws, and takes that much longer to fill up."""
    book.admit(tokens(80), tokens(50, out=True), call="a")
    book.settle("a", Used(30, 90, None))
    assert left(book.admit(tokens(1), tokens(1, out=True))) == [69, 9]
    book.admit(tokens(69), call="b")
    book.settle("b", Used(129, 0, None))
    refused = book.admit(tokens(1))
    assert isinstance(refused, Refused)
    assert refused.retry_after_s == pytest.approx(61 * 0.6)
    assert isinstance(book.admit(tokens(1), at_ms=START_MS + 36_599), Refused)
    assert isinstance(book.admit(tokens(1), at_ms=START_MS + 36_600), Admitted)


def test_what_is_not_known_stays_as_estimated(book: Book) -> None:
    book.admit(tokens(40), tokens(30, out=True), reserve(20), call="a")
    book.settle("a", Used(None, None, None))
    assert left(book.admit(tokens(1), tokens(1, out=True))) == [59, 69]
    assert isinstance(book.admit(reserve(81)), Refused)
    assert isinstance(book.admit(reserve(80)), Admitted)


def test_limits_of_others_are_not_touched(book: Book) -> None:
    """Another tenant's, key's, model's, measure's and window's bucket each count for themselves."""
    one = draw(capacity=1)
    others = [
        replace(one, scope=Scope("u")),
        replace(one, scope=Scope("t", "k")),
        replace(one, scope=Scope("t", "", "m")),
        replace(one, measure=Measure.TOKENS_IN),
        replace(one, window_s=3600),
    ]
    assert isinstance(book.admit(one), Admitted)
    for other in others:
        assert isinstance(
            book.ask(replace(book.demand(other), tenant=other.scope.tenant), START_MS), Admitted
        ), other
    assert isinstance(book.admit(one), Refused)


def test_a_changed_capacity_keeps_what_is_used(book: Book) -> None:
    for _ in range(3):
        book.admit(draw())
    assert left(book.admit(draw(capacity=5))) == [1]
    refused = book.admit(draw(capacity=2))
    assert isinstance(refused, Refused)
    assert refused.retry_after_s == pytest.approx(90)


def test_time_does_not_go_back(book: Book) -> None:
    for _ in range(3):
        book.admit(draw())
    assert isinstance(book.admit(draw(), at_ms=START_MS - HOUR_MS), Refused)
    assert isinstance(book.admit(draw(), at_ms=START_MS + 20_000), Admitted)


def test_a_clock_that_was_set_back_keeps_no_bucket_from_filling(book: Book) -> None:
    """By more than the window: the bucket stands as it stood, and fills up from the new time on."""
    for _ in range(3):
        book.admit(draw(), at_ms=START_MS + HOUR_MS)
    for wait_ms in (0, 19_999):
        assert isinstance(book.admit(draw(), at_ms=START_MS + wait_ms), Refused)
    assert isinstance(book.admit(draw(), at_ms=START_MS + 20_000), Admitted)
    assert isinstance(book.admit(draw(), at_ms=START_MS + 39_999), Refused)


# -- all or nothing ----------------------------------------------------------------------------------------------


def test_a_refused_call_takes_nothing(book: Book) -> None:
    """Whatever refuses it: bucket, slot and cap are as they were."""
    book.admit(draw(capacity=9), slot(2), reserve(10), call="first")
    for impossible in (draw(7, capacity=6, window_s=3600), slot(1, key="busy"), reserve(200, key="k")):
        if isinstance(impossible, Slot):
            book.admit(impossible, call="holder")
        refused = book.admit(draw(capacity=9), slot(2), reserve(10), impossible, call="refused")
        assert isinstance(refused, Refused)
        assert refused.by == impossible
        book.settle("refused", NOTHING)
    assert left(book.admit(draw(capacity=9))) == [7]
    assert isinstance(book.admit(slot(2), reserve(90)), Admitted)
    assert isinstance(book.admit(reserve(1)), Refused)
    assert isinstance(book.admit(slot(2)), Refused)


def test_the_one_that_refuses_for_longest_is_named(book: Book) -> None:
    soon, late = draw(capacity=1, window_s=60), draw(capacity=1, window_s=3600)
    book.admit(soon, late, slot())
    refused = book.admit(soon, late, slot())
    assert isinstance(refused, Refused)
    assert (refused.by, refused.retry_after_s) == (late, 3600.0)
    refused = book.admit(soon, slot(), reserve(101))
    assert isinstance(refused, Refused)
    assert (refused.by, refused.retry_after_s) == (reserve(101), None)


def test_a_question_that_is_asked_again_takes_nothing_more(book: Book) -> None:
    """The first answer may have got lost on the way."""
    for _ in range(3):
        verdict = book.admit(draw(), slot(), reserve(60), call="a")
        assert isinstance(verdict, Admitted)
        assert left(verdict) == [2]
    book.settle("a", Used(0, 0, 10))
    assert isinstance(book.admit(slot(), reserve(90)), Admitted)


def test_settling_twice_or_what_is_not_known_does_nothing(book: Book) -> None:
    book.settle("nobody", Used(1, 1, 1))
    book.admit(tokens(50), slot(), reserve(60), call="a")
    for _ in range(2):
        book.settle("a", Used(10, 0, 20))
    assert left(book.admit(tokens(1), slot(), reserve(80))) == [89]
    assert isinstance(book.admit(reserve(1)), Refused)


# -- slots -------------------------------------------------------------------------------------------------------


def test_a_slot_is_held_until_the_call_is_over(book: Book) -> None:
    assert isinstance(book.admit(slot(2), call="a"), Admitted)
    assert isinstance(book.admit(slot(2), call="b"), Admitted)
    refused = book.admit(slot(2))
    assert isinstance(refused, Refused)
    assert (refused.by, refused.retry_after_s) == (slot(2), SLOT_RETRY_S)
    book.settle("a", NOTHING)
    assert isinstance(book.admit(slot(2)), Admitted)


# -- spend -------------------------------------------------------------------------------------------------------


def test_a_cap_bounds_what_is_billed_and_reserved(book: Book) -> None:
    assert isinstance(book.admit(reserve(60), call="a"), Admitted)
    refused = book.admit(reserve(41))
    assert isinstance(refused, Refused)
    assert refused.by == reserve(41)
    assert refused.retry_after_s == (DAY_START_MS + 24 * HOUR_MS - START_MS) / 1000
    book.settle("a", Used(1, 1, 25))
    assert isinstance(book.admit(reserve(76)), Refused)
    assert isinstance(book.admit(reserve(75)), Admitted)


def test_a_call_is_refused_whose_estimate_no_cap_can_hold(book: Book) -> None:
    """Waiting does not help: neither for the next window, nor where the window never ends."""
    refused = book.admit(reserve(101))
    assert isinstance(refused, Refused)
    assert refused.retry_after_s is None
    book.admit(reserve(100, window="total"), call="a")
    refused = book.admit(reserve(1, window="total"))
    assert isinstance(refused, Refused)
    assert refused.retry_after_s is None


def test_an_estimate_that_was_too_low_is_charged_in_full(book: Book) -> None:
    book.admit(reserve(60), call="a")
    book.settle("a", Used(1, 1, 130))
    assert isinstance(book.admit(reserve(0)), Refused)


def test_a_window_begins_with_nothing(book: Book) -> None:
    book.admit(reserve(100), call="a")
    tomorrow = reserve(100, start_ms=DAY_START_MS + 24 * HOUR_MS)
    assert isinstance(book.admit(tomorrow), Admitted)
    book.settle("a", Used(0, 0, 100))  # belongs to the window in which it began
    assert isinstance(book.admit(replace(tomorrow, amount_nano=1)), Refused)


def test_what_was_spent_before_counts(book: Book) -> None:
    """By the tenant with all its keys, and by the key; for ever where the window has no end."""
    book.source.known = {("t", None, DAY_START_MS): 70, ("t", "k", DAY_START_MS): 40, ("t", None, 0): 99}
    assert isinstance(book.admit(reserve(31)), Refused)
    assert isinstance(book.admit(reserve(30, key="k"), reserve(30)), Admitted)
    assert isinstance(book.admit(reserve(31, key="k")), Refused)
    assert isinstance(book.admit(reserve(2, window="total")), Refused)
    assert isinstance(book.admit(reserve(1, window="total")), Admitted)
    assert {each[:3] for each in book.source.asked} == set(book.source.known)


# -- a slow exact model --------------------------------------------------------------------------------------------


class Model:
    """The promises spelled out with fractions, and nothing forgotten."""

    def __init__(self) -> None:
        self.used: dict[Any, tuple[Fraction, int]] = {}
        self.held: dict[str, Demand] = {}
        self.spent: dict[Any, int] = {}

    def level(self, of: Draw, at_ms: int) -> Fraction:
        used, since = self.used.get((of.scope, of.measure, of.window_s), (Fraction(0), at_ms))
        elapsed = max(0, at_ms - since)
        return max(Fraction(0), used - Fraction(elapsed * of.capacity, of.window_s * 1000))

    def admit(self, demand: Demand, at_ms: int) -> bool:
        fits = all(self.level(each, at_ms) + each.amount <= each.capacity for each in demand.draws)
        for each in demand.slots:
            fits = (
                fits
                and sum(each.scope == s.scope for d in self.held.values() for s in d.slots) < each.capacity
            )
        for each_ in demand.reserves:
            reserved = sum(
                r.amount_nano
                for d in self.held.values()
                for r in d.reserves
                if (r.scope, r.window, r.start_ms) == (each_.scope, each_.window, each_.start_ms)
            )
            spent = self.spent.get((each_.scope, each_.window, each_.start_ms), 0)
            fits = fits and spent + reserved + each_.amount_nano <= each_.cap_nano
        if fits:
            self.held[demand.call] = demand
            for each in demand.draws:
                self.set(each, self.level(each, at_ms) + each.amount, at_ms)
        return fits

    def set(self, of: Draw, used: Fraction, at_ms: int) -> None:
        key = (of.scope, of.measure, of.window_s)
        since = max(at_ms, self.used.get(key, (Fraction(0), at_ms))[1])
        self.used[key] = (used, since)

    def settle(self, call: str, used: Used, at_ms: int) -> None:
        demand = self.held.pop(call, None)
        for each in demand.draws if demand else ():
            actual = {Measure.TOKENS_IN: used.tokens_in, Measure.TOKENS_OUT: used.tokens_out}.get(
                each.measure
            )
            if actual is not None:
                self.set(each, max(Fraction(0), self.level(each, at_ms) + actual - each.amount), at_ms)
        for each_ in demand.reserves if demand else ():
            key = (each_.scope, each_.window, each_.start_ms)
            billed = each_.amount_nano if used.billed_nano is None else used.billed_nano
            self.spent[key] = self.spent.get(key, 0) + billed


_MEASURES = st.sampled_from((Measure.REQUESTS, Measure.TOKENS_IN, Measure.TOKENS_OUT))
_SCOPES = st.sampled_from((Scope("t"), Scope("t", "k"), Scope("t", "k", "m")))
_DRAWS = st.builds(
    Draw,
    _SCOPES,
    _MEASURES,
    st.sampled_from((1, 3, 7, 1000)),
    st.sampled_from((1, 60, 86_400)),
    st.integers(0, 8),
)
_SLOTS = st.builds(Slot, _SCOPES, st.integers(1, 3))
_RESERVES = st.builds(
    lambda scope, cap, amount, window: Reserve(
        scope, window, *((0, 0) if window == "total" else (DAY_START_MS, DAY_START_MS + 24 * HOUR_MS)), cap, amount
    ),
    _SCOPES, st.integers(0, 50), st.integers(0, 30), st.sampled_from(("day", "total")),
)  # fmt: skip


def _once(of: list[Any], identity: Callable[[Any], Any]) -> list[Any]:
    return list({identity(each): each for each in of}.values())


_CALLS = st.builds(
    lambda draws, slots, reserves: (
        *_once(draws, lambda d: (d.scope, d.measure, d.window_s)),
        *_once(slots, lambda s: s.scope),
        *_once(reserves, lambda r: (r.scope, r.window)),
    ),
    st.lists(_DRAWS, max_size=4), st.lists(_SLOTS, max_size=2), st.lists(_RESERVES, max_size=3),
)  # fmt: skip
_COUNTS = st.none() | st.integers(0, 12)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from((0, 0, 1, 37, 1_000, 20_000, 90_000)),
        st.one_of(
            _CALLS,
            st.tuples(st.just("settle"), st.integers(0, 9), st.builds(Used, _COUNTS, _COUNTS, _COUNTS)),
        ),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_any_history_agrees_with_a_model_that_forgets_nothing(book: Book, steps: list[Any]) -> None:
    """Every verdict is the model's, whatever was taken, refused, settled and refunded before."""
    book.anew()
    model, now, calls = Model(), START_MS, list[str]()
    capacities: dict[Any, int] = {}
    for elapsed, step in steps:
        now += elapsed
        if step and step[0] == "settle":
            if step[1] < len(calls):
                model.settle(calls[step[1]], step[2], now)
                book.settle(calls[step[1]], step[2], now)
            continue
        of = tuple(
            replace(
                each, capacity=capacities.setdefault((each.scope, each.measure, each.window_s), each.capacity)
            )
            if isinstance(each, Draw)
            else each
            for each in step
        )
        demand = book.demand(*of)
        verdict = book.ask(demand, now)
        assert isinstance(verdict, Admitted) is model.admit(demand, now)
        calls.append(demand.call)
        for found in verdict.buckets:
            exact = found.draw.capacity - model.level(found.draw, now)
            assert found.remaining == max(0, floor(exact))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    capacity=st.integers(1, 30),
    window_s=st.sampled_from((1, 60)),
    gaps=st.lists(st.integers(0, 9_000), max_size=60),
)
def test_in_any_time_no_more_than_the_bound_is_taken(
    book: Book, capacity: int, window_s: int, gaps: list[int]
) -> None:
    book.anew()
    now, taken = START_MS, list[int]()
    for gap in gaps:
        now += gap
        if isinstance(book.admit(draw(1, capacity, window_s), at_ms=now), Admitted):
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            elapsed = taken[last] - taken[first]
            assert last - first + 1 <= capacity * (1 + Fraction(elapsed, window_s * 1000))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    capacity=st.integers(1, 1000),
    amount=st.integers(1, 1000),
    used=st.integers(0, 1000),
    late=st.integers(0, 90_000),
)
def test_the_time_to_wait_is_the_shortest_that_helps(
    book: Book, capacity: int, amount: int, used: int, late: int
) -> None:
    assume(amount <= capacity)
    book.anew()
    book.admit(tokens(min(used, capacity), capacity), call="a")
    book.settle("a", Used(used, 0, 0))
    refused = book.admit(tokens(amount, capacity), at_ms=START_MS + late)
    if isinstance(refused, Refused):
        assert refused.retry_after_s is not None
        wait_ms = round(refused.retry_after_s * 1000)
        assert isinstance(book.admit(tokens(amount, capacity), at_ms=START_MS + late + wait_ms - 1), Refused)
        assert isinstance(book.admit(tokens(amount, capacity), at_ms=START_MS + late + wait_ms), Admitted)


def run(work: Awaitable[Any]) -> Any:
    """For books whose ledger needs no loop of its own."""

    async def waited() -> Any:
        return await work

    return asyncio.run(waited())


# -- looking on --------------------------------------------------------------------------------------------------


def test_how_everything_stands_is_told_and_nothing_is_taken(book: Book) -> None:
    """Buckets as they have filled up, slots in use, spend that is over and spend that is held."""
    book.source.known["t", None, DAY_START_MS] = 7
    looked = book.demand(
        draw(0), tokens(0), slot(4), reserve(0), reserve(0, 50, window="total"), slot(9, model="m")
    )

    def standing(at_ms: int = START_MS) -> tuple[Any, ...]:
        answer = book.ledger.standing(looked, at_ms)
        found = answer if isinstance(answer, Standing) else book.run(answer)
        held = [(each.spent_nano, each.reserved_nano) for each in found.windows]
        return [each.remaining for each in found.buckets], list(found.slots), held

    assert standing() == ([3, 100], [0, 0], [(7, 0), (0, 0)])
    assert standing() == standing()
    of = (draw(), tokens(40), slot(4), reserve(20), reserve(20, 50, window="total"))
    assert isinstance(book.admit(*of, call="a"), Admitted)
    assert isinstance(book.admit(*of, call="b"), Admitted)
    assert standing() == ([1, 20], [2, 0], [(7, 40), (0, 40)])
    book.settle("a", Used(10, 0, 3))
    assert standing() == ([1, 50], [1, 0], [(10, 20), (3, 20)])
    assert standing(START_MS + 20_000) == ([2, 83], [1, 0], [(10, 20), (3, 20)])

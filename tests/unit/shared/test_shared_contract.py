"""The ledger contract over a real server, and the script step by step beside the ledger in memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from services import Valkey
from shared_world import HURRIED, Books, router, settled

sys.path.insert(0, str(Path(__file__).parent.parent / "tenants"))

from dataclasses import replace

from ledger_contract import *  # noqa: F403 - the tests of the contract, collected here
from ledger_contract import DAY_START_MS, START_MS, Book, Spent, draw, reserve, slot

from sovereign_ext.config.tenancy import MAX_UNITS
from sovereign_ext.shared.ledger import SharedLedger
from sovereign_ext.shared.service import Shared
from sovereign_ext.tenants.buckets import MOST_USED
from sovereign_ext.tenants.ledger import Admitted, Demand, Draw, Held, Measure, Scope, Used
from sovereign_ext.tenants.memory import MemoryLedger

pytestmark = pytest.mark.services

_PACE = replace(HURRIED, rebuild_ms=0, beat_s=60.0, sweep_s=60.0)


class _Source(Spent, Books):
    """What the contract says was spent; nothing is known of single calls."""


class _World:
    """One loop, and a router over an empty server whose times are the test's."""

    def __init__(self, valkey: Valkey) -> None:
        self.loop = asyncio.new_event_loop()
        self._valkey = valkey
        self.source = Spent()
        self.shared: Shared | None = None
        self.book = Book(self._fresh(), self.source, self.loop.run_until_complete, self._anew, self._settled)

    def _fresh(self) -> Any:
        async def begin() -> Shared:
            books = Books()
            shared = router(self._valkey, books, _PACE, server_time=False)
            shared._windows._source = self.source
            assert await shared.start()
            return shared

        self._valkey.flush()
        self.shared = self.loop.run_until_complete(begin())
        return self.shared.ledger

    def _anew(self) -> None:
        self.end()
        self.book.ledger = self._fresh()

    def _settled(self) -> None:
        assert self.shared is not None
        settling = self.shared.ledger.settling
        self.loop.run_until_complete(settled(lambda: settling.queued == 0))

    def end(self) -> None:
        assert self.shared is not None
        self.loop.run_until_complete(self.shared.stop())


@pytest.fixture
def world(valkey: Valkey) -> Iterator[_World]:
    made = _World(valkey)
    yield made
    made.end()
    made.loop.close()


@pytest.fixture
def book(world: _World) -> Book:
    return world.book


_LARGE = st.sampled_from((1, 7, 999_983, 86_400_001, MAX_UNITS - 1, MAX_UNITS))
_STEP = st.tuples(
    st.sampled_from((0, 1, 999, 1_000, 59_999, 86_399_999, 400 * 86_400_000)),
    st.integers(0, MAX_UNITS),
    st.none() | st.integers(0, MOST_USED),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(capacity=_LARGE, window_s=st.sampled_from((1, 60, 3_600, 86_400)), steps=st.lists(_STEP, max_size=12))
def test_the_script_counts_as_memory_does_however_large_the_numbers(
    world: _World, capacity: int, window_s: int, steps: list[Any]
) -> None:
    """Every answer is the same object, to the unit and to the millisecond, up to the largest limits there are."""
    world.book.anew()
    memory, now = MemoryLedger(), START_MS
    of = Draw(Scope("t"), Measure.TOKENS_IN, capacity, window_s, 0)
    for number, (elapsed, amount, actual) in enumerate(steps):
        now += elapsed
        demand = Demand(f"c{number}", "t", "k", now + 1_000, (replace(of, amount=amount % (capacity + 2)),))
        verdict = world.book.ask(demand, now)
        assert verdict == memory.admit(demand, now)
        standing = world.book.run(cast(SharedLedger, world.book.ledger).standing(demand, now))
        assert standing == memory.standing(demand, now)
        used = Used(actual, None, None)
        memory.settle(demand.call, used, now)
        world.book.settle(demand.call, used, now)


def test_how_limits_stand_is_shown_and_nothing_is_taken(world: _World) -> None:
    """Also of a window whose spend was not asked for yet, and of a slot that nobody has used."""
    book, ledger = world.book, cast(SharedLedger, world.book.ledger)
    book.source.known = {("t", None, DAY_START_MS): 30}
    of = (draw(capacity=5), slot(4), reserve(10))
    for taken in range(3):
        standing = book.run(ledger.standing(book.demand(*of), START_MS))
        assert [each.remaining for each in standing.buckets] == [5 - taken]
        assert standing.slots == (taken,)
        assert standing.windows == (Held(30, 10 * taken),)
        assert isinstance(book.admit(*of), Admitted)

"""A value that expires is made anew in time, once for all who wait, and lives on while it can."""

from __future__ import annotations

import asyncio

import pytest
from kms_world import Clock, run

from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.keystore.renewal import Lasting, Renewed, lasting


class Maker:
    """Counts what it makes; ``fail`` and ``gate`` are set by the test."""

    def __init__(self, clock: Clock, life_s: float | None = 3_600.0) -> None:
        self.clock, self.life_s = clock, life_s
        self.made = 0
        self.fail = False
        self.gate: asyncio.Event | None = None

    async def __call__(self) -> Lasting[str]:
        self.made += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fail:
            raise CredentialUnavailableError("unreachable", "gone")
        end_s = None if self.life_s is None else self.clock.now_s + self.life_s
        return lasting(f"value {self.made}", self.clock.now_s, end_s)


def test_it_is_made_once_and_renewed_four_minutes_before_its_end() -> None:
    async def scenario() -> None:
        clock = Clock(0.0)
        maker = Maker(clock)
        kept = Renewed(maker, clock)
        assert [await kept.get(), await kept.get()] == ["value 1", "value 1"]
        clock.now_s = 3_359.0
        assert await kept.get() == "value 1"
        clock.now_s = 3_360.0
        assert await kept.get() == "value 2"

    run(scenario())


def test_a_short_life_is_renewed_in_its_last_quarter() -> None:
    """Four minutes ahead would be at once, for ever."""
    assert lasting("x", 100.0, 200.0).renew_s == 175.0
    assert lasting("x", 100.0, 50.0).renew_s == 50.0


def test_many_who_wait_have_it_made_once() -> None:
    async def scenario() -> None:
        clock = Clock()
        maker = Maker(clock)
        maker.gate = asyncio.Event()
        kept = Renewed(maker, clock)
        waiting = [asyncio.create_task(kept.get()) for _ in range(50)]
        await asyncio.sleep(0)
        waiting[0].cancel()  # who gives up does not take it from the others
        await asyncio.sleep(0)
        maker.gate.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert set(found[1:]) == {"value 1"}
        assert maker.made == 1

    run(scenario())


def test_a_failure_is_everybodys_and_the_next_one_tries_again() -> None:
    async def scenario() -> None:
        clock = Clock()
        maker = Maker(clock)
        maker.fail = True
        kept = Renewed(maker, clock)
        found = await asyncio.gather(*(kept.get() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(one, CredentialUnavailableError) for one in found)
        assert maker.made == 1
        maker.fail = False
        assert await kept.get() == "value 2"

    run(scenario())


def test_the_old_one_does_while_it_holds_and_renewal_fails() -> None:
    """The service may be gone for the few minutes that it still has, and is not asked for every call."""

    async def scenario() -> None:
        clock = Clock(0.0)
        maker = Maker(clock)
        kept = Renewed(maker, clock)
        await kept.get()
        maker.fail = True
        clock.now_s = 3_400.0
        assert [await kept.get(), await kept.get()] == ["value 1", "value 1"]
        assert maker.made == 2
        clock.now_s = 3_420.0
        await kept.get()
        assert maker.made == 3
        clock.now_s = 3_599.0  # tried a second ahead of the end: it does not hold for longer because of that
        await kept.get()
        clock.now_s = 3_600.0
        with pytest.raises(CredentialUnavailableError):
            await kept.get()

    run(scenario())


def test_a_dropped_one_is_made_anew_even_if_it_never_ends_and_a_newer_one_stays() -> None:
    async def scenario() -> None:
        clock = Clock()
        kept = Renewed(Maker(clock, None), clock)
        first = await kept.get()
        kept.drop(first)
        second = await kept.get()
        assert (first, second) == ("value 1", "value 2")
        kept.drop(first)
        assert await kept.get() is second

    run(scenario())

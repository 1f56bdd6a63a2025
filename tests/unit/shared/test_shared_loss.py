"""What a router does when the shared store is gone, frozen, empty or another one, and when a router is."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from services import Valkey
from shared_world import (
    HURRIED,
    TENANT,
    Books,
    demand,
    draw,
    in_loop,
    leftovers,
    now_ms,
    reserve,
    router,
    routers,
    settled,
    slot,
    spent,
)

from sovereign_ext.errors import LogUnavailable, ServiceError
from sovereign_ext.secret import Secret
from sovereign_ext.shared import layout
from sovereign_ext.shared.address import parse
from sovereign_ext.shared.client import Client
from sovereign_ext.shared.service import Shared
from sovereign_ext.shared.wire import WireLost
from sovereign_ext.tenants.ledger import (
    SPEND_KEPT_MS,
    Admitted,
    Demand,
    Draw,
    Measure,
    Refused,
    Reserve,
    Slot,
    Used,
)

pytestmark = pytest.mark.services


def settle(shared: Shared, books: Books, call: str, billed: int) -> None:
    """As the gateway does it: the outcome is durable first."""
    books.rows[call] = billed
    shared.ledger.settle(call, Used(1, 1, billed), now_ms())


async def refused_503(shared: Shared, asked: Demand) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await shared.ledger.admit(asked, now_ms())
    assert (caught.value.status, caught.value.code) == (503, "limits_unavailable")
    return caught.value


async def admits(shared: Shared, asked: Demand) -> bool:
    """Whether it is admitted; a 503 is a no."""
    try:
        return isinstance(await shared.ledger.admit(asked, now_ms()), Admitted)
    except ServiceError:
        return False


async def admitted(shared: Shared, *of: Draw | Slot | Reserve) -> str:
    """Ask until it is admitted, each time for another call; which it is."""
    for number in itertools.count():
        if await admits(shared, demand(f"try{number}", *of)):
            return f"try{number}"
        await asyncio.sleep(0.02)
        assert number < 1_000, "it was never admitted"
    raise AssertionError


@in_loop
async def test_one_round_trip_before_a_call_is_sent(valkey: Valkey) -> None:
    """Rate limits, slots and caps of tenant and key together: the server counts one EVALSHA, once spend is known."""
    books = Books()
    async with routers(valkey, books, pace=replace(HURRIED, beat_s=60.0, sweep_s=60.0)) as (shared,):
        asked = (draw(1000), draw(10**6, 50, Measure.TOKENS_IN), slot(1000), reserve(1, 10**9))
        assert await admits(shared, demand("first", *asked))
        with valkey.client() as client:
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            for number in range(100):
                assert await admits(shared, demand(f"c{number}", *asked))
            after = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            health_at_most = 1 + 2 * 5
        assert 100 <= after - before <= 100 + health_at_most


@in_loop
async def test_an_empty_store_is_told_by_the_database(valkey: Valkey) -> None:
    """The first call under a cap has its window loaded, once, however many ask at the same time."""
    books = Books(before=70)
    async with routers(valkey, books, 2) as both:
        answers = await asyncio.gather(
            *(
                both[number % 2].ledger.admit(demand(f"c{number}", reserve(10, 100)), now_ms())
                for number in range(20)
            )
        )
        assert sum(isinstance(answer, Admitted) for answer in answers) == 3
        assert books.reads == 1


@in_loop
async def test_calls_that_end_while_spend_is_loaded_count_once(valkey: Valkey) -> None:
    """Whether their outcome comes before the database is read, or between that and the end of loading."""
    for early in (True, False):
        valkey.flush()
        books = Books()
        async with routers(valkey, books) as (shared,):
            assert await admits(shared, demand("running", reserve(10, 100)))
            loop = asyncio.get_running_loop()
            with valkey.client() as client:
                client.hdel(f"sf:{{{TENANT}}}:w:total:0::", "epoch")  # as after a new epoch

            ending = partial(settle, shared, books, "running", 7)

            def end(call_soon: Any = loop.call_soon_threadsafe, ending: Any = ending) -> None:
                call_soon(ending)
                time.sleep(0.05)  # in the thread that reads the database

            books.on_read = end
            if early:
                books.rows["running"] = 7
            assert await admits(shared, demand("next", reserve(93, 100)))
            await settled(lambda: shared.status().queued == 0)
            assert spent(valkey) == 7
            assert isinstance(
                await shared.ledger.admit(demand("one more", reserve(1, 100)), now_ms()), Refused
            )


@in_loop
async def test_spend_that_cannot_be_read_is_a_503(valkey: Valkey) -> None:
    """And no cap is held then; when the database answers again, calls are admitted."""
    books = Books(fault=OSError("secret-host refused"))
    async with routers(valkey, books) as (shared,):
        await refused_503(shared, demand("a", reserve(1, 100)))
        assert isinstance(await shared.ledger.admit(demand("b", draw(3)), now_ms()), Admitted)
        books.fault = None
        await admitted(shared, reserve(100, 100))


@in_loop
async def test_without_a_store_each_call_is_told_at_once(valkey: Valkey) -> None:
    """Capped and strict calls are refused, others counted in this process; it recovers by itself."""
    books = Books()
    async with routers(valkey, books) as (shared,):
        assert await admits(shared, demand("before", slot(9), reserve(1, 100)))
        valkey.stop()
        await settled(lambda: not shared.status().reachable)
        started = time.monotonic()
        for number in range(200):
            await refused_503(shared, demand(f"capped{number}", reserve(1, 100)))
            await refused_503(shared, demand(f"strict{number}", draw(1000), strict=True))
        assert time.monotonic() - started < 20.0  # one that waited for the store would take 2 s
        answers = [
            await shared.ledger.admit(demand(f"free{number}", draw(3)), now_ms()) for number in range(5)
        ]
        assert [isinstance(answer, Admitted) for answer in answers] == [True, True, True, False, False]
        settle(shared, books, "before", 1)
        assert shared.status().queued == 1
        assert shared.status().why
        valkey.start()
        await admitted(shared, slot(1), reserve(99, 100))
        assert shared.status().reachable
        await settled(lambda: shared.status().queued == 0)
        assert not await admits(shared, demand("too many", slot(9), reserve(1, 100)))


@in_loop
async def test_a_frozen_store_costs_one_timeout(valkey: Valkey) -> None:
    """The first calls wait for the timeout, later ones do not; what it took while nobody listened is given back."""
    books = Books()
    async with routers(valkey, books, pace=replace(HURRIED, timeout_s=1.0)) as (shared,):
        assert await admits(shared, demand("before", slot(5), reserve(1, 1000)))
        valkey.freeze()
        started = time.monotonic()
        asked = [
            refused_503(shared, demand(f"c{number}", slot(5), reserve(1, 1000), strict=True))
            for number in range(4)
        ]
        await asyncio.gather(*asked)
        assert 0.9 < time.monotonic() - started < 3.9
        started = time.monotonic()
        await refused_503(shared, demand("later", reserve(1, 1000)))
        assert time.monotonic() - started < 0.9
        valkey.thaw()
        await settled(lambda: shared.status().reachable and shared.status().queued == 0)
        settle(shared, books, "before", 1)
        await settled(lambda: shared.status().queued == 0)
        await settled(lambda: not any(leftovers(valkey).values()))
        assert await admits(shared, demand("whole", reserve(999, 1000)))


@pytest.mark.parametrize("how", ["flush", "restart", "kill"])
@in_loop
async def test_a_store_that_lost_everything_is_rebuilt(valkey: Valkey, how: str) -> None:
    """What was billed is read from the database, what is in flight is held again; the cap is exact all the while."""
    books = Books()
    async with routers(valkey, books, 2) as both:
        one, two = both
        for number in range(4):
            assert await admits(one, demand(f"done{number}", slot(50), reserve(10, 100)))
            settle(one, books, f"done{number}", 10)
        await settled(lambda: one.status().queued == 0)
        assert await admits(one, demand("mine", slot(50), reserve(10, 100)))
        assert await admits(two, demand("yours", slot(50), reserve(20, 100)))
        if how == "flush":
            valkey.flush()
        elif how == "restart":
            valkey.restart()
        else:
            valkey.kill()
            valkey.start()
        # 40 are billed and 30 reserved: 30 are left, to whoever asks.
        fits = await admitted(two, slot(50), reserve(30, 100))
        assert isinstance(
            await one.ledger.admit(demand("over", slot(50), reserve(1, 100)), now_ms()), Refused
        )
        assert isinstance(await one.ledger.admit(demand("fourth", slot(3)), now_ms()), Refused)
        settle(one, books, "mine", 5)
        settle(two, books, "yours", 6)
        settle(two, books, fits, 7)
        await settled(lambda: one.status().queued + two.status().queued == 0)
        assert spent(valkey) == 40 + 5 + 6 + 7
        assert not any(leftovers(valkey).values())


@in_loop
async def test_while_it_is_rebuilt_capped_calls_are_told_when_to_come_back(valkey: Valkey) -> None:
    books = Books()
    async with routers(valkey, books, pace=replace(HURRIED, rebuild_ms=1_500)) as (shared,):
        assert await admits(shared, demand("a", draw(9), reserve(1, 100)))
        valkey.flush()
        fault = await refused_503(shared, demand("b", draw(9), reserve(1, 100)))
        assert fault.retry_after_s is not None
        assert 0 < fault.retry_after_s <= 1.5
        assert isinstance(await shared.ledger.admit(demand("c", draw(9)), now_ms()), Admitted)
        assert 0 < shared.status().rebuilding_s <= 1.5
        await admitted(shared, reserve(99, 100))
        assert not await admits(shared, demand("e", reserve(1, 100)))


@in_loop
async def test_a_server_whose_clock_was_set_back_refuses_no_longer_than_one_that_was_not(
    valkey: Valkey,
) -> None:
    """An epoch that began, and a load that has to end, in what is the future now."""
    books = Books(before=10)
    ahead = now_ms() + 3_600_000
    async with routers(valkey, books) as (shared,):
        with valkey.client() as client:
            lineage, name, _ = client.get(layout.EPOCH).split(b" ")
            client.set(layout.EPOCH, b"%s %s %d" % (lineage, name, ahead))
            client.hset(f"sf:{{{TENANT}}}:w:total:0::", mapping={"loader": "x", "until": ahead, "late": 0})
        async with asyncio.timeout(10):
            await admitted(shared, reserve(90, 100))
        assert not await admits(shared, demand("over", reserve(1, 100)))


@in_loop
async def test_data_of_an_older_moment_do_no_harm(valkey: Valkey) -> None:
    """A replica that took over lacks the last writes: another lineage begins an epoch, and all is put right."""
    books = Books()
    async with routers(valkey, books) as (shared,):
        assert await admits(shared, demand("settled later", reserve(10, 100)))
        with valkey.client() as client:
            old = {key: client.dump(key) for key in client.scan_iter(f"sf:{{{TENANT}}}:*")}
        settle(shared, books, "settled later", 4)
        assert await admits(shared, demand("admitted later", reserve(20, 100)))
        await settled(lambda: shared.status().queued == 0)
        with valkey.client() as client:
            for key in list(client.scan_iter(f"sf:{{{TENANT}}}:*")):
                client.delete(key)
            for key, value in old.items():
                client.restore(key, 0, value)
            client.replicaof("127.0.0.1", 1)  # and back: what a promotion changes is the replication id
            client.replicaof("NO", "ONE")
            client.client_kill_filter(_type="normal")
        # The call that is over seems to be in flight until it expires: too much is reserved, never too little.
        await admitted(shared, reserve(70, 100))
        assert not await admits(shared, demand("over", reserve(1, 100)))


@in_loop
async def test_what_a_dead_router_held_is_settled_at_what_the_log_says(valkey: Valkey) -> None:
    """By its row where there is one, at the estimate where there is none; and not before it is known to be dead."""
    books = Books()
    async with routers(valkey, books) as (survivor,):
        dead = router(valkey, books)
        assert await dead.start()
        assert await admits(dead, demand("written down", slot(5), reserve(10, 100)))
        assert await admits(dead, demand("not written", slot(5), reserve(20, 100)))
        assert await admits(survivor, demand("alive", slot(5), reserve(30, 100)))
        books.rows["written down"] = 3
        await _die(dead)
        await settled(lambda: survivor.status().swept == 2)
        assert books.rows == {"written down": 3, "not written": 20}
        assert spent(valkey) == 23
        assert await admits(survivor, demand("rest", slot(2), reserve(47, 100)))
        assert not await admits(survivor, demand("over", reserve(1, 100)))
        for call in ("alive", "rest"):
            settle(survivor, books, call, 0)
        await settled(lambda: survivor.status().queued == 0)
        assert not any(leftovers(valkey).values())


@in_loop
async def test_a_call_that_is_never_settled_is_swept_when_it_expires(valkey: Valkey) -> None:
    """Also by the router that made it; settling it afterwards does nothing."""
    books = Books()
    async with routers(valkey, books) as (shared,):
        asked = demand("forgotten", slot(1), reserve(10, 100), expires_ms=now_ms() + 200)
        assert await admits(shared, asked)
        await settled(lambda: shared.status().swept == 1)
        shared.ledger.settle("forgotten", Used(0, 0, 0), now_ms())
        await settled(lambda: shared.status().queued == 0)
        assert (spent(valkey), shared.status().held) == (10, 0)
        assert not any(leftovers(valkey).values())


@in_loop
async def test_a_sweep_that_cannot_write_the_entry_leaves_the_money_reserved(valkey: Valkey) -> None:
    """The log is down: the reservation stays, and the next round tries again."""
    books = Books()
    tries = 0

    async def sweep(call: str, asked: Demand) -> Used:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise LogUnavailable("disk full")
        return await Books.sweep(books, call, asked)

    books.sweep = sweep  # type: ignore[method-assign]
    async with routers(valkey, books) as (shared,):
        assert await admits(shared, demand("lost", reserve(10, 10), expires_ms=now_ms() + 100))
        await settled(lambda: tries >= 1)
        assert not await admits(shared, demand("other", reserve(1, 10)))
        await settled(lambda: shared.status().swept == 1)
        assert spent(valkey) == 10


@in_loop
async def test_a_router_that_has_just_come_is_not_taken_for_gone(valkey: Valkey) -> None:
    """The one that sweeps last heard of the others before it came; its first calls are its own all the same."""
    books = Books()
    pace = replace(HURRIED, gone_s=1.0)
    async with routers(valkey, books, pace=replace(pace, beat_s=60.0, sweep_s=60.0)) as (old,):
        await settled(lambda: old._members.sees_gone)
        async with routers(valkey, books, pace=replace(pace, sweep_s=60.0)) as (new,):
            assert await admits(new, demand("running", slot(9), reserve(10, 100)))
            assert await old.sweeper.round() == 0
            assert books.rows == {}
            settle(new, books, "running", 3)
            await settled(lambda: new.status().queued == 0)
            assert spent(valkey) == 3


@in_loop
async def test_what_is_over_is_not_held_again(valkey: Valkey) -> None:
    """Calls end while their router says again, some hundreds at a time, what its calls hold."""
    books = Books()
    async with routers(valkey, books, pace=replace(HURRIED, sweep_s=60.0)) as (shared,):
        for number in range(300):
            assert await admits(shared, demand(f"c{number}", slot(1000), reserve(1, 10_000)))
        again = asyncio.ensure_future(shared.ledger.hold_again(now_ms()))
        await asyncio.sleep(0)
        for number in range(300):
            settle(shared, books, f"c{number}", 1)
        valkey.flush()
        await again
        await settled(lambda: shared.status().queued == 0)
        assert not any(leftovers(valkey).values())


@in_loop
async def test_the_sweeper_is_told_of_a_tenant_again_if_that_got_lost(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would look after the tenant's calls only after an hour."""
    async with routers(valkey, Books()) as (shared,):
        ask, lost = shared._client.ask, list[Any]()

        def losing(*parts: Any, **more: Any) -> Any:
            if parts[0] == "ZADD" and not lost:
                lost.append(asyncio.get_running_loop().create_future())
                lost[0].set_exception(WireLost("gone"))
                return lost[0]
            return ask(*parts, **more)

        monkeypatch.setattr(shared._client, "ask", losing)
        for number in range(2):
            assert await admits(shared, demand(f"c{number}", slot(9)))
        with valkey.client() as client:
            await settled(lambda: client.zscore(layout.TENANTS, TENANT) is not None, 5.0)
        assert len(lost) == 1


@in_loop
async def test_a_short_call_does_not_shorten_the_life_of_a_long_one_s_slot(valkey: Valkey) -> None:
    """Nor does it when both are held again after a loss."""
    async with routers(valkey, Books()) as (shared,):
        for call, hours in (("long", 5), ("short", 1)):
            expires_ms = now_ms() + hours * layout.HOUR_MS
            assert await admits(shared, demand(call, slot(2), expires_ms=expires_ms))
        key = f"sf:{{{TENANT}}}:c::"
        with valkey.client() as client:
            assert client.pttl(key) > 4 * layout.HOUR_MS
            valkey.flush()
            await settled(lambda: client.scard(key) == 2)
            assert client.pttl(key) > 4 * layout.HOUR_MS


@in_loop
async def test_a_window_that_is_not_used_is_read_again(valkey: Valkey) -> None:
    """After a minute, however long it is and its calls are: what is billed under no cap does not come to it."""
    books = Books()
    async with routers(valkey, books) as (shared,):
        expires_ms = now_ms() + layout.HOUR_MS
        day = replace(reserve(10, 100), window="day", end_ms=now_ms() + 9 * layout.HOUR_MS)
        for held in (day, reserve(10, 100)):
            assert await admits(shared, demand(held.window, held, expires_ms=expires_ms))
            with valkey.client() as client:
                assert 0 < client.pttl(layout.window_key(held)) <= SPEND_KEPT_MS


@in_loop
async def test_reservations_that_cannot_be_swept_do_not_keep_others_from_it(valkey: Valkey) -> None:
    """However many there are: here of another release, whose records we cannot read."""
    books = Books()
    async with routers(valkey, books) as (shared,):
        with valkey.client() as client:
            for number in range(200):
                client.hset(layout.reservations(TENANT), f"bad{number}", '1 somebody ["k",[],[],[]]')
        assert await admits(shared, demand("lost", reserve(10, 10), expires_ms=now_ms() + 50))
        await settled(lambda: shared.status().swept == 1)
        assert spent(valkey) == 10


@in_loop
async def test_a_tenant_that_comes_back_while_it_is_forgotten_stays(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose calls cannot be settled; only who has none for hours is not looked after any more."""
    long_ago, soon = now_ms() - 2 * layout.HOUR_MS, now_ms() + layout.HOUR_MS
    async with routers(valkey, Books(), pace=replace(HURRIED, sweep_s=60.0)) as (shared,):
        with valkey.client() as client:
            client.zadd(layout.TENANTS, {"idle": long_ago, "back": long_ago, "stuck": long_ago})
            client.hset(layout.reservations("stuck"), "call", f"{soon} somebody []")
            command = shared._client.command

            async def slowly(*parts: Any, **more: Any) -> Any:
                found = await command(*parts, **more)
                if parts[:2] == ("HLEN", layout.reservations("back")):
                    client.zadd(layout.TENANTS, {"back": soon}, gt=True)
                return found

            monkeypatch.setattr(shared._client, "command", slowly)
            await shared.sweeper.round()
            assert set(client.zrange(layout.TENANTS, 0, -1)) == {b"back", b"stuck"}


@in_loop
async def test_an_outage_makes_nobody_look_dead(valkey: Valkey) -> None:
    """All were silent while the store was away; no call in flight is swept for that."""
    books = Books()
    async with routers(valkey, books, 2) as both:
        assert await admits(both[0], demand("mine", reserve(10, 100)))
        valkey.freeze()
        await asyncio.sleep(HURRIED.gone_s * 1.5)
        valkey.thaw()
        await settled(lambda: all(each.status().reachable for each in both))
        await asyncio.sleep(HURRIED.gone_s * 1.5)
        assert [each.status().swept for each in both] == [0, 0]
        assert both[0].ledger.holds("mine")


@in_loop
async def test_a_client_that_goes_away_while_the_store_is_asked_leaves_nothing(valkey: Valkey) -> None:
    """The question may be answered or not: its call is void."""
    books = Books()
    async with routers(valkey, books) as (shared,):
        assert await admits(shared, demand("first", reserve(1, 100)))
        for number in range(50):
            task = asyncio.create_task(
                shared.ledger.admit(demand(f"c{number}", slot(99), reserve(1, 100)), now_ms())
            )
            for _ in range(number % 5):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            shared.ledger.settle(f"c{number}", Used(0, 0, 0), now_ms())
        settle(shared, books, "first", 1)
        await settled(lambda: shared.status().queued == 0)
        assert not any(leftovers(valkey).values())
        assert shared.status().held == 0
        assert await admits(shared, demand("whole", reserve(99, 100)))


@in_loop
async def test_a_replica_is_not_counted_in(valkey: Valkey) -> None:
    """A primary that became one is left; when it is promoted again, counts are rebuilt and exact."""
    books = Books()
    async with routers(valkey, books) as (shared,):
        assert await admits(shared, demand("held", reserve(10, 100)))
        with valkey.client() as client:
            client.replicaof("127.0.0.1", 1)
            await refused_503(shared, demand("a", reserve(1, 100)))
            await settled(lambda: "replica" in shared.status().why)
            client.replicaof("NO", "ONE")
        await admitted(shared, reserve(90, 100))
        assert not await admits(shared, demand("over", reserve(1, 100)))


@in_loop
async def test_another_server_behind_a_proxy_is_noticed(valkey: Valkey) -> None:
    """The connection stays, the lineage does not: an epoch ends."""
    books = Books()
    async with routers(valkey, books) as (shared,):
        epoch = shared._members.epoch
        with valkey.client() as client:
            client.replicaof("127.0.0.1", 1)
            client.replicaof("NO", "ONE")
        await settled(lambda: shared._members.epoch is not epoch)


@in_loop
async def test_a_full_memory_is_told_of_as_long_as_it_lasts(valkey: Valkey) -> None:
    """Calls that cannot be counted are refused; the reason goes away with its cause."""
    async with routers(valkey, Books()) as (shared,):
        with valkey.client() as client:
            client.config_set("maxmemory", 1)
            try:
                await refused_503(shared, demand("a", slot(1), strict=True))
                await settled(lambda: "OOM" in shared.status().why)
                assert not shared.status().reachable
            finally:
                client.config_set("maxmemory", 0)
        await admitted(shared, slot(1))
        await settled(lambda: shared.status().reachable and not shared.status().why)


@in_loop
async def test_a_server_that_answers_nonsense_is_tried_again(valkey: Valkey) -> None:
    """Something else behind the address for a moment: whatever that does to us, we connect again."""
    greeted = 0

    async def greet() -> None:
        nonlocal greeted
        greeted += 1
        if greeted == 1:
            raise AttributeError("'int' object has no attribute 'decode'")

    client = Client(parse(Secret(valkey.url), None), greet)
    try:
        assert await client.start(10.0), client.why
    finally:
        await client.stop()


@in_loop
async def test_scripts_that_the_server_forgot_are_told_again(valkey: Valkey) -> None:
    books = Books()
    async with routers(valkey, books) as (shared,):
        assert await admits(shared, demand("a", reserve(10, 100)))
        with valkey.client() as client:
            client.script_flush()
        assert await admits(shared, demand("b", reserve(10, 100)))
        with valkey.client() as client:
            client.script_flush()
        settle(shared, books, "a", 1)
        settle(shared, books, "b", 2)
        await settled(lambda: shared.status().queued == 0)
        assert spent(valkey) == 3


@in_loop
async def test_a_user_with_few_rights_is_enough(valkey: Valkey) -> None:
    """Those that docs/operations.md names: everything is done, nothing is refused."""
    rights = ["+@scripting", "+@read", "+@write", "+@connection", "+info", "+time", "~sf:*"]
    with valkey.client() as client:
        client.execute_command("ACL", "SETUSER", "router", "reset", "on", ">pw", *rights)
    try:
        books = Books()
        async with routers(valkey, books, 2, url=f"redis://router:pw@127.0.0.1:{valkey.port}/0") as (
            one,
            two,
        ):
            assert await admits(one, demand("a", draw(9), slot(2), reserve(10, 100)))
            settle(one, books, "a", 10)
            assert await admits(two, demand("gone", reserve(90, 100), expires_ms=now_ms() + 50))
            await settled(lambda: one.status().swept + two.status().swept == 1)
            assert spent(valkey) == 100
            await one._exchange.round()
            await one._members._check_server()
            assert (one.status().reachable, one.status().routers) == (True, 2)
        with valkey.client() as client:
            assert client.execute_command("ACL", "LOG") == []
    finally:
        with valkey.client() as client:
            client.execute_command("ACL", "DELUSER", "router")


@in_loop
async def test_nothing_says_where_the_store_is_or_its_password(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither logs, nor errors, nor the status, nor a repr: reachable, refused by password, or gone."""
    caplog.set_level(logging.DEBUG)
    books = Books()
    said: list[str] = []
    async with routers(valkey, books) as (shared,):
        valkey.stop()
        await settled(lambda: not shared.status().reachable)
        said += [str(await refused_503(shared, demand("a", reserve(1, 1)))), repr(shared.status())]
        said += [repr(vars(shared._client)), repr(shared._client._address)]
        password, valkey.password = valkey.password, "another-one-entirely"
        valkey.start()
        await settled(lambda: "WRONGPASS" in shared.status().why or "NOAUTH" in shared.status().why)
        said.append(repr(shared.status()))
        valkey.stop()
        valkey.password = password
        valkey.start()
        await settled(lambda: shared.status().reachable)
    everything = caplog.text + "\n".join(said)
    assert password not in everything
    assert str(valkey.port) not in everything


async def _die(shared: Shared) -> None:
    """Stop without a goodbye, as SIGKILL does."""
    for each in (shared._members, shared.sweeper, shared._exchange):
        await each._rounds.stop()
    assert shared.ledger.settling._task is not None
    shared.ledger.settling._task.cancel()
    await asyncio.gather(shared.ledger.settling._task, return_exceptions=True)
    await shared._client.stop()

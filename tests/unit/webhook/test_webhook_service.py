"""Receivers of a whole log over real HTTP: apart from each other, over restarts and changes of the configuration."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from services import PostgresDatabase
from webhook_receiver import TAKEN, Got, Receiver
from webhook_world import NOW_MS, ORIGIN, SECRET, draft, hook, read_secret

from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.pauses import Pauses
from sovereign_ext.secret import Secret
from sovereign_ext.storage.engine import open_postgres
from sovereign_ext.tlog.service import TransparencyLog
from sovereign_ext.tlog.shared import SharedLog, shared_directory
from sovereign_ext.webhook.follower import Follower
from sovereign_ext.webhook.hook import Hook
from sovereign_ext.webhook.service import Webhooks

pytestmark = pytest.mark.services


@asynccontextmanager
async def running(
    state: Path, hooks: Sequence[Hook], shared: SharedLog | None = None
) -> AsyncIterator[tuple[TransparencyLog, Webhooks]]:
    """A log and its receivers as the gateway puts them together, with quick pauses."""
    log = await TransparencyLog.open(
        state, ORIGIN, clock=lambda: NOW_MS, publish_interval_s=0.01, shared=shared
    )
    webhooks = Webhooks.of(log, read_secret)
    webhooks._edges = replace(webhooks._edges, pauses=Pauses(0.01, 0.02))
    try:
        await webhooks.follow(hooks)
        yield log, webhooks
    finally:
        await webhooks.stop()
        await log.close()


async def find(log: TransparencyLog, number: int = 1, **options: Any) -> list[int]:
    """So many findings; their indices."""
    return [(await log.append(draft(**options))).index for _ in range(number)]


async def came(receiver: Receiver, count: int) -> list[Got]:
    return await asyncio.to_thread(receiver.wait, count)


def to(receiver: Receiver, id_: str = "siem", **more: Any) -> Hook:
    return hook(id=id_, url=receiver.url, **more)


def test_each_finding_is_told_once_and_its_receipt_is_there(tmp_path: Path) -> None:
    """Signed with the secret, in the order of the log; the receipt needs no waiting."""

    async def play(receiver: Receiver) -> None:
        async with running(tmp_path, [to(receiver)]) as (log, webhooks):
            wanted = await find(log, 5)
            got = await came(receiver, 5)
            assert [each.index for each in got] == wanted
            assert all(each.signed_by(SECRET) for each in got)
            receipt = await log.receipt(wanted[-1], "t", 0)
            assert receipt["log"]["state"] == "included"
            while (await webhooks.statuses())[0].row.delivered < 5:
                await asyncio.sleep(0.01)
            (status,) = await webhooks.statuses()
            assert (status.waiting, status.row.attempts) == (0, 0)
        receiver.stays(5, 0)

    with Receiver() as receiver:
        asyncio.run(play(receiver))


def test_one_that_is_away_and_one_that_is_slow_hold_up_nobody(tmp_path: Path) -> None:
    """Nor does any of them slow the log: findings are appended while one of them does not answer."""
    release = threading.Event()

    def wait(*_: Any) -> Any:
        release.wait(20)
        return TAKEN

    async def play(slow: Receiver, good: Receiver) -> None:
        away = hook(id="away", url=f"http://127.0.0.1:{free_ports(1)[0]}/")
        async with running(tmp_path, [away, to(slow, "slow"), to(good, "good")]) as (log, webhooks):
            wanted = await find(log, 20)
            assert [each.index for each in await came(good, 20)] == wanted
            await came(slow, 1)
            assert len(slow.got) == 1
            while not (statuses := {each.row.id: each for each in await webhooks.statuses()})[
                "away"
            ].row.attempts:
                await asyncio.sleep(0.01)
            assert statuses["away"].waiting == 20
            release.set()
            assert [each.index for each in await came(slow, 20)] == wanted

    with Receiver(wait) as slow, Receiver() as good:
        asyncio.run(play(slow, good))


def test_a_receiver_that_was_away_gets_everything_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Over a restart of the gateway too; and neither secret nor URL is in what is logged."""
    caplog.set_level(logging.DEBUG, "sovereign_ext")

    async def first(receiver: Receiver) -> list[int]:
        async with running(tmp_path, [to(receiver)]) as (log, _):
            wanted = await find(log, 3)
            await came(receiver, 2)
            return wanted

    async def second(receiver: Receiver) -> list[int]:
        async with running(tmp_path, [to(receiver)]) as (log, _):
            wanted = await find(log, 2)
            await came(receiver, 5)
            return wanted

    with Receiver(lambda *_: (503, {}, b"")) as receiver:
        wanted = asyncio.run(first(receiver))
        assert {each.index for each in receiver.got} == {wanted[0]}
        receiver.got.clear()
        receiver.answer = lambda *_: TAKEN
        wanted += asyncio.run(second(receiver))
        assert [each.index for each in receiver.got] == wanted
        assert len({each.id for each in receiver.got}) == 5
    assert "answered 503" in caplog.text
    assert SECRET not in caplog.text
    assert receiver.url not in caplog.text


def test_receivers_come_and_go_with_the_configuration(tmp_path: Path) -> None:
    """A new one is told of what is found from now on, or from where it says; one that comes back goes on."""

    async def play(one: Receiver, two: Receiver, all_: Receiver) -> None:
        async with running(tmp_path, [to(one, "one")]) as (log, webhooks):
            before = await find(log, 2)
            await came(one, 2)
            while (await webhooks.statuses())[0].row.delivered < 2:
                await asyncio.sleep(0.01)
            await webhooks.follow([to(two, "two"), to(all_, "all", from_index=0)])
            after = await find(log)
            assert [each.index for each in await came(two, 1)] == after
            assert [each.index for each in await came(all_, 3)] == before + after
            assert [each.row.id for each in await webhooks.statuses()] == ["two", "all"]
            assert len(one.got) == 2
            await webhooks.follow([to(one, "one")])
            assert [each.index for each in await came(one, 3)] == before + after

    with Receiver() as one, Receiver() as two, Receiver() as all_:
        asyncio.run(play(one, two, all_))


def test_what_goes_wrong_within_ends_no_deliveries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that fails, a fault of ours: it is logged, and tried again."""
    monkeypatch.setattr("sovereign_ext.webhook.follower.FAULT_PAUSE_S", 0.01)
    real, calls = Follower._next, []

    def fails(self: Follower, row: Any) -> Any:
        calls.append(row)
        if len(calls) < 3:
            raise ZeroDivisionError
        return real(self, row)

    monkeypatch.setattr(Follower, "_next", fails)

    async def play(receiver: Receiver) -> None:
        async with running(tmp_path, [to(receiver)]) as (log, _):
            await find(log)
            await came(receiver, 1)

    with Receiver() as receiver:
        asyncio.run(play(receiver))
    assert "an internal error; it is tried again" in caplog.text


def test_of_two_routers_the_leader_delivers_and_then_the_other(
    tmp_path: Path, postgres: PostgresDatabase
) -> None:
    """Each event once, in order, whoever wrote its entry; when the leader goes, the other goes on where it was."""

    def shared() -> SharedLog:
        engine = open_postgres(Secret(postgres.url))
        return SharedLog(engine, shared_directory(tmp_path / "tiles"), tmp_path / "keys", 1.0)

    async def play(receiver: Receiver) -> None:
        one, two = shared(), shared()
        try:
            async with AsyncExitStack() as both, AsyncExitStack() as leading:
                first, _ = await leading.enter_async_context(running(tmp_path / "one", [to(receiver)], one))
                while not first.leads:
                    await asyncio.sleep(0.01)
                second, _ = await both.enter_async_context(running(tmp_path / "two", [to(receiver)], two))
                wanted = []
                for _ in range(10):
                    wanted += await find(first) + await find(second)
                await came(receiver, 20)
                assert (first.leads, second.leads) == (True, False)
                await leading.aclose()
                wanted += await find(second, 3)
                await came(receiver, 23)
                assert [each.index for each in receiver.got] == wanted
        finally:
            one.engine.dispose()
            two.engine.dispose()

    with Receiver() as receiver:
        asyncio.run(play(receiver))

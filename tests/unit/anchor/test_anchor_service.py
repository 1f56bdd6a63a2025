"""Anchoring a live log: on time, through faults and restarts, and visible in receipts that verify."""

from __future__ import annotations

import asyncio
import json
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from anchor_world import KINDS, NOW_MS, QUICK, anchored_log, fill, private_key, target, until
from rekor_server import Answer, Rekor, running
from sqlalchemy.exc import OperationalError

from sovereign_ext.anchor.service import Anchors
from sovereign_ext.attest.anchors import parse_anchor, verify_anchor
from sovereign_ext.attest.receipt_form import parse_receipt
from sovereign_ext.attest.rekor import V1, V2, RekorKey
from sovereign_ext.attest.report import TrustedKeys
from sovereign_ext.attest.verify import verify_receipt
from sovereign_ext.errors import VerificationError
from sovereign_ext.pauses import Pauses
from sovereign_ext.storage.anchors import AnchorStore
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.service import LogPaths, TransparencyLog

pytestmark = pytest.mark.services


def rekor_of(kind: str) -> Rekor:
    return Rekor(private_key("p256" if kind == V1 else "ed25519"))


def check(receipt: Any, log: TransparencyLog, **rekors: Rekor) -> dict[str, int]:
    """Every step of the receipt, with the keys of these external logs; the index of each anchor's entry."""
    keys = {name: RekorKey(rekor.spki) for name, rekor in rekors.items()}
    report = verify_receipt(receipt, TrustedKeys(log.public_keys.log, anchors=keys))
    assert report.ok, report.checks
    (said,) = (found.detail for found in report.checks if found.name == "anchors")
    parsed = parse_receipt(receipt)
    assert said == "; ".join(f"{name} holds the checkpoint of size {size(receipt, name)}" for name in rekors)
    return {anchor.id: anchor.entry.index for anchor in parsed.anchors}


def size(receipt: Any, name: str = "ext") -> int:
    """How many entries the checkpoint of an anchor covers."""
    (anchor,) = (anchor for anchor in receipt["anchors"] if anchor["id"] == name)
    return int(anchor["checkpoint"].split("\n")[1])


@pytest.mark.parametrize(("kind", "key"), KINDS)
def test_receipts_show_the_oldest_anchor_that_covers_them(kind: str, key: str, tmp_path: Path) -> None:
    """Each anchored checkpoint covers what came before it; a receipt proves that its tree continues that one."""
    now = [NOW_MS]

    async def scenario(rekor: Rekor) -> None:
        async with anchored_log(tmp_path, target(rekor, kind), clock=lambda: now[0], entries=3) as (
            log,
            anchors,
        ):
            for number in (0, 1, 300):
                await fill(log, number)
                now[0] += 3_600_000 if number else 0
                await until(lambda: anchors.covering(log.status().size - 1))
            await fill(log, 5)
            for index, expected in ((0, 3), (2, 3), (3, 4), (4, 304), (303, 304)):
                receipt = await log.receipt(index, None, 10)
                assert receipt["log"]["state"] == "anchored"
                assert size(receipt) == expected
                assert check(receipt, log, ext=rekor) == {"ext": {3: 0, 4: 1, 304: 2}[expected]}

    with running(Rekor(private_key(key))) as rekor:
        asyncio.run(scenario(rekor))


def test_an_entry_under_no_anchor_says_so(tmp_path: Path) -> None:
    """Before the first anchor, and after the newest, ``anchors`` is empty and the state is as without."""

    async def scenario(rekor: Rekor) -> None:
        async with anchored_log(tmp_path, target(rekor, V2), entries=2) as (log, anchors):
            await until(lambda: anchors.covering(1))
            await fill(log, 1)
            receipt = await log.receipt(2, None, 10)
            assert (receipt["anchors"], receipt["log"]["state"]) == ([], "included")
            assert len(rekor.bodies) == 1  # an hour has not passed

    with running(rekor_of(V2)) as rekor:
        asyncio.run(scenario(rekor))


def test_several_external_logs_are_independent(tmp_path: Path) -> None:
    """One that is down holds up neither the others nor the log; each shows in receipts."""

    async def scenario(good: Rekor, older: Rekor, down: Rekor) -> None:
        targets = (target(down, V2, id="down"), target(good, V2, id="a"), target(older, V1, id="b"))
        async with anchored_log(tmp_path, *targets, entries=4) as (log, anchors):
            await until(lambda: len(anchors.covering(0)) == 2)
            receipt = await log.receipt(0, None, 10)
            assert [anchor["id"] for anchor in receipt["anchors"]] == ["a", "b"]
            assert check(receipt, log, a=good) == check(receipt, log, a=good, b=older) == {"a": 0, "b": 0}
            failing = await until(lambda: [s for s in anchors.statuses() if s.last_error])
            assert [(s.id, s.anchored_size, s.queued, s.pending_size) for s in failing] == [("down", 0, 1, 4)]

    with running(rekor_of(V2)) as down:
        pass
    with running(rekor_of(V2)) as good, running(rekor_of(V1)) as older:
        asyncio.run(scenario(good, older, down))


@pytest.mark.parametrize("kind", [V1, V2])
def test_nothing_is_lost_while_the_server_fails_in_every_way(kind: str, tmp_path: Path) -> None:
    """Errors, garbage, silence and lost answers; then the true answer. One entry in the end, and only then one row
    with a proof."""
    faults: list[Answer | None] = [
        (500, {}, b""),
        (503, {"retry-after": "0"}, b""),
        (201, {}, b"{}"),
        (201, {}, b"\x00"),
        (404, {}, b"not here"),
        None,
    ]
    seen: list[Any] = []

    async def scenario(rekor: Rekor) -> None:
        engine = open_sqlite(LogPaths.of(tmp_path).database, read_only=True)
        store, posts = AnchorStore(engine), count()

        def fault(_: int, answer: Answer) -> Answer | None:
            if not rekor.requests[-1].startswith("POST"):
                return answer
            seen.append(store.covering("ext", 0))
            post = next(posts)
            return faults[post] if post < len(faults) else answer

        rekor.fault = fault
        ticks = count(NOW_MS, 10)
        async with anchored_log(tmp_path, target(rekor, kind), clock=lambda: next(ticks), entries=3) as (
            log,
            anchors,
        ):
            await until(lambda: anchors.covering(0))
            assert check(await log.receipt(0, None, 10), log, ext=rekor)
            (status,) = anchors.statuses()
            assert (status.anchored_size, status.queued, status.last_error) == (3, 0, None)
            assert status.pending_size == 0
        engine.dispose()
        assert len(rekor.bodies) == 1
        assert seen == [None] * (len(faults) + 1)

    with running(rekor_of(kind)) as rekor:
        asyncio.run(scenario(rekor))


@pytest.mark.parametrize("kind", [V1, V2])
def test_a_restart_in_the_middle_of_a_submission(kind: str, tmp_path: Path) -> None:
    """The external log has the entry, we were stopped before its answer: the next start meets the duplicate."""
    reached, over = threading.Event(), threading.Event()

    def hold(_: int, answer: Answer) -> Answer:
        reached.set()
        over.wait(20)
        return answer

    async def first(rekor: Rekor) -> None:
        async with anchored_log(tmp_path, target(rekor, kind), entries=3) as (_log, anchors):
            await until(reached.is_set)
            assert anchors.covering(0) == ()

    async def second(rekor: Rekor) -> None:
        async with anchored_log(tmp_path, target(rekor, kind)) as (log, anchors):
            await until(lambda: anchors.covering(0))
            assert check(await log.receipt(0, None, 10), log, ext=rekor)

    with running(rekor_of(kind)) as rekor:
        rekor.fault = hold
        try:
            asyncio.run(first(rekor))
        finally:
            over.set()
        rekor.fault = lambda _, answer: answer
        asyncio.run(second(rekor))
        assert len(rekor.bodies) == 1


def test_a_duplicate_that_cannot_be_proven_is_signed_anew(tmp_path: Path) -> None:
    """The lost answer left an entry that no tile can prove here; a second one is made, and nothing is made up."""

    def lose_the_first(number: int, answer: Answer) -> Answer | None:
        return None if number == 1 else answer

    async def scenario(rekor: Rekor) -> None:
        ticks = count(NOW_MS, 10)
        settings = target(rekor, V2)
        async with anchored_log(tmp_path, settings, clock=lambda: next(ticks), entries=3) as (log, anchors):
            await until(lambda: anchors.covering(0))
            assert check(await log.receipt(0, None, 10), log, ext=rekor)

    rekor = Rekor(private_key("ed25519"), serves_tiles=False, fault=lose_the_first)
    with running(rekor):
        asyncio.run(scenario(rekor))
    assert len(rekor.bodies) == 2


def test_the_queue_is_bounded_and_the_newest_is_in_it(tmp_path: Path) -> None:
    """A server that is down for long costs two rows; what is anchored after it comes back covers everything."""
    now = [NOW_MS]

    async def scenario(port: int) -> None:
        rekor = rekor_of(V2)
        rekor.url = f"http://127.0.0.1:{port}"
        async with anchored_log(tmp_path, target(rekor, V2, every_s=1), clock=lambda: now[0]) as (
            log,
            anchors,
        ):
            engine = open_sqlite(LogPaths.of(tmp_path).database, read_only=True)
            store = AnchorStore(engine)
            for size in range(1, 6):
                await fill(log, 1)
                now[0] += 1500
                await until(lambda size=size: any(r.size == size for r in store.recent("ext", 100)))
                assert len(store.recent("ext", 100)) <= 2
            assert [r.size for r in store.recent("ext", 100)] == [5, 1]
            engine.dispose()
            with running(rekor, port):
                now[0] += 600_000  # whatever pause was left is over

                def covered() -> object:
                    # Time goes on: a try that failed just before the server came may have begun another pause.
                    now[0] += 1000
                    return anchors.covering(4)

                await until(covered)
                assert [anchors.covering(index)[0].size for index in range(5)] == [1, 5, 5, 5, 5]
                assert check(await log.receipt(4, None, 10), log, ext=rekor)

    with running(rekor_of(V2)) as free:
        port = int(free.url.rpartition(":")[2])
    asyncio.run(scenario(port))


def test_anchors_follow_a_new_configuration(tmp_path: Path) -> None:
    """A removed anchor ends and stays visible; an added one begins; an unchanged one is not disturbed."""

    async def scenario(one: Rekor, two: Rekor) -> None:
        first, second = target(one, V2, id="one"), target(two, V1, id="two")
        async with anchored_log(tmp_path, first, entries=2) as (log, anchors):
            await until(lambda: anchors.covering(0))
            await anchors.follow([second])
            await until(lambda: len(anchors.covering(0)) == 2)
            assert [s.id for s in anchors.statuses()] == ["two"]
            assert check(await log.receipt(0, None, 10), log, one=one, two=two)
            await anchors.follow([])
            assert anchors.statuses() == ()
            assert len(anchors.covering(0)) == 2

    with running(rekor_of(V2)) as one, running(rekor_of(V1)) as two:
        asyncio.run(scenario(one, two))


def test_an_empty_log_is_not_anchored_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    """A checkpoint is submitted when the log has grown, not because time has passed."""
    now = [NOW_MS]

    async def scenario(rekor: Rekor) -> None:
        async with anchored_log(tmp_path, target(rekor, V2, every_s=1), clock=lambda: now[0]) as (
            log,
            anchors,
        ):
            await asyncio.sleep(0.1)
            assert rekor.requests == []
            await fill(log, 1)
            await until(lambda: anchors.covering(0))
            now[0] += 60_000
            anchors.notice()
            await asyncio.sleep(0.1)
            assert len(rekor.requests) == 1
            now[0] -= 3_600_000  # the clock was set back
            await fill(log, 1)
            await until(lambda: anchors.covering(1))
            assert len(rekor.requests) == 2

    with running(rekor_of(V2)) as rekor:
        asyncio.run(scenario(rekor))


def test_a_locked_database_is_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the database is tried again; the task goes on."""
    real, failures = AnchorStore.queue, iter(range(3))

    def queue(self: AnchorStore, row: Any) -> None:
        if next(failures, None) is not None:
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        real(self, row)

    monkeypatch.setattr(AnchorStore, "queue", queue)

    async def scenario(rekor: Rekor) -> None:
        async with anchored_log(tmp_path, target(rekor, V2), entries=1) as (_log, anchors):
            await until(lambda: anchors.covering(0))

    with running(rekor_of(V2)) as rekor:
        asyncio.run(scenario(rekor))


def test_a_damaged_row_is_left_out_of_receipts(tmp_path: Path) -> None:
    """The rest of the receipt is as good as ever."""

    async def scenario(rekor: Rekor) -> None:
        async with anchored_log(tmp_path, target(rekor, V2), entries=1) as (log, anchors):
            await until(lambda: anchors.covering(0))
            engine = open_sqlite(LogPaths.of(tmp_path).database)
            with engine.begin() as connection:
                connection.exec_driver_sql("UPDATE anchors SET entry = '{}'")
            engine.dispose()
            assert (await log.receipt(0, None, 10))["anchors"] == []

    with running(rekor_of(V2)) as rekor:
        asyncio.run(scenario(rekor))


def test_pauses_double_up_to_a_limit() -> None:
    """Jitter takes away up to half, so that many gateways do not come back at once."""
    pauses = Pauses(1, 600)
    assert [pauses.after(n, 0) for n in (1, 2, 3, 10, 11, 10_000)] == [1, 2, 4, 512, 600, 600]
    assert pauses.after(11, 0.999) == pytest.approx(300, abs=1)
    assert QUICK.after(5, 0) == 0.05


@pytest.mark.parametrize("kind", [V1, V2])
def test_every_changed_bit_of_an_anchor_is_refused(kind: str, tmp_path: Path) -> None:
    """Names, proofs, notes, signatures: with the external log's key given, no bit may change unnoticed. ``id`` is left
    empty: it is a label for people."""

    async def scenario(rekor: Rekor) -> tuple[Any, TransparencyLog]:
        rekor.fill(3)
        async with anchored_log(tmp_path, target(rekor, kind, id=""), entries=3) as (log, anchors):
            await until(lambda: anchors.covering(0))
            await fill(log, 4)
            return await log.receipt(1, None, 10), log

    with running(rekor_of(kind)) as rekor:
        receipt, log = asyncio.run(scenario(rekor))
    parsed = parse_receipt(receipt)
    tree, keys = Checkpoint(log.origin, parsed.tree_size, parsed.root), [RekorKey(rekor.spki)]
    (anchor,) = receipt["anchors"]
    text = json.dumps(anchor).encode()
    accepted = []
    for at in range(len(text) * 8):
        changed = bytearray(text)
        changed[at // 8] ^= 1 << at % 8
        try:
            value = json.loads(changed)
        except ValueError:
            continue
        if value == anchor:
            continue  # white space, an escape
        try:
            verify_anchor(parse_anchor(value), keys, log.public_keys.log, tree)
        except VerificationError:
            continue
        else:
            accepted.append(bytes(changed[at // 8 - 20 : at // 8 + 20]))
    assert accepted == []


def test_the_wrong_tree_is_refused(tmp_path: Path) -> None:
    """An anchor of our log, moved under the receipt of a tree that does not contain it."""

    async def scenario(rekor: Rekor, state: Path) -> tuple[Any, TransparencyLog]:
        async with anchored_log(state, target(rekor, V2), entries=3) as (log, anchors):
            await until(lambda: anchors.covering(0))
            await fill(log, 2)
            return await log.receipt(0, None, 10), log

    with running(rekor_of(V2)) as rekor:
        receipt, log = asyncio.run(scenario(rekor, tmp_path / "one"))
    anchor, parsed = parse_anchor(receipt["anchors"][0]), parse_receipt(receipt)
    keys = [RekorKey(rekor.spki)]
    good = Checkpoint(log.origin, parsed.tree_size, parsed.root)
    assert verify_anchor(anchor, keys, log.public_keys.log, good).size == 3
    for tree in (
        Checkpoint(log.origin, parsed.tree_size, bytes(32)),
        Checkpoint(log.origin, 3, parsed.root),
        Checkpoint(log.origin, 2, parsed.root),
    ):
        with pytest.raises(VerificationError):
            verify_anchor(anchor, keys, log.public_keys.log, tree)


def test_nothing_is_started_by_making_the_object() -> None:
    """Tasks begin with ``follow``; closing without it is fine."""

    async def scenario() -> None:
        anchors = Anchors(
            None,  # type: ignore[arg-type]
            published=lambda: None,  # type: ignore[arg-type,return-value]
            sign=lambda _: None,  # type: ignore[arg-type,return-value]
            clock=lambda: 0,
            random=lambda: 0,
        )
        assert anchors.covering(0) == ()
        await anchors.close()

    asyncio.run(scenario())

"""Replicas of one log on a real PostgreSQL database: who leads, what followers know, what is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from log_world import draft, fill
from shared_log_world import Site, until
from sqlalchemy import text

from sovereign_ext.attest.keys import load_or_create_keys
from sovereign_ext.attest.receipt_form import parse_receipt
from sovereign_ext.attest.verify import TrustedKeys, verify_receipt
from sovereign_ext.cli.main import main
from sovereign_ext.errors import LeaseLost, LogCorrupt, LogUnavailable, ResourceExists
from sovereign_ext.storage.published import PublishedStore
from sovereign_ext.storage.resources import create
from sovereign_ext.tlog.tenure import Memory, SharedNotes, Tenure

pytestmark = pytest.mark.services


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(scenario())


@pytest.fixture
def site(postgres: Any, tmp_path: Path) -> Site:
    return Site(postgres.url, tmp_path)


def test_one_leads_and_all_sequence(site: Site) -> None:
    """Indices are contiguous over replicas, each gives receipts of every entry at once, one of them leads."""

    async def scenario() -> None:
        async with site.replica("a") as a, site.replica("b") as b, site.replica("c") as c:
            logs = (a, b, c)
            await asyncio.gather(*(log.record_keys() for log in logs))
            placed = await asyncio.gather(*(log.append(draft()) for log in logs for _ in range(100)))
            assert sorted(entry.index for entry in placed) == list(range(3, 303))
            keys = a.public_keys
            for log in logs:
                receipt = await log.receipt(302, None, 5)
                assert parse_receipt(receipt).tree_size >= 303
                assert verify_receipt(receipt, TrustedKeys(keys.log, keys.envelope, keys.promise)).ok
            roles = sorted(log.status().role for log in logs)
            assert roles == ["follower", "follower", "leader"]
            assert len({log.status().leader for log in logs}) == 1
            assert site.fsck(a).faults == []

    run(scenario)


def test_leadership_moves_when_the_leader_ends(site: Site) -> None:
    """An orderly end hands over at once; entries that it had not covered are covered by the next."""

    async def scenario() -> None:
        async with site.replica("b") as b:
            await until(lambda: b.status().role == "leader")
            async with site.replica("a") as a:
                await fill(a, 3)
                assert a.status().role == "follower"
                await a.receipt(2, None, 5)
            async with site.replica("c") as c:
                await b.close()
                await until(lambda: c.status().role == "leader")
                await fill(c, 2)
                await c.receipt(4, None, 5)
                assert site.fsck(c).faults == []

    run(scenario)


def test_a_leader_that_was_overtaken_gets_nothing_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fence alone: a leader that takes its lease for valid, whatever the clock says, signs after another one began.
    Its checkpoint is neither in the database nor beside the tiles, and it follows from then on."""

    async def scenario() -> None:
        async with site.replica("a", lease_s=0.5) as a:
            await fill(a, 2)
            await a.receipt(1, None, 5)
            monkeypatch.setattr(Tenure, "lasts", True)
            term = a._integrator._term  # type: ignore[union-attr]
            with term.publisher._publishing:  # it cannot show, so not step on either
                engine = site.engine()
                store = PublishedStore(engine)
                before = store.standing()
                assert before is not None
                monkeypatch.setattr(PublishedStore, "renew", lambda *_: True)
                await asyncio.sleep(0.6)
                token = store.acquire("another", 2_000)
                assert token is not None
            await fill(a, 3)
            await until(lambda: a.status().role == "follower")
            after = store.standing()
            assert after is not None
            assert (after.note, after.size) == (before.note, 2)
            assert a.reader.checkpoint() == before.note
            monkeypatch.undo()
            await a.receipt(4, None, 5)  # the other one's lease ends: it leads again, and covers them
            engine.dispose()
            assert site.fsck(a).faults == []

    run(scenario)


def test_a_leader_that_cannot_renew_stops_before_its_lease_is_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own clock ends the tenure while the database still says that it leads."""

    async def scenario() -> None:
        async with site.replica("a", lease_s=1.0) as a:
            await until(lambda: a.status().role == "leader")
            term = a._integrator._term  # type: ignore[union-attr]

            def hang(*_: object) -> bool:
                time.sleep(2)
                raise OSError("no answer")

            monkeypatch.setattr(PublishedStore, "renew", hang)
            engine = site.engine()
            store = PublishedStore(engine)
            await until(lambda: not term.tenure.lasts, 5)
            standing = store.standing()
            assert standing is not None
            assert standing.left_ms > 0
            with pytest.raises(LeaseLost):
                SharedNotes(store, Memory(site.root), term.tenure).replace(
                    standing.note, a.published().checkpoint, b""
                )
            monkeypatch.undo()
            engine.dispose()
            await fill(a, 1)
            await a.receipt(0, None, 5)

    run(scenario)


def test_first_starts_at_once_make_one_log(site: Site) -> None:
    """Five processes start on an empty database: one set of keys, one log, each key written down once."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            logs = await asyncio.gather(*(stack.enter_async_context(site.replica(f"r{n}")) for n in range(5)))
            await asyncio.gather(*(log.record_keys() for log in logs))
            assert len({log.public_keys.log.public_key for log in logs}) == 1
            await until(lambda: all(log.status().size == 3 for log in logs))

    run(scenario)


def test_a_replica_with_other_keys_is_refused(site: Site) -> None:
    """Keys of its own, none at all, another origin: one clear line each, and nothing is changed."""

    async def scenario() -> None:
        async with site.replica("a") as a:
            await fill(a, 1)
            await a.receipt(0, None, 5)
        load_or_create_keys(site.root / "others")
        with pytest.raises(
            LogCorrupt, match=r"made with other keys than those in .*others: replicas share their"
        ):
            async with site.replica("b", keys="others"):
                pass
        with pytest.raises(LogCorrupt, match=r"the log's keys are not in .*nowhere"):
            async with site.replica("b", keys="nowhere"):
                pass
        assert not (site.root / "nowhere").exists()
        with pytest.raises(
            LogCorrupt, match=r"the log in this database is 'sovereign.local/log', not 'other/log'"
        ):
            async with site.replica("b", origin="other/log"):
                pass
        async with site.replica("b") as b:
            await fill(b, 1)
            await b.receipt(1, None, 5)
            assert site.fsck(b).faults == []

    run(scenario)


def test_two_processes_do_not_share_a_state_directory(site: Site) -> None:
    """The memory of what was signed belongs to one process."""

    async def scenario() -> None:
        async with site.replica("a"):
            with pytest.raises(LogUnavailable, match="another process has this log open"):
                async with site.replica("a"):
                    pass

    run(scenario)


TABLES = ("log_entries", "log_head", "log_published", "log_notes")


def backup(site: Site) -> None:
    engine = site.engine()
    with engine.begin() as connection:
        for table in TABLES:
            connection.execute(text(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}"))
    engine.dispose()


def restore(site: Site) -> None:
    engine = site.engine()
    with engine.begin() as connection:
        for table in TABLES:
            connection.execute(text(f"DELETE FROM {table}"))
            connection.execute(text(f"INSERT INTO {table} SELECT * FROM kept_{table}"))
    engine.dispose()


def test_a_restored_database_stops_every_running_replica(site: Site) -> None:
    """Leader and follower notice that entries are gone, sign nothing and sequence nothing more."""

    async def scenario() -> None:
        async with site.replica("a") as a, site.replica("b") as b:
            await fill(a, 2)
            await b.receipt(1, None, 5)
            backup(site)
            await fill(b, 3)
            await a.receipt(4, None, 5)
            await b.receipt(4, None, 5)
            restore(site)
            for log in (a, b):
                await until(lambda log=log: not log.status().healthy)  # type: ignore[misc]
                with pytest.raises(LogUnavailable, match=r"corrupt: .*restored from a backup"):
                    await log.append(draft())

    run(scenario)


@pytest.mark.parametrize("left", [4, 2])
def test_nothing_is_signed_once_entries_are_found_to_be_gone(left: int, site: Site) -> None:
    """A fail-over lost the last commits: what is left of those that no checkpoint covers yet is not signed any more,
    nor waited for."""

    async def scenario() -> None:
        async with site.replica("a", publish_interval_s=60.0) as a:
            await fill(a, 2)
            await a.receipt(1, None, 5)
            await fill(a, 3)
            engine = site.engine()
            with engine.begin() as connection:
                connection.execute(text(f"DELETE FROM log_entries WHERE idx >= {left}"))
                connection.execute(text(f"UPDATE log_head SET next = {left}"))
            await until(lambda: not a.status().healthy)
            assert "5 were there" in str(a.status().last_error)
            await asyncio.to_thread(a._integrator._thread.join, 10)  # type: ignore[union-attr]
            assert not a._integrator._thread.is_alive()
            standing = PublishedStore(engine).standing()
            engine.dispose()
            assert standing is not None
            assert standing.size == 2

    run(scenario)


def test_what_others_say_on_the_channel_is_a_reason_to_look_and_never_believed(site: Site) -> None:
    """Any role of the database may say it, and another log in another schema of it does."""

    async def scenario() -> None:
        async with site.replica("a") as a, site.replica("b") as b:
            await fill(a, 2)
            await b.receipt(1, None, 5)
            engine = site.engine()
            for word in ("grown 4711", "hurry 4711", "hurry", "published", "free", "", "\u0661"):
                PublishedStore(engine).tell(word)
            engine.dispose()
            await asyncio.sleep(1.5)  # nothing is to happen
            for log in (a, b):
                status = log.status()
                assert (status.healthy, status.size) == (True, 2), status
            await fill(b, 1)
            await a.receipt(2, None, 5)

    run(scenario)


@pytest.mark.parametrize("known_by", ["memory", "tiles"])
def test_a_restored_database_is_noticed_at_start(known_by: str, site: Site) -> None:
    """By the memory of each replica, wherever it is kept; by the published checkpoint where a replica has none."""

    async def scenario() -> None:
        options = {"checkpoint_dir": site.root / "apart"} if known_by == "memory" else {}
        async with site.replica("a", **options) as a:
            await fill(a, 2)
            await a.receipt(1, None, 5)
            await until(lambda: a.status().role == "leader")
            backup(site)
            await fill(a, 2)
            await a.receipt(3, None, 5)
        restore(site)
        if known_by == "memory":
            shutil.rmtree(site.root / "a")
            shutil.rmtree(site.root / "tiles")
            with pytest.raises(LogCorrupt, match="size 4 was signed, the database says 2"):
                async with site.replica("a", **options):
                    pass
            return
        async with site.replica("new") as new:
            await until(lambda: not new.status().healthy)
            assert "size 4 was published, only size 2 was signed" in (new.status().last_error or "")
            with pytest.raises(LogUnavailable, match="corrupt"):
                await new.append(draft())

    run(scenario)


def test_rows_written_over_a_restored_backup(site: Site) -> None:
    """As many entries as before, but others: the tree that was signed is not theirs."""

    async def scenario() -> None:
        async with site.replica("a") as a:
            await fill(a, 1)
            await a.receipt(0, None, 5)
            backup(site)
            await fill(a, 2)
            await a.receipt(2, None, 5)
            standing = a.published()
        restore(site)
        shutil.rmtree(site.root / "tiles")
        shutil.rmtree(site.root / "a")
        async with site.replica("b") as b:  # knows nothing: nobody could tell
            await fill(b, 3)
            await b.receipt(3, None, 5)
        (site.root / "c" / "signed").mkdir(parents=True)
        (site.root / "c" / "signed" / "checkpoint").write_bytes(standing.note)
        with pytest.raises(LogCorrupt, match="does not extend"):
            async with site.replica("c"):
                pass

    run(scenario)


def test_lost_tiles_are_made_again_by_the_next_leader(site: Site) -> None:
    """Tiles are derived: a new leader compares them with what was signed, and rebuilds them."""

    async def scenario() -> None:
        async with site.replica("a") as a:
            await fill(a, 300)
            await a.receipt(299, None, 5)
        kept = {
            path: path.read_bytes() for path in (site.root / "tiles" / "tile").rglob("*") if path.is_file()
        }
        shutil.rmtree(site.root / "tiles")
        async with site.replica("b") as b:
            await until(lambda: b.status().role == "leader")
            for path, data in kept.items():
                if ".p" not in str(path) or path.exists():
                    assert path.read_bytes() == data
            assert site.fsck(b).faults == []

    run(scenario)


def test_an_older_checkpoint_beside_the_tiles_is_replaced(site: Site) -> None:
    """What a writer that lost its lease shows at the last moment, the leader takes away again."""

    async def scenario() -> None:
        async with site.replica("a") as a:
            await fill(a, 1)
            await a.receipt(0, None, 5)
            await until(lambda: a.status().role == "leader")
            old = a.published().note
            await fill(a, 1)
            await a.receipt(1, None, 5)
            new = a.published().note
            (site.root / "tiles" / "checkpoint").write_bytes(old)
            await until(lambda: a.reader.checkpoint() == new)

    run(scenario)


def test_a_change_of_a_resource_is_one_transaction(site: Site) -> None:
    """On every replica, and refused ones leave nothing."""

    async def scenario() -> None:
        async with site.replica("a") as a, site.replica("b") as b:
            placed = await asyncio.gather(
                *(
                    log.change(draft(), create(f"tenants/{name}{n}", "tenant", "", "{}", 1))
                    for name, log in (("a", a), ("b", b))
                    for n in range(10)
                )
            )
            assert sorted(each.index for each in placed) == list(range(20))
            refused = await asyncio.gather(
                *(log.change(draft(), create("tenants/a1", "tenant", "", "{}", 1)) for log in (a, b)),
                return_exceptions=True,
            )
            assert [type(each) for each in refused] == [ResourceExists, ResourceExists]
            assert a.resources.revision() == 19
            await until(lambda: b.status().size == 20)

    run(scenario)


def test_the_commands_read_a_shared_log(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """``fsck``, ``monitor`` and ``anchors`` by the configuration that the routers have; a lost row is found."""
    config = site.root / "sovereign.yaml"
    config.write_text(
        "version: 1\norigin: sovereign.local/log\n"
        "storage:\n  database: {url_env: DB}\n  shared: {url_env: VALKEY}\n"
        "  tiles: {directory: tiles}\n  log_keys_dir: keys\n  key_hash: {env: KEY_HASH}\n"
        "policies: [{id: standard}]\n"
    )
    monkeypatch.setenv("DB", site.url)

    async def scenario() -> None:
        async with site.replica("a") as a:
            await a.record_keys()
            await a.receipt(2, None, 5)

    run(scenario)
    place = ["--state-dir", str(site.root / "a"), "--config", str(config)]
    assert main(["log", "fsck", *place]) == 0
    assert "size 3, root" in capsys.readouterr().out
    assert main(["log", "monitor", *place, "--json", "--seen", str(site.root / "seen")]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == 3
    assert main(["log", "anchors", *place]) == 0
    engine = site.engine()
    with engine.begin() as connection:
        connection.execute(text("UPDATE log_entries SET body = 'x' WHERE idx = 1"))
    engine.dispose()
    assert main(["log", "fsck", *place]) == 1
    assert "fault: entry 1: the leaf does not have the stored leaf hash" in capsys.readouterr().out

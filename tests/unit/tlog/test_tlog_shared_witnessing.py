"""Witnesses of a shared log: the leader asks a real mirror process, followers show and prove what it learnt."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from log_world import fill
from mirror_world import mirror_process, tiles_over_http
from shared_log_world import Site, until
from sqlalchemy import text
from test_tlog_witnessing import cosigned_size, judge_receipt, mirrored_size, now_ms, options_of, witnesses

from sovereign_ext.errors import LogCorrupt
from sovereign_ext.storage.published import PublishedStore
from sovereign_ext.tlog.note import parse_note
from sovereign_ext.tlog.service import TransparencyLog

pytestmark = pytest.mark.services


def has(log: TransparencyLog, size: int) -> bool:
    return cosigned_size(log) == size and mirrored_size(log) == size


def test_followers_show_what_the_leader_learnt(postgres: Any, tmp_path: Path) -> None:
    """Cosigned checkpoint, the mirror's word and the witness's state are at every replica soon; they survive the
    leader, and the next one goes on asking. The published checkpoint carries the cosignature."""
    site = Site(postgres.url, tmp_path)
    options: dict[str, Any] = {"clock": now_ms, "publish_interval_s": 0.02}

    async def scenario() -> None:
        async with site.replica("b", **options) as b:
            await until(lambda: b.status().role == "leader")
            async with site.replica("a", **options) as a:
                with (
                    tiles_over_http(tmp_path / "tiles") as url,
                    mirror_process(tmp_path / "m", *options_of(a, url)) as mirror,
                ):
                    settings = witnesses(mirror.settings)
                    await a.follow(settings)  # a follower first: it asks nobody
                    await fill(a, 30)
                    await a.receipt(29, None, 5)
                    assert (a.cosigned(), a.acks()) == (None, ())
                    await b.follow(settings)
                    await until(lambda: has(b, 30) and has(a, 30))
                    await until(lambda: bool(a.witnesses()) and a.witnesses() == b.witnesses())
                    judge_receipt(await a.receipt(7, None, 5), mirror, 30)
                    assert a.acks() == b.acks()
                    shown = a.reader.checkpoint()
                    assert shown is not None
                    assert len(parse_note(shown).signatures) == 2
                    await b.close()
                    assert has(a, 30)
                    await until(lambda: a.status().role == "leader")
                    await fill(a, 5)
                    await until(lambda: has(a, 35))
                    async with site.replica("c", witnesses=settings, **options) as c:
                        await until(lambda: has(c, 35))
                        judge_receipt(await c.receipt(33, None, 5), mirror, 35)
                        await a.follow(None)
                        assert (a.cosigned(), a.acks()) == (None, ())

    asyncio.run(scenario())


def test_a_cosigned_checkpoint_beyond_the_signed_one_stops_the_leader(postgres: Any, tmp_path: Path) -> None:
    """The witness saw more than the database holds: it was restored, and this replica is new and cannot know."""
    site = Site(postgres.url, tmp_path)
    options: dict[str, Any] = {"clock": now_ms, "publish_interval_s": 0.02}

    async def scenario() -> None:
        async with site.replica("a", **options) as a:
            with mirror_process(tmp_path / "m", *options_of(a, None)) as mirror:
                settings = witnesses({k: v for k, v in mirror.settings.items() if k != "mirror_key"})
                await a.follow(settings)
                await fill(a, 1)
                await until(lambda: cosigned_size(a) == 1)
                engine = site.engine()
                one = PublishedStore(engine).standing()
                assert one is not None
                await fill(a, 1)
                await until(lambda: cosigned_size(a) == 2)
        with engine.begin() as connection:  # but for the note
            connection.execute(text("DELETE FROM log_entries WHERE idx = 1"))
            connection.execute(text("UPDATE log_head SET next = 1"))
            connection.execute(
                text("UPDATE log_published SET size = 1, note = :n, shown = :n"), {"n": one.note}
            )
        engine.dispose()
        (tmp_path / "tiles" / "checkpoint").unlink()
        async with site.replica("new", **options) as new:
            await until(lambda: new.status().role == "leader")
            with pytest.raises(LogCorrupt, match="size 2 was cosigned, only size 1 was signed"):
                await new.follow(settings)

    asyncio.run(scenario())

"""A connection that is lost in the middle of COMMIT: what the caller is told is what the database holds."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cutting_proxy import CuttingProxy
from log_world import draft
from shared_log_world import Site, held, through, until

from sovereign_ext.errors import LogUnavailable, ResourceExists
from sovereign_ext.storage.resources import create
from sovereign_ext.storage.transient import is_transient
from sovereign_ext.tlog.service import TransparencyLog

pytestmark = pytest.mark.services


async def appended(log: TransparencyLog, number: int) -> dict[int, str]:
    """Append one after the other; gives what was acknowledged."""
    told: dict[int, str] = {}
    for _ in range(number):
        placed = await log.append(draft())
        assert told.setdefault(placed.index, placed.leaf_hash.hex()) == placed.leaf_hash.hex()
    return told


@pytest.mark.parametrize("cut", ["before", "after", "late"])
def test_every_way_to_lose_a_commit(cut: str, postgres: Any, tmp_path: Path) -> None:
    """Each append is acknowledged with the one place it has, though its commit's answer never came, or it was never
    sent; alone, in a batch, and as a change of a resource; while another replica appends too."""
    site = Site(postgres.url, tmp_path)

    async def scenario() -> None:
        proxy = CuttingProxy(postgres.server.port)
        async with proxy.running(), site.replica("other") as other:
            await until(lambda: other.status().role == "leader")
            url = through(postgres.url, proxy.port)
            async with site.replica("cut", url=url) as log:
                told = await appended(log, 1)
                beside = asyncio.create_task(appended(other, 60))
                for _ in range(3):
                    proxy.plan = [cut]
                    told |= await appended(log, 1)
                proxy.plan = [cut]
                batch = await asyncio.gather(*(log.append(draft()) for _ in range(20)))
                told |= {placed.index: placed.leaf_hash.hex() for placed in batch}
                proxy.plan = [cut]
                placed = await log.change(draft(), create("tenants/x", "tenant", "", "{}", 1))
                told[placed.index] = placed.leaf_hash.hex()
                with pytest.raises(ResourceExists):
                    await other.change(draft(), create("tenants/x", "tenant", "", "{}", 1))
                resource = other.resources.get("tenants/x")
                assert resource is not None
                assert resource.revision == placed.index
                assert proxy.cut == [cut] * 5
                assert not told.keys() & (await beside).keys()
                told |= await beside
                rows = held(site)
                assert rows == told  # nothing twice, nothing that nobody was told of
                assert sorted(rows) == list(range(len(rows)))
                await log.receipt(len(rows) - 1, None, 5)
                assert site.fsck(other).faults == []

    asyncio.run(scenario())


def test_cut_again_and_again(postgres: Any, tmp_path: Path) -> None:
    """Beyond the retries a caller is told that nothing is known; what it was told otherwise stands."""
    site = Site(postgres.url, tmp_path)
    chance = random.Random(5)

    async def scenario() -> None:
        proxy = CuttingProxy(postgres.server.port)
        async with proxy.running():
            async with site.replica("cut", url=through(postgres.url, proxy.port)) as log:
                await appended(log, 1)
                proxy.plan = [chance.choice(["before", "after", "late", "pass"]) for _ in range(40)]
                told: dict[int, str] = {}
                for _ in range(30):
                    entry, placed = draft(), None
                    while placed is None:
                        with contextlib.suppress(LogUnavailable):
                            placed = await log.append(entry)  # repeating is safe
                    assert placed.index not in told
                    told[placed.index] = placed.leaf_hash.hex()
                assert len(proxy.cut) > 15
            rows = held(site)
            assert {index: rows[index] for index in told} == told
            assert sorted(rows) == list(range(len(rows)))
            assert len(rows) == 31  # every draft once, however often it was sent

    asyncio.run(scenario())


def test_which_errors_are_tried_again(postgres: Any) -> None:
    """Those of lost connections and of transactions in each other's way; no others."""
    lost = psycopg.OperationalError("server closed the connection unexpectedly")
    assert is_transient(lost)
    assert is_transient(psycopg.errors.SerializationFailure())
    assert is_transient(psycopg.errors.DeadlockDetected())
    assert is_transient(psycopg.errors.AdminShutdown())
    assert not is_transient(psycopg.errors.UniqueViolation())
    assert not is_transient(psycopg.errors.DiskFull())
    assert not is_transient(psycopg.errors.InsufficientPrivilege())
    assert not is_transient(OSError("disk"))

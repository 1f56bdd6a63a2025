"""A router that is frozen while it holds the log's head: others wait for a bounded time, wherever it was stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from freezing_proxy import MOMENTS, FreezingProxy
from log_world import draft
from shared_log_world import Site, held, through, until

from sovereign_ext.storage.frozen import FROZEN_MS
from sovereign_ext.storage.resources import create
from sovereign_ext.tlog.service import TransparencyLog

pytestmark = pytest.mark.services

SLACK_S = 1.5
"""What a loaded machine may add."""


@asynccontextmanager
async def two(
    postgres: Any, site: Site
) -> AsyncIterator[tuple[TransparencyLog, TransparencyLog, FreezingProxy]]:
    """The one that leads, the one that will freeze, and what freezes it; each has appended an entry."""
    proxy = FreezingProxy(postgres.server.port)
    async with proxy.running(), site.replica("other") as other:
        await until(lambda: other.status().role == "leader")
        async with site.replica("frozen", url=through(postgres.url, proxy.port)) as log:
            await other.append(draft())
            await log.append(draft())
            yield other, log, proxy


@pytest.mark.parametrize("moment", list(MOMENTS))
def test_nobody_waits_long_for_a_frozen_router(moment: str, postgres: Any, tmp_path: Path) -> None:
    """The other's append waits, and is then done; the frozen one's is done after it was thawed, once."""
    site = Site(postgres.url, tmp_path)

    async def scenario() -> None:
        async with two(postgres, site) as (other, log, proxy):
            proxy.freeze_at(moment)
            stopped = asyncio.create_task(log.append(draft()))
            await asyncio.wait_for(proxy.frozen.wait(), 10)
            began = time.monotonic()
            first = await other.append(draft())
            waited = time.monotonic() - began
            assert FROZEN_MS / 2000 < waited < FROZEN_MS / 1000 + SLACK_S, "the frozen one held the head"
            began = time.monotonic()
            second = await other.append(draft())
            assert time.monotonic() - began < SLACK_S, "it does not any more"
            assert not stopped.done()
            proxy.thaw()
            third = await asyncio.wait_for(stopped, 10)
            await log.receipt(third.index, None, 10)
            assert [placed.index for placed in (first, second, third)] == [2, 3, 4]
            rows = held(site)
            assert len(rows) == 5
            assert all(rows[placed.index] == placed.leaf_hash.hex() for placed in (first, second, third))
            assert site.fsck(other).faults == []

    asyncio.run(scenario())


def test_nor_does_a_change(postgres: Any, tmp_path: Path) -> None:
    """It waits for the head as an append does."""
    site = Site(postgres.url, tmp_path)

    async def scenario() -> None:
        async with two(postgres, site) as (other, log, proxy):
            proxy.freeze_at("behind a pipeline")
            stopped = asyncio.create_task(log.append(draft()))
            await asyncio.wait_for(proxy.frozen.wait(), 10)
            began = time.monotonic()
            changed = await other.change(draft(), create("tenants/x", "tenant", "", "{}", 1))
            assert time.monotonic() - began < FROZEN_MS / 1000 + SLACK_S
            proxy.thaw()
            assert (changed.index, (await asyncio.wait_for(stopped, 10)).index) == (2, 3)

    asyncio.run(scenario())

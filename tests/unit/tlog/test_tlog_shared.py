"""Replicas of one log on a real PostgreSQL database: who leads, what followers know, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from log_world import draft, fill
from shared_world import Site, until

from sovereign_ext.attest.receipt_form import parse_receipt
from sovereign_ext.attest.verify import TrustedKeys, verify_receipt

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

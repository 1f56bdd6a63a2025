"""Routers over a real Valkey or Redis, with a database that is a dictionary."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop
from services import Valkey

from sovereign_ext.routing.health import Health
from sovereign_ext.secret import Secret
from sovereign_ext.shared.address import parse
from sovereign_ext.shared.service import Pace, Shared
from sovereign_ext.tenants.ledger import Demand, Draw, Measure, Reserve, Scope, Slot, Used

TENANT = "acme"
HURRIED = Pace(timeout_s=2.0, beat_s=0.05, gone_s=0.6, rebuild_ms=150, sweep_s=0.1, grace_ms=0)
"""Patient with a busy machine, in a hurry with everything else."""


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test's coroutine in a loop of its own, of the kind that the processor runs in."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        uvloop.run(test(*args, **kwargs))

    return run


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Books:
    """The database's truth: what calls were billed, in one window each. ``fault`` is raised by reads."""

    rows: dict[str, int] = field(default_factory=dict)
    before: int = 0
    fault: Exception | None = None
    reads: int = 0
    on_read: Callable[[], None] = lambda: None

    def spent(self, tenant: str, key: str | None, since_ms: int, until_ms: int | None = None) -> int:
        self.reads += 1
        self.on_read()
        if self.fault is not None:
            raise self.fault
        return self.before + sum(self.rows.values())

    def billed(self, calls: Collection[str]) -> Mapping[str, int]:
        return {call: self.rows[call] for call in calls if call in self.rows}

    async def sweep(self, call: str, demand: Demand) -> Used:
        """As the gateway does it: by the row that there is, else one ``lost`` at the estimate is written first."""
        estimate = max((reserve.amount_nano for reserve in demand.reserves), default=0)
        return Used(None, None, self.rows.setdefault(call, estimate))


def router(
    valkey: Valkey,
    books: Books,
    pace: Pace = HURRIED,
    health: Health | None = None,
    url: str = "",
    **more: object,
) -> Shared:
    """A router that is not started. Belongs to the loop that runs."""
    return Shared(
        parse(Secret(url or valkey.url), None),
        source=books,
        calls=books,
        sweep=books.sweep,
        health=health or Health(),
        clock=now_ms,
        pace=pace,
        **more,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def routers(
    valkey: Valkey, books: Books, count: int = 1, pace: Pace = HURRIED, url: str = ""
) -> AsyncIterator[list[Shared]]:
    """So many, past the first rebuilding."""
    found = [router(valkey, books, pace, url=url) for _ in range(count)]
    try:
        for each in found:
            assert await each.start(), each.status()
        await settled(lambda: all(each.status().rebuilding_s == 0 for each in found))
        yield found
    finally:
        for each in found:
            await each.stop()


def demand(call: str, *of: Draw | Slot | Reserve, expires_ms: int = 0, strict: bool = False) -> Demand:
    return Demand(
        call, TENANT, "k", expires_ms or now_ms() + 600_000,
        tuple(each for each in of if isinstance(each, Draw)),
        tuple(each for each in of if isinstance(each, Slot)),
        tuple(each for each in of if isinstance(each, Reserve)),
        strict=strict,
    )  # fmt: skip


def reserve(amount: int, cap: int) -> Reserve:
    return Reserve(Scope(TENANT), "total", 0, 0, cap, amount)


def slot(capacity: int) -> Slot:
    return Slot(Scope(TENANT), capacity)


def draw(capacity: int, amount: int = 1, measure: Measure = Measure.REQUESTS, window_s: int = 60) -> Draw:
    return Draw(Scope(TENANT), measure, capacity, window_s, amount)


async def settled(true: Callable[[], bool], within_s: float = 20.0) -> None:
    """Return when it is so; fail when it never is."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.005)


async def eventually(asked: Callable[[], Awaitable[bool]], within_s: float = 20.0) -> None:
    """Return when the answer is yes; fail when it never is."""
    deadline = time.monotonic() + within_s
    while not await asked():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.01)


def leftovers(valkey: Valkey) -> dict[str, object]:
    """What a tenant without calls must not have: reservations, slots, money reserved. Not tombstones."""
    with valkey.client() as client:
        found: dict[str, object] = {}
        for key in client.scan_iter(f"sf:{{{TENANT}}}:*"):
            name = key.decode()
            if name.endswith(":r"):
                row = client.hgetall(key)
                found[name] = {call: text for call, text in row.items() if not text.endswith(b" - -")}
            elif f"{{{TENANT}}}:c:" in name:
                found[name] = client.smembers(key)
            elif f"{{{TENANT}}}:w:" in name:
                row = client.hgetall(key)
                if row.get(b"reserved", b"0") != b"0" or b"loader" in row:
                    found[name] = row
        return found


def spent(valkey: Valkey) -> int:
    """What the store says was spent in the window of ``reserve``."""
    with valkey.client() as client:
        return int(client.hget(f"sf:{{{TENANT}}}:w:total:0::", "spent") or -1)

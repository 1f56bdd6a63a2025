"""One router of several, as a process: many clients that call until a limit refuses them. Run by the tests.

Arguments are one JSON object: ``url`` is read from standard input, not from there. What calls cost is a file that all
routers append to, one line a call, in place of the database. Says ``ready``, then waits for a line, then calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import uvloop

from sovereign_ext.errors import ServiceError
from sovereign_ext.routing.health import Health
from sovereign_ext.secret import Secret
from sovereign_ext.shared.address import parse
from sovereign_ext.shared.service import Pace, Shared
from sovereign_ext.tenants.ledger import Admitted, Demand, Draw, Measure, Reserve, Scope, Slot, Used

SCOPE = Scope("acme")
PACE = Pace(timeout_s=2.0, beat_s=0.1, gone_s=1.0, rebuild_ms=300, sweep_s=0.2)


class Ledgerfile:
    """Calls and what they were billed, in the order in which they were written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[str, int]:
        text = self.path.read_text() if self.path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last may be half written
        return {call: int(billed) for call, billed in (line.split() for line in lines)}

    def write(self, call: str, billed: int) -> None:
        with self.path.open("ab", buffering=0) as stream:
            stream.write(f"{call} {billed}\n".encode())

    def spent(self, tenant: str, key: str | None, since_ms: int, until_ms: int | None = None) -> int:
        return sum(self.rows().values())

    def billed(self, calls: Collection[str]) -> Mapping[str, int]:
        return {call: billed for call, billed in self.rows().items() if call in calls}

    async def sweep(self, call: str, demand: Demand) -> Used:
        known = self.rows().get(call)
        if known is None:
            known = demand.reserves[0].amount_nano
            self.write(call, known)
        return Used(None, None, known)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def client(
    shared: Shared, books: Ledgerfile, asked: dict[str, int], name: str, found: dict[str, int]
) -> None:
    """Call until the cap refuses, or for ``seconds``."""
    until = time.monotonic() + asked["seconds"]
    number = 0
    while time.monotonic() < until:
        number += 1
        call, now = f"{name}-{number}", now_ms()
        reserves = (Reserve(SCOPE, "total", 0, 0, asked["cap"], 1),) if asked["cap"] else ()
        draws = (Draw(SCOPE, Measure.REQUESTS, asked["rate"], 1, 1),) if asked["rate"] else ()
        slots = (Slot(SCOPE, asked["slots"]),) if asked["slots"] else ()
        try:
            verdict = await shared.ledger.admit(
                Demand(call, "acme", "k", now + 60_000, draws, slots, reserves), now
            )
        except ServiceError:
            found["unavailable"] += 1
            await asyncio.sleep(0.02)
            continue
        if isinstance(verdict, Admitted):
            found["admitted"] += 1
            await asyncio.sleep(random.uniform(0, asked["busy_s"]))
            books.write(call, 1)
            shared.ledger.settle(call, Used(1, 1, 1), now_ms())
        elif isinstance(verdict.by, Reserve):
            return
        else:
            await asyncio.sleep(0.01)


async def main() -> None:
    asked = json.loads(sys.argv[1])
    url = Secret(sys.stdin.readline().strip())
    books = Ledgerfile(Path(asked["file"]))
    shared = Shared(
        parse(url, None), source=books, calls=books, sweep=books.sweep, health=Health(),
        clock=now_ms, pace=PACE,
    )  # fmt: skip
    assert await shared.start()
    while shared.status().rebuilding_s:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    found = {"admitted": 0, "unavailable": 0}
    await asyncio.gather(
        *(client(shared, books, asked, f"{os.getpid()}-{each}", found) for each in range(asked["clients"]))
    )
    print(json.dumps(found), flush=True)
    await asyncio.to_thread(sys.stdin.readline)  # stay: a router that is idle sweeps for others
    await shared.stop()
    print(json.dumps({"swept": shared.status().swept}), flush=True)


if __name__ == "__main__":
    uvloop.run(main())

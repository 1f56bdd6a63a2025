"""A router that only looks after its providers, as a process. Reads commands, a line each, and answers with JSON.

``fail N`` and ``succeed N`` report so many attempts at deployment ``a``; ``state`` says how it stands here.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict
from typing import Any

import uvloop
from shared_worker import Ledgerfile, now_ms

from sovereign_ext.config.model import Deployment
from sovereign_ext.routing.health import Health, Verdict
from sovereign_ext.secret import Secret
from sovereign_ext.shared.address import parse
from sovereign_ext.shared.service import Shared

A = Deployment(id="a", model="m", provider="p", upstream_model="u")


def obey(health: Health, command: list[str]) -> Any:
    now = time.monotonic()
    if command[0] == "fail":
        for _ in range(int(command[1])):
            health.report(A, Verdict.FAILURE, now, reason="reset")
    elif command[0] == "succeed":
        for _ in range(int(command[1])):
            health.report(A, Verdict.SUCCESS, now, latency_s=0.1)
    blocked = health.blocked("a", now)
    p95_ms = health.p95_ms("a", now)
    return {"blocked": None if blocked is None else asdict(blocked), "p95_ms": p95_ms}


async def main() -> None:
    url, books, health = Secret(sys.stdin.readline().strip()), Ledgerfile("/dev/null"), Health()  # type: ignore[arg-type]
    shared = Shared(
        parse(url, None), source=books, calls=books, sweep=books.sweep, health=health, clock=now_ms
    )
    assert await shared.start()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(obey(health, line.split())), flush=True)
    await shared.stop()


if __name__ == "__main__":
    uvloop.run(main())

"""A replica that appends to a shared log until it is killed; run by ``test_tlog_shared_kill``, not a test itself.

Usage: shared_appender.py URL ROOT NAME. Writes to stdout, a line each: ``open``, ``entry INDEX LEAF TIME PROMISE`` for
every acknowledged entry, ``seen NOTE`` for every checkpoint it comes to know, ``role ROLE`` when that changes,
``stopped WHY`` when the log refuses for good, and ``receipt JSON`` or ``no REASON`` for a line ``receipt INDEX`` on
stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from base64 import b64encode
from pathlib import Path

from log_world import draft
from shared_log_world import Site

from sovereign_ext.errors import LogError
from sovereign_ext.tlog.service import Published, TransparencyLog

APPENDERS = 3
PAUSE_S = 0.01


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def append_for_ever(log: TransparencyLog, number: int) -> None:
    count = 0
    while True:
        count += 1
        entry = draft(decision_id=f"{os.getpid()}-{time.time_ns()}-{number}-{count}")
        for _ in range(3):  # as a caller may: the same draft again, when it is not known what became of it
            try:
                placed = await log.append(entry)
            except LogError:
                await asyncio.sleep(0.1)
                continue
            promise = b64encode(placed.promise).decode()
            say(f"entry {placed.index} {placed.leaf_hash.hex()} {placed.time_ms} {promise}")
            break
        await asyncio.sleep(PAUSE_S)


async def answer(log: TransparencyLog) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            say(f"receipt {json.dumps(await log.receipt(int(line.split()[1]), None, 10))}")
        except LogError as error:
            say(f"no {error}")


async def tell_role(log: TransparencyLog) -> None:
    role, stopped = "", False
    while True:
        status = log.status()
        if status.role != role:
            role = status.role
            say(f"role {role}")
        if log._corrupt is not None and not stopped:
            stopped = True
            say(f"stopped {log._corrupt}")
        await asyncio.sleep(0.02)


async def main() -> None:
    site = Site(sys.argv[1], Path(sys.argv[2]))
    options = {"clock": lambda: time.time_ns() // 1_000_000, "publish_interval_s": 0.05, "patience_s": 4.0}

    def seen(published: Published) -> None:
        say(f"seen {b64encode(published.note).decode()}")

    async with site.replica(sys.argv[3], **options) as log:
        log.observe(seen)
        say("open")
        work = [append_for_ever(log, number) for number in range(APPENDERS)]
        await asyncio.gather(answer(log), tell_role(log), *work)


if __name__ == "__main__":
    asyncio.run(main())

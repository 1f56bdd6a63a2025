"""Appends to a log until somebody kills it; run by ``test_tlog_kill``, not a test itself.

Usage: killed_appender.py STATE_DIR. For every line on stdin it forks a child that opens the log, writes its
process id, and then ``index leaf_hash`` for every acknowledged entry, to stdout. When the child is dead it
writes ``dead``. Forking saves importing everything for each of many short lives.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from log_world import ORIGIN, draft

from sovereign_ext.tlog.service import TransparencyLog

APPENDERS = 6


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def append_for_ever(state: Path) -> None:
    log = await TransparencyLog.open(
        state, ORIGIN, clock=lambda: time.time_ns() // 1_000_000, publish_interval_s=0.005
    )
    say(f"pid {os.getpid()}")

    async def appender(number: int) -> None:
        count = 0
        while True:
            count += 1
            entry = await log.append(draft(decision_id=f"{os.getpid()}-{time.time_ns()}-{number}-{count}"))
            say(f"{entry.index} {entry.leaf_hash.hex()}")

    await asyncio.gather(*(appender(number) for number in range(APPENDERS)))


def main() -> None:
    state = Path(sys.argv[1])
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(append_for_ever(state))
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        say("dead")


if __name__ == "__main__":
    main()

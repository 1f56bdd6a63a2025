"""Opens a log when told to; run by ``test_tlog_lease`` in several processes, not a test itself.

Usage: rival_opener.py STATE_DIR. Says ``ready``, waits for a line, then says ``open`` and, after five entries,
``published SIZE``; or the error. Holds the log until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from log_world import ORIGIN, draft

from sovereign_ext.errors import LogError
from sovereign_ext.tlog.service import TransparencyLog


def say(text: str) -> None:
    print(text, flush=True)


async def rival(state: Path) -> None:
    log = await TransparencyLog.open(state, ORIGIN, clock=lambda: 1, publish_interval_s=0.005)
    say("open")
    size = log.status().size
    for number in range(5):
        await log.append(draft(decision_id=f"{size}-{number}"))
    await log.receipt(size + 4, None, 10)
    say(f"published {log.status().published_size}")
    await asyncio.Event().wait()


def main() -> None:
    say("ready")
    sys.stdin.readline()
    try:
        asyncio.run(rival(Path(sys.argv[1])))
    except LogError as error:
        say(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()

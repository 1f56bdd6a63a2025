"""What the tests of the whole log share: entries to append, a clock, opening and closing a log."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sovereign_ext.cli.log import check
from sovereign_ext.cli.logparts import opened as parts_of
from sovereign_ext.tlog.fsck import FsckReport
from sovereign_ext.tlog.service import EntryDraft, TransparencyLog

ORIGIN = "sovereign.local/log"
NOW_MS = 1_767_225_600_000
_serial = count()


def draft(
    *, tenant: str = "t1", decision_id: str | None = None, say: str = "x", predicate: Any = None
) -> EntryDraft:
    """An entry nobody appended before, unless ``decision_id`` says otherwise."""
    said = {"_type": "https://in-toto.io/Statement/v1", "say": say, "predicate": predicate}
    statement = json.dumps(said).encode()
    name = decision_id or f"d{next(_serial)}"
    return EntryDraft("outcome", tenant, name, statement, b'{"version":1,"items":[]}')


@asynccontextmanager
async def opened(
    state: Path, *, origin: str = ORIGIN, clock: Callable[[], int] = lambda: NOW_MS, **options: Any
) -> AsyncIterator[TransparencyLog]:
    """An open log, closed at the end."""
    log = await TransparencyLog.open(state, origin, clock=clock, **options)
    try:
        yield log
    finally:
        await log.close()


async def fill(log: TransparencyLog, number: int) -> None:
    """Append ``number`` entries."""
    for _ in range(number):
        await log.append(draft())


def fsck(state: Path, *, quick: bool = False) -> FsckReport:
    """Check a log as the command does."""
    with parts_of(state) as parts:
        return check(parts, quick=quick)

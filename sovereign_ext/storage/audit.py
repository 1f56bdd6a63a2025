"""Reading entries in either order without their openings: for audit rows, a slice at a time.

Entries have no index over time: their indices grow with it, but for the clocks of several replicas, so ``span`` finds
the place by bisection, with ``SLACK_MS`` on either side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select

from sovereign_ext.storage.schema import log_entries, log_head

SLACK_MS: Final = 600_000
"""How far entries may be out of the order of their times, ten minutes."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry as others than the owner of its receipt may see it: all but the opening."""

    index: int
    kind: str
    tenant: str
    decision_id: str
    time_ms: int
    body: bytes
    leaf_hash: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Slice:
    """Which entries: indices in ``[start, end)``, times in ``[since_ms, until_ms)``, and columns with values.

    ``tenant`` is the only owner whose entries are seen, ``None`` for all; ``equal`` and ``unequal`` are columns and
    values.
    """

    start: int
    end: int
    since_ms: int | None = None
    until_ms: int | None = None
    tenant: str | None = None
    equal: tuple[tuple[str, str], ...] = ()
    unequal: tuple[tuple[str, str], ...] = ()


_COLUMNS: Final = ("idx", "kind", "tenant", "decision_id", "time_ms", "body", "leaf_hash", "envelope")


class AuditStore:
    """Reads of entries. Any thread may call it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def size(self) -> int:
        """Entries sequenced so far."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(log_head.c.next).where(log_head.c.id == 1)).scalar_one())

    def read(self, asked: Slice, limit: int, *, newest_first: bool = False) -> list[AuditEntry]:
        """At most ``limit`` entries, by index."""
        table = log_entries.c
        query = select(*(table[name] for name in _COLUMNS)).where(*_conditions(asked))
        order = table.idx.desc() if newest_first else table.idx
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(order).limit(limit)).all()
        return [AuditEntry(*values) for values in found]

    def owners(self, start: int, end: int) -> list[str]:
        """Everybody whose entries are among those in ``[start, end)``, but for what belongs to none."""
        table = log_entries.c
        query = select(table.tenant).distinct().where(table.idx >= start, table.idx < end, table.tenant != "")
        with self._engine.connect() as connection:
            return sorted(connection.execute(query).scalars())

    def span(self, since_ms: int | None, until_ms: int | None) -> tuple[int, int]:
        """Indices ``[start, end)`` outside of which no entry is of a time in ``[since_ms, until_ms)``."""
        with self._engine.connect() as connection:
            end = (
                int(connection.execute(select(func.coalesce(func.max(log_entries.c.idx), -1))).scalar_one())
                + 1
            )
            start = 0 if since_ms is None else _first_since(connection, since_ms - SLACK_MS, end)
            return start, end if until_ms is None else _first_since(connection, until_ms + SLACK_MS, end)


def _conditions(asked: Slice) -> list[Any]:
    table = log_entries.c
    found: list[Any] = [table.idx >= asked.start, table.idx < asked.end]
    if asked.since_ms is not None:
        found.append(table.time_ms >= asked.since_ms)
    if asked.until_ms is not None:
        found.append(table.time_ms < asked.until_ms)
    if asked.tenant is not None:
        found.append(table.tenant == asked.tenant)
    found += [table[name] == value for name, value in asked.equal]
    return found + [table[name] != value for name, value in asked.unequal]


def _first_since(connection: Connection, time_ms: int, end: int) -> int:
    """The first index whose entry is not before ``time_ms``, in a log whose times rise."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(select(log_entries.c.time_ms).where(log_entries.c.idx == middle)).scalar()
        if found is not None and found < time_ms:
            low = middle + 1
        else:
            high = middle
    return low

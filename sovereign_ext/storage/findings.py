"""Places of credentials in requests: one row for each that a finding entry tells of, written with the entry.

``FindingWriter.write`` runs on the cursor, and in the transaction, that stores the entries of a batch
(``EntryStore.append``), so a place is in the log and in ``findings``, or in neither. A place is known by the index of
its entry and its number there. Reads go along an index of the table and look at a bounded number of rows for a page.
Sums over places are in ``finding_sums``; nothing here knows how rows are made of an entry.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, bindparam, func, insert, literal, select, tuple_

from sovereign_ext.storage.engine import text_in_order
from sovereign_ext.storage.schema import findings, log_entries

MOST_LOOKED_AT: Final = 20_000
"""Rows that are gone through for one page."""

KIND: Final = "finding"
"""The kind that finding entries have in ``log_entries``."""

Place = tuple[int, int]
"""The index of an entry, and which of its places, from 1."""

Condition = tuple[str, str, Any]
"""A column, one of ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` and ``not in``, and a value. Besides the columns
of the table there is ``decision_id``, with ``=`` and ``!=``."""


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One place of a credential. ``time_ms`` is when it was found, Unix milliseconds, ``length`` is in bytes.

    ``place`` numbers those of one request from 1; ``count`` is how many the request had, ``told`` how many of them have
    a row. ``kind`` and ``version`` are the detector's, ``number`` tells credentials of one kind in a request apart.
    """

    place: int
    time_ms: int
    tenant: str
    key: str
    policy: str
    action: str
    count: int
    told: int
    kind: str
    version: int
    length: int
    number: int
    fingerprint: str
    pointer: str


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A row, the index of its entry and the call that it was found in."""

    index: int
    decision_id: str
    row: FindingRow


@dataclass(frozen=True, slots=True)
class Question:
    """Which places: of entries with indices in ``[start, end)``, found at times in ``[since_ms, until_ms)``, for which
    every condition holds. ``tenant`` is the only owner whose places are seen, ``None`` for all."""

    start: int
    end: int
    since_ms: int | None = None
    until_ms: int | None = None
    tenant: str | None = None
    where: tuple[Condition, ...] = ()


_PLAIN: Final = tuple(FindingRow.__dataclass_fields__)[:-1]
_COLUMNS: Final = ("idx", *_PLAIN, "pointer")
_values_of: Final = attrgetter(*_PLAIN)
_INDEXED: Final = (("fingerprint", "="), ("decision_id", "="))
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda column, values: column.in_(values),
    "not in": lambda column, values: column.not_in(values),
}


class FindingWriter:
    """Writes rows on a driver's cursor, see docs/adr/0002 for why not on a ``Connection``."""

    def __init__(self, engine: Engine) -> None:
        statement = insert(findings).values({name: bindparam(name) for name in _COLUMNS})
        self._insert = text_in_order(engine, statement, _COLUMNS)

    def write(self, cursor: Any, found: Sequence[tuple[int, Sequence[FindingRow]]]) -> None:
        """Store rows with the indices of their entries, in the transaction that ``cursor`` is in."""
        values = [(at, *_values_of(row), row.pointer.encode()) for at, rows in found for row in rows]
        cursor.executemany(self._insert, values)


class FindingStore:
    """Reads of places. Any thread may call it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def connection(self) -> Connection:
        """A connection, for what else is asked of the table."""
        return self._engine.connect()

    def get(self, place: Place, tenant: str | None) -> StoredFinding | None:
        """One place; ``None`` where there is none of that tenant's."""
        index, number = place
        asked = Question(index, index + 1, tenant=tenant, where=(("place", "=", number),))
        with self._engine.connect() as connection:
            return next(iter(_read(connection, along(asked) + beside(asked), 1, True)), None)

    def page(
        self, asked: Question, after: Place | None, limit: int, *, newest_first: bool
    ) -> tuple[list[StoredFinding], Place | None]:
        """At most ``limit`` places behind ``after``, and where the next page starts, ``None`` after the last one."""
        rest = beside(asked)
        with self._engine.connect() as connection:
            asked = owned(connection, asked)
            seen = along(asked, after, newest_first)
            edge = last_of(connection, seen, MOST_LOOKED_AT, newest_first=newest_first) if rest else None
            if edge is not None:
                seen = along(_until(asked, edge, newest_first), after, newest_first)
                here, bound = tuple_(findings.c.idx, findings.c.place), tuple_(*map(literal, edge))
                seen.append(here >= bound if newest_first else here <= bound)
            found = _read(connection, seen + rest, limit + 1, newest_first)
        if len(found) > limit:
            last = found[limit - 1]
            return found[:limit], (last.index, last.row.place)
        return found, edge


def owned(connection: Connection, asked: Question) -> Question:
    """The question, with the tenant where a fingerprint tells whose it is: the index has it before the place.

    Another tenant's fingerprint makes it a question after nothing.
    """
    same = [value for name, op, value in asked.where if (name, op) == ("fingerprint", "=")]
    if not same:
        return asked
    table = findings.c
    query = select(table.tenant).where(table.fingerprint == same[0]).limit(1)
    first, last = (
        connection.execute(query.order_by(end)).scalar() for end in (table.tenant, table.tenant.desc())
    )
    if first != last:
        return asked
    return replace(asked, tenant=first) if asked.tenant in (None, first) else replace(asked, end=asked.start)


def along(asked: Question, after: Place | None = None, newest_first: bool = True) -> list[Any]:
    """The conditions that an index of the table serves in the order of places, but for some minutes about its times."""
    table, start, end = findings.c, asked.start, asked.end
    found: list[Any] = []
    if after is not None:
        here, place = tuple_(table.idx, table.place), tuple_(*map(literal, after))
        found.append(here < place if newest_first else here > place)
        # Of several bounds SQLite looks up one, and may choose the loose one: so it is made tight.
        start, end = (start, min(end, after[0] + 1)) if newest_first else (max(start, after[0]), end)
    found += [table.idx >= start, table.idx < end]
    if asked.since_ms is not None:
        found.append(table.time_ms >= asked.since_ms)
    if asked.until_ms is not None:
        found.append(table.time_ms < asked.until_ms)
    if asked.tenant is not None:
        found.append(table.tenant == asked.tenant)
    return found + [_condition(*each) for each in asked.where if each[:2] in _INDEXED]


def beside(asked: Question) -> list[Any]:
    """All other conditions."""
    return [_condition(*each) for each in asked.where if each[:2] not in _INDEXED]


def last_of(connection: Connection, seen: Sequence[Any], count: int, *, newest_first: bool) -> Place | None:
    """The place at which so many have been seen, ``None`` if there are not so many."""
    query = select(findings.c.idx, findings.c.place).where(*seen).order_by(*_order(newest_first))
    values = connection.execute(query.offset(count - 1).limit(1)).one_or_none()
    return None if values is None else (int(values[0]), int(values[1]))


def _until(asked: Question, edge: Place, newest_first: bool) -> Question:
    if newest_first:
        return replace(asked, start=max(asked.start, edge[0]))
    return replace(asked, end=min(asked.end, edge[0] + 1))


def _condition(name: str, op: str, value: Any) -> Any:
    if name != "decision_id":
        return _COMPARE[op](findings.c[name], value)
    entry = log_entries.c
    index = select(entry.idx).where(entry.decision_id == value, entry.kind == KIND).scalar_subquery()
    return _COMPARE[op](findings.c.idx, func.coalesce(index, -1))


def _order(newest_first: bool) -> tuple[Any, ...]:
    table = findings.c
    return (table.idx.desc(), table.place.desc()) if newest_first else (table.idx, table.place)


def _read(
    connection: Connection, where: Sequence[Any], limit: int, newest_first: bool
) -> list[StoredFinding]:
    entry = log_entries.c
    # Not a join: a planner might begin it with the log's entries, of which there are many more.
    decision = select(entry.decision_id).where(entry.idx == findings.c.idx).scalar_subquery()
    query = select(decision, *(findings.c[name] for name in _COLUMNS)).where(*where)
    return [
        _stored(values)
        for values in connection.execute(query.order_by(*_order(newest_first)).limit(limit)).all()
    ]


def _stored(values: Row[Any]) -> StoredFinding:
    decision_id, index, *plain, pointer = tuple[Any, ...](values)
    row: Any = dict(zip(_PLAIN, plain, strict=True))
    return StoredFinding(int(index), decision_id or "", FindingRow(**row, pointer=bytes(pointer).decode()))

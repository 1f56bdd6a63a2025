"""What tenants used: one row for each outcome entry, and their sums by hour, both written with the entry.

``UsageWriter.write`` runs on the cursor, and in the transaction, that stores the entries of a batch
(``EntryStore.append``): a call is in the log, in ``usage`` and in ``usage_hours``, or in none. Whatever rolls an
entry back, a repeated decision id above all, takes its usage along, so nothing is counted twice.

An hour is a whole hour since 1970 in UTC, and a call belongs to the one in which it began. Amounts are billionths of a
US dollar. Nothing here knows how a row is made of an entry; ``metering`` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, Insert, Row, bindparam, func, insert, select

from sovereign_ext.storage.dialects import insert_for
from sovereign_ext.storage.engine import text_in_order
from sovereign_ext.storage.schema import log_entries, usage, usage_hours

HOUR_MS: Final = 3_600_000
_CALLS_AT_ONCE: Final = 500  # SQLite of old takes 999 parameters


class UsageRow(msgspec.Struct, frozen=True):
    """What one call used. ``time_ms`` is when it began, Unix milliseconds; counts that nobody told are 0.

    ``cached_tokens`` and ``cache_write_tokens`` are disjoint parts of ``prompt_tokens``, ``reasoning_tokens`` one of
    ``completion_tokens``. ``cost_nano`` is what the provider charges, ``billed_nano`` what the tenant owes.
    """

    time_ms: int
    tenant: str
    key: str
    model: str
    provider: str
    result: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0
    billed_nano: int = 0
    price_source: str = ""
    margin_percent: str = ""
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class StoredUsage:
    """A row and the index of its outcome entry."""

    index: int
    row: UsageRow


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over calls; the members are those of ``UsageRow``."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano: int = 0
    billed_nano: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(a + b for a, b in zip(_sums(self), _sums(other), strict=True)))


DIMENSIONS: Final = ("tenant", "key", "model", "provider", "price_source", "margin_percent")
"""What sums may be taken by, besides time."""

COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano",
    "billed_nano",
)
"""What is summed, besides the number of calls."""

HOUR_COLUMNS: Final = ("tenant", "hour", *DIMENSIONS[1:], "calls", *COUNTS)
_sums: Final = attrgetter("calls", *COUNTS)
_COLUMNS: Final = UsageRow.__struct_fields__
_values_of: Final = attrgetter(*_COLUMNS)
_place_of: Final = attrgetter(*DIMENSIONS)
_counts_of: Final = attrgetter(*COUNTS)


class UsageWriter:
    """Writes rows and sums on a driver's cursor, see docs/adr/0002 for why not on a ``Connection``."""

    def __init__(self, engine: Engine) -> None:
        self._insert = text_in_order(engine, insert_rows(), ("idx", *_COLUMNS))
        self._upsert = text_in_order(engine, add_to_hours(engine.dialect.name), HOUR_COLUMNS)

    def write(self, cursor: Any, found: Sequence[tuple[int, UsageRow]]) -> None:
        """Store rows with the indices of their entries, in the transaction that ``cursor`` is in."""
        cursor.executemany(self._insert, [(index, *_values_of(row)) for index, row in found])
        cursor.executemany(self._upsert, by_hour(row for _, row in found))


def insert_rows() -> Insert:
    """Inserts one row; parameters are the columns by name."""
    return insert(usage).values({name: bindparam(name) for name in ("idx", *_COLUMNS)})


def add_to_hours(dialect: str) -> Any:
    """Adds to the sums of an hour, or begins it; parameters are the columns by name."""
    statement = insert_for(dialect, usage_hours).values({name: bindparam(name) for name in HOUR_COLUMNS})
    added = {name: usage_hours.c[name] + statement.excluded[name] for name in ("calls", *COUNTS)}
    key = [column for column in usage_hours.c if column.primary_key]
    return statement.on_conflict_do_update(index_elements=key, set_=added)


def by_hour(rows: Iterable[UsageRow]) -> list[tuple[Any, ...]]:
    """Values for each distinct row of ``usage_hours``, so that each is touched once."""
    sums: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for row in rows:
        tenant, *rest = _place_of(row)
        place = (tenant, row.time_ms // HOUR_MS, *rest)
        one, before = (1, *_counts_of(row)), sums.get(place)
        sums[place] = one if before is None else tuple(map(int.__add__, before, one))
    return [(*place, *amounts) for place, amounts in sums.items()]


class UsageStore:
    """Reads of usage. Any thread may call it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def spent(self, tenant: str, key: str | None, since_ms: int, until_ms: int | None = None) -> int:
        """Billed for the calls that began in ``[since_ms, until_ms)``, by the tenant or by one of its keys.

        Whole hours come from their sums, the rest of the first and the last from rows.
        """
        with self._engine.connect() as connection:
            first, last = -(-since_ms // HOUR_MS), None if until_ms is None else until_ms // HOUR_MS
            if last is not None and until_ms is not None and first > last:
                return _billed_by_rows(connection, tenant, key, since_ms, until_ms)
            table = usage_hours.c
            query = select(func.sum(table.billed_nano)).where(table.tenant == tenant, table.hour >= first)
            if last is not None:
                query = query.where(table.hour < last)
            if key is not None:
                query = query.where(table.key == key)
            total = int(connection.execute(query).scalar() or 0)
            if since_ms < first * HOUR_MS:
                total += _billed_by_rows(connection, tenant, key, since_ms, first * HOUR_MS)
            if last is not None and until_ms is not None and last * HOUR_MS < until_ms:
                total += _billed_by_rows(connection, tenant, key, last * HOUR_MS, until_ms)
            return total

    def billed(self, calls: Collection[str]) -> dict[str, int]:
        """What was billed for those of ``calls`` (decision ids) whose outcome is in the log: only they have a row."""
        asked, found = sorted(calls), dict[str, int]()
        with self._engine.connect() as connection:
            for start in range(0, len(asked), _CALLS_AT_ONCE):
                query = select(log_entries.c.decision_id, usage.c.billed_nano).where(
                    log_entries.c.decision_id.in_(asked[start : start + _CALLS_AT_ONCE]),
                    log_entries.c.kind == "outcome",
                    usage.c.idx == log_entries.c.idx,
                )
                found.update((str(call), int(billed)) for call, billed in connection.execute(query))
        return found

    def rows(
        self, tenant: str, since_ms: int, until_ms: int, after: int = -1, limit: int = 1_000
    ) -> list[StoredUsage]:
        """Rows of calls of ``tenant`` that began in ``[since_ms, until_ms)``, by index, those behind ``after``."""
        query = select_rows().where(*began(tenant, since_ms, until_ms), usage.c.idx > after)
        with self._engine.connect() as connection:
            return [
                stored_usage(values)
                for values in connection.execute(query.order_by(usage.c.idx).limit(limit))
            ]

    def by_index(self, tenant: str, start: int, end: int) -> list[StoredUsage]:
        """The tenant's rows of the entries in ``[start, end)``, by index."""
        query = select_rows().where(usage.c.idx >= start, usage.c.idx < end, usage.c.tenant == tenant)
        with self._engine.connect() as connection:
            return [stored_usage(values) for values in connection.execute(query.order_by(usage.c.idx))]

    @contextmanager
    def moment(self) -> Iterator[Connection]:
        """A connection whose reads all see the database as it was at the first of them."""
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
                yield connection
            else:
                yield connection.execution_options(isolation_level="REPEATABLE READ")

    def tenants(self, since_hour: int = 0, until_hour: int | None = None) -> list[str]:
        """Everybody who used something in those hours."""
        query = select(usage_hours.c.tenant).distinct().where(usage_hours.c.hour >= since_hour)
        if until_hour is not None:
            query = query.where(usage_hours.c.hour < until_hour)
        with self._engine.connect() as connection:
            return sorted(connection.execute(query).scalars())


def select_rows() -> Any:
    """All columns, as ``stored_usage`` reads them."""
    return select(usage.c.idx, *(usage.c[name] for name in _COLUMNS))


def stored_usage(values: Row[Any]) -> StoredUsage:
    """A row of ``select_rows``."""
    index, *rest = tuple[Any, ...](values)
    return StoredUsage(int(index), UsageRow(*rest))


def began(tenant: str, since_ms: int, until_ms: int) -> tuple[Any, ...]:
    """Conditions on ``usage``: the tenant's calls that began in ``[since_ms, until_ms)``."""
    return (usage.c.tenant == tenant, usage.c.time_ms >= since_ms, usage.c.time_ms < until_ms)


def leaves(connection: Connection, tenant: str, since_ms: int, until_ms: int) -> Iterator[tuple[int, bytes]]:
    """Index and leaf hash of the entries behind the tenant's rows, rising; read in slices."""
    query = select(log_entries.c.idx, log_entries.c.leaf_hash).join(usage, usage.c.idx == log_entries.c.idx)
    found = connection.execution_options(yield_per=1_000).execute(
        query.where(*began(tenant, since_ms, until_ms)).order_by(usage.c.idx)
    )
    return ((int(index), bytes(leaf)) for index, leaf in found)


def _billed_by_rows(
    connection: Connection, tenant: str, key: str | None, since_ms: int, until_ms: int
) -> int:
    query = select(func.sum(usage.c.billed_nano)).where(*began(tenant, since_ms, until_ms))
    if key is not None:
        query = query.where(usage.c.key == key)
    return int(connection.execute(query).scalar() or 0)

"""The log's rows: appending batches atomically with their indices, and reading them back.

The promise of ``append``: either all rows of a batch are durable with contiguous indices that start at the
old head, or none is and the head has not moved. Signing and hashing happen before; this module moves bytes.
The statements are built with SQLAlchemy Core and run on the driver's cursor, see docs/adr/0002.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Engine, Insert, Update, bindparam, func, insert, select, tuple_, update

from sovereign_ext.storage.dialects import insert_into
from sovereign_ext.storage.engine import driver_text
from sovereign_ext.storage.findings import FindingRow, FindingWriter
from sovereign_ext.storage.frozen import freeing, limits
from sovereign_ext.storage.resources import Write, announce
from sovereign_ext.storage.schema import log_entries, log_head
from sovereign_ext.storage.transient import is_transient
from sovereign_ext.storage.usage import UsageRow, UsageWriter


@dataclass(frozen=True, slots=True)
class Row:
    """A sealed entry without its index. ``time_ms`` is Unix milliseconds; the rest as in ``schema``.

    ``usage`` is what the call used, ``findings`` the places of credentials that the entry tells of, to be written with
    it; rows that are read have neither.
    """

    kind: str
    tenant: str
    decision_id: str
    time_ms: int
    body: bytes
    leaf_hash: bytes
    envelope: bytes
    opening: bytes
    usage: UsageRow | None = field(default=None, kw_only=True, compare=False)
    findings: tuple[FindingRow, ...] = field(default=(), kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class StoredRow(Row):
    """A row with the index it has in the log, from 0."""

    index: int


_COLUMNS = ("idx", "kind", "tenant", "decision_id", "time_ms", "body", "leaf_hash", "envelope", "opening")

# Made once: every checkpoint asks both, and making a query costs more than asking it.
_SIZE: Final = select(log_head.c.next).where(log_head.c.id == 1)
_LEAVES: Final = (
    select(log_entries.c.idx, log_entries.c.body, log_entries.c.leaf_hash)
    .where(log_entries.c.idx >= bindparam("start"), log_entries.c.idx < bindparam("end"))
    .order_by(log_entries.c.idx)
)


def advance_head() -> Update:
    """Moves the head by ``n`` and gives its new position. Takes the write lock, so indices cannot collide."""
    statement = update(log_head).where(log_head.c.id == 1)
    return statement.values(next=log_head.c.next + bindparam("n")).returning(log_head.c.next)


def insert_entries() -> Insert:
    """Inserts one entry; parameters are the columns by name."""
    return insert(log_entries).values({name: bindparam(name) for name in _COLUMNS})


class EntryStore:
    """Entries in a database. ``append`` belongs to one thread; the reads may be called from any."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer: Any = None
        self._advance, bind_advance = driver_text(engine, advance_head())
        self._insert, self._bind_row = driver_text(engine, insert_entries())
        self._usage = UsageWriter(engine)
        self._findings = FindingWriter(engine)
        # ``id = 1`` became a bound parameter too, under a name SQLAlchemy chose.
        fixed = advance_head().compile(dialect=engine.dialect).params
        self._bind_advance: Callable[[int], Any] = lambda n: bind_advance({**fixed, "n": n})

    @property
    def engine(self) -> Engine:
        """The database, for what else is kept in it."""
        return self._engine

    def create_head(self, origin: str) -> str:
        """Make the head row of a new log; gives the origin that the log has, new or old."""
        new = insert_into(self._engine, log_head).values(id=1, origin=origin, next=0)
        with self._engine.begin() as connection:
            connection.execute(new.on_conflict_do_nothing(index_elements=[log_head.c.id]))
            return str(connection.execute(select(log_head.c.origin)).scalar_one())

    def append(self, rows: Sequence[Row]) -> int:
        """Store ``rows``, what they used and what they tell of, in one transaction; gives the index of the first.
        Raises the driver's errors.

        After an error the transaction may or may not have become durable: ask ``settled``.
        """
        connection = self._writer_connection()
        cursor = connection.cursor()
        with freeing(self._engine):
            cursor.execute(self._advance, self._bind_advance(len(rows)))
        # Fetch all: SQLite keeps a statement open, and refuses to commit, until its rows are read.
        first = int(cursor.fetchall()[0][0]) - len(rows)
        cursor.executemany(self._insert, [self._bind_row(_values(first + i, r)) for i, r in enumerate(rows)])
        used = [(first + i, row.usage) for i, row in enumerate(rows) if row.usage is not None]
        if used:
            self._usage.write(cursor, used)
        found = [(first + i, row.findings) for i, row in enumerate(rows) if row.findings]
        if found:
            self._findings.write(cursor, found)
        connection.commit()
        return first

    def change(self, row: Row, write: Write) -> int:
        """Store ``row`` and what ``write`` does in one transaction; gives the index. Errors as of ``append``.

        Raises ``ResourceError`` as ``write`` does; nothing is written then.
        """
        with freeing(self._engine), self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                # Take the write lock first: a transaction that begins with a read cannot wait for it later.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(limits(local=True))
            index = int(connection.execute(advance_head(), {"n": 1}).scalar_one()) - 1
            write(connection, index)
            connection.execute(insert_entries(), _values(index, row))
            announce(connection, index)
            connection.commit()
            return index

    def reset(self) -> None:
        """Drop the writing connection after an error; its open transaction is rolled back."""
        writer, self._writer = self._writer, None
        if writer is not None:
            if self._engine.dialect.name == "sqlite":
                # A cursor that an error's traceback still holds keeps a closed connection, and its lock, alive.
                with contextlib.suppress(Exception):
                    writer.rollback()
            writer.invalidate()

    def close(self) -> None:
        """Close all connections."""
        self.reset()
        self._engine.dispose()

    def size(self) -> int:
        """Entries sequenced so far: the index that the next one gets."""
        with self._engine.connect() as connection:
            return int(connection.execute(_SIZE).scalar_one())

    def extent(self) -> tuple[int, int | None]:
        """The head and the highest index in the table, at one moment: two queries would race with appends."""
        last = select(func.max(log_entries.c.idx)).scalar_subquery()
        with self._engine.connect() as connection:
            size, index = connection.execute(select(log_head.c.next, last).where(log_head.c.id == 1)).one()
            return int(size), index

    def leaves(self, start: int, end: int) -> list[tuple[int, bytes, bytes]]:
        """``(index, body, leaf hash)`` of the entries in ``[start, end)`` that exist, in order."""
        with self._engine.connect() as connection:
            found = connection.execute(_LEAVES, {"start": start, "end": end})
            return [(index, _bytes(body), _bytes(hash_)) for index, body, hash_ in found]

    def get(self, index: int) -> StoredRow | None:
        """One entry."""
        return next(self.rows(index, index + 1), None)

    def rows(self, start: int, end: int) -> Iterator[StoredRow]:
        """Entries in ``[start, end)`` that exist, in order, read all at once: keep the range small."""
        query = _select_rows().where(log_entries.c.idx >= start, log_entries.c.idx < end)
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(log_entries.c.idx)).all()
        return (_stored(values) for values in found)

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredRow]:
        """The stored entries among ``keys``, pairs of decision id and kind."""
        with self._engine.connect() as connection:
            return _find(connection, keys)

    def settled(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredRow]:
        """As ``find``, for ``append`` and ``change`` that failed: what they will have come to, whatever is still on its
        way.

        A server may be about to commit what was sent over a connection that is lost. Such a transaction holds the head,
        so whoever gets the head has seen its end.
        """
        with (
            freeing(self._engine),
            self._engine.connect() as connection,
        ):  # and no commit, that could be lost in its turn
            if connection.dialect.name == "postgresql":
                connection.execute(select(log_head.c.next).where(log_head.c.id == 1).with_for_update())
            return _find(connection, keys)

    @staticmethod
    def transient(error: BaseException) -> bool:
        """Whether what failed with ``error`` may succeed when it is tried again at once."""
        return is_transient(error)

    def _writer_connection(self) -> Any:
        if self._writer is None:
            self._writer = self._engine.raw_connection()  # kept before it is used: ``reset`` gives it back
            if self._engine.dialect.name == "postgresql":
                # A process that is frozen between index and commit holds everybody up.
                self._writer.cursor().execute(limits(local=False))
                self._writer.commit()
        return self._writer


def _values(index: int, row: Row) -> dict[str, Any]:
    return {
        "idx": index,
        "kind": row.kind,
        "tenant": row.tenant,
        "decision_id": row.decision_id,
        "time_ms": row.time_ms,
        "body": row.body,
        "leaf_hash": row.leaf_hash,
        "envelope": row.envelope,
        "opening": row.opening,
    }


def _find(connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredRow]:
    query = _select_rows().where(tuple_(log_entries.c.decision_id, log_entries.c.kind).in_(keys))
    found = [_stored(values) for values in connection.execute(query)]
    return {(row.decision_id, row.kind): row for row in found}


def _select_rows() -> Any:
    table = log_entries.c
    return select(*(table[name] for name in _COLUMNS))


def _stored(values: Any) -> StoredRow:
    index, kind, tenant, decision_id, time_ms, *blobs = values
    body, leaf_hash, envelope, opening = map(_bytes, blobs)
    return StoredRow(kind, tenant, decision_id, time_ms, body, leaf_hash, envelope, opening, index)


def _bytes(value: Any) -> bytes:
    # SQLite keeps whatever type was written; what somebody put there as text must still fail as a wrong hash.
    return value if isinstance(value, bytes) else str(value).encode()

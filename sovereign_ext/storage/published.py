"""Who integrates a log that several processes share, and what was signed last: one row, changed by single statements.

The promise: ``replace`` stores a signed checkpoint only for the holder of the newest ``token``, in the place of the one
that it read before, and only if it is larger. So two processes that both believe to lead cannot both get a checkpoint
of one size into the row, and one that was overtaken gets none in at all, whatever clocks do. The lease's times only
decide how soon somebody else takes over. They are the database's clock; ``now_ms`` is SQL.

Every method is one statement that commits by itself: a process that is frozen half-way holds no lock. Which notes are
good is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Engine,
    Update,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from sovereign_ext.errors import LogCorrupt
from sovereign_ext.storage.dialects import insert_into
from sovereign_ext.storage.schema import log_head, log_notes, log_published

CHANNEL: Final = "sovereign_log"
"""PostgreSQL's channel on which the processes of one log wake each other."""

LONGEST_LEASE_MS: Final = 60_000
"""A lease that ends later than this from now was written under a clock that has been set back since: it is over."""

_NOW: Final[dict[str, ColumnElement[int]]] = {
    "postgresql": cast(literal_column("extract(epoch FROM clock_timestamp()) * 1000"), BigInteger),
    "sqlite": cast(literal_column("(julianday('now') - 2440587.5) * 86400000"), BigInteger),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a shared log stands. ``left_ms`` is what is left of the lease of ``holder``, 0 when it is over.

    ``size`` and ``note`` are of the checkpoint signed last, ``shown`` is it with all signatures there are; ``head`` is
    the index that the next entry gets, ``keys`` the digests of the log's public keys.
    """

    holder: str
    token: int
    left_ms: int
    size: int
    note: bytes
    shown: bytes
    keys: str
    head: int


class PublishedStore:
    """The row. Any thread may call it. Raises the database's errors."""

    def __init__(self, engine: Engine, now_ms: Callable[[], ColumnElement[int]] | None = None) -> None:
        # One connection of the pool for each call, given back at once.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._dialect = engine.dialect.name
        self._now = now_ms or (lambda: _NOW[self._dialect])

    def begin(self, note: bytes, keys: str) -> None:
        """Make the row of a log that has no entry yet; one that is there stays. ``note`` covers nothing.

        Raises ``LogCorrupt`` when there are entries but no row: then the checkpoint over them is lost.
        """
        values = {"id": 1, "holder": "", "token": 0, "expires_ms": 0, "size": 0, "key_digests": keys}
        first: list[ColumnElement[Any]] = [
            literal(value, log_published.c[name].type)
            for name, value in {**values, "note": note, "shown": note}.items()
        ]
        new = select(*first).where(log_head.c.id == 1, log_head.c.next == 0)
        insert_new = insert_into(self._engine, log_published).from_select([*values, "note", "shown"], new)
        with self._engine.connect() as connection:
            connection.execute(insert_new.on_conflict_do_nothing(index_elements=["id"]))
            if connection.execute(select(log_published.c.id)).scalar_one_or_none() is None:
                raise LogCorrupt("no signed checkpoint was found, but the database has entries")

    def standing(self) -> Standing | None:
        """The row and the head, read at one moment; ``None`` before ``begin``."""
        table = log_published.c
        left = table.expires_ms - self._now()
        query = select(
            table.holder,
            table.token,
            left,
            table.size,
            table.note,
            table.shown,
            table.key_digests,
            log_head.c.next,
        ).where(table.id == 1, log_head.c.id == table.id)
        with self._engine.connect() as connection:
            found = connection.execute(query).one_or_none()
        if found is None:
            return None
        holder, token, left_ms, size, note, shown, keys, head = found
        left_ms = 0 if left_ms > LONGEST_LEASE_MS else max(0, int(left_ms))
        return Standing(holder, token, left_ms, size, bytes(note), bytes(shown), keys, head)

    def note(self) -> bytes | None:
        """The checkpoint signed last; ``None`` before ``begin``."""
        with self._engine.connect() as connection:
            found = connection.execute(
                select(log_published.c.note).where(log_published.c.id == 1)
            ).one_or_none()
        return None if found is None else bytes(found.note)

    def acquire(self, holder: str, lease_ms: int) -> int | None:
        """Take the lease, if it is over or ours; gives its new token, or ``None``.

        ``holder`` names one life of one process, so that whoever lost the answer may ask again.
        """
        now = self._now()
        free = or_(
            log_published.c.expires_ms <= now,
            log_published.c.expires_ms > now + LONGEST_LEASE_MS,
            log_published.c.holder == holder,
        )
        taken = _row().where(free)
        token = log_published.c.token + 1
        values = taken.values(holder=holder, token=token, expires_ms=now + lease_ms)
        with self._engine.connect() as connection:
            found = connection.execute(values.returning(log_published.c.token)).scalar_one_or_none()
        return None if found is None else int(found)

    def renew(self, token: int, lease_ms: int) -> bool:
        """Hold the lease for ``lease_ms`` from now on; false when it is over."""
        now = self._now()
        held = _row().where(log_published.c.token == token, log_published.c.expires_ms > now)
        return self._change(held.values(expires_ms=now + lease_ms))

    def release(self, token: int) -> None:
        """Give the lease back, so that another may take over at once."""
        self._change(_row().where(log_published.c.token == token).values(expires_ms=0))

    def replace(self, token: int, before: bytes, size: int, note: bytes) -> bool:
        """Store the signed ``note`` over ``size`` entries for ``before``; false when that is not allowed (any more)."""
        table = log_published.c
        mine = _row().where(table.token == token, table.note == before, table.size < size)
        return self._change(mine.values(size=size, note=note, shown=note))

    def attach(self, token: int, size: int, note: bytes) -> bool:
        """Show ``note``, the checkpoint over ``size`` entries with further signatures; false when it is not the one
        signed last."""
        mine = _row().where(log_published.c.token == token, log_published.c.size == size)
        return self._change(mine.values(shown=note))

    def put_note(self, token: int, name: str, body: bytes, now_ms: int) -> bool:
        """Keep ``body`` under ``name`` for all; false when ``token`` is not the newest."""
        # FOR SHARE: whoever takes over waits for us, so a late write cannot overwrite its first one.
        mine = (
            select(literal(name), literal(body, log_notes.c.body.type), literal(now_ms, BigInteger))
            .where(log_published.c.id == 1, log_published.c.token == token)
            .with_for_update(read=True, of=log_published)
        )
        new = insert_into(self._engine, log_notes).from_select(["name", "body", "updated_ms"], mine)
        values = {"body": new.excluded.body, "updated_ms": new.excluded.updated_ms}
        kept = new.on_conflict_do_update(index_elements=["name"], set_=values).returning(log_notes.c.name)
        with self._engine.connect() as connection:  # the rowcount of an insert is not to be relied on
            return connection.execute(kept).scalar_one_or_none() is not None

    def notes(self) -> dict[str, bytes]:
        """All notes by name."""
        with self._engine.connect() as connection:
            found = connection.execute(select(log_notes.c.name, log_notes.c.body))
            return {str(name): bytes(body) for name, body in found}

    def tell(self, word: str) -> None:
        """Wake the other processes of this log, where the database can; whoever misses it looks by himself soon."""
        if self._dialect == "postgresql":
            with self._engine.connect() as connection:
                connection.execute(select(func.pg_notify(CHANNEL, word)))

    def _change(self, statement: Update) -> bool:
        with self._engine.connect() as connection:
            return connection.execute(statement).rowcount == 1


def _row() -> Update:
    return update(log_published).where(log_published.c.id == 1)

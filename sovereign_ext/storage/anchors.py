"""The queue of checkpoints that external logs shall hold, and the proofs that they do.

One row for each checkpoint and anchor: *pending* until an entry of the external log that was verified is stored
with it. Every method is one transaction, durable when it returns. At most two rows of an anchor are pending, the
one that is tried and the newest: an anchor covers all earlier entries, so what lay in between is not missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, Row, Select, delete, func, insert, select, update

from sovereign_ext.storage.schema import anchors

MAX_PENDING: Final = 2
"""Pending rows of one anchor."""

_MAX_ERROR_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class AnchorRow:
    """A checkpoint of ``size`` entries for the anchor of id ``anchor``; the fields are those of ``schema``.

    Times are Unix milliseconds. ``entry`` and ``anchored_ms`` are ``None`` while it is pending.
    """

    anchor: str
    size: int
    kind: str
    note: bytes
    signature: bytes
    signer: bytes
    queued_ms: int
    attempts: int = 0
    retry_ms: int = 0
    last_error: str | None = None
    entry: bytes | None = None
    anchored_ms: int | None = None


_COLUMNS: Final = tuple(anchors.c[name] for name in AnchorRow.__slots__)


class AnchorStore:
    """Anchors in a database. Any thread may call it. Raises the database's errors."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def queue(self, row: AnchorRow) -> None:
        """Add a pending row, larger than every other of its anchor; drops pending ones between it and the oldest."""
        oldest_first = _pending(row.anchor).order_by(anchors.c.size)
        with self._engine.begin() as connection:
            sizes = [found.size for found in connection.execute(oldest_first)]
            between = sizes[MAX_PENDING - 1 :]
            connection.execute(
                delete(anchors).where(anchors.c.anchor == row.anchor, anchors.c.size.in_(between))
            )
            connection.execute(insert(anchors).values({c.name: getattr(row, c.name) for c in _COLUMNS}))

    def pending(self, anchor: str) -> AnchorRow | None:
        """The oldest pending row of ``anchor``."""
        return self._first(_pending(anchor).order_by(anchors.c.size))

    def queued(self, anchor: str) -> int:
        """How many rows of ``anchor`` are pending."""
        with self._engine.connect() as connection:
            query = select(func.count()).select_from(_pending(anchor).subquery())
            return int(connection.execute(query).scalar_one())

    def newest(self, anchor: str) -> AnchorRow | None:
        """The row with the largest checkpoint, pending or not."""
        return self._first(_rows(anchor).order_by(anchors.c.size.desc()))

    def last_anchored(self, anchor: str) -> AnchorRow | None:
        """The anchored row with the largest checkpoint."""
        done = _rows(anchor).where(anchors.c.entry.is_not(None))
        return self._first(done.order_by(anchors.c.size.desc()))

    def covering(self, anchor: str, index: int) -> AnchorRow | None:
        """The smallest anchored checkpoint that covers entry ``index``: whoever saw the entry first."""
        covers = _rows(anchor).where(anchors.c.size > index, anchors.c.entry.is_not(None))
        return self._first(covers.order_by(anchors.c.size))

    def failed(self, row: AnchorRow, error: str, retry_ms: int) -> None:
        """Note a failed attempt; the next one comes after ``retry_ms`` and sends the signature that ``row`` has."""
        self._update(
            row,
            attempts=row.attempts + 1,
            last_error=error[:_MAX_ERROR_CHARS],
            retry_ms=retry_ms,
            signature=row.signature,
            signer=row.signer,
        )

    def anchored(self, row: AnchorRow, entry: bytes, anchored_ms: int) -> None:
        """The external log holds the row's checkpoint, as ``entry`` proves."""
        self._update(
            row,
            attempts=row.attempts + 1,
            kind=row.kind,
            last_error=None,
            entry=entry,
            anchored_ms=anchored_ms,
        )

    def names(self) -> list[str]:
        """The ids of all anchors that have rows."""
        with self._engine.connect() as connection:
            found = connection.execute(select(anchors.c.anchor).distinct().order_by(anchors.c.anchor))
            return [str(name) for (name,) in found]

    def recent(self, anchor: str, limit: int) -> list[AnchorRow]:
        """The rows of ``anchor`` with the largest checkpoints, largest first."""
        with self._engine.connect() as connection:
            query = _rows(anchor).order_by(anchors.c.size.desc()).limit(limit)
            return [_row(found) for found in connection.execute(query)]

    def _first(self, query: Select[Any]) -> AnchorRow | None:
        with self._engine.connect() as connection:
            found = connection.execute(query.limit(1)).one_or_none()
        return None if found is None else _row(found)

    def _update(self, row: AnchorRow, **values: Any) -> None:
        place = (anchors.c.anchor == row.anchor, anchors.c.size == row.size, anchors.c.entry.is_(None))
        with self._engine.begin() as connection:
            connection.execute(update(anchors).where(*place).values(values))


def _rows(anchor: str) -> Select[Any]:
    return select(*_COLUMNS).where(anchors.c.anchor == anchor)


def _pending(anchor: str) -> Select[Any]:
    return _rows(anchor).where(anchors.c.entry.is_(None))


def _row(found: Row[Any]) -> AnchorRow:
    return AnchorRow(**found._mapping)

"""Where each webhook stands in the log, and the findings that it is still to be told of.

The promise: ``next`` only moves on by ``moved``, ``delivered`` and ``given_up``, from exactly the place where the
caller read it. So of two processes that both deliver for a moment, the one that comes second changes nothing, and no
receiver is taken back to what it has had; only an operator does that, by ``resume``. Every method is one transaction,
durable when it returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, Select, func, select, update

from sovereign_ext.storage.dialects import insert_into
from sovereign_ext.storage.schema import IS_FINDING, log_entries, webhooks

MOST_COUNTED: Final = 1_000
"""Findings that ``waiting`` counts, at most."""

_MAX_ERROR_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """One webhook; the fields are those of ``schema``. Times are Unix milliseconds."""

    id: str
    target: str
    next: int
    delivered: int = 0
    given_up: int = 0
    delivered_ms: int | None = None
    attempts: int = 0
    failing_ms: int | None = None
    retry_ms: int = 0
    last_error: str | None = None
    gone_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FindingEntry:
    """A finding entry as far as an event needs it. ``envelope`` is the DSSE JSON."""

    index: int
    tenant: str
    time_ms: int
    leaf_hash: bytes
    envelope: bytes


_AT_REST: Final[dict[str, Any]] = {
    "attempts": 0,
    "failing_ms": None,
    "retry_ms": 0,
    "last_error": None,
    "gone_ms": None,
}


class WebhookStore:
    """Webhooks in a database. Any thread may call it. Raises the database's errors."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, id_: str, target: str, next_: int) -> None:
        """Begin a webhook at index ``next_``. One that is there keeps its place; with another target it is tried
        again at once, also if the old one wanted nothing more."""
        values = {"id": id_, "target": target, "next": next_, "delivered": 0, "given_up": 0, **_AT_REST}
        new = insert_into(self._engine, webhooks).values(values)
        moved = update(webhooks).where(webhooks.c.id == id_, webhooks.c.target != target)
        with self._engine.begin() as connection:
            connection.execute(new.on_conflict_do_nothing(index_elements=["id"]))
            connection.execute(moved.values(target=target, **_AT_REST))

    def get(self, id_: str) -> WebhookRow | None:
        """How one stands."""
        with self._engine.connect() as connection:
            found = connection.execute(select(webhooks).where(webhooks.c.id == id_)).one_or_none()
        return None if found is None else WebhookRow(*found)

    def findings(self, start: int, end: int, limit: int) -> list[FindingEntry]:
        """The first ``limit`` finding entries with indices in ``[start, end)``."""
        table = log_entries.c
        columns = (table.idx, table.tenant, table.time_ms, table.leaf_hash, table.envelope)
        query = select(*columns).where(IS_FINDING, table.idx >= start, table.idx < end)
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(table.idx).limit(limit)).all()
        return [FindingEntry(*values) for values in found]

    def waiting(self, start: int) -> int:
        """How many finding entries there are from ``start`` on, ``MOST_COUNTED`` at most."""
        some: Select[Any] = select(log_entries.c.idx).where(IS_FINDING, log_entries.c.idx >= start)
        query = select(func.count()).select_from(some.limit(MOST_COUNTED).subquery())
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def moved(self, row: WebhookRow, next_: int) -> bool:
        """What lies between ``row`` and ``next_`` is of no interest; false when somebody else has gone on."""
        return self._change(row, next=next_)

    def delivered(self, row: WebhookRow, index: int, now_ms: int) -> bool:
        """The receiver took the event of entry ``index``; false as of ``moved``."""
        return self._change(
            row, next=index + 1, delivered=webhooks.c.delivered + 1, delivered_ms=now_ms, **_AT_REST
        )

    def failed(self, row: WebhookRow, error: str, now_ms: int, retry_ms: int) -> bool:
        """An attempt failed; the next one comes after ``retry_ms``. False as of ``moved``."""
        return self._change(
            row,
            attempts=webhooks.c.attempts + 1,
            failing_ms=func.coalesce(webhooks.c.failing_ms, now_ms),
            last_error=error[:_MAX_ERROR_CHARS],
            retry_ms=retry_ms,
        )

    def given_up(self, row: WebhookRow, next_: int, count: int) -> bool:
        """``count`` events before ``next_`` are sent no more; false as of ``moved``."""
        return self._change(row, next=next_, given_up=webhooks.c.given_up + count)

    def gone(self, row: WebhookRow, error: str, now_ms: int) -> bool:
        """The receiver wants nothing more; false as of ``moved``."""
        return self._change(row, last_error=error[:_MAX_ERROR_CHARS], gone_ms=now_ms)

    def resume(self, id_: str, next_: int | None = None) -> bool:
        """Try again at once, also what wanted nothing more, from ``next_`` on if given; false if there is none."""
        values = _AT_REST if next_ is None else {**_AT_REST, "next": next_}
        with self._engine.begin() as connection:
            return (
                connection.execute(update(webhooks).where(webhooks.c.id == id_).values(values)).rowcount == 1
            )

    def _change(self, row: WebhookRow, **values: Any) -> bool:
        place = update(webhooks).where(webhooks.c.id == row.id, webhooks.c.next == row.next)
        with self._engine.begin() as connection:
            return connection.execute(place.values(values)).rowcount == 1

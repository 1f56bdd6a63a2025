"""What single calls used, by their decision ids: for who has to know whether a call's outcome was written down.

A call has a row of usage if, and only if, its outcome entry is in the log: both are written in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Engine, select

from sovereign_ext.storage.schema import log_entries, usage
from sovereign_ext.storage.usage import StoredUsage, select_rows, stored_usage

_AT_ONCE: Final = 500
"""Parameters of one query; SQLite of old takes 999."""


class CallUsage:
    """Reads of single calls. Any thread may call it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, calls: Collection[str]) -> dict[str, StoredUsage]:
        """The rows of those of ``calls`` (decision ids) whose outcome is in the log."""
        asked, found = sorted(calls), {}
        with self._engine.connect() as connection:
            for start in range(0, len(asked), _AT_ONCE):
                part = asked[start : start + _AT_ONCE]
                places = select(log_entries.c.idx, log_entries.c.decision_id).where(
                    log_entries.c.decision_id.in_(part), log_entries.c.kind == "outcome"
                )
                call_of = {int(row.idx): str(row.decision_id) for row in connection.execute(places)}
                if call_of:
                    rows = connection.execute(select_rows().where(usage.c.idx.in_(call_of)))
                    stored = [stored_usage(values) for values in rows]
                    found.update({call_of[each.index]: each for each in stored})
        return found

    def billed(self, calls: Collection[str]) -> dict[str, int]:
        """What was billed for each of those, billionths of a US dollar."""
        return {call: stored.row.billed_nano for call, stored in self.of(calls).items()}

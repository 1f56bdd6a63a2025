"""What a tenant owes for a month, and the entries that say so.

Lines are sums of ``usage_hours``; the entries are named by how many they are, the first and the last of them, and the
Merkle tree hash over their leaves, so that whoever has the rows can tell whether they are all of them. Both are read at
one moment of the database.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from sovereign_ext.metering.periods import HOUR_MS, Month
from sovereign_ext.storage.usage import Totals, UsageStore, leaves
from sovereign_ext.storage.usage_sums import Question, sums
from sovereign_ext.tlog.edge import Edge

LINE_BY: Final = ("key", "model", "provider", "price_source", "margin_percent")
"""What lines are told apart by, in this order."""


@dataclass(frozen=True, slots=True)
class Line:
    """``of`` are the values of ``LINE_BY``."""

    of: tuple[str, ...]
    totals: Totals


@dataclass(frozen=True, slots=True)
class Rows:
    """The entries: how many, the indices of the first and the last (-1 without any), the root over their leaves."""

    count: int
    first: int
    last: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Invoice:
    """One month of one tenant."""

    tenant: str
    month: Month
    lines: tuple[Line, ...]
    total: Totals
    rows: Rows


def invoice(store: UsageStore, tenant: str, month: Month) -> Invoice:
    """Make it. Blocks. Raises the database's errors."""
    with store.moment() as connection:
        return invoice_at(connection, tenant, month)


def invoice_at(connection: Connection, tenant: str, month: Month) -> Invoice:
    """Make it of what ``connection`` sees."""
    since, until = month.start_hour, month.end_hour
    asked = Question(since, until, (since,), LINE_BY, (("tenant", tenant),))
    lines = tuple(Line(each.group, each.totals) for each in sums(connection, asked))
    rows = RowsOf()
    for index, leaf in leaves(connection, tenant, since * HOUR_MS, until * HOUR_MS):
        rows.add(index, leaf)
    return Invoice(tenant, month, lines, total(lines), rows.found())


def total(lines: tuple[Line, ...]) -> Totals:
    """All lines together."""
    return sum((line.totals for line in lines), Totals())


class RowsOf:
    """Collects entries in the order of their indices."""

    def __init__(self) -> None:
        self._edge = Edge()
        self._first = self._last = -1

    def add(self, index: int, leaf_hash: bytes) -> None:
        """The next one."""
        self._edge.append(leaf_hash)
        self._first, self._last = index if self._first < 0 else self._first, index

    def found(self) -> Rows:
        """What was collected."""
        return Rows(self._edge.size, self._first, self._last, self._edge.root())


def as_json(made: Invoice) -> dict[str, Any]:
    """The invoice in the words of the API, amounts as numbers."""
    return {
        "name": f"tenants/{made.tenant}/invoices/{made.month}",
        "currency": "USD",
        "lines": [
            {**dict(zip(LINE_BY, line.of, strict=True)), "amounts": amounts(line.totals)}
            for line in made.lines
        ],
        "total": amounts(made.total),
        "margin_nano_usd": made.total.billed_nano - made.total.cost_nano,
        "rows": rows_json(made.rows),
    }


def rows_json(rows: Rows) -> dict[str, Any]:
    """The entries in the words of the API."""
    indices = {"first_index": rows.first, "last_index": rows.last} if rows.count else {}
    return {"count": rows.count, **indices, "root_hash": b64encode(rows.root).decode()}


def amounts(totals: Totals) -> dict[str, int]:
    """Sums in the words of the API."""
    return {
        "calls": totals.calls,
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "cached_tokens": totals.cached_tokens,
        "cache_write_tokens": totals.cache_write_tokens,
        "reasoning_tokens": totals.reasoning_tokens,
        "cost_nano_usd": totals.cost_nano,
        "billed_nano_usd": totals.billed_nano,
    }

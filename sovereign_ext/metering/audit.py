"""Audit rows: what the log's entries say, filtered, for those who may see them. A page, one row, or a stream of all.

A row is an entry without its opening: nobody can test guesses about a prompt with it. ``scope`` is the tenant whose
rows are seen, ``None`` for everybody's. Reading is in slices, and a page looks at a bounded number of entries: it
may be short, or empty, and still have a next one (AIP-158 allows that).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sovereign_ext.attest import dsse
from sovereign_ext.errors import VerificationError
from sovereign_ext.metering.filters import Filter, Term
from sovereign_ext.storage.audit import AuditEntry, AuditStore, Slice

MOST_LOOKED_AT: Final = 10_000
"""Entries that are read for one page."""

SPAN: Final = 20_000
"""Indices that one query goes through where the database has no index for what is asked."""

_PASSED_OVER: Final = 10  # entries that the database drops cost as much as one that is read here

AT_ONCE: Final = 250
"""Entries in memory at a time: some 1 MB."""


class _Statement(msgspec.Struct):
    type: str = msgspec.field(name="predicateType")
    predicate: msgspec.Raw


@dataclass(frozen=True, slots=True)
class AuditRow:
    """``predicate`` is JSON text, just as it was signed."""

    entry: AuditEntry
    predicate_type: str
    predicate: bytes

    def line(self, *, full: bool = False) -> bytes:
        """The row as one line of JSON, with its newline. ``full`` adds what verifies it: envelope and leaf."""
        entry = self.entry
        row: dict[str, Any] = {
            "name": f"auditRows/{entry.index}",
            "index": str(entry.index),  # as protobuf's JSON has 64-bit numbers
            "leaf_hash": b64encode(entry.leaf_hash).decode(),
            "time": rfc3339(entry.time_ms),
            "kind": entry.kind,
            "tenant": entry.tenant,
            "decision_id": entry.decision_id,
            "receipt": f"receipts/{entry.index}",
            "predicate_type": self.predicate_type,
            "predicate": msgspec.Raw(self.predicate),
        }
        if full:
            row["envelope"] = b64encode(entry.envelope).decode()
            row["body"] = b64encode(entry.body).decode()
        return msgspec.json.encode(row) + b"\n"


@dataclass(frozen=True, slots=True)
class Page:
    """``after`` is where the next page starts, ``None`` after the last one."""

    rows: tuple[AuditRow, ...]
    after: int | None


class AuditRows:
    """Reads rows. Blocks; any thread may call it. Raises the database's errors."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    def get(self, index: int, scope: str | None) -> AuditRow | None:
        """One row; ``None`` where there is none in ``scope``."""
        found = self._store.read(Slice(index, index + 1, tenant=scope), 1)
        return audit_row(found[0]) if found else None

    def page(
        self, asked: Filter, scope: str | None, *, after: int | None, limit: int, newest_first: bool
    ) -> Page:
        """At most ``limit`` rows behind the index ``after``."""
        rows: list[AuditRow] = []
        looked = 0
        for found, passed, edge in self._slices(asked, scope, after, newest_first):
            for entry in found:
                row = _match(entry, asked.said)
                if row is not None:
                    rows.append(row)
                    if len(rows) == limit:
                        return Page(tuple(rows), entry.index)
            looked += len(found) + passed // _PASSED_OVER
            if looked >= MOST_LOOKED_AT:
                return Page(tuple(rows), edge)
        return Page(tuple(rows), None)

    def stream(
        self, asked: Filter, scope: str | None, *, newest_first: bool = False
    ) -> Iterator[list[AuditRow]]:
        """All rows that there were at the beginning, a slice at a time; slices may be empty."""
        for found, _, _ in self._slices(asked, scope, None, newest_first):
            yield [row for entry in found if (row := _match(entry, asked.said)) is not None]

    def _slices(
        self, asked: Filter, scope: str | None, after: int | None, newest_first: bool
    ) -> Iterator[tuple[list[AuditEntry], int, int]]:
        """Entries, how many indices were passed over for them, and the last one."""
        wanted = _slice(asked, scope)
        low, high = self._store.span(wanted.since_ms, wanted.until_ms)
        start, end = max(wanted.start, low), min(wanted.end, high)
        if after is not None:
            start, end = (start, min(end, after)) if newest_first else (max(start, after + 1), end)
        indexed = scope is not None or any(name == "tenant" for name, _ in wanted.equal)
        step = end if indexed else SPAN
        while start < end:
            first, behind = (max(start, end - step), end) if newest_first else (start, min(end, start + step))
            found = self._store.read(
                replace(wanted, start=first, end=behind), AT_ONCE, newest_first=newest_first
            )
            edge = found[-1].index if len(found) == AT_ONCE else first if newest_first else behind - 1
            yield found, 0 if indexed else abs((end if newest_first else start) - edge), edge
            start, end = (start, edge) if newest_first else (edge + 1, end)


def audit_row(entry: AuditEntry) -> AuditRow:
    """What an entry says. An envelope that cannot be read gives an empty predicate: the row is still shown."""
    try:
        statement = msgspec.json.decode(dsse.parse(entry.envelope).payload, type=_Statement)
    except (VerificationError, msgspec.DecodeError):
        return AuditRow(entry, "", b"{}")
    return AuditRow(entry, statement.type, bytes(statement.predicate))


def rfc3339(time_ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC, like ``2026-11-23T00:42:13.045Z``."""
    time = datetime.fromtimestamp(time_ms / 1_000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _match(entry: AuditEntry, terms: tuple[Term, ...]) -> AuditRow | None:
    row = audit_row(entry)
    if terms:
        said = msgspec.json.decode(row.predicate)
        if not all(term.holds(said.get(term.field)) for term in terms):
            return None
    return row


def _slice(asked: Filter, scope: str | None) -> Slice:
    """What the database can tell of a filter."""
    first, behind = asked.between("index")
    since, until = asked.between("time")
    end = (1 << 63) - 1 if behind is None else behind
    equal, unequal = [], []
    for term in asked.stored:
        if term.op == "!=":
            unequal.append(({"index": "idx", "time": "time_ms"}.get(term.field, term.field), term.value))
        elif term.field not in ("index", "time"):
            equal.append((term.field, term.value))
    return Slice(first or 0, end, since, until, scope, tuple(equal), tuple(unequal))

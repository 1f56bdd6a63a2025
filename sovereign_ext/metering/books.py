"""Runs over a log's database: reconciling a month with it, and making usage anew of its entries.

Both may run beside a live log. ``rebuild`` is for a log that is older than its usage tables, and for tables that were
damaged: it goes through all entries in slices, each a transaction of its own, so it may be broken off and begun again.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, select

from sovereign_ext.attest import dsse
from sovereign_ext.errors import VerificationError
from sovereign_ext.metering.inclusion import Inclusion
from sovereign_ext.metering.invoice import as_json, invoice_at
from sovereign_ext.metering.periods import HOUR_MS, Month
from sovereign_ext.metering.reconcile import Reconciliation, Report
from sovereign_ext.metering.rows import OUTCOME_KIND, signed_usage_row
from sovereign_ext.storage.audit import AuditEntry, AuditStore, Slice
from sovereign_ext.storage.schema import log_head
from sovereign_ext.storage.usage import StoredUsage, UsageStore
from sovereign_ext.storage.usage_mend import everybody, hours_of, mend_hours, mend_rows

_AT_ONCE: Final = 500
_HOURS_AT_ONCE: Final = 24 * 31


@dataclass(slots=True)
class Rebuilt:
    """``entries`` outcomes were read, ``rows`` and ``hours`` were put right; ``faults`` could not be read."""

    entries: int = 0
    rows: int = 0
    hours: int = 0
    faults: list[str] = field(default_factory=list)


def reconcile(  # noqa: PLR0917 - as a question would be put
    engine: Engine,
    tenant: str,
    month: Month,
    envelope_key: bytes | None,
    inclusion: Inclusion | None,
    given: Mapping[str, Any] | None = None,
) -> Report:
    """Compare a month of a tenant with the log, and with the invoice ``given`` in the words of the API, or with the one
    that would be made now. Raises the database's errors."""
    usage, audit = UsageStore(engine), AuditStore(engine)
    with usage.moment() as connection:
        made = invoice_at(connection, tenant, month)
        end = int(connection.execute(select(log_head.c.next)).scalar_one())
    since, until = month.start_hour * HOUR_MS, month.end_hour * HOUR_MS
    start, _ = audit.span(since, None)
    run = Reconciliation(tenant, month, envelope_key, inclusion)
    for stored in usage.rows(tenant, since, until, limit=_AT_ONCE):
        if stored.index < start:
            run.unmatched(stored.index)
    for first, behind, found in _outcomes(audit, start, end, tenant):
        rows = {each.index: each.row for each in usage.by_index(tenant, first, behind)}
        for entry in found:
            row = rows.pop(entry.index, None)
            run.entry(entry, lambda row=row: row)  # type: ignore[misc]
        for index, row in rows.items():
            if since <= row.time_ms < until:
                run.unmatched(index)
    return run.close(as_json(made) if given is None else given)


def reconcile_export(  # noqa: PLR0917 - as a question would be put
    lines: Iterable[bytes],
    tenant: str,
    month: Month,
    given: Mapping[str, Any],
    envelope_key: bytes | None,
    inclusion: Inclusion | None,
) -> Report:
    """Compare an invoice with audit rows as JSON Lines, ``full`` and the oldest first. There are no usage rows then."""
    run, before = Reconciliation(tenant, month, envelope_key, inclusion), -1
    for number, line in enumerate(lines, 1):
        try:
            entry = _exported(msgspec.json.decode(line))
        except (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            run.report.differs(f"line {number}: is not an audit row of an export with --full")
            continue
        if entry.index <= before:
            run.report.differs(f"line {number}: entry {entry.index} comes after entry {before}")
            continue
        before = entry.index
        if entry.kind == OUTCOME_KIND and entry.tenant == tenant:
            run.entry(entry, None)
    return run.close(given)


def tenants_in(engine: Engine, month: Month) -> Sequence[str]:
    """Everybody who has entries since the month began, or usage in it."""
    audit = AuditStore(engine)
    start, end = audit.span(month.start_hour * HOUR_MS, None)
    used = UsageStore(engine).tenants(month.start_hour, month.end_hour)
    return sorted({*used, *audit.owners(start, end)})


def rebuild(engine: Engine, told: Callable[[int, int], None] = lambda done, size: None) -> Rebuilt:
    """Make usage what the entries say. ``told`` hears how many of how many entries are done."""
    audit, found = AuditStore(engine), Rebuilt()
    size = audit.size()
    for first in range(0, size, _AT_ONCE):
        behind = min(first + _AT_ONCE, size)
        wanted = []
        for entry in audit.read(Slice(first, behind, equal=(("kind", OUTCOME_KIND),)), _AT_ONCE):
            found.entries += 1
            try:
                row = signed_usage_row(dsse.parse(entry.envelope).payload)
            except VerificationError as error:
                found.faults.append(f"entry {entry.index}: {error}")
                continue
            if row.tenant:
                wanted.append(StoredUsage(entry.index, row))
        found.rows += mend_rows(engine, first, behind, wanted)
        told(behind, size)
    for tenant in everybody(engine):
        start, end = hours_of(engine, tenant)
        for hour in range(start, end, _HOURS_AT_ONCE):
            found.hours += mend_hours(engine, tenant, hour, min(hour + _HOURS_AT_ONCE, end))
    return found


def _exported(row: Any) -> AuditEntry:
    body, envelope = b64decode(row["body"], validate=True), b64decode(row["envelope"], validate=True)
    leaf = b64decode(row["leaf_hash"], validate=True)
    return AuditEntry(
        int(row["index"]), row["kind"], row["tenant"], row["decision_id"], 0, body, leaf, envelope
    )


def _outcomes(
    audit: AuditStore, start: int, end: int, tenant: str
) -> Iterator[tuple[int, int, list[AuditEntry]]]:
    """Slices ``[first, behind)`` of the log and the tenant's outcome entries in them."""
    while start < end:
        asked = Slice(start, end, tenant=tenant, equal=(("kind", OUTCOME_KIND),))
        found = audit.read(asked, _AT_ONCE)
        behind = found[-1].index + 1 if len(found) == _AT_ONCE else end
        yield start, behind, found
        start = behind

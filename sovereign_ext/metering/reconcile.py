"""Compares a month's invoice with the log, entry by entry, and says every difference.

For each outcome entry of the tenant that began in the month, in this order:

1. Its leaf has the stored leaf hash, the leaf is that of its envelope, and the log's envelope key signed it.
2. The tree of the published checkpoint has that leaf there. Entries behind the checkpoint are counted as pending.
3. What it says it cost follows from its own tokens and price, and what was billed from that and the margin. Where the
   provider's count was not to be had, or no price was written down, it is taken as recorded, and counted.
4. The usage row says the same.

Then their sums, number and tree hash are those of the invoice. Entries and usage rows come from the database or from an
export; neither is trusted, and what cannot be read is a difference like any other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from sovereign_ext.attest import dsse
from sovereign_ext.attest.entry import parse_body, verify_entry
from sovereign_ext.errors import LogCorrupt, VerificationError
from sovereign_ext.metering.inclusion import Inclusion
from sovereign_ext.metering.invoice import LINE_BY, RowsOf, amounts, rows_json
from sovereign_ext.metering.periods import HOUR_MS, Month
from sovereign_ext.metering.rows import signed_usage_row
from sovereign_ext.policy.cost import Terms, billed_nano_usd, cost_nano_usd
from sovereign_ext.storage.audit import AuditEntry
from sovereign_ext.storage.usage import Totals, UsageRow
from sovereign_ext.tlog.hashing import leaf_hash

MOST_SHOWN: Final = 1_000
"""Differences that a report keeps; more are counted."""

_TERMS: Final = ("input", "output", "cached_input", "cache_write")


@dataclass(slots=True)
class Report:
    """What was found. ``entries`` were of the month, ``verified`` of them have a good signature, ``included`` are under
    the checkpoint and ``pending`` behind it; ``taken`` were taken as recorded. Amounts are those of the entries."""

    tenant: str
    month: Month
    entries: int = 0
    verified: int = 0
    included: int = 0
    pending: int = 0
    taken: int = 0
    totals: Totals = field(default_factory=Totals)
    differences: list[str] = field(default_factory=list)
    unshown: int = 0

    def differs(self, text: str) -> None:
        """Note a difference."""
        if len(self.differences) < MOST_SHOWN:
            self.differences.append(text)
        else:
            self.unshown += 1


class Reconciliation:
    """One tenant and month. ``envelope_key`` (SPKI, DER) is who must have signed, ``None`` to leave signatures out;
    ``inclusion`` is ``None`` where the log's tiles are not at hand."""

    def __init__(
        self, tenant: str, month: Month, envelope_key: bytes | None, inclusion: Inclusion | None
    ) -> None:
        self.report = Report(tenant, month)
        self._since, self._until = month.start_hour * HOUR_MS, month.end_hour * HOUR_MS
        self._key = envelope_key
        self._inclusion = inclusion
        self._lines: dict[tuple[str, ...], Totals] = defaultdict(Totals)
        self._rows = RowsOf()

    def entry(self, entry: AuditEntry, usage: Callable[[], UsageRow | None] | None) -> None:
        """The next outcome entry of the tenant; ``usage`` gives the row at its index, ``None`` where rows are not
        compared."""
        name = f"entry {entry.index}"
        try:
            payload = dsse.parse(entry.envelope).payload
            row = signed_usage_row(payload)
        except VerificationError as error:
            self.report.differs(f"{name}: {error}")
            return
        if usage is not None:
            self._same_row(name, row, usage())
        if row.tenant != self.report.tenant:
            self.report.differs(f"{name}: is stored as {self.report.tenant}'s, but signed as {row.tenant}'s")
            return
        if not self._since <= row.time_ms < self._until:
            return
        self.report.entries += 1
        self._verify(name, entry)
        self._recompute(name, payload)
        line = tuple(getattr(row, by) for by in LINE_BY)
        used = Totals(1, *(getattr(row, name) for name in _COUNTED))
        self._lines[line] += used
        self.report.totals += used
        self._rows.add(entry.index, entry.leaf_hash)

    def unmatched(self, index: int) -> None:
        """There is a usage row of the tenant and month without an outcome entry."""
        self.report.differs(f"usage row {index}: the log has no outcome entry of {self.report.tenant} there")

    def close(self, invoice: Mapping[str, Any]) -> Report:
        """Compare with the invoice, in the words of the API, and give what was found."""
        found = {tuple(str(line.get(by, "")) for by in LINE_BY): line for line in invoice.get("lines", ())}
        for place in sorted(self._lines.keys() | found.keys()):
            name = ", ".join(f"{by} {value or '(none)'}" for by, value in zip(LINE_BY, place, strict=True))
            said = found.get(place, {}).get("amounts", {})
            self._same(f"invoice line {name}", said, amounts(self._lines.get(place, Totals())))
        self._same("invoice total", invoice.get("total", {}), amounts(self.report.totals))
        self._same("invoice rows", invoice.get("rows", {}), rows_json(self._rows.found()))
        return self.report

    def _verify(self, name: str, entry: AuditEntry) -> None:
        try:
            if leaf_hash(entry.body) != entry.leaf_hash:
                raise VerificationError("the leaf does not have the stored leaf hash")
            if self._key is not None:
                body = parse_body(entry.body)
                verify_entry(dsse.parse(entry.envelope), body)
                if body.spki != self._key:
                    raise VerificationError("signed by another key than the log's envelope key")
                self.report.verified += 1
            if self._inclusion is not None:
                if self._inclusion.covers(entry.index):
                    self._inclusion.check(entry.index, entry.leaf_hash)
                    self.report.included += 1
                else:
                    self.report.pending += 1
        except (VerificationError, LogCorrupt) as error:
            self.report.differs(f"{name}: {error}")

    def _recompute(self, name: str, payload: bytes) -> None:
        said: dict[str, Any] = msgspec.json.decode(payload)["predicate"]
        cost, billed = said.get("cost_nano_usd"), said.get("billed_nano_usd")
        if said.get("estimated") or (said.get("price") is None and (cost or billed)):
            self.report.taken += 1
            return
        try:
            owed_cost, owed = _owed(said)
        except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation):
            self.report.differs(f"{name}: its price or margin cannot be read")
            return
        if cost != owed_cost:
            self.report.differs(f"{name}: cost_nano_usd is {cost}, its tokens and price make {owed_cost}")
        if billed != owed:
            self.report.differs(f"{name}: billed_nano_usd is {billed}, its cost and margin make {owed}")

    def _same_row(self, name: str, row: UsageRow, stored: UsageRow | None) -> None:
        if stored is None:
            self.report.differs(f"{name}: there is no usage row")
        elif stored != row:
            there, right = asdict(stored), asdict(row)
            for member in right:
                if there[member] != right[member]:
                    text = f"{name}: usage has {member} {there[member]!r}, the entry says {right[member]!r}"
                    self.report.differs(text)

    def _same(self, name: str, said: Mapping[str, Any], right: Mapping[str, Any]) -> None:
        """Compare members; numbers of the API are text. The cost is left out for all but admins."""
        for member, value in right.items():
            there = said.get(member, 0 if isinstance(value, int) and member not in _INDICES else None)
            if member == "cost_nano_usd" and member not in said and said:
                continue
            if str(there) != str(value):
                self.report.differs(f"{name}: {member} is {there}, the entries make {value}")
        for member in _INDICES:
            if member in said and member not in right and "root_hash" in right:
                self.report.differs(f"{name}: {member} is {said[member]}, there are no entries")


_COUNTED: Final = tuple(Totals.__dataclass_fields__)[1:]
_INDICES: Final = ("first_index", "last_index")


def _owed(said: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Cost and bill of a call by its own tokens, price and margin."""
    price = said.get("price")
    terms = None if price is None else Terms(*(int(price[name]) for name in _TERMS))
    cost = cost_nano_usd(
        terms,
        said.get("prompt_tokens"),
        said.get("completion_tokens"),
        cached_tokens=said.get("cached_tokens"),
        cache_write_tokens=said.get("cache_write_tokens"),
    )
    return cost, None if cost is None else billed_nano_usd(cost, Decimal(said["margin_percent"]))

"""Findings of the credential scan, for those who may see them: which credentials leaked, when, by whom, and how often.

The one place that says how rows are made of an entry, and how a filter becomes a question to their table. ``scope`` is
the tenant whose findings are seen, ``None`` for everybody's. A kind's family is the detector's as this release has it;
a kind that it does not know has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sovereign_ext.attest.facts import FindingFacts
from sovereign_ext.errors import CallerError
from sovereign_ext.metering.filters import Filter, Term, Type
from sovereign_ext.storage.audit import AuditStore
from sovereign_ext.storage.finding_sums import MOST_SUMMED, Sum, sums, untold, within
from sovereign_ext.storage.findings import (
    KIND,
    Condition,
    FindingRow,
    FindingStore,
    Place,
    Question,
    StoredFinding,
    owned,
)

FINDING_KIND: Final = KIND
"""The kind that finding entries have in ``log_entries``."""

FIELDS: Final[Mapping[str, Type]] = {
    "index": Type.NUMBER,
    "time": Type.TIME,
    "tenant": Type.TEXT,
    "key": Type.TEXT,
    "policy": Type.TEXT,
    "action": Type.TEXT,
    "decision_id": Type.TEXT,
    "kind": Type.TEXT,
    "family": Type.TEXT,
    "detector_version": Type.NUMBER,
    "fingerprint": Type.TEXT,
    "pointer": Type.TEXT,
    "place_count": Type.NUMBER,
}
"""What a filter of findings may name."""

_COLUMNS: Final = {
    "index": "idx",
    "time": "time_ms",
    "detector_version": "version",
    "place_count": "count",
}
"""Where the table has another name."""


def finding_rows(facts: FindingFacts) -> tuple[FindingRow, ...]:
    """The rows of an entry."""
    return tuple(
        FindingRow(
            place=place,
            time_ms=facts.found_ms,
            tenant=facts.tenant,
            key=facts.key,
            policy=facts.policy,
            action=facts.action,
            count=facts.count,
            told=len(facts.found),
            kind=each.kind,
            version=each.version,
            length=each.length,
            number=each.number,
            fingerprint=each.fingerprint,
            pointer=each.pointer,
        )
        for place, each in enumerate(facts.found, 1)
    )


@dataclass(frozen=True, slots=True)
class Page:
    """``after`` is where the next page starts, ``None`` after the last one."""

    found: tuple[StoredFinding, ...]
    after: Place | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One page of sums of the log's first ``size`` entries. ``after`` as in ``Page``.

    ``untold`` is how many more places the calls of all groups had, whose entries count them and do not tell of them.
    """

    sums: tuple[Sum, ...]
    untold: int
    size: int
    after: Place | None


class Findings:
    """Reads findings. Blocks; any thread may call it. Raises the database's errors."""

    def __init__(self, store: FindingStore, log: AuditStore) -> None:
        self._store = store
        self._log = log

    def get(self, place: Place, scope: str | None) -> StoredFinding | None:
        """One finding; ``None`` where there is none in ``scope``."""
        return self._store.get(place, scope)

    def page(
        self, asked: Filter, scope: str | None, *, after: Place | None, limit: int, newest_first: bool
    ) -> Page:
        """At most ``limit`` findings behind ``after``; perhaps fewer, even none, and not the last."""
        question = self._question(asked, scope, None)
        found, edge = self._store.page(question, after, limit, newest_first=newest_first)
        return Page(tuple(found), edge)

    def summary(  # noqa: PLR0917 - as a question would be put
        self,
        asked: Filter,
        scope: str | None,
        group_by: tuple[str, ...],
        size: int | None,
        after: Place | None,
        limit: int,
    ) -> Summary:
        """Sums over the log's first ``size`` entries, ``None`` for all: at most ``limit`` groups behind ``after``.

        Raises ``CallerError`` 400 ``too_many_findings``.
        """
        size = self._log.size() if size is None else size
        question = self._question(asked, scope, size)
        with self._store.connection() as connection:
            question = owned(connection, question)
            if not within(connection, question):
                text = f"the sums go over more than {MOST_SUMMED:,} findings: narrow them by time, index or fingerprint"
                raise CallerError(400, text, code="too_many_findings", param="filter")
            found = sums(connection, question, group_by, after, limit + 1)
            more = untold(connection, question)
        last = found[limit - 1].last if len(found) > limit else None
        return Summary(tuple(found[:limit]), more, size, last)

    def _question(self, asked: Filter, scope: str | None, size: int | None) -> Question:
        first, behind = asked.between("index")
        since, until = asked.between("time")
        low, high = (0, None) if since is until is None else self._log.span(since, until)
        ends = [end for end in (behind, high, size) if end is not None]
        return Question(
            start=max(first or 0, low),
            end=min(ends, default=(1 << 63) - 1),
            since_ms=since,
            until_ms=until,
            tenant=scope,
            where=tuple(found for term in asked.terms for found in _conditions(term)),
        )


def _conditions(term: Term) -> list[Condition]:
    """What of a term is not in the question's bounds."""
    if term.field in ("index", "time") and term.op != "!=":
        return []
    if term.field == "family":
        return [_family(term)]
    value: Any = term.value.encode() if term.field == "pointer" else term.value
    return [(_COLUMNS.get(term.field, term.field), term.op, value)]


def _family(term: Term) -> Condition:
    """Kinds in place of families. The empty family has all kinds that are not known."""
    inside = [kind for kind, family in families().items() if family == term.value or not term.value]
    return ("kind", "in" if (term.op == "=") == bool(term.value) else "not in", inside)


@cache
def families() -> Mapping[str, str]:
    """The family of each kind."""
    # Detectors take a tenth of a second to import, which whoever does not scan need not pay.
    from sovereign_ext.scanner.registry import DETECTORS  # noqa: PLC0415

    return {each.kind: each.family for each in DETECTORS}

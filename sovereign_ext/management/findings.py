"""Findings of the credential scan: ``sovereign.management.v1.FindingService``.

Whoever is bound to a tenant sees that tenant's: a filter for another one finds nothing, and its findings are not there.
Reading them is ``metering.findings``' matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sovereign_ext._gen.sovereign.management.v1 import findings_pb2
from sovereign_ext.errors import CallerError, InvalidFields
from sovereign_ext.management import names
from sovereign_ext.management.database import ask
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.management.timestamps import timestamp
from sovereign_ext.metering.filters import parse_filter
from sovereign_ext.metering.findings import FIELDS, Findings, families
from sovereign_ext.storage.finding_sums import DIMENSIONS, Sum
from sovereign_ext.storage.findings import Place, StoredFinding

SERVICE: Final = findings_pb2.DESCRIPTOR.services_by_name["FindingService"]

_MOMENT: Final = re.compile(r"(0|[1-9][0-9]{0,17}):(.+)")


@dataclass(frozen=True, slots=True)
class FindingReads:
    """The service."""

    findings: Findings

    async def list_findings(self, request: findings_pb2.ListFindingsRequest, call: Call) -> Reply:
        """One page."""
        size, text = names.page_size(request.page_size), names.after(request.page_token)
        after = names.place_in(text) if text else None
        asked, newest = (
            parse_filter(request.filter, FIELDS),
            names.newest_first(request.order_by, default=True),
        )
        page = await ask(
            lambda: self.findings.page(asked, call.caller.scope, after=after, limit=size, newest_first=newest)
        )
        token = "" if page.after is None else names.page_token(_id(page.after))
        shown = [_finding(each) for each in page.found]
        return Reply(findings_pb2.ListFindingsResponse(findings=shown, next_page_token=token), FRESH)

    async def get_finding(self, request: findings_pb2.GetFindingRequest, call: Call) -> Reply:
        """One finding."""
        place = names.finding_place(request.name)
        found = await ask(lambda: self.findings.get(place, call.caller.scope))
        if found is None:
            raise CallerError(404, "there is no such finding", code="finding_not_found")
        return Reply(_finding(found), FRESH)

    async def summarize_findings(self, request: findings_pb2.SummarizeFindingsRequest, call: Call) -> Reply:
        """One page of sums, of the same moment as the first one."""
        size, (moment, after) = names.page_size(request.page_size), _moment(request.page_token)
        asked, group_by = parse_filter(request.filter, FIELDS), _group_by(list(request.group_by))
        page = await ask(
            lambda: self.findings.summary(asked, call.caller.scope, group_by, moment, after, size)
        )
        token = "" if page.after is None else names.page_token(f"{page.size}:{_id(page.after)}")
        shown = [_summary(each, group_by) for each in page.sums]
        answer = findings_pb2.SummarizeFindingsResponse(
            summaries=shown, next_page_token=token, untold_count=page.untold
        )
        return Reply(answer, FRESH)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {
            "ListFindings": self.list_findings,
            "GetFinding": self.get_finding,
            "SummarizeFindings": self.summarize_findings,
        }


def _moment(token: str) -> tuple[int | None, Place | None]:
    """The size of the log in a page token of sums, and the place that the page starts behind."""
    text = names.after(token)
    if not text:
        return None, None
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise names.bad_token()
    return int(match[1]), names.place_in(match[2])


def _group_by(asked: list[str]) -> tuple[str, ...]:
    faults = [
        (f"group_by[{at}]", f"expected one of {', '.join(DIMENSIONS)}")
        for at, name in enumerate(asked)
        if name not in DIMENSIONS
    ]
    if faults:
        raise InvalidFields(faults)
    return tuple(name for name in DIMENSIONS if name in asked)


def _id(place: Place) -> str:
    return f"{place[0]}-{place[1]}"


def _finding(found: StoredFinding) -> findings_pb2.Finding:
    row = found.row
    return findings_pb2.Finding(
        name=f"findings/{_id((found.index, row.place))}",
        time=timestamp(row.time_ms),
        tenant=row.tenant,
        key=row.key,
        policy=row.policy,
        action=row.action,
        decision_id=found.decision_id,
        index=found.index,
        audit_row=f"auditRows/{found.index}",
        receipt=f"receipts/{found.index}",
        kind=row.kind,
        family=families().get(row.kind, ""),
        detector_version=row.version,
        pointer=row.pointer,
        length=row.length,
        number=row.number,
        fingerprint=row.fingerprint,
        place=row.place,
        place_count=row.count,
    )


def _summary(found: Sum, group_by: tuple[str, ...]) -> findings_pb2.FindingSummary:
    return findings_pb2.FindingSummary(
        count=found.count,
        calls=found.calls,
        first_time=timestamp(found.first_ms),
        last_time=timestamp(found.last_ms),
        first_finding=f"findings/{_id(found.first)}",
        last_finding=f"findings/{_id(found.last)}",
        **dict(zip(group_by, found.group, strict=True)),
    )

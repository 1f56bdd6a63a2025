"""Audit rows: ``sovereign.management.v1.AuditService``. Who sees which rows; reading them is ``metering.audit``'s.

An export is made while it is read: the next slice of the log is read when gRPC has taken the one before, so memory does
not grow with the log, nor with how slowly somebody reads. One that fails after it began ends with a line that holds
nothing but ``error``: HTTP has no way back to a status by then.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from google.api import httpbody_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import Message

from sovereign_ext._gen.sovereign.management.v1 import audit_pb2
from sovereign_ext.errors import CallerError, ServiceError
from sovereign_ext.management import names
from sovereign_ext.management.database import ask
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.management.timestamps import timestamp
from sovereign_ext.metering.audit import AuditRow, AuditRows
from sovereign_ext.metering.filters import parse_filter

SERVICE: Final = audit_pb2.DESCRIPTOR.services_by_name["AuditService"]
JSON_LINES: Final = "application/jsonl"
MAX_PAGE: Final = 250
CHUNK_BYTES: Final = 256 * 1024
"""About the size of a piece of an export."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Audit:
    """The service."""

    rows: AuditRows

    async def list_audit_rows(self, request: audit_pb2.ListAuditRowsRequest, call: Call) -> Reply:
        """One page."""
        size, after = min(names.page_size(request.page_size), MAX_PAGE), _after(request.page_token)
        asked, newest = parse_filter(request.filter), names.newest_first(request.order_by, default=True)
        page = await ask(
            lambda: self.rows.page(asked, call.caller.scope, after=after, limit=size, newest_first=newest)
        )
        token = "" if page.after is None else names.page_token(str(page.after))
        shown = await ask(lambda: [_message(row) for row in page.rows])
        return Reply(audit_pb2.ListAuditRowsResponse(audit_rows=shown, next_page_token=token), FRESH)

    async def get_audit_row(self, request: audit_pb2.GetAuditRowRequest, call: Call) -> Reply:
        """One row."""
        index = names.audit_index(request.name)
        row = await ask(lambda: self.rows.get(index, call.caller.scope))
        if row is None:
            raise CallerError(404, "there is no such audit row", code="audit_row_not_found")
        return Reply(_message(row), FRESH)

    async def export_audit_rows(
        self, request: audit_pb2.ExportAuditRowsRequest, call: Call
    ) -> AsyncIterator[Message]:
        """All rows, as JSON Lines."""
        asked, newest = parse_filter(request.filter), names.newest_first(request.order_by, default=False)
        slices = self.rows.stream(asked, call.caller.scope, newest_first=newest)
        begun = False
        try:
            while (pieces := await ask(lambda: _next(slices, full=request.full))) is not None:
                for piece in pieces:
                    begun = True
                    yield httpbody_pb2.HttpBody(content_type=JSON_LINES, data=piece)
        except ServiceError as error:
            if not begun:
                raise
            _log.error("an export of audit rows ended early: %s", error)
            line = msgspec.json.encode({"error": {"code": error.code, "message": error.message}}) + b"\n"
            yield httpbody_pb2.HttpBody(content_type=JSON_LINES, data=line)
            return
        if not begun:
            yield httpbody_pb2.HttpBody(content_type=JSON_LINES, data=b"")

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {
            "ListAuditRows": self.list_audit_rows,
            "GetAuditRow": self.get_audit_row,
            "ExportAuditRows": self.export_audit_rows,
        }


def _next(slices: Iterator[list[AuditRow]], *, full: bool) -> list[bytes] | None:
    """The next slice in pieces of bounded size; ``None`` at the end."""
    rows = next(slices, None)
    if rows is None:
        return None
    pieces: list[bytes] = []
    piece, size = [], 0
    for row in rows:
        line = row.line(full=full)
        piece.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            pieces.append(b"".join(piece))
            piece, size = [], 0
    return [*pieces, b"".join(piece)] if piece else pieces


def _after(token: str) -> int | None:
    text = names.after(token)
    return names.index_in(text) if text else None


def _message(row: AuditRow) -> audit_pb2.AuditRow:
    entry = row.entry
    said: Any = msgspec.json.decode(row.predicate)
    predicate = struct_pb2.Struct()
    predicate.update(said)
    return audit_pb2.AuditRow(
        name=f"auditRows/{entry.index}",
        index=entry.index,
        leaf_hash=b64encode(entry.leaf_hash).decode(),
        time=timestamp(entry.time_ms),
        kind=entry.kind,
        tenant=entry.tenant,
        decision_id=entry.decision_id,
        receipt=f"receipts/{entry.index}",
        predicate_type=row.predicate_type,
        predicate=predicate,
    )

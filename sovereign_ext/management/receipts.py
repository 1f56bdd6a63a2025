"""Receipts: ``sovereign.log.v1.ReceiptService``.

Asks the log for the finished document and writes it as JSON. What is in a receipt, and whose row it is, the
log knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
from google.api import httpbody_pb2

from sovereign_ext._gen.sovereign.log.v1 import log_pb2
from sovereign_ext.management.names import receipt_index
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.rpc import Call, Methods, Reply

WAIT_S: Final = 5.0
"""Longest wait for a row to come under a published checkpoint; normally that takes under a second."""

MARGIN_S: Final = 0.2
"""Kept of the caller's deadline, so that it hears UNAVAILABLE with a hint instead of running into it."""


class ReceiptSource(Protocol):
    """The log, as far as receipts go (``tlog.service.TransparencyLog``)."""

    async def receipt(self, index: int, tenant: str | None, timeout_s: float) -> dict[str, Any]:
        """The receipt of row ``index``, waited for at most ``timeout_s`` seconds.

        ``tenant`` is whose row it must be, ``None`` for anybody's. Raises ``EntryNotFound`` when there is no
        such row, ``EntryPending`` when no checkpoint covers it in time.
        """


@dataclass(frozen=True, slots=True)
class Receipts:
    """The service."""

    log: ReceiptSource

    async def get_receipt(self, request: log_pb2.GetReceiptRequest, call: Call) -> Reply:
        """The document of one row. Another tenant's row and no row at all are told apart by nothing."""
        caller = call.caller
        index = receipt_index(request.name)
        wait = WAIT_S if call.remaining_s is None else min(WAIT_S, max(0.0, call.remaining_s - MARGIN_S))
        tenant = None if caller.tenant is None else caller.tenant.id
        document = await self.log.receipt(index, tenant, wait)
        body = httpbody_pb2.HttpBody(content_type="application/json", data=msgspec.json.encode(document))
        return Reply(body, FRESH)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {"GetReceipt": self.get_receipt}

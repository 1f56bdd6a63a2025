"""Usage and invoices: ``sovereign.management.v1.UsageService``.

Whoever is bound to a tenant sees that tenant's: a filter for another one finds nothing, and its invoices are not there.
What providers charge is shown to admins only. What is counted, and how, is ``storage.usage``'s matter.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf import timestamp_pb2

from sovereign_ext._gen.sovereign.management.v1 import usage_pb2
from sovereign_ext.errors import CallerError, InvalidFields
from sovereign_ext.management import names
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.database import ask
from sovereign_ext.management.reads import FRESH
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.metering.invoice import LINE_BY, Invoice, invoice
from sovereign_ext.metering.periods import DAY_HOURS, HOUR_MS, month_of, months, parse_month
from sovereign_ext.storage.usage import Totals, UsageStore
from sovereign_ext.storage.usage_sums import DIMENSIONS, Place, Question, Sum, sums
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tlog.integrator import Published

SERVICE: Final = usage_pb2.DESCRIPTOR.services_by_name["UsageService"]
CURRENCY: Final = "USD"
MOST_HOURS: Final = 24 * 366 * 10
"""The longest time in one question, ten years."""

_FILTERS: Final = ("tenant", "model", "provider", "key")
_MAX_HOUR: Final = 253_370_764_800 // 3_600  # the end of 9998: each month has a next one
_BUCKETS: Final = ("", "hour", "day", "month")


@dataclass(frozen=True, slots=True)
class UsageReports:
    """The service. ``now_ms`` is Unix milliseconds, ``published`` the log's newest checkpoint."""

    store: UsageStore
    directory: Directory
    published: Callable[[], Published]
    now_ms: Callable[[], int]

    async def query_usage(self, request: usage_pb2.QueryUsageRequest, call: Call) -> Reply:
        """One page of sums."""
        caller, size = call.caller, names.page_size(request.page_size)
        place = _place(request.page_token, len(set(request.group_by)))
        since, until = self._time(request) if place is None else place[:2]
        asked = _question(request, since, until, caller)
        found = await ask(lambda: self._sums(asked, None if place is None else place[2], size + 1))
        page, more = found[:size], len(found) > size
        token = ""
        if more:
            token = names.page_token(json.dumps([since, until, page[-1].hour, page[-1].group]))
        shown = [_usage(each, asked, request.bucket, caller) for each in page]
        return Reply(
            usage_pb2.QueryUsageResponse(usage=shown, next_page_token=token, currency=CURRENCY), FRESH
        )

    async def get_invoice(self, request: usage_pb2.GetInvoiceRequest, call: Call) -> Reply:
        """One month of one tenant."""
        tenant, month = _invoice_name(request.name)
        if not call.caller.owns(tenant):
            raise _missing()
        made = await ask(lambda: invoice(self.store, tenant, month))
        if not made.rows.count and self.directory.tenant(tenant) is None:
            raise _missing()
        now_hour = self.now_ms() // HOUR_MS
        return Reply(_invoice(made, self.published(), now_hour, call.caller), FRESH)

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {"QueryUsage": self.query_usage, "GetInvoice": self.get_invoice}

    def _sums(self, asked: Question, after: Place | None, limit: int) -> list[Sum]:
        with self.store.moment() as connection:
            return sums(connection, asked, after, limit)

    def _time(self, request: usage_pb2.QueryUsageRequest) -> tuple[int, int]:
        """The hours that are asked for. Raises ``InvalidFields``."""
        now = self.now_ms() // HOUR_MS
        since = request.start_time.seconds // 3_600 if request.HasField("start_time") else None
        end_s = request.end_time.seconds + bool(request.end_time.nanos)
        until = -(-end_s // 3_600) if request.HasField("end_time") else now + 1
        since = month_of(min(max(until - 1, 0), _MAX_HOUR - 1)).start_hour if since is None else since
        for name, hour in (("start_time", since), ("end_time", until)):
            if not 0 <= hour <= _MAX_HOUR:
                raise InvalidFields([(name, "expected a time since 1970")])
        if until <= since:
            raise InvalidFields([("end_time", "expected a time after start_time")])
        if until - since > MOST_HOURS:
            raise InvalidFields([("start_time", "expected at most ten years in one question")])
        return since, until


# -- the question --------------------------------------------------------------------------------------------------


def _question(request: usage_pb2.QueryUsageRequest, since: int, until: int, caller: Caller) -> Question:
    faults = [
        (f"group_by[{at}]", f"expected one of {', '.join(DIMENSIONS)}")
        for at, name in enumerate(request.group_by)
        if name not in DIMENSIONS
    ]
    if request.bucket not in _BUCKETS:
        faults.append(("bucket", "expected hour, day, month or nothing"))
    if faults:
        raise InvalidFields(faults)
    widths = {"hour": 1, "day": DAY_HOURS}
    buckets = widths.get(request.bucket) or (months(since, until) if request.bucket else (since,))
    where = [(name, value) for name in _FILTERS if (value := getattr(request, name))]
    if caller.tenant is not None:
        where.append(("tenant", caller.tenant.id))
    group_by = tuple(name for name in DIMENSIONS if name in request.group_by)
    return Question(since, until, buckets, group_by, tuple(where))


def _place(token: str, groups: int) -> tuple[int, int, Place] | None:
    """Times and place in a page token of a question with so many groups. Raises 400 ``invalid_page_token``."""
    text = names.after(token)
    if not text:
        return None
    try:
        since, until, hour, group = json.loads(text)
        if not all(isinstance(number, int) and 0 <= number <= _MAX_HOUR for number in (since, until, hour)):
            raise ValueError("not hours")
        if not since < until <= since + MOST_HOURS or not isinstance(group, list) or len(group) != groups:
            raise ValueError("not a place of this question")
        if not all(isinstance(value, str) for value in group):
            raise ValueError("not a group")
        return since, until, (hour, tuple(group))
    except (ValueError, TypeError, RecursionError):
        raise names.bad_token() from None


# -- the answer ----------------------------------------------------------------------------------------------------


def _usage(found: Sum, asked: Question, bucket: str, caller: Caller) -> usage_pb2.Usage:
    end = {
        "hour": lambda: found.hour + 1,
        "day": lambda: found.hour + DAY_HOURS,
        "month": lambda: month_of(found.hour).end_hour,
        "": lambda: asked.until_hour,
    }[bucket]()
    return usage_pb2.Usage(
        start_time=_time(max(found.hour, asked.since_hour)),
        end_time=_time(min(end, asked.until_hour)),
        amounts=amounts(found.totals, caller),
        price_sources=found.price_sources,
        **dict(zip(asked.group_by, found.group, strict=True)),
    )


def amounts(totals: Totals, caller: Caller) -> usage_pb2.Amounts:
    """Sums as the caller may see them."""
    return usage_pb2.Amounts(
        calls=totals.calls,
        prompt_tokens=totals.prompt_tokens,
        completion_tokens=totals.completion_tokens,
        cached_tokens=totals.cached_tokens,
        cache_write_tokens=totals.cache_write_tokens,
        reasoning_tokens=totals.reasoning_tokens,
        cost_nano_usd=totals.cost_nano if caller.is_admin else None,
        billed_nano_usd=totals.billed_nano,
    )


def _invoice(made: Invoice, published: Published, now_hour: int, caller: Caller) -> usage_pb2.Invoice:
    rows, month = made.rows, made.month
    shown = usage_pb2.Invoice(
        name=f"tenants/{made.tenant}/invoices/{month}",
        start_time=_time(month.start_hour),
        end_time=_time(month.end_hour),
        closed=now_hour >= month.end_hour,
        currency=CURRENCY,
        lines=[
            usage_pb2.InvoiceLine(
                amounts=amounts(line.totals, caller), **dict(zip(LINE_BY, line.of, strict=True))
            )
            for line in made.lines
        ],
        total=amounts(made.total, caller),
        margin_nano_usd=made.total.billed_nano - made.total.cost_nano if caller.is_admin else None,
        rows=usage_pb2.InvoiceRows(
            count=rows.count,
            first_index=rows.first if rows.count else None,
            last_index=rows.last if rows.count else None,
            root_hash=b64encode(rows.root).decode(),
        ),
    )
    checkpoint = published.checkpoint
    if checkpoint.size > rows.last:
        shown.checkpoint.CopyFrom(
            usage_pb2.InvoiceCheckpoint(
                size=checkpoint.size,
                root_hash=b64encode(checkpoint.root).decode(),
                note=published.note.decode(),
            )
        )
    return shown


def _invoice_name(name: str) -> tuple[str, Any]:
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "tenants" or parts[2] != "invoices" or not parts[1]:
        raise CallerError(400, "expected tenants/{tenant}/invoices/{month}", code="invalid_name")
    return parts[1], parse_month(parts[3])


def _missing() -> CallerError:
    return CallerError(404, "there is no such invoice", code="invoice_not_found")


def _time(hour: int) -> timestamp_pb2.Timestamp:
    time = timestamp_pb2.Timestamp()
    time.FromDatetime(datetime.fromtimestamp(hour * 3_600, UTC))
    return time

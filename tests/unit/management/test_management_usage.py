"""Usage and invoices: what is summed, who sees whose and what of it, and what is refused."""

from __future__ import annotations

import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import timestamp_pb2
from management_world import World, run

from sovereign_ext.management.names import page_token
from sovereign_ext.tlog.service import EntryDraft

sys.path.insert(0, str(Path(__file__).parents[1] / "metering"))

from metering_world import NOVEMBER_MS, predicate, statement

from sovereign_ext.metering.rows import usage_row

pytestmark = pytest.mark.services

HOUR_MS = 3_600_000
BILLED, COST = 1_980_000, 1_800_000


def at(ms: int) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=ms // 1_000)


async def call(world: World, **changes: Any) -> None:
    """One call, written down."""
    said = predicate(**changes)
    draft = EntryDraft(
        "outcome", said["tenant"], said["decision_id"], statement(said), b"{}", usage_row(said)
    )
    placed = await world.log.append(draft)
    await world.log.receipt(placed.index, None, 20)


async def november(world: World) -> None:
    """Four calls of acme's and one of globex's; two hours, a day later, a month later."""
    world.now = (NOVEMBER_MS + 40 * 24 * HOUR_MS) / 1_000
    for tenant, hours, more in (
        ("acme", 0, {}),
        ("acme", 1, {"key": "other", "model": "org/large"}),
        ("acme", 25, {"result": "denied", "provider": None, "cost_nano_usd": None, "billed_nano_usd": None}),
        ("acme", 30 * 24 + 1, {}),
        ("globex", 0, {"price_source": "genai-prices 0.2.3"}),
    ):
        await call(world, tenant=tenant, started_ms=NOVEMBER_MS + hours * HOUR_MS, **more)


WHOLE = {"start_time": at(NOVEMBER_MS), "end_time": at(NOVEMBER_MS + 60 * 24 * HOUR_MS)}


def test_sums_by_time_and_dimension(tmp_path: Path) -> None:
    """Buckets of the calendar, groups with their values, and all of it together."""

    async def scenario(world: World) -> None:
        await november(world)

        async def ask(**fields: Any) -> list[tuple[Any, ...]]:
            answer = await world.call("UsageService.QueryUsage", key="admin", **{**WHOLE, **fields})
            assert answer.code is grpc.StatusCode.OK
            assert (answer.message.currency, answer.headers) == (
                "USD",
                {"cache-control": "private, no-store"},
            )
            return [
                (
                    (each.start_time.seconds * 1_000 - NOVEMBER_MS) // HOUR_MS,
                    (each.end_time.seconds * 1_000 - NOVEMBER_MS) // HOUR_MS,
                    each.tenant,
                    each.amounts.calls,
                    each.amounts.billed_nano_usd,
                    each.amounts.cost_nano_usd,
                )
                for each in answer.message.usage
            ]

        assert await ask() == [(0, 1440, "", 5, 4 * BILLED, 4 * COST)]
        assert await ask(bucket="hour", tenant="acme") == [
            (0, 1, "", 1, BILLED, COST),
            (1, 2, "", 1, BILLED, COST),
            (25, 26, "", 1, 0, 0),
            (721, 722, "", 1, BILLED, COST),
        ]
        assert await ask(bucket="day", group_by=["tenant"]) == [
            (0, 24, "acme", 2, 2 * BILLED, 2 * COST),
            (0, 24, "globex", 1, BILLED, COST),
            (24, 48, "acme", 1, 0, 0),
            (720, 744, "acme", 1, BILLED, COST),
        ]
        assert [each[:4] for each in await ask(bucket="month")] == [(0, 720, "", 4), (720, 1440, "", 1)]
        assert await ask(model="org/large", provider="alpha") == [(0, 1440, "", 1, BILLED, COST)]
        assert await ask(tenant="nobody") == []
        # Parts of hours are whole ones, parts of buckets are what was asked for.
        part = {
            "start_time": at(NOVEMBER_MS + HOUR_MS + 5_000),
            "end_time": at(NOVEMBER_MS + 25 * HOUR_MS + 1_000),
        }
        assert [each[:4] for each in await ask(bucket="day", **part)] == [(1, 24, "", 1), (24, 26, "", 1)]

    run(tmp_path, scenario)


def test_the_end_is_rounded_up_to_the_hour(tmp_path: Path) -> None:
    """Also where it is less than a second behind one."""

    async def scenario(world: World) -> None:
        await november(world)
        start, end = timestamp_pb2.Timestamp(), timestamp_pb2.Timestamp(nanos=1)
        start.FromMilliseconds(NOVEMBER_MS)
        end.seconds = start.seconds + 3_600
        answer = await world.call("UsageService.QueryUsage", key="admin", start_time=start, end_time=end)
        assert answer.message.usage[0].end_time.seconds == start.seconds + 7_200

    run(tmp_path, scenario)


def test_groups_are_named_and_say_who_priced_them(tmp_path: Path) -> None:
    """What is not grouped by is absent; a refused call has no model, and nothing that answered."""

    async def scenario(world: World) -> None:
        await november(world)
        answer = await world.call(
            "UsageService.QueryUsage", key="admin", group_by=["provider", "model"], **WHOLE
        )
        found = [(each.model, each.provider, each.amounts.calls) for each in answer.message.usage]
        assert found == [("", "", 1), ("org/large", "alpha", 1), ("org/small", "alpha", 3)]
        assert list(answer.message.usage[2].price_sources) == ["configured", "genai-prices 0.2.3"]
        assert list(answer.message.usage[0].price_sources) == ["configured"]
        assert not answer.message.usage[0].HasField("tenant")
        assert answer.message.usage[0].HasField("provider")

    run(tmp_path, scenario)


def test_pages_are_the_whole(tmp_path: Path) -> None:
    """Page by page in the same order, also when the clock goes on between them."""

    async def scenario(world: World) -> None:
        await november(world)
        asked = {"bucket": "hour", "group_by": ["tenant", "key"], "start_time": WHOLE["start_time"]}
        whole = await world.call("UsageService.QueryUsage", key="admin", **asked)
        found: list[Any] = []
        token = ""
        while True:
            page = await world.call(
                "UsageService.QueryUsage", key="admin", page_size=2, page_token=token, **asked
            )
            assert len(page.message.usage) <= 2
            found += page.message.usage
            token = page.message.next_page_token
            world.now += 7_200
            if not token:
                break
        assert found == list(whole.message.usage)
        assert len(found) == 5

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"bucket": "week"}, "invalid_field"),
        ({"group_by": ["secret"]}, "invalid_field"),
        ({"start_time": at(5), "end_time": at(5)}, "invalid_field"),
        ({"start_time": timestamp_pb2.Timestamp(seconds=-5)}, "invalid_field"),
        ({"start_time": at(0), "end_time": timestamp_pb2.Timestamp(seconds=1 << 62)}, "invalid_field"),
        ({"start_time": at(0)}, "invalid_field"),  # more than ten years
        ({"end_time": timestamp_pb2.Timestamp(seconds=253_402_300_799), "bucket": "month"}, "invalid_field"),
        ({"page_size": -1}, "invalid_page_size"),
        ({"page_token": "x"}, "invalid_page_token"),
        ({"page_token": "YWZ0ZXI6WzEsMl0"}, "invalid_page_token"),
        ({"page_token": "YWZ0ZXI6WzEsIDIsIDMsIFs0XV0"}, "invalid_page_token"),
        ({"page_token": page_token('[1, 2, 1, ["acme"]]')}, "invalid_page_token"),  # of another question
        ({"page_token": page_token("[1, 2, 1, []]"), "group_by": ["key"]}, "invalid_page_token"),
        ({"page_token": page_token('[1, 2, 1, "k"]'), "group_by": ["key"]}, "invalid_page_token"),
    ],
)
def test_questions_that_make_no_sense(tmp_path: Path, fields: dict[str, Any], code: str) -> None:
    """400 with what is wrong."""

    async def scenario(world: World) -> None:
        answer = await world.call("UsageService.QueryUsage", key="admin", **fields)
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert code.upper() in str(answer.status).upper()

    run(tmp_path, scenario)


@pytest.mark.parametrize("key", ["acme", "acme-admin", "acme-auditor"])
def test_whoever_is_bound_to_a_tenant_sees_that_ones(tmp_path: Path, key: str) -> None:
    """Not what others used, whatever the filter, and not what providers charge."""

    async def scenario(world: World) -> None:
        await november(world)
        for fields in ({}, {"tenant": "acme"}):
            answer = await world.call(
                "UsageService.QueryUsage", key=key, group_by=["tenant"], **WHOLE, **fields
            )
            assert [(each.tenant, each.amounts.calls) for each in answer.message.usage] == [("acme", 4)]
            assert not answer.message.usage[0].amounts.HasField("cost_nano_usd")
        foreign = await world.call("UsageService.QueryUsage", key=key, tenant="globex", **WHOLE)
        missing = await world.call("UsageService.QueryUsage", key=key, tenant="nobody", **WHOLE)
        assert foreign == missing
        assert not foreign.message.usage

    run(tmp_path, scenario)


def test_an_auditor_of_all_sees_all_but_the_cost(tmp_path: Path) -> None:
    """Also of every tenant's invoice."""

    async def scenario(world: World) -> None:
        await november(world)
        answer = await world.call("UsageService.QueryUsage", key="auditor", group_by=["tenant"], **WHOLE)
        assert [each.tenant for each in answer.message.usage] == ["acme", "globex"]
        assert not answer.message.usage[0].amounts.HasField("cost_nano_usd")
        made = await world.call(
            "UsageService.GetInvoice", key="auditor", name="tenants/globex/invoices/2026-11"
        )
        assert made.message.total.billed_nano_usd == BILLED
        assert not made.message.HasField("margin_nano_usd")

    run(tmp_path, scenario)


def test_an_invoice_is_the_month(tmp_path: Path) -> None:
    """Lines, totals, margin and the entries behind them, under the newest checkpoint."""

    async def scenario(world: World) -> None:
        await november(world)
        answer = await world.call(
            "UsageService.GetInvoice", key="admin", name="tenants/acme/invoices/2026-11"
        )
        made = answer.message
        assert (made.name, made.closed, made.currency) == ("tenants/acme/invoices/2026-11", True, "USD")
        lines = [(line.key, line.model, line.margin_percent, line.amounts.calls) for line in made.lines]
        assert lines == [("ci", "", "10", 1), ("ci", "org/small", "10", 1), ("other", "org/large", "10", 1)]
        assert (made.total.calls, made.total.billed_nano_usd) == (3, 2 * BILLED)
        assert made.margin_nano_usd == 2 * (BILLED - COST)
        assert (made.rows.count, made.rows.first_index, made.rows.last_index) == (3, 0, 2)
        published = world.log.published()
        assert (made.checkpoint.size, made.checkpoint.note) == (5, published.note.decode())
        assert b64decode(made.checkpoint.root_hash) == published.checkpoint.root
        open_ = await world.call("UsageService.GetInvoice", key="admin", name="tenants/acme/invoices/2026-12")
        assert (open_.message.closed, open_.message.total.calls) == (False, 1)

    run(tmp_path, scenario)


def test_invoices_that_are_not_there(tmp_path: Path) -> None:
    """A foreign tenant's and that of none are told apart by nothing; names that are none are 400."""

    async def scenario(world: World) -> None:
        await november(world)
        foreign = await world.call(
            "UsageService.GetInvoice", key="acme-admin", name="tenants/globex/invoices/2026-11"
        )
        missing = await world.call(
            "UsageService.GetInvoice", key="acme-admin", name="tenants/nobody/invoices/2026-11"
        )
        gone = await world.call(
            "UsageService.GetInvoice", key="admin", name="tenants/nobody/invoices/2026-11"
        )
        assert foreign == missing == gone
        assert foreign.code is grpc.StatusCode.NOT_FOUND
        empty = await world.call("UsageService.GetInvoice", key="admin", name="tenants/acme/invoices/2020-01")
        assert (empty.code, empty.message.rows.count) == (grpc.StatusCode.OK, 0)
        for name in (
            "tenants/acme",
            "tenants/acme/invoices/2026-13",
            "tenants/acme/invoices/x",
            "",
            "a/b/c/d",
        ):
            answer = await world.call("UsageService.GetInvoice", key="admin", name=name)
            assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        program = await world.call(
            "UsageService.GetInvoice", key="acme", name="tenants/acme/invoices/2026-11"
        )
        assert program.code is grpc.StatusCode.PERMISSION_DENIED

    run(tmp_path, scenario)


def test_a_tenant_that_was_deleted_still_has_its_invoices(tmp_path: Path) -> None:
    """For whoever sees all."""

    async def scenario(world: World) -> None:
        await november(world)
        await call(world, tenant="departed")
        answer = await world.call(
            "UsageService.GetInvoice", key="admin", name="tenants/departed/invoices/2026-11"
        )
        assert answer.message.total.calls == 1

    run(tmp_path, scenario)


def test_a_database_that_does_not_answer_is_503(tmp_path: Path) -> None:
    """UNAVAILABLE, and never an empty report."""

    async def scenario(world: World) -> None:
        with world.log.usage._engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE usage_hours RENAME TO elsewhere")
        for method, fields in (
            ("UsageService.QueryUsage", {}),
            ("UsageService.GetInvoice", {"name": "tenants/acme/invoices/2026-11"}),
        ):
            answer = await world.call(method, key="admin", **fields)
            assert answer.code is grpc.StatusCode.UNAVAILABLE

    run(tmp_path, scenario)

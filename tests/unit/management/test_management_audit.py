"""Audit rows as a service: who sees which, pages, exports that end early, and filters that are refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2
from google.protobuf.json_format import MessageToDict
from management_world import KEYS, World, run

from sovereign_ext._gen.sovereign.management.v1 import audit_pb2
from sovereign_ext.metering import audit as rows_of
from sovereign_ext.tlog.service import EntryDraft

sys.path.insert(0, str(Path(__file__).parents[1] / "metering"))

from metering_world import predicate, statement

pytestmark = pytest.mark.services


async def fill(world: World, *tenants: str, **changes: Any) -> None:
    """One entry for each."""
    for tenant in tenants:
        said = predicate(tenant=tenant, **changes)
        draft = EntryDraft("outcome", tenant, said["decision_id"], statement(said), b'{"secret":"opening"}')
        placed = await world.log.append(draft)
        await world.log.receipt(placed.index, None, 20)


async def export(world: World, key: str, **fields: Any) -> tuple[grpc.StatusCode, list[bytes], str]:
    """The status, the pieces and the details of an export."""
    assert world.channel is not None
    call = world.channel.unary_stream("/sovereign.management.v1.AuditService/ExportAuditRows")(
        audit_pb2.ExportAuditRowsRequest(**fields).SerializeToString(),
        metadata=(("authorization", f"Bearer {KEYS[key]}"),),
        timeout=30,
    )
    pieces: list[bytes] = []
    try:
        async for data in call:
            body = httpbody_pb2.HttpBody.FromString(data)
            assert body.content_type == "application/jsonl"
            pieces.append(body.data)
    except grpc.aio.AioRpcError as error:
        return error.code(), pieces, error.details() or ""
    return grpc.StatusCode.OK, pieces, ""


@pytest.mark.parametrize(
    ("key", "seen"),
    [("admin", [3, 2, 1, 0]), ("auditor", [3, 2, 1, 0]), ("acme-admin", [2, 0]), ("acme-auditor", [2, 0])],
)
def test_everybody_sees_the_rows_of_their_scope(tmp_path: Path, key: str, seen: list[int]) -> None:
    """In lists, one by one and in exports; what is outside is as if it were not there."""

    async def scenario(world: World) -> None:
        await fill(world, "acme", "globex", "acme", "globex")
        for text in ("", "kind = outcome"):
            answer = await world.call("AuditService.ListAuditRows", key=key, filter=text)
            assert [row.index for row in answer.message.audit_rows] == seen
        code, pieces, _ = await export(world, key)
        assert code is grpc.StatusCode.OK
        assert [json.loads(line)["index"] for line in b"".join(pieces).splitlines()] == [
            str(at) for at in seen[::-1]
        ]
        filtered = await world.call("AuditService.ListAuditRows", key=key, filter="tenant = globex")
        assert [row.index for row in filtered.message.audit_rows] == [at for at in seen if at % 2]
        missing = await world.call("AuditService.GetAuditRow", key=key, name="auditRows/99")
        assert missing.code is grpc.StatusCode.NOT_FOUND
        for at in range(4):
            one = await world.call("AuditService.GetAuditRow", key=key, name=f"auditRows/{at}")
            assert one.message.index == at if at in seen else one == missing

    run(tmp_path, scenario)


def test_a_row_and_its_line_say_the_same(tmp_path: Path) -> None:
    """The list's row, the single one and the export's line, and none of them opens a commitment."""

    async def scenario(world: World) -> None:
        await fill(world, "acme", "acme", error_code="x", status=1 << 40)
        one = await world.call("AuditService.GetAuditRow", key="admin", name="auditRows/1")
        listed = await world.call("AuditService.ListAuditRows", key="admin")
        _, pieces, _ = await export(world, "admin", filter="index = 1")
        shown = MessageToDict(one.message, preserving_proto_field_name=True)
        assert MessageToDict(listed.message.audit_rows[0], preserving_proto_field_name=True) == shown
        assert json.loads(b"".join(pieces)) == shown
        assert shown["predicate"]["status"] == 1 << 40
        assert shown["receipt"] == "receipts/1"
        _, full, _ = await export(world, "admin", full=True, filter="index = 1")
        assert json.loads(b"".join(full)).keys() - shown.keys() == {"envelope", "body"}
        assert b"opening" not in b"".join([*pieces, *full])
        assert (one.headers, listed.headers) == ({"cache-control": "private, no-store"},) * 2

    run(tmp_path, scenario)


def test_pages(tmp_path: Path) -> None:
    """In both orders; rows that come meanwhile neither repeat nor shift what is read."""

    async def scenario(world: World) -> None:
        await fill(world, *["acme"] * 5)
        for order, expected in (("index desc", [4, 3, 2, 1, 0]), ("index", [0, 1, 2, 3, 4]), ("", None)):
            found: list[int] = []
            token = ""
            while True:
                page = await world.call(
                    "AuditService.ListAuditRows", key="admin", page_size=2, order_by=order, page_token=token,
                    filter="index < 5",
                )  # fmt: skip
                found += [row.index for row in page.message.audit_rows]
                token = page.message.next_page_token
                if not token:
                    break
                await fill(world, "acme")
            assert found == (expected or [4, 3, 2, 1, 0])

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"filter": "secret = 1"}, "invalid_filter"),
        ({"order_by": "time"}, "invalid_order_by"),
        ({"page_size": -1}, "invalid_page_size"),
        ({"page_token": "x"}, "invalid_page_token"),
        ({"page_token": "YWZ0ZXI6eA"}, "invalid_page_token"),
    ],
)
def test_questions_that_make_no_sense(tmp_path: Path, fields: dict[str, Any], code: str) -> None:
    """400 with what is wrong, also of an export before it begins."""

    async def scenario(world: World) -> None:
        answer = await world.call("AuditService.ListAuditRows", key="admin", **fields)
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert code.upper() in str(answer.status).upper()
        shared = {name: value for name, value in fields.items() if name in ("filter", "order_by")}
        if shared:
            exported = await export(world, "admin", **shared)
            assert exported[:2] == (grpc.StatusCode.INVALID_ARGUMENT, [])
        for name in (
            "auditRows/x",
            "auditRows/01",
            "auditRows/-1",
            "receipts/1",
            "auditRows/99999999999999999999",
        ):
            one = await world.call("AuditService.GetAuditRow", key="admin", name=name)
            assert one.code is grpc.StatusCode.INVALID_ARGUMENT

    run(tmp_path, scenario)


def test_programs_have_no_audit_rows(tmp_path: Path) -> None:
    """Keys of the model API read receipts."""

    async def scenario(world: World) -> None:
        for method in ("ListAuditRows", "GetAuditRow"):
            answer = await world.call(f"AuditService.{method}", key="acme")
            assert answer.code is grpc.StatusCode.PERMISSION_DENIED
        code, pieces, _ = await export(world, "acme")
        assert (code, pieces) == (grpc.StatusCode.PERMISSION_DENIED, [])

    run(tmp_path, scenario)


def test_an_empty_export_is_one(tmp_path: Path) -> None:
    """No rows, no line, no error."""

    async def scenario(world: World) -> None:
        assert await export(world, "admin") == (grpc.StatusCode.OK, [b""], "")

    run(tmp_path, scenario)


def test_an_export_that_cannot_go_on_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line is an error and nothing else; one that could not begin is UNAVAILABLE."""
    monkeypatch.setattr(rows_of, "AT_ONCE", 2)

    async def scenario(world: World) -> None:
        await fill(world, *["acme"] * 6)
        read = world.log.audit.read
        reads = 0

        def failing(*arguments: Any, **named: Any) -> Any:
            nonlocal reads
            reads += 1
            if reads == 2:
                with world.log.audit._engine.begin() as connection:
                    connection.exec_driver_sql("SELECT * FROM nothing")
            return read(*arguments, **named)

        monkeypatch.setattr(type(world.log.audit), "read", lambda _, *a, **n: failing(*a, **n))
        code, pieces, _ = await export(world, "admin")
        lines = [json.loads(line) for line in b"".join(pieces).splitlines()]
        assert code is grpc.StatusCode.OK
        assert [line.get("index") for line in lines] == ["0", "1", None]
        assert lines[2]["error"]["code"] == "storage_unavailable"
        reads = 1
        code, pieces, _ = await export(world, "admin")
        assert (code, pieces) == (grpc.StatusCode.UNAVAILABLE, [])

    run(tmp_path, scenario)

"""The standard methods on the worked example, tenants: what they answer, and what they leave in database and log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from management_world import World, run
from pydantic import BaseModel

from sovereign_ext._gen.sovereign.management.v1 import tenants_pb2
from sovereign_ext.attest import dsse
from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.model import Tenant
from sovereign_ext.errors import InvalidFields
from sovereign_ext.management.kinds import Kind

pytestmark = pytest.mark.services

OK = grpc.StatusCode.OK
NOT_FOUND = grpc.StatusCode.NOT_FOUND
DENIED = grpc.StatusCode.PERMISSION_DENIED


def tenant(**fields: Any) -> tenants_pb2.Tenant:
    return tenants_pb2.Tenant(**{"policies": ["any"], "default_policy": "any", **fields})


async def create(world: World, name: str = "initech", key: str = "admin", **options: Any) -> Any:
    fields = {"tenant": tenant(), **options}
    return await world.call("TenantService.CreateTenant", key=key, tenant_id=name, **fields)


async def get(world: World, name: str = "initech", key: str = "admin") -> Any:
    return await world.call("TenantService.GetTenant", key=key, name=f"tenants/{name}")


async def update(world: World, mask: list[str] | None = None, key: str = "admin", **options: Any) -> Any:
    fields = {} if mask is None else {"update_mask": FieldMask(paths=mask)}
    return await world.call("TenantService.UpdateTenant", key=key, **fields, **options)


def reason(answer: Any) -> str:
    info = error_details_pb2.ErrorInfo()
    assert answer.status.details[0].Unpack(info)
    return info.reason


def faults(answer: Any) -> Mapping[str, str]:
    detail = error_details_pb2.BadRequest()
    assert answer.status.details[1].Unpack(detail)
    return {fault.field: fault.description for fault in detail.field_violations}


async def change_entry(world: World, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Statement and predicate of a change."""
    receipt = await world.log.receipt(index, None, 20)
    envelope = dsse.parse(json.dumps(receipt["bundle"]["dsseEnvelope"]).encode())
    statement = json.loads(envelope.payload)
    assert statement["predicateType"] == "urn:sovereign:change:v1"
    return statement, statement["predicate"]


def test_create_makes_the_row_and_its_entry(tmp_path: Path) -> None:
    """The etag is the entry's index; the entry says who, what, why, and the digest of what is shown."""

    async def scenario(world: World) -> None:
        limits = [tenants_pb2.RateLimit(per="minute", requests=60, tokens_in=10_000)]
        caps = [tenants_pb2.SpendCap(usd="12.50")]
        asked = tenant(limits=limits, spend_caps=caps, margin_percent="12.5")
        made = await create(world, tenant=asked, why="ticket 7")
        assert made.code is OK, made.text
        shown = made.message
        assert (shown.name, shown.declared) == ("tenants/initech", False)
        assert [(limit.per, limit.requests, limit.tokens_in) for limit in shown.limits] == [
            ("minute", 60, 10_000)
        ]
        assert not shown.limits[0].HasField("concurrent")
        assert [(cap.usd, cap.per) for cap in shown.spend_caps] == [("12.50", "month")]
        assert shown.margin_percent == "12.5"
        assert (await get(world)).message == shown
        row = world.log.resources.get("tenants/initech")
        assert row is not None
        assert (row.kind, row.tenant, str(row.revision)) == ("tenant", "initech", shown.etag)
        assert (
            Tenant.model_validate_json(row.document).margin_percent
            == Tenant.model_validate(
                {"id": "x", "policies": ["any"], "default_policy": "any", "margin_percent": "12.5"}
            ).margin_percent
        )
        statement, change = await change_entry(world, row.revision)
        document = {name: value for name, value in json.loads(row.document).items() if name != "keys"}
        digest = sha256(canonical_json(document)).hexdigest()
        assert statement["subject"] == [{"name": "tenants/initech", "digest": {"sha256": digest}}]
        assert change == {
            "change_id": change["change_id"],
            "actor": {"subject": "operators/ops", "key": "admin"},
            "role": "admin",
            "method": "sovereign.management.v1.TenantService.CreateTenant",
            "resource": "tenants/initech",
            "tenant": "initech",
            "after": f"sha256:{digest}",
            "changed_ms": row.created_ms,
            "reason": "ticket 7",
        }

    run(tmp_path, scenario)


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    """Neither a tenant of the database nor one of the file; nothing is written."""

    async def scenario(world: World) -> None:
        await create(world)
        for name in ("initech", "acme"):
            before = world.log.status().size
            answer = await create(world, name)
            assert (answer.code, reason(answer)) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
            assert world.log.status().size == before

    run(tmp_path, scenario)


def test_every_fault_is_named_by_its_field(tmp_path: Path) -> None:
    """All of them at once, with the path a client used, and no value that could be a secret."""

    async def scenario(world: World) -> None:
        limits = [tenants_pb2.RateLimit(per="fortnight", requests=1), tenants_pb2.RateLimit(requests=1)]
        answer = await create(
            world, "Not An Id", tenant=tenants_pb2.Tenant(default_policy="sk-secret", limits=limits)
        )
        assert (answer.code, reason(answer)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        found = faults(answer)
        assert set(found) == {"tenant_id", "tenant.policies", "tenant.limits[0].per", "tenant.limits[1]"}
        assert "an id: lower-case" in found["tenant_id"]
        assert "sk-secret" not in str(answer.status)

    run(tmp_path, scenario)


def test_policies_must_exist(tmp_path: Path) -> None:
    """A reference to nothing is a fault of its field."""

    async def scenario(world: World) -> None:
        answer = await create(world, tenant=tenant(policies=["any", "nope"]))
        assert faults(answer) == {"tenant.policies[1]": "there is no policy 'nope'"}

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("mask", "given", "expected"),
    [
        (["margin_percent"], {"margin_percent": "3", "identities": ["spiffe://a/b"]}, ("3", [], 1)),
        (None, {"margin_percent": "3"}, ("3", [], 1)),
        (["limits"], {}, ("5", [], 0)),
        (["*"], {"policies": ["any"], "default_policy": "any"}, ("0", [], 0)),
        (["identities", "create_time", "name"], {"identities": ["spiffe://a/b"]}, ("5", ["spiffe://a/b"], 1)),
    ],
)
def test_masks(
    tmp_path: Path, mask: list[str] | None, given: dict[str, Any], expected: tuple[str, list[str], int]
) -> None:
    """AIP-134: what the mask names is replaced, also by nothing; without one what is given; ``*`` everything."""

    async def scenario(world: World) -> None:
        limits = [tenants_pb2.RateLimit(concurrent=3)]
        await create(world, tenant=tenant(margin_percent="5", limits=limits))
        answer = await update(world, mask, tenant=tenants_pb2.Tenant(name="tenants/initech", **given))
        assert answer.code is OK, answer.text
        shown = answer.message
        assert (shown.margin_percent, list(shown.identities), len(shown.limits)) == expected
        assert (await get(world)).message == shown

    run(tmp_path, scenario)


@pytest.mark.parametrize("mask", [["nope"], ["limits.per"], ["policies", "*"], [""]])
def test_unknown_paths_are_refused(tmp_path: Path, mask: list[str]) -> None:
    """A misspelt path must not look like success."""

    async def scenario(world: World) -> None:
        await create(world)
        answer = await update(world, mask, tenant=tenants_pb2.Tenant(name="tenants/initech"))
        assert (answer.code, reason(answer)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_UPDATE_MASK")

    run(tmp_path, scenario)


def test_an_etag_of_before_is_refused(tmp_path: Path) -> None:
    """AIP-154: ABORTED, for updates and deletions; without one the last writer wins."""

    async def scenario(world: World) -> None:
        etag = (await create(world)).message.etag
        named = tenants_pb2.Tenant(name="tenants/initech", margin_percent="1", etag=etag)
        second = await update(world, tenant=named)
        assert second.code is OK
        assert int(second.message.etag) > int(etag)
        for stale in (
            await update(
                world, tenant=tenants_pb2.Tenant(name="tenants/initech", margin_percent="2", etag=etag)
            ),
            await world.call("TenantService.DeleteTenant", key="admin", name="tenants/initech", etag=etag),
        ):
            assert (stale.code, reason(stale)) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        assert (await get(world)).message == second.message

    run(tmp_path, scenario)


def test_an_update_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    """Applying the same document again is no change, and there is no entry that says so."""

    async def scenario(world: World) -> None:
        made = (await create(world)).message
        size = world.log.status().size
        again = await update(world, ["*"], tenant=tenant(name="tenants/initech"))
        assert again.message == made
        assert world.log.status().size == size

    run(tmp_path, scenario)


def test_the_entry_of_an_update_joins_two_digests(tmp_path: Path) -> None:
    """``before`` is what the entry before called ``after``: a chain that a reader can follow."""

    async def scenario(world: World) -> None:
        first = (await create(world)).message
        second = (await update(world, tenant=tenants_pb2.Tenant(name=first.name, margin_percent="1"))).message
        gone = await world.call("TenantService.DeleteTenant", key="admin", name=first.name)
        assert gone.code is OK
        changes = [
            (await change_entry(world, index))[1]
            for index in (int(first.etag), int(second.etag), int(second.etag) + 1)
        ]
        assert [change["method"].rsplit(".", 1)[1] for change in changes] == [
            "CreateTenant",
            "UpdateTenant",
            "DeleteTenant",
        ]
        assert "before" not in changes[0]
        assert changes[1]["before"] == changes[0]["after"]
        assert changes[2]["before"] == changes[1]["after"]
        assert "after" not in changes[2]

    run(tmp_path, scenario)


def test_what_the_file_declares_is_shown_and_not_changed(tmp_path: Path) -> None:
    """409 with a word on where to change it."""

    async def scenario(world: World) -> None:
        shown = (await get(world, "acme")).message
        assert (shown.declared, shown.etag, list(shown.policies)) == (True, "", ["alpha-only", "beta-only"])
        assert not shown.HasField("create_time")
        for answer in (
            await update(world, tenant=tenants_pb2.Tenant(name="tenants/acme", margin_percent="1")),
            await world.call("TenantService.DeleteTenant", key="admin", name="tenants/acme"),
        ):
            assert (answer.code, reason(answer)) == (grpc.StatusCode.ABORTED, "DECLARED_IN_FILE")
        assert world.log.status().size == 0

    run(tmp_path, scenario)


def test_validate_only_checks_and_writes_nothing(tmp_path: Path) -> None:
    """The same answers, faults too, and no entry."""

    async def scenario(world: World) -> None:
        made = await create(world, validate_only=True)
        assert (made.code, made.message.name, made.message.etag) == (OK, "tenants/initech", "")
        assert (await create(world, tenant=tenant(policies=["nope"]), validate_only=True)).code is not OK
        assert (await get(world)).code is NOT_FOUND
        await create(world)
        size = world.log.status().size
        named = tenants_pb2.Tenant(name="tenants/initech", margin_percent="1")
        assert (await update(world, tenant=named, validate_only=True)).message.margin_percent == "1"
        deleted = await world.call(
            "TenantService.DeleteTenant", key="admin", name="tenants/initech", validate_only=True
        )
        assert deleted.code is OK
        assert (await get(world)).message.margin_percent == "0"
        assert world.log.status().size == size

    run(tmp_path, scenario)


def test_allow_missing(tmp_path: Path) -> None:
    """An update makes what is not there, a deletion of nothing is none."""

    async def scenario(world: World) -> None:
        named = tenant(name="tenants/initech")
        assert (await update(world, tenant=named)).code is NOT_FOUND
        made = await update(world, tenant=named, allow_missing=True)
        assert made.code is OK
        assert (await get(world)).message == made.message
        for allow, code in ((False, NOT_FOUND), (True, OK)):
            answer = await world.call(
                "TenantService.DeleteTenant", key="admin", name="tenants/none", allow_missing=allow
            )
            assert answer.code is code

    run(tmp_path, scenario)


def test_what_is_gone_is_of_no_revision(tmp_path: Path) -> None:
    """Whoever names one means the tenant that was there: it is not made anew."""

    async def scenario(world: World) -> None:
        made = (await create(world)).message
        await world.call("TenantService.DeleteTenant", key="admin", name=made.name)
        answer = await update(world, tenant=made, allow_missing=True)
        assert (answer.code, reason(answer)) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        assert (await get(world)).code is grpc.StatusCode.NOT_FOUND

    run(tmp_path, scenario)


def test_pages_are_in_the_order_of_names_and_complete(tmp_path: Path) -> None:
    """Tenants of the file and of the database in one sequence; what comes and goes repeats and skips no other."""

    async def scenario(world: World) -> None:
        for name in ("zeta", "beta", "b-2", "aardvark"):
            assert (await create(world, name)).code is OK
        seen, token = [], ""
        while True:
            page = (
                await world.call("TenantService.ListTenants", key="admin", page_size=2, page_token=token)
            ).message
            assert len(page.tenants) <= 2
            seen += [each.name.removeprefix("tenants/") for each in page.tenants]
            if not (token := page.next_page_token):
                break
            await create(world, f"a-{len(seen)}")
        assert seen == ["aardvark", "acme", "b-2", "beta", "globex", "zeta"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("key", ["acme", "acme-admin", "acme-auditor"])
def test_whoever_is_bound_to_a_tenant_sees_no_other(tmp_path: Path, key: str) -> None:
    """Another's tenant and none at all: the same words. The list has one element."""

    async def scenario(world: World) -> None:
        await create(world)
        assert (await get(world, "acme", key)).message.name == "tenants/acme"
        answers = [await get(world, name, key) for name in ("globex", "initech", "nothing")]
        assert {(answer.code, answer.text, answer.status.SerializeToString()) for answer in answers} == {
            (NOT_FOUND, "there is no such tenant", answers[0].status.SerializeToString())
        }
        page = (await world.call("TenantService.ListTenants", key=key)).message
        assert ([each.name for each in page.tenants], page.next_page_token) == (["tenants/acme"], "")

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("acme", "ADMIN_KEY_REQUIRED"),
        ("acme-admin", "PERMISSION_DENIED"),
        ("auditor", "PERMISSION_DENIED"),
        ("stray-admin", "PERMISSION_DENIED"),
    ],
)
def test_only_admins_write(tmp_path: Path, key: str, said: str) -> None:
    """403 before anything is looked at, so that it says nothing of what is there."""

    async def scenario(world: World) -> None:
        for answer in (
            await create(world, key=key),
            await update(world, key=key, tenant=tenants_pb2.Tenant(name="tenants/acme")),
            await update(world, key=key, tenant=tenants_pb2.Tenant(name="tenants/nothing")),
            await world.call("TenantService.DeleteTenant", key=key, name="tenants/acme"),
        ):
            assert (answer.code, reason(answer)) == (DENIED, said)
        assert world.log.status().size == 0

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "name", ["", "acme", "tenants/", "tenants/a/b", "tenants/a\x00b", "tenants/" + "x" * 500]
)
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    """400, whatever the database would make of it."""

    async def scenario(world: World) -> None:
        answer = await world.call("TenantService.GetTenant", key="admin", name=name)
        assert (answer.code, reason(answer)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_NAME")

    run(tmp_path, scenario)


def test_deleted_is_gone_and_may_come_again(tmp_path: Path) -> None:
    """A deletion leaves no trace in the API; the tombstone is for those who follow the feed."""

    async def scenario(world: World) -> None:
        await create(world)
        await world.call("TenantService.DeleteTenant", key="admin", name="tenants/initech")
        assert (await get(world)).code is NOT_FOUND
        page = (await world.call("TenantService.ListTenants", key="admin")).message
        assert [each.name for each in page.tenants] == ["tenants/acme", "tenants/globex"]
        assert (await create(world)).code is OK

    run(tmp_path, scenario)


def test_a_reason_has_a_bound(tmp_path: Path) -> None:
    """What goes into an entry for ever is not a place for files."""

    async def scenario(world: World) -> None:
        answer = await create(world, why="x" * 501)
        assert (answer.code, reason(answer)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REASON")

    run(tmp_path, scenario)


def test_a_number_that_json_does_not_hold_is_the_fault_of_its_field() -> None:
    """An entry has the digest of canonical JSON, which ends at 2^53 - 1: more is 400, not a failure of ours."""

    class Counted(BaseModel):
        id: str
        counts: tuple[int, ...]

    class CountedKind(Kind[Counted]):
        noun, plural, pattern, model = "counted", "counteds", "counteds/{counted}", Counted

    with pytest.raises(InvalidFields) as caught:
        CountedKind().checked({"id": "a", "counts": [2**53 - 1, 2**53]})
    assert caught.value.fields == (("counted.counts[1]", "is beyond what JSON numbers hold exactly"),)

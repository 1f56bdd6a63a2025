"""Keys and operators as resources: made, shown once, rotated, revoked; who may do it; what is left of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from management_world import CONFIG, HASHES, World, run
from sqlalchemy import insert
from test_management_tenants import change_entry, create, faults, reason, tenant, update

from sovereign_ext._gen.sovereign.management.v1 import keys_pb2, operators_pb2
from sovereign_ext.attest.changes import document_digest
from sovereign_ext.errors import KeyRefused
from sovereign_ext.secret import Secret
from sovereign_ext.storage.schema import resources
from sovereign_ext.tenants.keys import checksum_ok
from sovereign_ext.tenants.resolve import Identity, identify

pytestmark = pytest.mark.services

OK = grpc.StatusCode.OK
NOT_FOUND = grpc.StatusCode.NOT_FOUND
ABORTED = grpc.StatusCode.ABORTED
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
DAY_S = 86_400


async def make(
    world: World,
    parent: str = "tenants/acme",
    key_id: str = "",
    *,
    by: str = "admin",
    validate_only: bool = False,
    **fields: Any,
) -> Any:
    """Asks for a key with those fields."""
    if parent.startswith("operators"):
        own: Any = operators_pb2.OperatorKey(**fields)
        request: Any = operators_pb2.CreateOperatorKeyRequest(
            parent=parent, operator_key_id=key_id, operator_key=own, validate_only=validate_only
        )
        return await world.call("OperatorKeyService.CreateOperatorKey", key=by, request=request)
    asked = keys_pb2.Key(**fields)
    request = keys_pb2.CreateKeyRequest(parent=parent, key_id=key_id, key=asked, validate_only=validate_only)
    return await world.call("KeyService.CreateKey", key=by, request=request)


async def made(world: World, parent: str = "tenants/acme", **fields: Any) -> Any:
    answer = await make(world, parent, **fields)
    assert answer.code is OK, answer.text
    return answer.message


async def do(world: World, verb: str, name: str, key: str = "admin", **fields: Any) -> Any:
    noun = "Key" if name.startswith("tenants") else "OperatorKey"
    return await world.call(f"{noun}Service.{verb}{noun}", key=key, name=name, **fields)


def opens(world: World, secret: str) -> str:
    """Whose key it is, or why it opens nothing."""
    try:
        found = identify(f"Bearer {secret}", world.directory, world.now)
    except KeyRefused as refused:
        return refused.code or ""
    return found.tenant.id if isinstance(found, Identity) else found.operator.id


def at(world: World, **span: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromSeconds(int(world.now + timedelta(**span).total_seconds()))
    return stamp


async def operator(world: World, name: str, **fields: Any) -> str:
    """A new operator with a key; gives the key."""
    asked = operators_pb2.Operator(**fields)
    answer = await world.call("OperatorService.CreateOperator", key="admin", operator_id=name, operator=asked)
    assert answer.code is OK, answer.text
    return str((await made(world, f"operators/{name}")).secret)


def test_a_key_is_shown_once_and_opens_its_tenant_at_once(tmp_path: Path) -> None:
    """The database has its keyed hash only; the entry has neither."""

    async def scenario(world: World) -> None:
        key = await made(world, key_id="ci")
        assert (key.name, key.state, key.declared) == ("tenants/acme/keys/ci", keys_pb2.VALID, False)
        assert checksum_ok(key.secret)
        assert key.secret.startswith("sk-router-")
        assert opens(world, key.secret) == "acme"
        assert abs(key.expires_at.seconds - (world.now + 90 * DAY_S)) < 5
        row = world.log.resources.get(key.name)
        assert row is not None
        document = json.loads(row.document)
        assert document["hash"] == HASHES.stored(Secret(key.secret))
        _, predicate = await change_entry(world, row.revision)
        public = {name: value for name, value in document.items() if name != "hash"}
        assert predicate["after"] == f"sha256:{document_digest(public).hex()}"
        for answer in (
            await do(world, "Get", key.name),
            await world.call("KeyService.ListKeys", key="admin", parent="tenants/acme"),
        ):
            assert key.secret not in str(answer.message)
            assert document["hash"].rsplit(":", 1)[1] not in str(answer.message)
        for file in tmp_path.rglob("*"):
            assert not file.is_file() or key.secret.encode() not in file.read_bytes(), file

    run(tmp_path, scenario)


def test_ids_are_found_where_none_is_given(tmp_path: Path) -> None:
    """Also past the ids of deleted keys, whose usage is not to be mixed with that of others."""

    async def scenario(world: World) -> None:
        names = [(await made(world)).name.rsplit("/", 1)[1] for _ in range(2)]
        assert names == ["acme-1", "acme-2"]
        assert (await do(world, "Delete", "tenants/acme/keys/acme-2")).code is OK
        assert (await made(world)).name == "tenants/acme/keys/acme-3"
        answer = await make(world, key_id="acme-1")
        assert (answer.code, reason(answer)) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("span", "text"), [({"days": -1}, "is not in the future"), ({"days": 400}, "more than 365 days ahead")]
)
def test_a_life_is_bounded(tmp_path: Path, span: dict[str, float], text: str) -> None:
    """By now and by keys.max_days; what is given in between holds."""

    async def scenario(world: World) -> None:
        rules = CONFIG.keys.model_copy(update={"max_days": 365, "default_days": 7})
        config = CONFIG.model_copy(update={"keys": rules})
        world.snapshot = replace(world.snapshot, config=config)
        assert abs((await made(world)).expires_at.seconds - world.now - 7 * DAY_S) < 5
        refused = await make(world, expires_at=at(world, **span))
        assert refused.code is INVALID
        assert text in faults(refused)["key.expires_at"]
        fine = await made(world, expires_at=at(world, days=365))
        assert fine.expires_at == at(world, days=365)

    run(tmp_path, scenario)


@pytest.mark.parametrize("seconds", [1 << 62, -(1 << 62), 253_402_300_800])
def test_a_time_beyond_all_years_is_the_fault_of_its_field(tmp_path: Path, seconds: int) -> None:
    """JSON has none; who speaks gRPC can send one. What is not the caller's to set is not even looked at."""

    async def scenario(world: World) -> None:
        when = Timestamp(seconds=seconds)
        key = await made(world, key_id="ci", create_time=when, revoked_at=when)
        answer = await make(world, expires_at=when)
        assert (answer.code, list(faults(answer))) == (INVALID, ["key.expires_at"])
        answer = await do(world, "Rotate", key.name, expires_at=when)
        assert (answer.code, list(faults(answer))) == (INVALID, ["expires_at"])
        asked = tenant(name="tenants/initech", create_time=when)
        assert (await update(world, tenant=asked, allow_missing=True)).code is OK

    run(tmp_path, scenario)


def test_a_key_may_be_confined_but_not_beyond_its_tenant(tmp_path: Path) -> None:
    """Its policies are some of the tenant's; its limits hold beside the tenant's."""

    async def scenario(world: World) -> None:
        limits = [{"per": "minute", "requests": 5}]
        key = await made(world, policies=["beta-only"], limits=limits)
        found = identify(f"Bearer {key.secret}", world.directory, world.now)
        assert isinstance(found, Identity)
        assert (found.policies, found.default_policy) == (("beta-only",), "beta-only")
        assert found.allowance.limits[0].requests == 5
        answer = await make(world, policies=["any"])
        assert faults(answer) == {"key.policies[0]": "'any' is not among this tenant's policies"}

    run(tmp_path, scenario)


def test_with_validate_only_there_is_no_key(tmp_path: Path) -> None:
    """Nothing is made, so nothing is shown."""

    async def scenario(world: World) -> None:
        before = world.log.status().size
        answer = await make(world, key_id="ci", validate_only=True)
        assert (answer.code, answer.message.secret, answer.message.etag) == (OK, "", "")
        assert (world.log.status().size, world.log.resources.get("tenants/acme/keys/ci")) == (before, None)
        key = await made(world, key_id="ci")
        answer = await do(world, "Rotate", key.name, validate_only=True)
        assert (answer.code, answer.message.secret) == (OK, "")
        assert (await do(world, "Get", key.name)).message.expires_at == key.expires_at

    run(tmp_path, scenario)


def test_a_rotation_has_two_keys_for_a_while(tmp_path: Path) -> None:
    """The new one has the rights of the old one, whose end is brought forward; one entry tells of both."""

    async def scenario(world: World) -> None:
        old = await made(world, key_id="ci", policies=["beta-only"], limits=[{"concurrent": 2}])
        before = world.log.status().size
        answer = await do(world, "Rotate", old.name, overlap_s=60)
        assert answer.code is OK, answer.text
        new = answer.message
        assert world.log.status().size == before + 1
        assert (new.name, new.replaces) == ("tenants/acme/keys/ci-1", "ci")
        assert (list(new.policies), new.limits[0].concurrent) == (["beta-only"], 2)
        shown = (await do(world, "Get", old.name)).message
        assert (shown.etag, shown.expires_at) == (new.etag, at(world, seconds=60))
        assert [opens(world, each.secret) for each in (old, new)] == ["acme", "acme"]
        _, predicate = await change_entry(world, int(new.etag))
        assert predicate["resource"] == new.name
        assert {"before", "after"} <= set(predicate)
        world.now += 61
        assert [opens(world, each.secret) for each in (old, new)] == ["expired_api_key", "acme"]
        again = (await do(world, "Rotate", new.name, new_key_id="other", overlap_s=0)).message
        assert (again.name, opens(world, new.secret)) == ("tenants/acme/keys/other", "expired_api_key")

    run(tmp_path, scenario)


def test_what_expires_sooner_is_not_prolonged_by_a_rotation(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        old = await made(world, expires_at=at(world, hours=1))
        assert (await do(world, "Rotate", old.name)).code is OK
        assert (await do(world, "Get", old.name)).message.expires_at == old.expires_at

    run(tmp_path, scenario)


def test_a_rotation_that_cannot_be_changes_nothing(tmp_path: Path) -> None:
    """Dead keys, taken ids, overlaps and ends out of range, other revisions."""

    async def scenario(world: World) -> None:
        key, dead = await made(world, key_id="a"), await made(world, key_id="b")
        await do(world, "Revoke", dead.name)
        before = world.log.status().size
        cases: list[tuple[dict[str, Any], Any, str]] = [
            ({"name": dead.name}, PRECONDITION, "KEY_NOT_VALID"),
            ({"new_key_id": "b"}, grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
            ({"new_key_id": "Not An Id"}, INVALID, "INVALID_FIELD"),
            ({"overlap_s": -1}, INVALID, "INVALID_FIELD"),
            ({"expires_at": at(world, days=-1)}, INVALID, "INVALID_FIELD"),
            ({"etag": "77"}, ABORTED, "ETAG_MISMATCH"),
            ({"name": "tenants/acme/keys/none"}, NOT_FOUND, "KEY_NOT_FOUND"),
            ({"name": "tenants/acme/keys/acme"}, ABORTED, "DECLARED_IN_FILE"),
        ]
        for fields, code, why in cases:
            answer = await do(world, "Rotate", **{"name": key.name, **fields})
            assert (answer.code, reason(answer)) == (code, why), fields
        assert world.log.status().size == before
        assert (await do(world, "Get", key.name)).message.expires_at == key.expires_at

    run(tmp_path, scenario)


def test_a_revoked_key_is_refused_at_once_and_for_good(tmp_path: Path) -> None:
    """Revoking again changes nothing; no update brings it back."""

    async def scenario(world: World) -> None:
        key = await made(world, key_id="ci")
        answer = await do(world, "Revoke", key.name)
        assert (answer.code, answer.message.state) == (OK, keys_pb2.REVOKED)
        assert opens(world, key.secret) == "revoked_api_key"
        size = world.log.status().size
        assert (await do(world, "Revoke", key.name)).message.revoked_at == answer.message.revoked_at
        assert world.log.status().size == size
        wanted = keys_pb2.Key(name=key.name, expires_at=at(world, days=1))
        request = keys_pb2.UpdateKeyRequest(key=wanted, update_mask=FieldMask(paths=["*"]))
        changed = await world.call("KeyService.UpdateKey", key="admin", request=request)
        assert (changed.code, changed.message.state) == (OK, keys_pb2.REVOKED)
        assert opens(world, key.secret) == "revoked_api_key"

    run(tmp_path, scenario)


def test_an_update_keeps_the_key(tmp_path: Path) -> None:
    """Its hash is no field of the message, and an update does not lose it; what is output only is passed over."""

    async def scenario(world: World) -> None:
        key = await made(world, key_id="ci")
        wanted = keys_pb2.Key(
            name=key.name, policies=["beta-only"], revoked_at=at(world), secret="sk-router-mine", replaces="x"
        )
        request = keys_pb2.UpdateKeyRequest(key=wanted)
        answer = await world.call("KeyService.UpdateKey", key="admin", request=request)
        assert answer.code is OK, answer.text
        assert (answer.message.state, answer.message.replaces, answer.message.secret) == (
            keys_pb2.VALID,
            "",
            "",
        )
        found = identify(f"Bearer {key.secret}", world.directory, world.now)
        assert isinstance(found, Identity)
        assert found.policies == ("beta-only",)
        request = keys_pb2.UpdateKeyRequest(
            key=keys_pb2.Key(name=key.name), update_mask=FieldMask(paths=["expires_at"])
        )
        refused = await world.call("KeyService.UpdateKey", key="admin", request=request)
        assert faults(refused) == {"key.expires_at": "is required"}

    run(tmp_path, scenario)


def test_a_client_cannot_bring_a_key_or_its_end_along(tmp_path: Path) -> None:
    """What is output only is passed over when a key is made."""

    async def scenario(world: World) -> None:
        key = await made(world, secret="sk-router-mine", revoked_at=at(world), replaces="x")
        assert (opens(world, key.secret), key.replaces) == ("acme", "")
        assert opens(world, "sk-router-mine") == "invalid_api_key"

    run(tmp_path, scenario)


def test_a_tenant_takes_its_keys_along(tmp_path: Path) -> None:
    """Also those of an operator; one of the same name has none of them."""

    async def scenario(world: World) -> None:
        await create(world)
        key = await made(world, "tenants/initech", key_id="ci")
        secret = await operator(world, "eve", role="auditor")
        assert (opens(world, key.secret), opens(world, secret)) == ("initech", "eve")
        gone = await world.call("TenantService.DeleteTenant", key="admin", name="tenants/initech")
        assert gone.code is OK
        assert (
            await world.call("OperatorService.DeleteOperator", key="admin", name="operators/eve")
        ).code is OK
        await create(world)
        await world.enrolment.applied(world.log.status().size - 1)
        assert [opens(world, each) for each in (key.secret, secret)] == ["invalid_api_key"] * 2
        assert (await do(world, "Get", key.name)).code is NOT_FOUND
        answer = await make(world, "tenants/globex2")
        assert (answer.code, reason(answer)) == (NOT_FOUND, "TENANT_NOT_FOUND")

    run(tmp_path, scenario)


def test_a_tenant_with_operators_of_its_own_is_not_deleted(tmp_path: Path) -> None:
    """They would be those of whoever has the name next."""

    async def scenario(world: World) -> None:
        await create(world)
        await world.enrolment.applied(world.log.status().size - 1)
        await operator(world, "eve", role="tenant_admin", tenant="initech")
        answer = await world.call("TenantService.DeleteTenant", key="admin", name="tenants/initech")
        assert (answer.code, "operators/eve" in answer.text) == (PRECONDITION, True)

    run(tmp_path, scenario)


def test_there_is_an_end_to_keys(tmp_path: Path) -> None:
    """keys.max_per_owner, dead ones too; deleting makes room."""

    async def scenario(world: World) -> None:
        rules = CONFIG.keys.model_copy(update={"max_per_owner": 2})
        world.snapshot = replace(world.snapshot, config=CONFIG.model_copy(update={"keys": rules}))
        one, _ = await made(world), await made(world)
        for answer in (await make(world), await do(world, "Rotate", one.name)):
            assert (answer.code, reason(answer)) == (PRECONDITION, "TOO_MANY_KEYS")
        await do(world, "Delete", one.name)
        await world.enrolment.applied(world.log.status().size - 1)
        assert opens(world, one.secret) == "invalid_api_key"
        await made(world)

    run(tmp_path, scenario)


def test_keys_of_the_file_are_shown_and_not_changed(tmp_path: Path) -> None:
    """And their owners may have keys of the database beside them."""

    async def scenario(world: World) -> None:
        await made(world, key_id="beside")
        answer = await world.call("KeyService.ListKeys", key="admin", parent="tenants/acme")
        shown = {key.name.rsplit("/", 1)[1]: (key.declared, key.state) for key in answer.message.keys}
        assert shown == {
            "acme": (True, keys_pb2.VALID),
            "beside": (False, keys_pb2.VALID),
            "expired": (True, keys_pb2.EXPIRED),
            "revoked": (True, keys_pb2.REVOKED),
        }
        for verb in ("Revoke", "Rotate", "Delete"):
            answer = await do(world, verb, "tenants/acme/keys/acme")
            assert (answer.code, reason(answer)) == (ABORTED, "DECLARED_IN_FILE")

    run(tmp_path, scenario)


def test_a_tenant_admin_has_its_own_tenants_keys_only(tmp_path: Path) -> None:
    """A foreign tenant and one that does not exist are answered alike, in every method."""

    async def scenario(world: World) -> None:
        boss = await operator(world, "boss", role="tenant_admin", tenant="acme")
        foreign = await made(world, "tenants/globex", key_id="theirs")
        own = await made(world, by=boss, key_id="mine")
        assert opens(world, own.secret) == "acme"
        for verb in ("Get", "Rotate", "Revoke", "Delete"):
            there = await do(world, verb, foreign.name, key=boss)
            absent = await do(world, verb, "tenants/nobody/keys/theirs", key=boss)
            assert there.code is NOT_FOUND
            assert (there.text, there.status) == (absent.text, absent.status)
        there, absent = [await make(world, f"tenants/{name}", by=boss) for name in ("globex", "nobody")]
        assert (there.code, there.status) == (NOT_FOUND, absent.status)
        assert opens(world, foreign.secret) == "globex"
        assert (await do(world, "Revoke", own.name, key=boss)).code is OK

    run(tmp_path, scenario)


@pytest.mark.parametrize("role", ["acme", "auditor"])
def test_others_have_nothing_to_do_with_keys(tmp_path: Path, role: str) -> None:
    """A tenant's key cannot make others, and an auditor does not see any."""

    async def scenario(world: World) -> None:
        key = await operator(world, "eve", role="auditor") if role == "auditor" else role
        for verb in ("Get", "Rotate", "Revoke", "Delete"):
            assert (await do(world, verb, "tenants/acme/keys/acme", key=key)).code is (
                grpc.StatusCode.PERMISSION_DENIED
            )
        assert (await make(world, by=key)).code is grpc.StatusCode.PERMISSION_DENIED

    run(tmp_path, scenario)


def test_an_operator_rotates_and_revokes_its_own_keys(tmp_path: Path) -> None:
    """And sees neither other operators nor their keys."""

    async def scenario(world: World) -> None:
        eve = await operator(world, "eve", role="auditor")
        await operator(world, "bob", role="auditor")
        listed = await world.call("OperatorService.ListOperators", key=eve)
        assert [each.name for each in listed.message.operators] == ["operators/eve"]
        assert (await do(world, "Get", "operators/bob/keys/bob-1", key=eve)).code is NOT_FOUND
        hidden = await world.call("OperatorKeyService.ListOperatorKeys", key=eve, parent="operators/bob")
        assert (hidden.code, reason(hidden)) == (NOT_FOUND, "OPERATOR_NOT_FOUND")
        answer = await do(world, "Rotate", "operators/eve/keys/eve-1", key=eve, overlap_s=0)
        assert answer.code is OK, answer.text
        assert answer.message.secret.startswith("sk-admin-")
        assert opens(world, eve) == "expired_api_key"
        assert (await do(world, "Revoke", answer.message.name, key=answer.message.secret)).code is OK
        assert opens(world, answer.message.secret) == "revoked_api_key"
        assert (await make(world, "operators/eve", by=eve)).code is grpc.StatusCode.UNAUTHENTICATED

    run(tmp_path, scenario)


def test_an_operators_role_fits_its_tenant(tmp_path: Path) -> None:
    """tenant_admin takes a tenant, one that exists; admin takes none."""

    async def scenario(world: World) -> None:
        for fields, where in (
            ({"role": "tenant_admin"}, "operator"),
            ({"role": "admin", "tenant": "acme"}, "operator"),
            ({"role": "king"}, "operator.role"),
            ({"role": "auditor", "tenant": "nobody"}, "operator.tenant"),
        ):
            answer = await world.call(
                "OperatorService.CreateOperator",
                key="admin",
                operator_id="eve",
                operator=operators_pb2.Operator(**fields),
            )
            assert list(faults(answer)) == [where], fields

    run(tmp_path, scenario)


def test_a_workload_belongs_to_one_tenant(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        identity = "spiffe://acme.test/app"
        assert (await create(world, "one", tenant=tenant(identities=[identity]))).code is OK
        await world.enrolment.applied(world.log.status().size - 1)
        answer = await create(world, "two", tenant=tenant(identities=["spiffe://x/y", identity]))
        assert faults(answer) == {"tenant.identities[1]": "belongs to another tenant"}
        wanted = tenant(name="tenants/one", identities=[identity, "spiffe://x/y"])
        assert (await update(world, ["identities"], tenant=wanted)).code is OK

    run(tmp_path, scenario)


def test_last_use_is_known_a_little_later(tmp_path: Path) -> None:
    """Of keys that calls or operators showed; no entry is made for it."""

    async def scenario(world: World) -> None:
        key = await made(world, key_id="ci")
        assert not key.HasField("last_used_time")
        size = world.log.status().size
        assert world.key_use is not None
        used_ms = int(world.now * 1000) + 60_123
        world.key_use.tenant("acme", "ci", used_ms)
        world.key_use.tenant("acme", "spiffe://acme.test/app", 1)
        await world.key_use.flush()
        world.key_use.tenant("acme", "ci", used_ms - 30_000)
        await world.key_use.flush()
        shown = (await do(world, "Get", key.name)).message
        assert shown.last_used_time.ToMilliseconds() == used_ms
        listed = await world.call("OperatorKeyService.ListOperatorKeys", key="admin", parent="operators/ops")
        used = {each.name: each.HasField("last_used_time") for each in listed.message.operator_keys}
        assert used == {"operators/ops/keys/admin": True, "operators/ops/keys/old-admin": False}
        assert world.log.status().size == size

    run(tmp_path, scenario)


def test_a_key_of_an_earlier_name_was_not_this_one(tmp_path: Path) -> None:
    """What was deleted and made again under its name was not used yet."""

    async def scenario(world: World) -> None:
        key = await made(world, key_id="ci")
        assert world.key_use is not None
        world.key_use.tenant("acme", "ci", int(world.now * 1000) + 1)
        await world.key_use.flush()
        assert (await do(world, "Get", key.name)).message.HasField("last_used_time")
        assert (await do(world, "Delete", key.name)).code is OK
        world.now += 60
        assert not (await made(world, key_id="ci")).HasField("last_used_time")
        assert not (await do(world, "Get", key.name)).message.HasField("last_used_time")

    run(tmp_path, scenario)


def test_when_an_answer_to_a_change_is_there_calls_go_by_it(tmp_path: Path) -> None:
    """Every change of keys and of whose they are, not only those that show a secret."""

    async def scenario(world: World) -> None:
        for number in range(5):
            name = f"new-{number}"
            assert (await create(world, name)).code is OK
            assert world.directory.tenant(name) is not None
            key = await made(world, f"tenants/{name}", policies=["any"])
            assert opens(world, key.secret) == name
            assert (await do(world, "Delete", key.name)).code is OK
            assert opens(world, key.secret) == "invalid_api_key"
            key = await made(world, f"tenants/{name}")
            gone = await world.call("TenantService.DeleteTenant", key="admin", name=f"tenants/{name}")
            assert gone.code is OK
            assert opens(world, key.secret) == "invalid_api_key"
            secret = await operator(world, name, role="auditor")
            assert opens(world, secret) == name
            gone = await world.call("OperatorService.DeleteOperator", key="admin", name=f"operators/{name}")
            assert opens(world, secret) == "invalid_api_key"

    run(tmp_path, scenario)


def test_keys_that_are_made_at_once_have_names_of_their_own(tmp_path: Path) -> None:
    """Who leaves the name to us does not hear that it exists already."""

    async def scenario(world: World) -> None:
        answers = await asyncio.gather(*(make(world) for _ in range(12)))
        assert {answer.code for answer in answers} == {OK}, [answer.text for answer in answers]
        assert len({answer.message.name for answer in answers}) == 12
        ones = [await made(world, key_id=f"ci-{number}") for number in range(6)]
        answers = await asyncio.gather(*(do(world, "Rotate", each.name) for each in ones))
        assert {answer.code for answer in answers} == {OK}, [answer.text for answer in answers]

    run(tmp_path, scenario)


def test_a_name_is_found_fast_among_many(tmp_path: Path) -> None:
    """Also where thousands were made and deleted before: their names are not given out again."""

    async def scenario(world: World) -> None:
        rows = [
            {"name": f"tenants/acme/keys/acme-{number}", "kind": "key", "tenant": "acme", "document": "{}",
             "revision": -1, "created_ms": 1, "updated_ms": 1, "deleted": True}
            for number in range(1, 3_001)
        ]  # fmt: skip
        with world.log.resources._engine.begin() as connection:
            connection.execute(insert(resources), rows)
        asked = 0
        ever = world.log.resources.ever

        def counted(name: str) -> bool:
            nonlocal asked
            asked += 1
            return ever(name)

        world.log.resources.ever = counted  # type: ignore[method-assign]
        assert (await made(world)).name == "tenants/acme/keys/acme-3001"
        assert asked < 40

    run(tmp_path, scenario)


def test_a_tenants_key_is_used_here_too(tmp_path: Path) -> None:
    """A program that only ever asks for its usage uses its key."""

    async def scenario(world: World) -> None:
        key = await made(world, key_id="ci")
        world.now += 60
        answer = await world.call("UsageService.QueryUsage", key=key.secret)
        assert answer.code is OK, answer.text
        assert world.key_use is not None
        await world.key_use.flush()
        shown = (await do(world, "Get", key.name)).message
        assert shown.last_used_time.ToMilliseconds() == int(world.now * 1000)

    run(tmp_path, scenario)


def test_two_rotations_at_once_make_one_successor(tmp_path: Path) -> None:
    """The second sees another revision, so that no key is made that nobody asked for."""

    async def scenario(world: World) -> None:
        key = await made(world, key_id="ci")
        answers = await asyncio.gather(*(do(world, "Rotate", key.name, etag=key.etag) for _ in range(4)))
        assert sorted(answer.code is OK for answer in answers) == [False, False, False, True]
        listed = await world.call("KeyService.ListKeys", key="admin", parent="tenants/acme")
        assert sum(each.replaces == "ci" for each in listed.message.keys) == 1

    run(tmp_path, scenario)

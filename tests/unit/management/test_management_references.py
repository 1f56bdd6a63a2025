"""Two changes that are each good and not together: whichever is committed second is refused, and says why.

Each is judged first and then overtaken by the other before it is committed, which is what happens by chance between two
requests, or two routers that share a database. What it was judged by is then out of date.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.rpc import error_details_pb2
from management_world import CONFIG, Answer, World, run
from references_world import dangling, overtaken
from test_management_configured import PROVIDER, in_use
from test_management_tenants import change_entry, tenant

from sovereign_ext._gen.sovereign.management.v1 import keys_pb2, operators_pb2
from sovereign_ext.enrolment import KINDS
from sovereign_ext.management.descriptor import SERVICES

pytestmark = pytest.mark.services

OK = grpc.StatusCode.OK
WORKLOAD = "spiffe://initech.test/app"
DECLARED = {
    *(f"tenants/{each.id}" for each in CONFIG.tenants),
    *(f"policies/{each.id}" for each in CONFIG.policies),
    *(f"providers/{each.id}" for each in CONFIG.providers),
    *(f"models/{each.id}" for each in CONFIG.models),
    *(f"operators/{each.id}" for each in CONFIG.admins),
}


@dataclass(frozen=True)
class Change:
    """A call of an admin's."""

    method: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    async def make(self, world: World) -> Answer:
        service, method = self.method.split(".")
        contract = next(each for each in SERVICES if each.name == service).methods_by_name[method]
        # As a message: some fields have the names of parameters of ``call``.
        request = message_factory.GetMessageClass(contract.input_type)(**self.fields)
        return await world.call(self.method, key="admin", request=request)


def named(resource: str, method: str) -> Change:
    return Change(method, {"name": resource})


def tenants(method: str, *policies: str, name: str = "late", **more: Any) -> Change:
    """A tenant with those policies."""
    if method == "UpdateTenant":
        asked = tenant(name=f"tenants/{name}", policies=policies, default_policy=policies[0], **more)
        return Change("TenantService.UpdateTenant", {"tenant": asked})
    asked = tenant(policies=policies, default_policy=policies[0], **more)
    return Change("TenantService.CreateTenant", {"tenant_id": name, "tenant": asked})


def operators(method: str, bound: str, name: str = "eve") -> Change:
    asked = operators_pb2.Operator(role="tenant_admin", tenant=bound)
    if method == "UpdateOperator":
        asked.name = f"operators/{name}"
        return Change("OperatorService.UpdateOperator", {"operator": asked})
    return Change("OperatorService.CreateOperator", {"operator_id": name, "operator": asked})


def key(tenant_id: str, key_id: str, *policies: str) -> Change:
    fields = {"parent": f"tenants/{tenant_id}", "key_id": key_id, "key": keys_pb2.Key(policies=policies)}
    return Change("KeyService.CreateKey", fields)


def provider_key(name: str) -> Change:
    return Change("ProviderKeyService.SetProviderKey", {"name": name, "secret": "sk-x"})


BEFORE = (
    Change("ProviderService.CreateProvider", {"provider_id": "new", "provider": PROVIDER}),
    Change("PolicyService.CreatePolicy", {"policy_id": "p", "policy": {}}),
    Change("PolicyService.CreatePolicy", {"policy_id": "q", "policy": {}}),
    tenants("CreateTenant", "q", "any", name="initech"),
    tenants("CreateTenant", "any", name="hooli"),
    operators("CreateOperator", "initech", name="ann"),
    Change(
        "OperatorService.CreateOperator",
        {"operator_id": "bob", "operator": operators_pb2.Operator(role="admin")},
    ),
    key("initech", "wide"),
    key("initech", "narrow", "q"),
)
"""What is there when a test begins: ``p`` and ``new`` are named by nobody, ``hooli`` has no operators."""

NO_P = named("policies/p", "PolicyService.DeletePolicy")
NO_HOOLI = named("tenants/hooli", "TenantService.DeleteTenant")
NO_NEW = named("providers/new", "ProviderService.DeleteProvider")
NO_BOB = named("operators/bob", "OperatorService.DeleteOperator")
ONLY_ANY = tenants("UpdateTenant", "any", name="initech")

# What is judged first, what overtakes it, and the answer: a reason, and a field or words that say where.
RACES: dict[str, tuple[Change, Change, str, str]] = {
    "a new tenant's policy": (
        tenants("CreateTenant", "any", "p"), NO_P, "INVALID_FIELD", "tenant.policies[1]"),
    "a tenant's new policy": (
        tenants("UpdateTenant", "p", "any", name="initech"), NO_P, "INVALID_FIELD", "tenant.policies[0]"),
    "a policy, by a new tenant": (
        NO_P, tenants("CreateTenant", "any", "p"), "IN_USE", "tenants/late"),
    "a policy, by a tenant": (
        NO_P, tenants("UpdateTenant", "p", name="hooli"), "IN_USE", "tenants/hooli"),
    "a new key's policy": (
        key("initech", "late", "any", "q"), ONLY_ANY, "INVALID_FIELD", "key.policies[1]"),
    "a key's new policy": (
        Change("KeyService.UpdateKey", {"key": keys_pb2.Key(name="tenants/initech/keys/wide", policies=["q"])}),
        ONLY_ANY, "INVALID_FIELD", "key.policies[0]"),
    "a successor's policy": (
        named("tenants/initech/keys/narrow", "KeyService.RotateKey"), ONLY_ANY, "INVALID_FIELD", "key.policies[0]"),
    "a new key's tenant": (
        key("hooli", "late"), NO_HOOLI, "TENANT_NOT_FOUND", "no such tenant"),
    "a new key's operator": (
        Change("OperatorKeyService.CreateOperatorKey", {"parent": "operators/bob", "operator_key_id": "late"}),
        NO_BOB, "OPERATOR_NOT_FOUND", "no such operator"),
    "a rotated key": (
        named("tenants/initech/keys/wide", "KeyService.RotateKey"),
        named("tenants/initech/keys/wide", "KeyService.DeleteKey"), "KEY_NOT_FOUND", "no such key"),
    "a new operator's tenant": (
        operators("CreateOperator", "hooli"), NO_HOOLI, "INVALID_FIELD", "operator.tenant"),
    "an operator's new tenant": (
        operators("UpdateOperator", "hooli", name="ann"), NO_HOOLI, "INVALID_FIELD", "operator.tenant"),
    "a tenant, by a new operator": (
        NO_HOOLI, operators("CreateOperator", "hooli"), "IN_USE", "operators/eve"),
    "a tenant, by an operator": (
        NO_HOOLI, operators("UpdateOperator", "hooli", name="ann"), "IN_USE", "operators/ann"),
    "a provider key's tenant": (
        provider_key("tenants/hooli/providerKeys/alpha"), NO_HOOLI, "TENANT_NOT_FOUND", "no such tenant"),
    "a provider key's provider": (
        provider_key("tenants/hooli/providerKeys/new"), NO_NEW, "PROVIDER_NOT_FOUND", "no such provider"),
    "a shared key's provider": (
        provider_key("providerKeys/new"), NO_NEW, "PROVIDER_NOT_FOUND", "no such provider"),
    "a new tenant's workload": (
        tenants("CreateTenant", "any", identities=["spiffe://x/y", WORKLOAD]),
        tenants("UpdateTenant", "any", name="hooli", identities=[WORKLOAD]),
        "INVALID_FIELD", "tenant.identities[1]"),
    "a tenant's new workload": (
        tenants("UpdateTenant", "any", name="hooli", identities=[WORKLOAD]),
        tenants("CreateTenant", "any", identities=[WORKLOAD]),
        "INVALID_FIELD", "tenant.identities[0]"),
}  # fmt: skip


async def settled(world: World) -> None:
    """Everything that is committed is in use and known here."""
    known = world.log.resources.since(-1, KINDS)
    assert await world.enrolment.applied(max((row.revision for row in known), default=-1))
    await in_use(world)


def why(answer: Answer) -> tuple[str, str]:
    """The reason, and the message with the fields at fault."""
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert answer.status.details, answer
    assert answer.status.details[0].Unpack(info)
    for packed in answer.status.details:
        packed.Unpack(fields)
    return info.reason, " ".join([answer.text, *(each.field for each in fields.field_violations)])


def play(tmp_path: Path, scene: Callable[[World], Awaitable[None]]) -> None:
    async def scenario(world: World) -> None:
        for change in BEFORE:
            answer = await change.make(world)
            assert answer.code is OK, (change, answer.text)
            await settled(world)
        await scene(world)
        assert not dangling(world.log.resources, DECLARED)

    run(tmp_path, scenario)


@pytest.mark.services
@pytest.mark.parametrize("race", RACES)
def test_who_comes_second_is_refused(tmp_path: Path, race: str) -> None:
    """With the answer that it would have had a moment later, and without an entry."""
    judged, other, reason, where = RACES[race]

    async def scene(world: World) -> None:
        sizes: list[int] = []

        async def overtake() -> None:
            answer = await other.make(world)
            assert answer.code is OK, answer.text
            sizes.append(world.log.status().size)

        overtaken(world.log, overtake)
        answer = await judged.make(world)
        assert sizes, "it was judged good, and then overtaken"
        assert answer.code is not OK
        assert why(answer)[0] == reason, answer.text
        assert where in why(answer)[1]
        assert world.log.status().size == sizes[0]
        await settled(world)
        again = await judged.make(world)
        assert again.code is answer.code, "and a moment later it is the same"
        assert why(again)[0] == reason

    play(tmp_path, scene)


@pytest.mark.services
@pytest.mark.parametrize("race", RACES)
def test_both_are_good_alone(tmp_path: Path, race: str) -> None:
    """A change that nothing stands against is made: the refusals above are of the race."""

    async def scene(world: World) -> None:
        judged, *_ = RACES[race]
        answer = await judged.make(world)
        assert answer.code is OK, answer.text

    play(tmp_path, scene)


def test_what_has_nothing_to_do_with_it_goes_through(tmp_path: Path) -> None:
    """Another policy deleted, another workload claimed, or the same tenant changed meanwhile: no refusal, one retry."""

    async def scene(world: World) -> None:
        async def others() -> None:
            for change in (
                NO_P,
                operators("CreateOperator", "initech"),
                tenants("UpdateTenant", "q", name="initech"),
            ):
                assert (await change.make(world)).code is OK

        overtaken(world.log, others)
        wanted = tenants("UpdateTenant", "q", name="initech", identities=[WORKLOAD], margin_percent="2")
        answer = await wanted.make(world)
        assert answer.code is OK, answer.text
        assert (answer.message.margin_percent, list(answer.message.policies)) == ("2", ["q"])

    play(tmp_path, scene)


def test_a_policy_of_the_file_is_not_looked_for_in_the_database(tmp_path: Path) -> None:
    """Nor a tenant or a provider: tenants, operators and keys that name them are made."""

    async def scene(world: World) -> None:
        for change in (
            tenants("CreateTenant", "alpha-only", "beta-only"),
            operators("CreateOperator", "acme"),
            key("acme", "late", "alpha-only"),
            provider_key("tenants/acme/providerKeys/beta"),
        ):
            answer = await change.make(world)
            assert answer.code is OK, (change, answer.text)

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("deletion", "update"),
    [
        (NO_HOOLI, tenants("UpdateTenant", "any", name="hooli", margin_percent="3")),
        (
            named("tenants/initech/keys/wide", "KeyService.DeleteKey"),
            Change("KeyService.UpdateKey", {"key": keys_pb2.Key(name="tenants/initech/keys/wide", policies=["any"])}),
        ),
    ],
)  # fmt: skip
def test_the_entry_of_a_deletion_says_what_was_deleted(
    tmp_path: Path, deletion: Change, update: Change
) -> None:
    """Also what it became a moment before: without an etag the deletion is made anew, and the digests are a chain."""

    async def scene(world: World) -> None:
        updated: list[Any] = []

        async def overtake() -> None:
            answer = await update.make(world)
            assert answer.code is OK, answer.text
            updated.append(answer.message)

        overtaken(world.log, overtake)
        answer = await deletion.make(world)
        assert answer.code is OK, answer.text
        _, last = await change_entry(world, int(updated[0].etag))
        _, gone = await change_entry(world, world.log.resources.revision())
        assert gone["method"].endswith(deletion.method)
        assert gone["before"] == last["after"]

    play(tmp_path, scene)


def test_a_deletion_of_a_certain_revision_is_not_made_anew(tmp_path: Path) -> None:
    """With an etag whoever was faster is the end of it."""

    async def scene(world: World) -> None:
        row = world.log.resources.get("tenants/hooli")
        assert row is not None

        async def overtake() -> None:
            change = tenants("UpdateTenant", "any", name="hooli", margin_percent="3")
            assert (await change.make(world)).code is OK

        overtaken(world.log, overtake)
        deletion = Change("TenantService.DeleteTenant", {"name": "tenants/hooli", "etag": str(row.revision)})
        answer = await deletion.make(world)
        assert (answer.code, why(answer)[0]) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        assert world.log.resources.get("tenants/hooli") is not None

    play(tmp_path, scene)

"""Resources that are configuration: made, changed and deleted, checked as a whole, in use without a restart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2
from management_world import World, run

from sovereign_ext._gen.sovereign.management.v1 import policies_pb2
from sovereign_ext.management.names import page_token

pytestmark = pytest.mark.services

OK = grpc.StatusCode.OK
INVALID = grpc.StatusCode.INVALID_ARGUMENT
IN_USE = grpc.StatusCode.FAILED_PRECONDITION
PEM = (
    Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
PROVIDER = {"kind": "openai", "endpoint": "https://new.example/v1"}


def policy(**fields: Any) -> policies_pb2.Policy:
    """Of JSON, as callers have it."""
    return ParseDict(fields, policies_pb2.Policy())


async def ok(world: World, method: str, **fields: Any) -> Any:
    answer = await world.call(method, key=fields.pop("key", "admin"), **fields)
    assert answer.code is OK, (method, answer.text)
    return answer.message


async def refused(world: World, code: grpc.StatusCode, method: str, **fields: Any) -> dict[str, str]:
    """The faults by field, or the message under an empty one."""
    answer = await world.call(method, key=fields.pop("key", "admin"), **fields)
    assert answer.code is code, (method, answer.code, answer.text)
    found = {"": answer.text}
    for packed in answer.status.details:
        detail = error_details_pb2.BadRequest()
        if packed.Is(detail.DESCRIPTOR) and packed.Unpack(detail):
            found |= {fault.field: fault.description for fault in detail.field_violations}
    return found


async def in_use(world: World) -> None:
    """Wait until everything that is committed is in use."""
    async with asyncio.timeout(10):
        while True:
            config = await ok(world, "ConfigService.GetConfig")
            if config.revision == config.committed_revision:
                return
            await asyncio.sleep(0.01)


async def make_all(world: World) -> None:
    """A publisher, a model of its with slashes, a provider, a deployment and a policy."""
    await ok(world, "PublisherService.CreatePublisher", publisher_id="pub", publisher={"key": PEM})
    model = {"publisher": "pub", "context_window": 8192, "origin": {"country": "US"}}
    await ok(world, "ModelService.CreateModel", model_id="org/med/8b:q4", model=model)
    await ok(world, "ProviderService.CreateProvider", provider_id="new", provider=PROVIDER)
    deployment = {"model": "org/med/8b:q4", "upstream_model": "m", "price": {"input_per_mtok": "0.15"}}
    await ok(
        world,
        "DeploymentService.CreateDeployment",
        parent="providers/new",
        deployment_id="med.new",
        deployment=deployment,
    )
    chain = ["new", ["alpha", "beta"]]
    clinical = policy(providers=chain, fallback={"enabled": False}, cost_cap_usd="0.05")
    await ok(world, "PolicyService.CreatePolicy", policy_id="clinical", policy=clinical)
    await in_use(world)


def test_what_was_made_is_in_use(tmp_path: Path) -> None:
    """The snapshot that calls take has it, as the file would have put it there; and it is shown as it was given."""

    async def scenario(world: World) -> None:
        await make_all(world)
        snapshot = world.snapshot
        assert snapshot.deployments["med.new"].price is not None
        assert str(snapshot.deployments["med.new"].price.input_per_mtok) == "0.15"
        assert snapshot.policies["clinical"].providers == ("new", ("alpha", "beta"))
        assert not snapshot.policies["clinical"].fallback.enabled
        assert snapshot.models["org/med/8b:q4"].context_window == 8192
        assert "med.new" in snapshot.reachable["clinical"]
        shown = await ok(world, "PolicyService.GetPolicy", name="policies/clinical")
        assert MessageToDict(shown)["providers"] == ["new", ["alpha", "beta"]]
        assert (shown.declared, shown.cost_cap_usd, shown.audit) == (False, "0.05", "standard")
        assert shown.digest == "sha256:" + snapshot.policy_digests["clinical"].hex()
        found = await ok(world, "ModelService.GetModel", name="models/org/med/8b:q4")
        assert (found.publisher, found.origin.country, found.declared) == ("pub", "US", False)
        provider = await ok(world, "ProviderService.GetProvider", name="providers/new")
        assert [each.name for each in provider.deployments] == ["providers/new/deployments/med.new"]
        assert provider.deployments[0].health.score == 1.0

    run(tmp_path, scenario)


def test_declared_and_stored_are_one_list(tmp_path: Path) -> None:
    """In the order of the names; what the file has is not changed here."""

    async def scenario(world: World) -> None:
        await make_all(world)
        page = await ok(world, "PolicyService.ListPolicies", page_size=2)
        rest = await ok(world, "PolicyService.ListPolicies", page_token=page.next_page_token)
        listed = [(each.name, each.declared) for each in (*page.policies, *rest.policies)]
        assert listed == [
            ("policies/alpha-only", True),
            ("policies/any", True),
            ("policies/beta-only", True),
            ("policies/clinical", False),
        ]
        deployments = await ok(world, "DeploymentService.ListDeployments", parent="providers/alpha")
        assert [each.name for each in deployments.deployments] == [
            "providers/alpha/deployments/alpha-large",
            "providers/alpha/deployments/alpha-small",
        ]
        size = world.log.status().size
        for method, fields in (
            ("PolicyService.UpdatePolicy", {"policy": {"name": "policies/any", "audit": "strict"}}),
            ("PolicyService.DeletePolicy", {"name": "policies/any"}),
            ("PolicyService.CreatePolicy", {"policy_id": "any", "policy": {}}),
        ):
            answer = await world.call(method, key="admin", **fields)
            assert answer.code in (grpc.StatusCode.ABORTED, grpc.StatusCode.ALREADY_EXISTS), answer.text
        assert world.log.status().size == size

    run(tmp_path, scenario)


def test_what_would_be_wrong_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """Faults name the caller's field; the log does not grow; ``validate_only`` says the same."""

    async def scenario(world: World) -> None:
        size, version = world.log.status().size, world.snapshot.version
        for dry in (True, False):
            found = await refused(
                world,
                INVALID,
                "PolicyService.CreatePolicy",
                policy_id="clinical",
                policy=policy(required_scopes=["fda"], providers=["alfa"]),
                validate_only=dry,
            )
            assert found["policy.required_scopes[0]"] == "no witness may vouch for 'fda'"
            assert found["policy.providers[0]"] == "there is no provider 'alfa'; did you mean 'alpha'?"
        found = await refused(
            world,
            INVALID,
            "WitnessService.CreateWitness",
            witness_id="w",
            witness={"key": "x", "scopes": ["fda"]},
        )
        assert "witness.key" in found
        found = await refused(
            world, INVALID, "StatementService.CreateStatement", statement={"envelope": '{"payloadType": "x"}'}
        )
        assert any(field.startswith("statement.envelope") for field in found)
        aws = {
            "region": "eu-west-1",
            "role_arn": "arn:aws:iam::123456789012:role/x",
            "web_identity_token_file": "/x",
        }
        provider = {"kind": "bedrock", "endpoint": "https://x.example", "aws": aws}
        made = await ok(
            world, "ProviderService.CreateProvider", provider_id="b", provider=provider, validate_only=True
        )
        assert not made.aws.web_identity_token_file  # output only: passed over, not used
        assert (world.log.status().size, world.snapshot.version) == (size, version)

    run(tmp_path, scenario)


def test_what_others_need_is_not_deleted(tmp_path: Path) -> None:
    """Not a provider with deployments or named by a policy, nor a policy of a tenant; the answer says by what."""

    async def scenario(world: World) -> None:
        await make_all(world)
        text = (await refused(world, IN_USE, "ProviderService.DeleteProvider", name="providers/new"))[""]
        assert "policies/clinical: providers[0]" in text
        assert "providers/new/deployments/med.new: provider" in text
        text = (await refused(world, IN_USE, "ModelService.DeleteModel", name="models/org/med/8b:q4"))[""]
        assert "providers/new/deployments/med.new" in text
        tenant = {"policies": ["clinical"], "default_policy": "clinical"}
        await ok(world, "TenantService.CreateTenant", tenant_id="initech", tenant=tenant)
        await refused(world, IN_USE, "PolicyService.DeletePolicy", name="policies/clinical")
        await ok(world, "TenantService.DeleteTenant", name="tenants/initech")
        for method, name in (
            ("PolicyService.DeletePolicy", "policies/clinical"),
            ("DeploymentService.DeleteDeployment", "providers/new/deployments/med.new"),
            ("ProviderService.DeleteProvider", "providers/new"),
            ("ModelService.DeleteModel", "models/org/med/8b:q4"),
            ("PublisherService.DeletePublisher", "publishers/pub"),
        ):
            await ok(world, method, name=name)
        await in_use(world)
        assert "new" not in world.snapshot.providers

    run(tmp_path, scenario)


def test_versions_are_kept_and_come_back(tmp_path: Path) -> None:
    """Every document a policy had, by the index of its entry; rolling back is a change like any other."""

    async def scenario(world: World) -> None:
        first = await ok(world, "PolicyService.CreatePolicy", policy_id="p", policy={"audit": "strict"})
        change = {"name": "policies/p", "latency_cap_ms": 900}
        mask = FieldMask(paths=["latency_cap_ms", "audit"])
        second = await ok(world, "PolicyService.UpdatePolicy", policy=change, update_mask=mask)
        listed = await ok(world, "PolicyService.ListPolicyVersions", parent="policies/p", page_size=1)
        assert [each.name for each in listed.policy_versions] == [f"policies/p/versions/{second.etag}"]
        listed = await ok(
            world, "PolicyService.ListPolicyVersions", parent="policies/p", page_token=listed.next_page_token
        )
        assert [each.name for each in listed.policy_versions] == [f"policies/p/versions/{first.etag}"]
        version = await ok(world, "PolicyService.GetPolicyVersion", name=f"policies/p/versions/{first.etag}")
        assert (version.policy.audit, version.policy.digest) == ("strict", first.digest)
        back = await ok(world, "PolicyService.RollbackPolicy", name="policies/p", revision=first.etag)
        assert (back.audit, back.HasField("latency_cap_ms"), back.digest) == ("strict", False, first.digest)
        assert int(back.etag) > int(second.etag)
        await refused(
            world,
            grpc.StatusCode.NOT_FOUND,
            "PolicyService.RollbackPolicy",
            name="policies/p",
            revision="999",
        )

    run(tmp_path, scenario)


def test_versions_are_of_policies_that_the_caller_sees(tmp_path: Path) -> None:
    """An auditor of one tenant sees those of its tenant's policies; of others it does not learn that there are any."""

    async def scenario(world: World) -> None:
        made = {}
        for name in ("seen", "hidden"):
            first = await ok(world, "PolicyService.CreatePolicy", policy_id=name, policy={})
            made[name] = f"policies/{name}/versions/{first.etag}"
        tenant = {"policies": ["seen"], "default_policy": "seen"}
        await ok(world, "TenantService.CreateTenant", tenant_id="initech", tenant=tenant)
        duty = {"role": "auditor", "tenant": "initech"}
        await ok(world, "OperatorService.CreateOperator", operator_id="eve", operator=duty)
        key = await ok(world, "OperatorKeyService.CreateOperatorKey", parent="operators/eve")
        for method, field in (("GetPolicyVersion", "name"), ("ListPolicyVersions", "parent")):
            asked = {
                name: await world.call(
                    f"PolicyService.{method}",
                    key=key.secret,
                    **{field: version if field == "name" else f"policies/{name}"},
                )
                for name, version in {**made, "nope": "policies/nope/versions/1"}.items()
            }
            assert asked["seen"].code is grpc.StatusCode.OK, method
            assert asked["hidden"].code is grpc.StatusCode.NOT_FOUND, method
            assert asked["hidden"].status == asked["nope"].status

    run(tmp_path, scenario)


@pytest.mark.parametrize("last", ["policies/p", "1" + "0" * 30, "٣", "-1", "1" * 5_000])
def test_a_token_of_something_else_is_refused(tmp_path: Path, last: str) -> None:
    """It would be the first page again, without end."""

    async def scenario(world: World) -> None:
        await ok(world, "PolicyService.CreatePolicy", policy_id="p", policy={})
        answer = await world.call(
            "PolicyService.ListPolicyVersions", key="admin", parent="policies/p", page_token=page_token(last)
        )
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "page_token" in answer.text

    run(tmp_path, scenario)


def test_a_database_that_does_not_answer_is_503(tmp_path: Path) -> None:
    """Whoever asks it, and however: nothing of ours is an internal error or the caller's fault."""

    async def scenario(world: World) -> None:
        await ok(world, "PolicyService.CreatePolicy", policy_id="p", policy={})
        with world.log.resources._engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE resource_versions RENAME TO versions_elsewhere")
        for method, fields in (
            ("PolicyService.ListPolicyVersions", {"parent": "policies/p"}),
            ("PolicyService.GetPolicyVersion", {"name": "policies/p/versions/1"}),
            ("PolicyService.RollbackPolicy", {"name": "policies/p", "revision": "1"}),
        ):
            await refused(world, grpc.StatusCode.UNAVAILABLE, method, **fields)
        with world.log.resources._engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE resources RENAME TO resources_elsewhere")
        key = {"name": "providerKeys/alpha"}
        for method, fields in (
            ("ProviderKeyService.GetProviderKey", key),
            ("ProviderKeyService.SetProviderKey", {**key, "secret": "sk-x"}),
            ("ProviderKeyService.DeleteProviderKey", key),
            ("ProviderKeyService.ListProviderKeys", {}),
            ("PolicyService.GetPolicy", {"name": "policies/p"}),
            ("KeyService.ListKeys", {"parent": "tenants/acme"}),
        ):
            await refused(world, grpc.StatusCode.UNAVAILABLE, method, **fields)

    run(tmp_path, scenario)


def test_the_last_page_is_the_last(tmp_path: Path) -> None:
    """A resource that is gone in the database and still in use here ends no list of whoever is bound to a tenant."""

    async def scenario(world: World) -> None:
        early = world.directory.tenant("acme")
        assert early is not None
        more = {"policies": ("alpha-only", "any", "beta-only", "ant", "bee")}
        world.directory._declared_tenants["acme"] = early.model_copy(update=more)
        found, token = [], ""
        while True:
            page = await world.call("PolicyService.ListPolicies", key="acme", page_size=1, page_token=token)
            found += [each.name for each in page.message.policies]
            token = page.message.next_page_token
            if not token:
                break
        assert found == ["policies/alpha-only", "policies/any", "policies/beta-only"]

    run(tmp_path, scenario)


def test_changes_at_once_do_not_spoil_each_other(tmp_path: Path) -> None:
    """A provider is deleted while a policy that names it is made: one of the two is refused, whatever the order."""

    async def scenario(world: World) -> None:
        for turn in range(4):
            await ok(world, "ProviderService.CreateProvider", provider_id="p", provider=PROVIDER)
            calls = [
                world.call("ProviderService.DeleteProvider", key="admin", name="providers/p"),
                world.call(
                    "PolicyService.CreatePolicy",
                    key="admin",
                    policy_id=f"q{turn}",
                    policy=policy(providers=["p"]),
                ),
            ]
            answers = await asyncio.gather(*(calls if turn % 2 else reversed(calls)))
            assert sorted(answer.code is OK for answer in answers) == [False, True]
            await in_use(world)
            if f"q{turn}" in world.snapshot.policies:
                await ok(world, "PolicyService.DeletePolicy", name=f"policies/q{turn}")
                await ok(world, "ProviderService.DeleteProvider", name="providers/p")

    run(tmp_path, scenario)


def test_mirrors_and_anchors(tmp_path: Path) -> None:
    """A mirror is called by the id of its key, which cannot be changed; an anchor by the id it is given."""

    async def scenario(world: World) -> None:
        mirror = {"url": "https://m.example", "key": "m.example+01234567+BGJlbGll"}
        made = await ok(world, "MirrorService.CreateMirror", mirror=mirror)
        assert made.name == "mirrors/01234567"
        changed = {**mirror, "name": made.name, "url": "https://n.example"}
        assert (await ok(world, "MirrorService.UpdateMirror", mirror=changed)).url == "https://n.example"
        other = {**changed, "key": "m.example+89abcdef+BGJlbGll"}
        assert "mirror.key" in await refused(world, INVALID, "MirrorService.UpdateMirror", mirror=other)
        anchor = {"url": "https://rekor.example", "key": PEM}
        assert (
            await ok(world, "AnchorService.CreateAnchor", anchor_id="rekor", anchor=anchor)
        ).every_s == 600
        listed = await ok(world, "AnchorService.ListAnchors", key="auditor")
        assert [each.name for each in listed.anchors] == ["anchors/rekor"]

    run(tmp_path, scenario)


def test_entries_say_what_was_changed_and_not_more(tmp_path: Path) -> None:
    """A change of configuration is an entry with the digest of the document."""

    async def scenario(world: World) -> None:
        made = await ok(world, "ProviderService.CreateProvider", provider_id="new", provider=PROVIDER)
        receipt = await world.log.receipt(int(made.etag), None, 20)
        assert "new.example" not in json.dumps(receipt)

    run(tmp_path, scenario)


def test_a_tenant_sees_what_it_could_be_routed_to(tmp_path: Path) -> None:
    """Of models, providers, deployments and policies; and nothing of endpoints and prices."""

    async def scenario(world: World) -> None:
        await make_all(world)
        for key, seen in (("acme", {"alpha", "beta"}), ("globex", {"alpha", "beta", "gamma", "new"})):
            listed = await ok(world, "ProviderService.ListProviders", key=key)
            assert {each.name for each in listed.providers} == {f"providers/{name}" for name in seen}
            assert not any(each.endpoint for each in listed.providers)
        models = await ok(world, "ModelService.ListModels", key="acme")
        assert [each.name for each in models.models] == ["models/org/large", "models/org/small"]
        found = await ok(
            world, "DeploymentService.GetDeployment", key="globex", name="providers/new/deployments/med.new"
        )
        assert not found.HasField("price")
        for method, name in (
            ("ModelService.GetModel", "models/org/med/8b:q4"),
            ("DeploymentService.GetDeployment", "providers/new/deployments/med.new"),
            ("PolicyService.GetPolicy", "policies/clinical"),
        ):
            absent = await world.call(
                method, key="acme", name=name.replace("med", "nil").replace("clin", "nil")
            )
            assert await world.call(method, key="acme", name=name) == absent

    run(tmp_path, scenario)

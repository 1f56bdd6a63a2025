"""What tenants and admins see of the providers, and of how they are doing."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from management_world import CONFIG, World, run
from management_world import world as world_of

from sovereign_ext._gen.sovereign.management.v1 import providers_pb2
from sovereign_ext.config.model import Config, Deployment
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.config.standing import Peer, Standing, Vouch
from sovereign_ext.config.trust import DigestBasis, Drift, EvidenceKind, Tier
from sovereign_ext.evidence.service import EvidenceStatus
from sovereign_ext.management.configured import ConfigKind
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.routing.health import Health, Verdict

pytestmark = pytest.mark.services

State = providers_pb2.Health.State


async def listed(world: World, key: str, **fields: Any) -> list[Any]:
    answer = await world.call("ProviderService.ListProviders", key=key, **fields)
    assert answer.code is grpc.StatusCode.OK
    return list(answer.message.providers)


def test_admins_see_all(tmp_path: Path) -> None:
    """Every provider by name, with its endpoint and its deployments in file order."""

    async def scenario(world: World) -> None:
        providers = await listed(world, "admin")
        assert [(provider.name, provider.endpoint) for provider in providers] == [
            (f"providers/{name}", f"http://{name}.internal:9000/v1") for name in ("alpha", "beta", "gamma")
        ]
        alpha = providers[0]
        assert alpha.kind == "mock"
        assert [deployment.name for deployment in alpha.deployments] == [
            "providers/alpha/deployments/alpha-small",
            "providers/alpha/deployments/alpha-large",
        ]
        small = alpha.deployments[0]
        assert (small.model, small.upstream_model, list(small.capabilities)) == ("org/small", "s-1", ["chat"])

    run(tmp_path, scenario)


def test_tenants_see_what_one_of_their_policies_could_reach(tmp_path: Path) -> None:
    """Both of acme's policies count; what neither reaches does not show, and nobody's endpoint does."""

    async def scenario(world: World) -> None:
        acme, globex = await listed(world, "acme"), await listed(world, "globex")
        assert [provider.name for provider in acme] == ["providers/alpha", "providers/beta"]
        assert [provider.name for provider in globex] == [
            f"providers/{name}" for name in ("alpha", "beta", "gamma")
        ]
        assert "internal" not in str(acme) + str(globex)
        assert {provider.endpoint for provider in [*acme, *globex]} == {""}

    run(tmp_path, scenario)


def test_a_deployment_out_of_reach_is_left_out_of_its_provider(tmp_path: Path) -> None:
    """Reach is asked for each deployment, not for the provider."""

    async def scenario(world: World) -> None:
        wanted = {"alpha-large"}
        providers = await listed(world, "acme")
        assert {each.name.rsplit("/", 1)[1] for each in providers[0].deployments} >= wanted
        config = CONFIG.model_copy(
            update={"deployments": tuple(each for each in CONFIG.deployments if each.id not in wanted)}
        )
        world.snapshot = Snapshot.from_config(config, version=2, digest="sha256:2", routable=routable)
        providers = await listed(world, "acme")
        assert [each.name for each in providers[0].deployments] == ["providers/alpha/deployments/alpha-small"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("key", ["admin", "globex"])
def test_a_list_costs_as_much_as_it_has_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Not their square: tenants ask, on the loop that serves the model API."""
    many = 60
    found = {
        "deployments": [
            {"id": f"d{number}", "model": "org/small", "provider": "alpha", "upstream_model": "m"}
            for number in range(many)
        ]
    }
    config = Config.model_validate({**CONFIG.model_dump(), **found})
    counts = Counter[str]()
    name, view = ConfigKind.name, Health.snapshot_view

    def counted_name(self: Any, model: Any) -> str:
        counts["names"] += 1
        return name(self, model)

    def counted_view(self: Health, now: float) -> Any:
        counts["views"] += 1
        return view(self, now)

    monkeypatch.setattr(ConfigKind, "name", counted_name)
    monkeypatch.setattr(Health, "snapshot_view", counted_view)

    async def scenario() -> None:
        async with world_of(tmp_path, config) as here:
            for method, fields in (
                ("DeploymentService.ListDeployments", {"parent": "providers/alpha"}),
                ("ProviderService.ListProviders", {}),
                ("ModelService.ListModels", {}),
            ):
                counts.clear()
                answer = await here.call(method, key=key, **fields)
                assert answer.code is grpc.StatusCode.OK
                assert counts["names"] <= 2 * many, method
                assert counts["views"] <= 1, method

    asyncio.run(scenario())


def test_get_answers_as_list_does(tmp_path: Path) -> None:
    """The same resource by its name."""

    async def scenario(world: World) -> None:
        for key in ("acme", "admin"):
            for provider in await listed(world, key):
                got = await world.call("ProviderService.GetProvider", key=key, name=provider.name)
                assert got.message == provider

    run(tmp_path, scenario)


def test_hidden_and_absent_are_told_apart_by_nothing(tmp_path: Path) -> None:
    """A provider that acme cannot reach answers as one that does not exist."""

    async def scenario(world: World) -> None:
        hidden = await world.call("ProviderService.GetProvider", key="acme", name="providers/gamma")
        absent = await world.call("ProviderService.GetProvider", key="acme", name="providers/delta")
        assert hidden.code is grpc.StatusCode.NOT_FOUND
        assert hidden == absent
        malformed = await world.call("ProviderService.GetProvider", key="acme", name="providers/")
        assert malformed.code is grpc.StatusCode.INVALID_ARGUMENT

    run(tmp_path, scenario)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_pages_hold_everything_once(tmp_path: Path, size: int) -> None:
    """Following the tokens gives the whole list in order; the last page has none."""

    async def scenario(world: World) -> None:
        names, token, pages = [], "", 0
        while True:
            answer = await world.call(
                "ProviderService.ListProviders", key="admin", page_size=size, page_token=token
            )
            names += [provider.name for provider in answer.message.providers]
            assert len(answer.message.providers) <= size
            pages, token = pages + 1, answer.message.next_page_token
            if not token:
                break
        assert names == ["providers/alpha", "providers/beta", "providers/gamma"]
        assert pages == max(1, -(-3 // size))

    run(tmp_path, scenario)


def test_a_page_goes_on_where_the_last_ended_though_the_configuration_changed(tmp_path: Path) -> None:
    """A provider that went away between two pages makes no other one disappear."""

    async def scenario(world: World) -> None:
        first = await world.call("ProviderService.ListProviders", key="admin", page_size=2)
        config = CONFIG.model_copy(
            update={
                "providers": tuple(each for each in CONFIG.providers if each.id != "alpha"),
                "deployments": tuple(each for each in CONFIG.deployments if each.provider != "alpha"),
            }
        )
        world.snapshot = Snapshot.from_config(config, version=2, digest="sha256:2", routable=routable)
        second = await world.call(
            "ProviderService.ListProviders", key="admin", page_token=first.message.next_page_token
        )
        assert [provider.name for provider in second.message.providers] == ["providers/gamma"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("fields", [{"page_size": -1}, {"page_token": "nonsense"}, {"page_token": "é"}])
def test_bad_paging_is_the_callers_fault(tmp_path: Path, fields: dict[str, Any]) -> None:
    """400, not the first page."""

    async def scenario(world: World) -> None:
        answer = await world.call("ProviderService.ListProviders", key="admin", **fields)
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT

    run(tmp_path, scenario)


def test_health_is_the_routings(tmp_path: Path) -> None:
    """Counts, score, state and reason follow what attempts reported; cooling ends in half open."""

    async def scenario(world: World) -> None:
        deployments = world.snapshot.deployments
        good_one, bad_one = deployments["alpha-small"], deployments["beta-small"]
        world.health.report(good_one, Verdict.SUCCESS, world.monotonic, latency_s=0.2)
        world.health.report(
            bad_one, Verdict.FAILURE, world.monotonic, reason="status", status=429, retry_after_s=20
        )
        world.monotonic += 5

        async def health(name: str) -> Any:
            return {
                each.name.rsplit("/", 1)[1]: each.health
                for provider in await listed(world, "acme")
                for each in provider.deployments
            }[name]

        good = await health("alpha-small")
        assert (good.state, good.reason, good.consecutive_failures) == (State.CLOSED, "", 0)
        assert (good.window.successes, good.window.failures, good.window.success_rate) == (1, 0, 1.0)
        assert good.window.p50_ms == pytest.approx(200, rel=0.06)
        assert not good.HasField("retry_in_s")
        bad = await health("beta-small")
        assert (bad.state, bad.reason, bad.retry_in_s) == (State.COOLING, "status", 15.0)
        assert bad.score < good.score
        assert not bad.window.HasField("p50_ms")
        fresh = await health("alpha-large")
        assert fresh.score == 1.0
        assert not fresh.window.HasField("success_rate")
        world.monotonic += 15
        assert (await health("beta-small")).state == State.HALF_OPEN

    run(tmp_path, scenario)


def test_health_of_a_deployment_that_routing_does_not_follow_yet_is_absent(tmp_path: Path) -> None:
    """Between a reload and the routing's taking it up nothing is made up."""

    async def scenario(world: World) -> None:
        added = CONFIG.deployments[0].model_copy(update={"id": "alpha-new"})
        config = CONFIG.model_copy(update={"deployments": (*CONFIG.deployments, added)})
        world.snapshot = Snapshot.from_config(config, version=2, digest="sha256:2", routable=routable)
        alpha = (await listed(world, "admin"))[0]
        known = {each.name.rsplit("/", 1)[1]: each.HasField("health") for each in alpha.deployments}
        assert known == {"alpha-small": True, "alpha-large": True, "alpha-new": False}

    run(tmp_path, scenario)


def test_a_key_revoked_by_a_reload_stops_at_once(tmp_path: Path) -> None:
    """Each call looks at the configuration in use."""

    async def scenario(world: World) -> None:
        assert await listed(world, "acme")
        world.directory.follow(CONFIG.model_copy(update={"tenants": CONFIG.tenants[1:]}))
        answer = await world.call("ProviderService.ListProviders", key="acme")
        assert answer.code is grpc.StatusCode.UNAUTHENTICATED

    run(tmp_path, scenario)


def test_json_has_names_for_states(tmp_path: Path) -> None:
    """What Envoy will print: the state by name, absent numbers left out."""

    async def scenario(world: World) -> None:
        provider = (await listed(world, "acme"))[1]
        document = json_format.MessageToDict(provider, preserving_proto_field_name=True)
        health = document["deployments"][0]["health"]
        assert health["state"] == "CLOSED"
        assert "retry_in_s" not in health

    run(tmp_path, scenario)


def test_trust_of_a_deployment_is_that_of_the_moment(tmp_path: Path) -> None:
    """What the registry says now: tier, reasons, scopes and drift."""

    async def scenario(world: World) -> None:
        world.snapshot = dataclasses.replace(world.snapshot, trust=Vouched())
        standing = (await listed(world, "acme"))[0].deployments[0].standing
        assert (standing.tier, list(standing.reasons), standing.drift) == (
            "witnessed",
            ["no_evidence"],
            "stable",
        )
        assert list(standing.scopes) == ["fda", "hipaa"]
        assert (standing.model_hash, standing.model_hash_basis) == ("sha256:" + "5" * 64, "measured")

    run(tmp_path, scenario)


class Vouched:
    """Two witnesses have vouched for everything."""

    def assess(self, deployment: Deployment, now_s: float, peer: Peer | None = None) -> Standing:
        vouches = tuple(Vouch("w", scope, "sha256:" + "7" * 64) for scope in ("hipaa", "fda"))
        return Standing(
            tier=Tier.WITNESSED,
            reasons=("no_evidence",),
            model_hash="sha256:" + "5" * 64,
            model_hash_basis=DigestBasis.MEASURED,
            vouches=vouches,
            drift=Drift.STABLE,
        )


def test_evidence_shows_with_its_provider(tmp_path: Path) -> None:
    """Why it failed is the operator's business, that it does not suffice everybody's."""
    status = EvidenceStatus(
        provider="alpha",
        kind=EvidenceKind.EAT,
        reason="evidence_expired",
        measurement="abc",
        document="sha256:" + "1" * 64,
        issued_at_s=1_800_000_000,
        expires_at_s=1_800_000_300,
        checked_at_s=1_800_000_301.0,
        error="connection to verifier.internal refused",
    )

    async def scenario(world: World) -> None:
        world.evidence = (status,)
        alpha, beta = (await listed(world, "acme"))[:2]
        assert not beta.HasField("evidence")
        shown = alpha.evidence
        assert (shown.kind, shown.reason, shown.measurement) == ("eat", "evidence_expired", "abc")
        assert shown.expire_time.seconds - shown.issue_time.seconds == 300
        assert shown.error == ""
        assert (await listed(world, "admin"))[0].evidence.error == status.error

    run(tmp_path, scenario)

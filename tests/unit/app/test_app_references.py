"""Two routers on one PostgreSQL, each with a change that is good alone: never both, whatever the order.

What each judges by is what it knows; the database decides, in the transaction of the change.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from google.protobuf.json_format import ParseDict
from references_world import dangling, overtaken
from services import PostgresDatabase, Valkey
from test_app_replicas import PATIENCE_S, Router, routers, soon

from sovereign_ext._gen.sovereign.management.v1 import (
    keys_pb2,
    models_pb2,
    operators_pb2,
    policies_pb2,
    providers_pb2,
    tenants_pb2,
)
from sovereign_ext.config import merge
from sovereign_ext.enrolment import KINDS

pytestmark = pytest.mark.services

Call = Callable[[Router], Awaitable[Any]]
DECLARED = ("policies/standard", "operators/root")
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE log_head%'"
)


def create(service: str, resource: Any, **fields: Any) -> Call:
    """``ProviderService`` and a provider: the call that makes it."""
    noun = service.removesuffix("Service")
    request = getattr(_module(service), f"Create{noun}Request")(**fields)
    getattr(request, noun.lower()).CopyFrom(resource)
    return lambda router: router.ask(f"{service}/Create{noun}", request, type(resource))


def delete(service: str, name: str) -> Call:
    noun = service.removesuffix("Service")
    request = getattr(_module(service), f"Delete{noun}Request")(name=name)
    return lambda router: router.ask(f"{service}/Delete{noun}", request, empty_pb2.Empty)


def _module(service: str) -> Any:
    return {
        "TenantService": tenants_pb2,
        "KeyService": keys_pb2,
        "OperatorService": operators_pb2,
        "PolicyService": policies_pb2,
        "ModelService": models_pb2,
        "ProviderService": providers_pb2,
        "DeploymentService": providers_pb2,
    }[service]


def tenant(name: str, *policies: str, **more: Any) -> Call:
    made = tenants_pb2.Tenant(policies=policies, default_policy=policies[0], **more)
    return create("TenantService", made, tenant_id=name)


def policy(name: str, *providers: str) -> Call:
    made = ParseDict({"providers": list(providers)}, policies_pb2.Policy())
    return create("PolicyService", made, policy_id=name)


def deployment(name: str) -> Call:
    made = providers_pb2.Deployment(model="m", upstream_model="m")
    return create("DeploymentService", made, deployment_id=name, parent="providers/p")


PROVIDER = create(
    "ProviderService", providers_pb2.Provider(kind="mock", endpoint="http://p.test"), provider_id="p"
)
MODEL = create("ModelService", models_pb2.Model(), model_id="m")
OPERATOR = create("OperatorService", operators_pb2.Operator(role="tenant_admin", tenant="t"), operator_id="o")
NO_POLICY, NO_TENANT = delete("PolicyService", "policies/a"), delete("TenantService", "tenants/t")
NO_MODEL, NO_PROVIDER = delete("ModelService", "models/m"), delete("ProviderService", "providers/p")
KEY = create("KeyService", keys_pb2.Key(), key_id="k", parent="tenants/t")

# What is there before, two changes that do not go together, and what undoes whichever was made.
PAIRS: dict[str, tuple[list[Call], Call, Call]] = {
    "policy and tenant": ([policy("a")], tenant("t", "a"), NO_POLICY),
    "tenant and operator": ([tenant("t", "standard")], OPERATOR, NO_TENANT),
    "tenant and key": ([tenant("t", "standard")], KEY, NO_TENANT),
    "two tenants of a workload": (
        [],
        tenant("t", "standard", identities=["spiffe://a.test/b"]),
        tenant("u", "standard", identities=["spiffe://a.test/b"]),
    ),
    "provider and policy": ([PROVIDER], policy("a", "p"), NO_PROVIDER),
    "provider and deployment": ([PROVIDER, MODEL], deployment("d"), NO_PROVIDER),
    "model and deployment": ([PROVIDER, MODEL], deployment("d"), NO_MODEL),
}


REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
)


async def made(call: Awaitable[Any]) -> bool:
    """Whether it was; refused means refused for what it is."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() not in REFUSALS:
            raise
        return False
    return True


def agreed(found: list[Router]) -> bool:
    """Whether every router goes by all that is committed."""
    store = found[0].processor._transparency.resources
    people, configuration = (
        max((row.revision for row in store.since(-1, kinds)), default=-1) for kinds in (KINDS, merge.KINDS)
    )
    return all(
        router.processor._enrolment.revision >= people
        and router.processor._effective.in_use.revision >= configuration
        for router in found
    )


async def cleared(found: list[Router]) -> None:
    """Everything deleted, those who refer first, and known everywhere."""
    a = found[0]
    await soon(partial(agreed, found), PATIENCE_S)
    services = ("OperatorService", "TenantService", "PolicyService", "DeploymentService", "ProviderService")
    by_kind = {service.removesuffix("Service").lower(): service for service in (*services, "ModelService")}
    rows = [row for row in a.processor._transparency.resources.since(-1) if not row.deleted]
    for kind, service in by_kind.items():
        for row in rows:
            if row.kind == kind:
                await delete(service, row.name)(a)
        await soon(partial(agreed, found), PATIENCE_S)


async def prepared(found: list[Router], before: list[Call]) -> None:
    for each in before:
        await each(found[0])
        await soon(partial(agreed, found), PATIENCE_S)


def play(
    tmp_path: Path,
    postgres: PostgresDatabase,
    valkey: Valkey,
    race: Callable[[Router, Router, Call, Call], Awaitable[list[bool]]],
) -> None:
    """Every pair in both orders. ``race`` has the first change committed before the other, and says which were made."""

    async def run() -> None:
        async with routers(tmp_path, postgres, valkey, 2) as found:
            here, there = found
            store = here.processor._transparency.resources
            for name, (before, one, other) in PAIRS.items():
                for first, second in ((one, other), (other, one)):
                    await prepared(found, before)
                    one_made, other_made = await race(here, there, first, second)
                    assert one_made or other_made, name
                    # A key goes with its tenant, so both are made if the key is first.
                    assert not (one_made and other_made) or (first, second) == (KEY, NO_TENANT), name
                    assert not dangling(store, DECLARED), name
                    await cleared(found)

    asyncio.run(run())


def test_what_another_router_did_meanwhile_counts(
    tmp_path: Path, postgres: PostgresDatabase, valkey: Valkey
) -> None:
    """Judged here, then overtaken from there before it is committed: the second is refused, in either order."""

    async def race(here: Router, there: Router, first: Call, second: Call) -> list[bool]:
        done: list[bool] = []

        async def overtake() -> None:
            done.append(await made(first(there)))

        overtaken(here.processor._transparency, overtake)
        done.append(await made(second(here)))
        assert done[0]
        return done

    play(tmp_path, postgres, valkey, race)


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_what_another_router_is_about_to_do_counts(
    isolation: str, tmp_path: Path, postgres: PostgresDatabase, valkey: Valkey
) -> None:
    """One transaction is open, with its change in it, while the other begins: that one waits and then sees it."""
    postgres.execute(f"ALTER DATABASE {postgres.name} SET default_transaction_isolation = '{isolation}'")

    async def race(here: Router, there: Router, first: Call, second: Call) -> list[bool]:
        log, loop = here.processor._transparency, asyncio.get_running_loop()
        change, written, go_on = log.change, asyncio.Event(), threading.Event()

        async def held(draft: Any, write: Any) -> Any:
            del log.change  # type: ignore[method-assign]

            def slowly(connection: Any, index: int) -> None:
                write(connection, index)
                loop.call_soon_threadsafe(written.set)
                go_on.wait(PATIENCE_S)

            return await change(draft, slowly)

        log.change = held  # type: ignore[method-assign]
        earlier = asyncio.create_task(made(first(here)))
        await written.wait()
        later = asyncio.create_task(made(second(there)))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (await asyncio.to_thread(postgres.execute, WAITING))[0][0] and not later.done():
                    await asyncio.sleep(0.01)
        finally:
            go_on.set()
        return [await earlier, await later]

    play(tmp_path, postgres, valkey, race)

"""How limits and caps stand: of a tenant and of a key, while calls are under way and after."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from management_world import CONFIG, World, world

from sovereign_ext._gen.sovereign.management.v1 import limits_pb2
from sovereign_ext.config.model import Config
from sovereign_ext.config.tenancy import SpendWindow
from sovereign_ext.errors import ServiceError
from sovereign_ext.tenants.demand import window
from sovereign_ext.tenants.ledger import Admitted, Demand, Draw, Measure, Reserve, Scope, Slot, Used

pytestmark = pytest.mark.services

METHOD = "LimitService.QueryLimits"


def limited() -> Config:
    """Acme has limits, and its first key its own."""
    data = CONFIG.model_dump()
    acme = data["tenants"][0]
    acme["limits"] = [
        {"per": "hour", "requests": 3_600, "tokens_out": 100},
        {"per": "minute", "requests": 5, "model": "org/small"},
        {"concurrent": 4},
    ]
    acme["spend_caps"] = [{"usd": 2, "per": "day"}, {"usd": 10, "per": "total"}]
    acme["keys"][0]["spend_caps"] = [{"usd": 1}]
    return Config.model_validate(data)


def run(directory: Path, scenario: Any) -> None:
    async def all_of_it() -> None:
        async with world(directory, limited()) as here:
            await asyncio.wait_for(scenario(here), 50)

    asyncio.run(all_of_it())


async def ask(here: World, caller: str = "admin", tenant: str = "acme", key: str = "") -> Any:
    request = limits_pb2.QueryLimitsRequest(tenant=tenant, key=key)
    return await here.call(METHOD, key=caller, request=request)


async def shown(here: World, **asked: str) -> list[tuple[Any, ...]]:
    answer = await ask(here, **asked)
    assert answer.code is grpc.StatusCode.OK, answer
    return [
        (each.measure, each.window, each.model, each.capacity, each.remaining, each.held)
        for each in answer.message.limits
    ]


@pytest.mark.parametrize("caller", ["admin", "acme-admin", "acme-auditor", "auditor", "acme"])
def test_a_tenants_limits_as_they_stand(tmp_path: Path, caller: str) -> None:
    """Before any call, while one is under way, and when it is over."""

    async def scenario(here: World) -> None:
        asked = {"caller": caller, "tenant": "" if caller == "acme" else "acme"}
        untouched = [
            ("requests", "hour", "", 3_600, 3_600, 0),
            ("tokens_out", "hour", "", 100, 100, 0),
            ("requests", "minute", "org/small", 5, 5, 0),
            ("concurrent", "", "", 4, 4, 0),
            ("spend", "day", "", 2_000_000_000, 2_000_000_000, 0),
            ("spend", "total", "", 10_000_000_000, 10_000_000_000, 0),
        ]
        assert await shown(here, **asked) == untouched
        now_ms = int(here.now * 1_000)
        scope = Scope("acme")
        demand = Demand(
            "dec-1",
            "acme",
            "acme",
            now_ms + 10**6,
            (Draw(scope, Measure.REQUESTS, 3_600, 3_600, 1), Draw(scope, Measure.TOKENS_OUT, 100, 3_600, 60)),
            (Slot(scope, 4),),
            (Reserve(scope, "day", *window(SpendWindow.DAY, now_ms), 2_000_000_000, 5),),
        )
        admitted = here.ledger.admit(demand, now_ms)
        assert isinstance(admitted if isinstance(admitted, Admitted) else await admitted, Admitted)
        found = await shown(here, **asked)
        assert found[0][4] == 3_599
        assert found[1][4] == 40
        assert found[3] == ("concurrent", "", "", 4, 3, 1)
        assert found[4] == ("spend", "day", "", 2_000_000_000, 1_999_999_995, 5)
        here.ledger.settle("dec-1", Used(1, 10, 3), now_ms)
        found = await shown(here, **asked)
        assert found[1][4] == 90
        assert found[3] == untouched[3]
        assert found[4] == ("spend", "day", "", 2_000_000_000, 1_999_999_997, 0)
        times = (await ask(here, caller)).message.limits
        assert [each.HasField("reset_time") for each in times] == [True, True, True, False, True, False]
        assert times[4].reset_time.seconds * 1_000 == window(SpendWindow.DAY, now_ms)[1]

    run(tmp_path, scenario)


def test_a_keys_own(tmp_path: Path) -> None:
    """Those of the file's key; one without any has none."""

    async def scenario(here: World) -> None:
        assert await shown(here, key="acme") == [("spend", "month", "", 10**9, 10**9, 0)]
        assert await shown(here, key="expired") == []
        assert await shown(here, tenant="globex") == []

    run(tmp_path, scenario)


def test_what_is_not_the_callers_is_not_there(tmp_path: Path) -> None:
    """Foreign and missing tenants alike, and keys of others."""

    async def scenario(here: World) -> None:
        for caller in ("acme", "acme-admin", "acme-auditor"):
            foreign, missing = await ask(here, caller, "globex"), await ask(here, caller, "nobody")
            assert foreign == missing
            assert foreign.code is grpc.StatusCode.NOT_FOUND
        for key in ("globex", "nobody", "a/b", "../globex"):
            answer = await ask(here, key=key)
            assert answer.code is grpc.StatusCode.NOT_FOUND
        nobody = await ask(here, tenant="")
        assert nobody.code is grpc.StatusCode.INVALID_ARGUMENT

    run(tmp_path, scenario)


def test_counts_that_cannot_be_reached_are_503(tmp_path: Path) -> None:
    """Never limits that look untouched."""

    async def scenario(here: World) -> None:
        def unreachable(*_: Any) -> Any:
            raise ServiceError(
                503, "the counts cannot be reached", code="limits_unavailable", retry_after_s=1
            )

        here.ledger.counts.standing = unreachable
        answer = await ask(here)
        assert answer.code is grpc.StatusCode.UNAVAILABLE

    run(tmp_path, scenario)

"""Three routers are one: what a tenant may spend and how fast it may call holds for all of them together."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest
from replicas_world import Replicas, storm
from services import PostgresDatabase, Valkey
from stack import ConfigFile, eventually

from sovereign_ext.mock.faults import Fault, Stall
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.services

ANSWER_TOKENS = 7  # of the mock's answer to stack.HELLO
USD_PER_TOKEN = Decimal("0.001")
NANO_PER_CALL = int(ANSWER_TOKENS * USD_PER_TOKEN * 10**9)
BOUNDED = {"max_completion_tokens": ANSWER_TOKENS}
"""With it the estimate of a call is what the call costs: input is free."""


class World(Replicas):
    """Three routers, one provider, tenant ``t`` with the given allowance."""

    def __init__(self, postgres: PostgresDatabase, valkey: Valkey, **tenant: Any) -> None:
        super().__init__(3, postgres, valkey)
        self.config.tenant = tenant
        self._mock = RunningMock("openai")

    def __enter__(self) -> World:
        with ExitStack() as opening:
            self.mock = opening.enter_context(self._mock)
            self.config.provider("p", "openai", self.mock.url)
            self.config.model("m", ["p"])
            self.config.deployments[-1]["price"] = {
                "input_per_mtok": 0,
                "output_per_mtok": float(USD_PER_TOKEN * 1_000_000),
            }
            opening.push(super().__exit__)
            super().__enter__()
            opening.pop_all()
        return self

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self._mock.__exit__(*reason)

    def usage(self) -> tuple[int, int]:
        """Rows of tenant ``t`` with something billed, and what was billed, billionths of a dollar."""
        (found,) = self.postgres.execute(
            "SELECT count(*), coalesce(sum(billed_nano), 0) FROM usage WHERE tenant = 't' AND billed_nano > 0"
        )
        return int(found[0]), int(found[1])


def capped(calls: int) -> dict[str, Any]:
    return {"spend_caps": [{"usd": float(calls * ANSWER_TOKENS * USD_PER_TOKEN), "per": "total"}]}


@pytest.fixture
def servers(postgres: PostgresDatabase, valkey: Valkey) -> tuple[PostgresDatabase, Valkey]:
    return postgres, valkey


def test_a_cap_holds_over_three_routers(servers: tuple[PostgresDatabase, Valkey]) -> None:
    """200 clients want three times as much as the cap allows: exactly K calls succeed, not one more."""
    allowed = 120
    with World(*servers, **capped(allowed)) as world:
        load = storm(world.stacks, world.config.key, calls=3 * allowed, clients=200, model="m", **BOUNDED)
        assert load.statuses == {200: allowed, 402: 2 * allowed}, (load.statuses, load.codes)
        assert load.codes == {"spend_cap_exceeded": 2 * allowed}
        assert world.usage() == (allowed, allowed * NANO_PER_CALL)
        indices = [answer["_sf_attestation"]["rekor_index"] for answer in load.answers]
        assert len(set(indices)) == allowed


def test_a_killed_router_loses_no_money(servers: tuple[PostgresDatabase, Valkey]) -> None:
    """Its calls under way are settled by the others, and what is left of the cap can be used to the last call."""
    allowed, lost = 40, 10
    with World(*servers, **capped(allowed)) as world:
        world.mock.fault(Fault(stall=Stall(at="headers")))
        victim = world.stacks[0]
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(
                storm, [victim], world.config.key, calls=lost, clients=lost, model="m", **BOUNDED
            )
            eventually(lambda: len(world.mock.requests()) == lost, "the calls are with the provider")
            victim.processor.kill()
            assert running.result().statuses[200] == 0
        world.mock.clear()
        load = storm(world.stacks[1:], world.config.key, calls=2 * allowed, clients=50, model="m", **BOUNDED)
        assert load.statuses[200] == allowed - lost, (load.statuses, load.codes)
        eventually(lambda: world.usage()[0] == allowed, "the lost calls are swept", 60)
        assert world.usage() == (allowed, allowed * NANO_PER_CALL)
        last = storm(world.stacks[1:], world.config.key, calls=3, clients=3, model="m", **BOUNDED)
        assert last.statuses == {402: 3}
        victim.start_processor()
        victim.wait_serving()
        assert victim.chat("m", max_completion_tokens=ANSWER_TOKENS).status == 402


def test_a_rate_holds_over_three_routers(servers: tuple[PostgresDatabase, Valkey]) -> None:
    """At most capacity and what fills up meanwhile: the stated bound of a token bucket; and not less than capacity.

    Where the store takes longer than 80 ms each router counts for itself, as documented; on a machine that is busy with
    other things that happens, and shows nothing about this: the round is done again.
    """
    capacity, window_s = 60, 60
    allowance = {"limits": [{"per": "minute", "requests": capacity}]}
    world = World(*servers, **allowance)
    others = [ConfigFile.tenant(world.config, name, **allowance) for name in ("second", "third")]
    with world:
        for key in (world.config.key, *(key for (key,) in others)):
            losses = world.logs().count("the shared store is lost")
            begun = time.monotonic()
            load = storm(world.stacks, key, calls=400, clients=200, model="m")
            took_s = time.monotonic() - begun
            if world.logs().count("the shared store is lost") > losses:
                continue
            admitted = load.statuses[200]
            assert capacity <= admitted <= capacity * (1 + took_s / window_s), (load.statuses, took_s)
            assert load.statuses == {200: admitted, 429: 400 - admitted}
            assert load.codes == {"rate_limit_exceeded": 400 - admitted}
            return
    pytest.fail("the store was too slow in each of three rounds")

"""Routers that count in a real store, over a real log: what a dead one held is written down, and read again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from services import Valkey
from shared_world import HURRIED, now_ms, settled

sys.path.insert(0, str(Path(__file__).parent.parent / "extproc"))

from test_gateway_entries import OUTCOME, with_log

from sovereign_ext.attest.facts import Result
from sovereign_ext.errors import ServiceError
from sovereign_ext.exchange.lost import LostCall, encode
from sovereign_ext.extproc.entries import outcome_draft
from sovereign_ext.limiting import SharedLimiting
from sovereign_ext.routing.health import Health
from sovereign_ext.secret import Secret
from sovereign_ext.shared.address import parse
from sovereign_ext.tenants.ledger import Admitted, Demand, Refused, Reserve, Scope, Slot, Verdict
from sovereign_ext.tlog.service import TransparencyLog

pytestmark = pytest.mark.services

KEY = bytes(range(32))
CAP = 1_000


def demand(call: str, amount: int) -> Demand:
    facts = replace(
        OUTCOME, decision_id=call, result=Result.LOST, status=0, error_code="call_lost", billed_nano_usd=amount,
        margin_percent="0", estimated=True, candidates=({"deployment": "d", "failed": []},),
    )  # fmt: skip
    return Demand(
        call, "mayo", "k", now_ms() + 600_000, (), (Slot(Scope("mayo"), 3),),
        (Reserve(Scope("mayo"), "total", 0, 0, CAP, amount),), lost=encode(LostCall(facts, KEY)),
    )  # fmt: skip


def router(valkey: Valkey, log: TransparencyLog) -> SharedLimiting:
    return SharedLimiting(parse(Secret(valkey.url), None), log, Health(), now_ms, HURRIED)


async def ask(limiting: SharedLimiting, asked: Demand) -> Verdict:
    """Until it is no 503: the first seconds of an epoch are for rebuilding."""
    for _ in range(1_000):
        try:
            verdict: Any = limiting.ledger.admit(asked, now_ms())
            return await verdict  # type: ignore[no-any-return]
        except ServiceError:
            await asyncio.sleep(0.02)
    raise AssertionError("limits stay unavailable")


async def die(limiting: SharedLimiting) -> None:
    """As SIGKILL does: no goodbye, nothing settled."""
    shared = limiting._shared
    for each in (shared._members, shared.sweeper, shared._exchange):
        await each._rounds.stop()
    assert shared.ledger.settling._task is not None
    shared.ledger.settling._task.cancel()
    await asyncio.gather(shared.ledger.settling._task, return_exceptions=True)
    await shared._client.stop()


def test_a_dead_routers_calls_are_in_the_log_and_what_they_cost_is_counted(
    valkey: Valkey, tmp_path: Path
) -> None:
    """One had its outcome, one had not: that one is written down as lost. The sum is the log's, also after a loss."""

    async def scenario(log: TransparencyLog) -> None:
        dead, alive = await router(valkey, log).open(), await router(valkey, log).open()
        alive.start(lambda call: False)
        assert isinstance(await ask(dead, demand("dec-known", 300)), Admitted)
        assert isinstance(await ask(dead, demand("dec-lost", 600)), Admitted)
        assert isinstance(await ask(alive, demand("dec-over", 101)), Refused)
        outcome = replace(OUTCOME, decision_id="dec-known", billed_nano_usd=50)
        await log.append(outcome_draft(outcome, KEY, log)[1])
        await die(dead)
        await settled(lambda: alive.status().swept == 2)
        found = await log.find("dec-lost", "outcome")
        assert found is not None
        assert log.usage.billed(["dec-known", "dec-lost", "dec-over"]) == {"dec-known": 50, "dec-lost": 600}
        assert isinstance(await ask(alive, demand("dec-351", 351)), Refused)
        valkey.flush()
        assert isinstance(await ask(alive, demand("dec-350", 350)), Admitted)
        assert isinstance(await ask(alive, demand("dec-1", 1)), Refused)
        assert (alive.status().held, alive.status().routers) == (1, 1)
        await alive.stop()

    with_log(tmp_path, scenario)

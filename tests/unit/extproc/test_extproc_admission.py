"""A call and its limits on the router stream: at once where counts are at hand, in order where they are not."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from test_extproc_credentials import CONFIG, OWN, Call, Keys, scenario
from test_extproc_trust import KEY, Pipe
from test_gateway_entries import OUTCOME, with_log

from sovereign_ext.attest import dsse
from sovereign_ext.attest.facts import Result
from sovereign_ext.config.load import parse
from sovereign_ext.errors import ServiceError
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.lost import LostCall, decode, encode
from sovereign_ext.extproc.entries import outcome_draft, record_lost
from sovereign_ext.extproc.exchange_stream import ExchangeStream
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.ledger import NOTHING_USED, Admitted, Demand, Refused, Used, Verdict
from sovereign_ext.tlog.service import TransparencyLog

LIMITED = {"limits": [{"per": "hour", "requests": 2, "concurrent": 5}]}


class Elsewhere:
    """A ``Ledger`` that is awaited: answers with ``verdict`` once ``come`` is set."""

    def __init__(self, verdict: Callable[[Demand], Verdict]) -> None:
        self.verdict = verdict
        self.come = asyncio.Event()
        self.asked: list[Demand] = []
        self.settled: list[tuple[str, Used]] = []

    async def admit(self, demand: Demand, now_ms: int) -> Verdict:
        self.asked.append(demand)
        await self.come.wait()
        return self.verdict(demand)

    def settle(self, call: str, used: Used, now_ms: int) -> None:
        self.settled.append((call, used))


class Limited(Call):
    """A call of a tenant with ``limits``."""

    def __init__(self, ledger: Any = None, **tenant: Any) -> None:
        super().__init__(Keys(at_hand=OWN))
        config = copy.deepcopy(CONFIG)
        config["tenants"][0] |= tenant or LIMITED  # type: ignore[index, operator]
        self.gateway.directory = Directory.of(parse(json.dumps(config)))
        if ledger is not None:
            self.gateway.ledger = ledger

    def open(self, key: str = KEY) -> tuple[ExchangeStream, Pipe]:
        """Headers of one call, each with a decision id of its own."""
        self.number = getattr(self, "number", 0) + 1
        self.gateway.random = lambda count: bytes([self.number]) * count
        return super().open(key)

    def exchange(self) -> Exchange:
        return list(self.gateway.exchanges.values())[-1]


def walked(pipe: Pipe) -> bool:
    return pipe.sent[-1].HasField("request_body")


def code(pipe: Pipe) -> str:
    return str(json.loads(pipe.sent[-1].immediate_response.body)["error"]["code"])


def test_an_answer_at_hand_costs_no_turn_of_the_loop() -> None:
    """The walk is sent before `message` returns, and so would be the refusal but for its entry."""

    async def run() -> None:
        call = Limited()
        for _ in range(2):
            assert walked(call.ask()[1])
        _, pipe = call.ask()
        await call.gateway.drain()
        assert code(pipe) == "rate_limit_exceeded"
        assert pipe.sent[-1].immediate_response.status.code == 429

    scenario(run)


def test_nothing_is_asked_for_a_call_that_nothing_limits() -> None:
    async def run() -> None:
        ledger = Elsewhere(lambda _: Admitted())
        call = Limited(ledger, margin_percent="1")
        assert walked(call.ask()[1])
        assert ledger.asked == []

    scenario(run)


def test_the_walk_waits_for_counts_that_are_elsewhere() -> None:
    async def run() -> None:
        ledger = Elsewhere(lambda _: Admitted())
        call = Limited(ledger)
        _, pipe = call.ask()
        await asyncio.sleep(0)
        assert len(pipe.sent) == 1
        ledger.come.set()
        await call.gateway.drain()
        assert walked(pipe)
        assert [demand.call for demand in ledger.asked] == [call.exchange().decision_id]
        assert ledger.settled == []

    scenario(run)


def test_a_client_that_leaves_while_counts_are_asked_holds_nothing() -> None:
    """Settled when it left, and again when the answer has come: whichever of the two took effect later."""

    async def run() -> None:
        ledger = Elsewhere(lambda _: Admitted())
        call = Limited(ledger)
        stream, pipe = call.ask()
        await asyncio.sleep(0)
        exchange = call.exchange()
        stream.ended()
        ledger.come.set()
        await call.gateway.drain()
        assert ledger.settled[-1] == (exchange.decision_id, NOTHING_USED)
        assert len(pipe.sent) == 1, "nothing is sent any more"
        assert not call.gateway.exchanges

    scenario(run)


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (ServiceError(503, "away", code="limits_unavailable"), "limits_unavailable"),
        (RuntimeError("a fault of ours"), "internal_error"),
    ],
)
def test_counts_that_cannot_be_had_are_an_error_of_ours(fault: Exception, wanted: str) -> None:
    def fails(_: Demand) -> Verdict:
        raise fault

    async def run() -> None:
        ledger = Elsewhere(fails)
        call = Limited(ledger)
        _, pipe = call.ask()
        ledger.come.set()
        await call.gateway.drain()
        assert code(pipe) == wanted
        assert [used for _, used in ledger.settled] == [NOTHING_USED]

    scenario(run)


def test_a_refusal_from_elsewhere_is_an_answer_with_its_entry() -> None:
    async def run() -> None:
        ledger = Elsewhere(lambda demand: Refused(demand.slots[0], 1.0))
        call = Limited(ledger)
        _, pipe = call.ask()
        ledger.come.set()
        await call.gateway.drain()
        assert code(pipe) == "concurrency_limit_exceeded"
        assert call.exchange().settled

    scenario(run)


# -- calls that were lost -----------------------------------------------------------------------------------------


def lost(**changes: Any) -> bytes:
    facts = replace(
        OUTCOME, result=Result.LOST, status=0, error_code="call_lost", billed_nano_usd=700, margin_percent="0",
        estimated=True, candidates=({"deployment": "d", "failed": []},), **changes,
    )  # fmt: skip
    return encode(LostCall(facts, bytes(range(32))))


def test_what_is_kept_of_a_call_is_read_back() -> None:
    kept = decode(lost())
    assert encode(kept) == lost()
    assert kept.facts.digests == OUTCOME.digests
    assert b"\n" not in lost()
    with pytest.raises(ValueError, match="not a call"):
        decode(b'{"facts": 1}')


def test_a_lost_call_is_written_down_once(tmp_path: Path) -> None:
    """Billed at its estimate, whoever asks and however often; a decision before it is named."""

    async def scenario_(log: TransparencyLog) -> None:
        for _ in range(2):
            assert await record_lost(log, lost(), 99) == Used(None, None, 700)
        row = await log.find("dec-1", "outcome")
        assert row is not None
        assert await log.find("dec-1", "decision") is None
        predicate = json.loads(dsse.parse(row.envelope).payload)["predicate"]
        assert (predicate["result"], predicate["billed_nano_usd"], predicate["estimated"]) == ("lost", 700, 1)
        assert predicate["finished_ms"] == 99
        assert log.usage.spent("mayo", None, 0) == 700

    with_log(tmp_path, scenario_)


def test_two_that_ask_at_once_write_one_entry(tmp_path: Path) -> None:
    async def scenario_(log: TransparencyLog) -> None:
        found = await asyncio.gather(*(record_lost(log, lost(), 90 + number) for number in range(5)))
        assert {each.billed_nano for each in found} == {700}
        assert log.usage.spent("mayo", None, 0) == 700

    with_log(tmp_path, scenario_)


def test_a_call_that_has_its_outcome_is_not_lost(tmp_path: Path) -> None:
    """What that says is what it is settled with."""
    facts = replace(OUTCOME, billed_nano_usd=5, prompt_tokens=3, completion_tokens=2)

    async def scenario_(log: TransparencyLog) -> None:
        await log.append(outcome_draft(facts, bytes(range(32)), log)[1])
        assert await record_lost(log, lost(), 99) == Used(3, 2, 5)
        assert log.usage.spent("mayo", None, 0) == 5

    with_log(tmp_path, scenario_)

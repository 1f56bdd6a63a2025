"""Writing a call down: the decision before, the outcome after, and the attestation from what was signed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from sovereign_ext.attest import commit, dsse
from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.attest.facts import CallFacts, DecisionFacts, Digests, Result
from sovereign_ext.attest.receipt_form import parse_receipt
from sovereign_ext.errors import ServiceError
from sovereign_ext.extproc.gateway import Gateway
from sovereign_ext.tlog.cosignature import MirrorAck
from sovereign_ext.tlog.service import Sequenced, TransparencyLog

KEY = bytes(range(32))
REQUEST = commit.commit(KEY, commit.CLIENT_REQUEST, b"{}")
EXCHANGE: Any = SimpleNamespace(key=KEY)
DECISION = DecisionFacts(
    decision_id="dec-1",
    tenant="mayo",
    endpoint="chat.completions",
    model="m",
    policy="phi",
    policy_digest=bytes(32),
    audit="strict",
    request={"capability": "chat", "prompt_tokens": 1},
    candidates=(),
    plan=("d",),
    decided_ms=1,
    client_request=REQUEST,
)
OUTCOME = CallFacts(
    decision_id="dec-1",
    tenant="mayo",
    endpoint="chat.completions",
    stream=False,
    result=Result.FAILED,
    status=502,
    error_code="x",
    started_ms=1,
    finished_ms=2,
    policy="phi",
    policy_digest=bytes(32),
    model="m",
    model_hash=None,
    model_hash_basis="none",
    deployment=None,
    provider=None,
    tier_required="open",
    tier_observed="none",
    tier_reasons=(),
    attempts=(),
    prompt_tokens=None,
    completion_tokens=None,
    digests=Digests(client_request=REQUEST),
    audit="strict",
)


def gateway(log: TransparencyLog) -> Gateway:
    made: Any = dict.fromkeys(
        (
            "snapshot",
            "directory",
            "health",
            "keystore",
            "media",
            "adapters",
            "clock",
            "random",
            "management_methods",
            "key_use",
            "fingerprint",
        )
    )
    return Gateway(log=log, attestations=Attestations(log.origin, log.log_id), **made)


def with_log(state: Path, scenario: Callable[[TransparencyLog], Awaitable[None]]) -> None:
    async def run() -> None:
        log = await TransparencyLog.open(state, "sovereign.local/log", clock=lambda: 1_767_225_600_000)
        try:
            await scenario(log)
        finally:
            await log.close()

    asyncio.run(run())


def test_decision_and_outcome_of_a_call(tmp_path: Path) -> None:
    """Two entries under one decision id, in this order, each with a receipt that opens the same request."""

    async def scenario(log: TransparencyLog) -> None:
        at = gateway(log)
        index = await at.record_decision(EXCHANGE, DECISION)
        assert await at.record_decision(EXCHANGE, DECISION) == index
        _, outcome = await at.settle(EXCHANGE, replace(OUTCOME, decision_index=index))
        assert (index, outcome) == (0, 1)
        kinds = []
        for number in (index, outcome):
            receipt = parse_receipt(await log.receipt(number, "mayo", 10))
            statement = json.loads(dsse.parse(receipt.envelope).payload)
            kinds.append(statement["predicateType"])
            assert statement["subject"] == [{"name": "client-request", "digest": {"sha256": REQUEST.hex()}}]
            assert (receipt.opening_key, receipt.opening_items) == (KEY, ("client-request",))
        assert kinds == ["urn:sovereign:decision:v1", "urn:sovereign:outcome:v1"]

    with_log(tmp_path, scenario)


def test_the_attestation_shows_the_mirror_that_was_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several mirrors the one that spoke last; even if another speaks while the entry is being written."""
    acks = [MirrorAck("m1", 5, 100, b""), MirrorAck("m2", 4, 200, b"")]

    async def scenario(log: TransparencyLog) -> None:
        monkeypatch.setattr(log, "acks", lambda: tuple(acks))
        append = log.append

        async def slow(draft: Any) -> Sequenced:
            placed = await append(draft)
            acks.append(MirrorAck("m3", 6, 300, b""))
            return placed

        monkeypatch.setattr(log, "append", slow)
        attestation, index = await gateway(log).settle(EXCHANGE, OUTCOME)
        shown = json.loads(attestation)
        assert (shown["mirror_id"], shown["mirror"]) == ("m2", {"size": 4, "time": 200})
        monkeypatch.setattr(log, "acks", tuple)
        receipt = parse_receipt(await log.receipt(index, None, 10))
        predicate = json.loads(dsse.parse(receipt.envelope).payload)["predicate"]
        assert predicate["mirror"] == {"id": "m2", "size": 4, "time": 200}

    with_log(tmp_path, scenario)


@pytest.mark.parametrize("failure", [OSError("disk"), None])
def test_a_call_that_cannot_be_written_down_is_refused(
    failure: Exception | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong: 503 ``log_unavailable``, for the decision as for the outcome."""

    async def scenario(log: TransparencyLog) -> None:
        at = gateway(log)
        if failure is None:
            await log.close()
        else:

            async def broken(_: Any) -> Sequenced:
                raise failure

            monkeypatch.setattr(log, "append", broken)
        for written in (at.record_decision(EXCHANGE, DECISION), at.settle(EXCHANGE, OUTCOME)):
            with pytest.raises(ServiceError) as caught:
                await written
            assert (caught.value.status, caught.value.code) == (503, "log_unavailable")

    with_log(tmp_path, scenario)

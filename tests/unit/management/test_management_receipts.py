"""Who gets which receipt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from management_world import KEYS, World, run

from sovereign_ext._gen.sovereign.log.v1 import log_pb2
from sovereign_ext.attest.receipt_form import parse_receipt
from sovereign_ext.errors import EntryPending
from sovereign_ext.management.auth import Authenticator
from sovereign_ext.management.receipts import WAIT_S, Receipts
from sovereign_ext.management.rpc import Call
from sovereign_ext.management.status import known

pytestmark = pytest.mark.services


@pytest.mark.parametrize("key", ["acme", "admin"])
def test_owner_and_admin_get_the_receipt(tmp_path: Path, key: str) -> None:
    """The document is the log's, as JSON that a verifier can take apart, and no cache keeps it."""

    async def scenario(world: World) -> None:
        index = await world.append("acme", "one")
        answer = await world.call("ReceiptService.GetReceipt", key=key, name=f"receipts/{index}")
        assert answer.code is grpc.StatusCode.OK
        assert answer.message.content_type == "application/json"
        document = json.loads(answer.message.data)
        assert document == await world.log.receipt(index, "acme", 5)
        assert parse_receipt(document).index == index
        assert answer.headers == {"cache-control": "private, no-store"}

    run(tmp_path, scenario)


def test_foreign_and_absent_are_told_apart_by_nothing(tmp_path: Path) -> None:
    """Another tenant's row answers exactly as a row that does not exist."""

    async def scenario(world: World) -> None:
        index = await world.append("acme", "one")
        foreign = await world.call("ReceiptService.GetReceipt", key="globex", name=f"receipts/{index}")
        absent = await world.call("ReceiptService.GetReceipt", key="globex", name=f"receipts/{index + 1}")
        assert foreign.code is grpc.StatusCode.NOT_FOUND
        assert foreign == absent

    run(tmp_path, scenario)


@pytest.mark.parametrize("key", [None, "unknown", "expired", "revoked", "old-admin", "", "sk-router-x"])
def test_without_a_valid_key_there_is_nothing(tmp_path: Path, key: str | None) -> None:
    """401, with a row that exists and with one that does not, and no key is repeated."""

    async def scenario(world: World) -> None:
        index = await world.append("acme", "one")
        for name in (f"receipts/{index}", "receipts/99", "receipts/x"):
            answer = await world.call("ReceiptService.GetReceipt", key=key, name=name)
            assert answer.code is grpc.StatusCode.UNAUTHENTICATED
            assert answer.headers["www-authenticate"] == "Bearer"
            assert not any(secret in str(answer) for secret in KEYS.values())

    run(tmp_path, scenario)


@pytest.mark.parametrize("name", ["", "receipts/", "receipts/01", "receipts/-1", "receipts/1/2", "x"])
def test_malformed_names_are_the_callers_fault(tmp_path: Path, name: str) -> None:
    """400 says how a name looks."""

    async def scenario(world: World) -> None:
        answer = await world.call("ReceiptService.GetReceipt", key="acme", name=name)
        assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "receipts/{index}" in answer.text

    run(tmp_path, scenario)


class Waiting:
    """A log whose row stays without a checkpoint."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def receipt(self, index: int, tenant: str | None, timeout_s: float) -> dict[str, Any]:
        self.waits.append(timeout_s)
        raise EntryPending("internal words")


@pytest.mark.parametrize(
    ("remaining", "waited"), [(None, WAIT_S), (60.0, WAIT_S), (1.0, 0.8), (0.1, 0.0), (-1.0, 0.0)]
)
def test_waiting_ends_before_the_caller_gives_up(
    tmp_path: Path, remaining: float | None, waited: float
) -> None:
    """At most five seconds, never past the deadline; then UNAVAILABLE with a hint when to come back."""

    async def scenario(world: World) -> None:
        log = Waiting()
        who = await Authenticator(
            lambda: world.snapshot, world.directory, world.tokens, lambda: world.now
        ).caller(f"Bearer {KEYS['acme']}")
        service, call = Receipts(log), Call(None, remaining, who=who)
        with pytest.raises(EntryPending) as caught:
            await service.get_receipt(log_pb2.GetReceiptRequest(name="receipts/0"), call)
        assert log.waits == [pytest.approx(waited)]
        failure = known(caught.value)
        assert failure is not None
        assert failure.code is grpc.StatusCode.UNAVAILABLE
        assert "internal words" not in failure.message
        assert ("retry-after", "1") in failure.trailers

    run(tmp_path, scenario)


def test_a_receipt_asked_for_at_once_is_waited_for(tmp_path: Path) -> None:
    """A client that asks right after its answer does not have to poll."""

    async def scenario(world: World) -> None:
        await world.append("acme", "zero")
        appended = asyncio.create_task(world.append("acme", "one"))
        while world.log.status().size < 2:
            await asyncio.sleep(0)
        answer = await world.call("ReceiptService.GetReceipt", key="acme", name="receipts/1")
        assert answer.code is grpc.StatusCode.OK
        await appended

    run(tmp_path, scenario)

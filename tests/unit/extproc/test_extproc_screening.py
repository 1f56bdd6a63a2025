"""Scans on their threads: how many of one tenant, what becomes of those that nobody waits for, and the refusal."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from test_extproc_admission import Limited, code
from test_extproc_credentials import scenario

from sovereign_ext.attest.facts import CallFacts
from sovereign_ext.extproc import screening
from sovereign_ext.extproc.screening import OF_ONE_TENANT, SCANNED_AT_ONCE, THREADS, Screening
from sovereign_ext.scanner.effort import CalledOff, Effort
from sovereign_ext.scanner.scan import Scan

POLICY: Any = None  # whatever it looks for


class Scans:
    """Instead of ``scan``: notes what begins, and ends when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[bytes] = []
        self.may_end = threading.Event()
        self._noted = threading.Condition()
        monkeypatch.setattr(screening, "scan", self)

    def __call__(self, _policy: Any, body: bytes, _effort: Effort) -> Scan:
        with self._noted:
            self.begun.append(body)
            self._noted.notify_all()
        assert self.may_end.wait(30)
        return Scan((), body)

    def begin(self, count: int) -> None:
        """Until so many have begun."""
        with self._noted:
            assert self._noted.wait_for(lambda: len(self.begun) >= count, 30)


def test_a_tenant_does_not_take_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another's scan begins although the first one's wait for their turn."""
    assert OF_ONE_TENANT < THREADS

    async def run() -> None:
        scans, threads = Scans(monkeypatch), Screening()
        many = [asyncio.ensure_future(threads.scan("a", POLICY, b"a", Effort())) for _ in range(THREADS + 3)]
        await asyncio.to_thread(scans.begin, OF_ONE_TENANT)
        other = asyncio.ensure_future(threads.scan("b", POLICY, b"b", Effort()))
        await asyncio.to_thread(scans.begin, OF_ONE_TENANT + 1)
        assert sorted(scans.begun) == [b"a"] * OF_ONE_TENANT + [b"b"]
        scans.may_end.set()
        assert {scan.body for scan in await asyncio.gather(*many, other)} == {b"a", b"b"}
        assert len(scans.begun) == len(many) + 1

    scenario(run)


def test_a_scan_that_is_called_off_before_its_turn_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        scans, threads, effort = Scans(monkeypatch), Screening(), Effort()
        first = [
            asyncio.ensure_future(threads.scan("a", POLICY, b"a", Effort())) for _ in range(OF_ONE_TENANT)
        ]
        await asyncio.to_thread(scans.begin, OF_ONE_TENANT)
        waiting = asyncio.ensure_future(threads.scan("a", POLICY, b"never", effort))
        effort.call_off()
        scans.may_end.set()
        with pytest.raises(CalledOff):
            await waiting
        await asyncio.gather(*first)
        assert scans.begun == [b"a"] * OF_ONE_TENANT

    scenario(run)


def chat(text: str) -> bytes:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    assert len(body) > SCANNED_AT_ONCE
    return body


def test_a_client_that_leaves_calls_its_scan_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan ends at its next step; the call is settled once, when the client leaves."""
    scans = Scans(monkeypatch)
    efforts: list[Effort] = []

    def scan(policy: Any, body: bytes, effort: Effort) -> Scan:
        efforts.append(effort)
        scans(policy, body, effort)
        effort.go_on()
        raise AssertionError("nobody waits any more")

    monkeypatch.setattr(screening, "scan", scan)

    async def run() -> None:
        call = Limited()
        stream, pipe = call.ask(chat("a" * SCANNED_AT_ONCE))
        await asyncio.to_thread(scans.begin, 1)
        stream.ended()
        scans.may_end.set()
        await call.gateway.drain()
        assert len(pipe.sent) == 1  # to the headers
        with pytest.raises(CalledOff):
            efforts[0].go_on()

    scenario(run)


def test_a_body_made_to_be_slow_is_refused_and_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        call = Limited()
        settled: list[CallFacts] = []
        settle = type(call.gateway).settle

        async def noted(self: Any, exchange: Any, facts: CallFacts) -> Any:
            settled.append(facts)
            return await settle(self, exchange, facts)

        monkeypatch.setattr(type(call.gateway), "settle", noted)
        _, pipe = call.ask(chat("pwd= " * 60_000))
        await call.gateway.drain()
        assert code(pipe) == "request_not_scannable"
        assert pipe.sent[-1].immediate_response.status.code == 400
        assert [facts.error_code for facts in settled] == ["request_not_scannable"]

    scenario(run)

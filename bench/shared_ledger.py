"""Measures the ledger in the shared store by itself, beside the one in memory: what a call costs the processor.

A Redis or Valkey of its own is started in a temporary directory on loopback. Every call asks for two rate limits, a
slot and a spend cap and is settled, one call after another and forty at a time. CPU is this process's; the server says
how many scripts it ran, so that round trips are counted where they arrive.

    python -m bench.shared_ledger [--calls 20000]

Exit code 1 when the target is missed: 0.2 ms of CPU a call in memory, one round trip before sending when shared.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import redis
import uvloop

from bench.machine import describe
from bench.rounds import percentile
from sovereign_ext.routing.health import Health
from sovereign_ext.secret import Secret
from sovereign_ext.shared.address import parse
from sovereign_ext.shared.service import Pace, Shared
from sovereign_ext.tenants.ledger import Admitted, Demand, Draw, Measure, Reserve, Scope, Slot, Used
from sovereign_ext.tenants.memory import MemoryLedger

TARGET_CPU_US = 200.0
SCOPE = Scope("acme")


class Nothing:
    """A database without a call."""

    def spent(self, tenant: str, key: str | None, since_ms: int, until_ms: int | None = None) -> int:
        return 0

    def billed(self, calls: Collection[str]) -> Mapping[str, int]:
        return {}

    async def sweep(self, call: str, demand: Demand) -> Used:
        raise AssertionError("nothing is lost here")


@dataclass(frozen=True, slots=True)
class Figures:
    """``cpu_us`` is of this process, a call with its settlement; ``p50_us`` and ``p99_us`` are of ``admit``."""

    name: str
    cpu_us: float
    p50_us: float
    p99_us: float


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def demand(call: str) -> Demand:
    now = now_ms()
    return Demand(
        call, "acme", "k", now + 60_000,
        (Draw(SCOPE, Measure.REQUESTS, 10**9, 60, 1), Draw(SCOPE, Measure.TOKENS_IN, 10**12, 60, 700)),
        (Slot(SCOPE, 10_000),),
        (Reserve(SCOPE, "total", 0, 0, 10**15, 12_345),),
        lost=b"x" * 1_500,  # about what is kept of a call
    )  # fmt: skip


async def measured(name: str, ledger: Any, calls: int, at_once: int) -> Figures:
    """So many calls, ``at_once`` at a time."""
    took: list[float] = []

    async def one(call: str) -> None:
        asked = demand(call)
        began = time.perf_counter()
        verdict = ledger.admit(asked, now_ms())
        if not isinstance(verdict, Admitted):
            verdict = await verdict
        took.append(time.perf_counter() - began)
        assert isinstance(verdict, Admitted), verdict
        ledger.settle(call, Used(650, 80, 11_000), now_ms())

    await one(f"{name}-first")
    took.clear()
    cpu = time.process_time()
    for start in range(0, calls, at_once):
        await asyncio.gather(*(one(f"{name}-{start + each}") for each in range(at_once)))
    cpu = time.process_time() - cpu
    return Figures(name, cpu / len(took) * 1e6, percentile(took, 50) * 1e3, percentile(took, 99) * 1e3)


async def bare(calls: int) -> float:
    """CPU of the same loop without a ledger, microseconds a call: what is not the ledger's."""

    class Free:
        def admit(self, asked: Demand, now: int) -> Admitted:
            return Admitted()

        def settle(self, call: str, used: Used, now: int) -> None:
            return

    return (await measured("bare", Free(), calls, 1)).cpu_us


def scripts_run(port: int) -> int:
    """By the server's own count. One call is one script to be admitted and one, later, to be settled."""
    with redis.Redis(port=port) as client:
        return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


async def run(calls: int, port: int) -> int:
    nothing = Nothing()
    shared = Shared(
        parse(Secret(f"redis://127.0.0.1:{port}"), None), source=nothing, calls=nothing, sweep=nothing.sweep,
        health=Health(), clock=now_ms, pace=Pace(timeout_s=1.0, rebuild_ms=0),
    )  # fmt: skip
    assert await shared.start(), shared.status()
    figures = [await measured("memory", MemoryLedger(), calls, 1)]
    before = scripts_run(port)
    figures.append(await measured("shared, 1 at a time", shared.ledger, calls, 1))
    while shared.status().queued:
        await asyncio.sleep(0.001)
    trips = (scripts_run(port) - before) / (calls + 1)
    figures.append(await measured("shared, 40 at a time", shared.ledger, calls - calls % 40, 40))
    rest = await bare(calls)
    server = shared.status().server
    await shared.stop()
    machine = describe(Path.cwd())
    print(f"{machine.cpu}, {machine.cores} cores, Python {machine.versions['Python']}, load {machine.load}")
    print(f"{server} on loopback; {calls} calls with 2 rates, a slot and a cap each\n")
    print(f"{'ledger':<22}{'CPU µs/call':>12}{'admit p50 µs':>14}{'p99 µs':>10}")
    for each in figures:
        print(f"{each.name:<22}{each.cpu_us - rest:>12.1f}{each.p50_us:>14.0f}{each.p99_us:>10.0f}")
    print(f"\nscripts a call, settlement included: {trips:.3f}")
    met = figures[0].cpu_us - rest <= TARGET_CPU_US and trips < 2.05
    print(
        "targets met" if met else "TARGET MISSED: 200 µs in memory, one script before sending and one after"
    )
    return 0 if met else 1


def with_server(work: Callable[[int], Awaitable[int]]) -> int:
    """A server of its own for as long as ``work`` takes; it is given the port."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        sys.exit("this needs valkey-server or redis-server: `scripts/setup.sh tools` installs one on Debian")
    with tempfile.TemporaryDirectory() as directory:
        with socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        argv = [
            program,
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--save",
            "",
            "--dir",
            str(Path(directory)),
        ]
        server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=port) as client:
                for _ in range(500):
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.01)
            return uvloop.run(work(port))
        finally:
            server.kill()
            server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20_000)
    calls = parser.parse_args().calls
    return with_server(lambda port: run(calls, port))


if __name__ == "__main__":
    sys.exit(main())

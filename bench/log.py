"""Measures the transparency log by itself: a large one is built, entry by entry, as the gateway builds it.

The real log with its real settings (SQLite, ``synchronous=FULL``, signed envelopes, tiles, signed checkpoints) in this
process; no HTTP and no provider. Four parts:

1. **grow**: a closed loop of waiting appends until the log has its size; the clock stops when all of it is published.
   Figures by slices of the growth show whether it slows down.
2. **paced**: appends at a fixed rate, each timed from when it was due, so that a stall counts for all it held up.
3. **proofs**: inclusion proofs of old and of new entries, out of the tiles.
4. **receipts**: the same for whole receipts.

Then ``sovereign log fsck``'s checks, without signatures, over all of it. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import uvloop

from bench.machine import describe
from bench.meter import machine_busy_s
from bench.rounds import percentile
from bench.table import header, number, render
from bench.workplace import at_least_one, say, workplace
from sovereign_ext.attest.facts import AttemptFact, CallFacts, Digests, Result
from sovereign_ext.attest.statement import OUTCOME, opening, outcome_statement
from sovereign_ext.cli.log import check
from sovereign_ext.cli.logparts import opened
from sovereign_ext.tlog.proof import inclusion_proof, verify_inclusion
from sovereign_ext.tlog.service import EntryDraft, LogPaths, TransparencyLog

ORIGIN = "bench.local/log"
ID = f"dec-{0:032x}"  # stands for the decision id in the template
TARGETS = {"entries/s": 5_000.0, "append p99 ms": 10.0, "proof p99 ms": 5.0, "old/new receipts": 1.5}


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the growth. ``behind`` is how many entries were not yet published at its end."""

    size: int
    entries_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of this process, an entry
    memory_mb: float
    behind: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds."""

    p50: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was measured."""

    entries: int
    in_flight: int
    statement_bytes: int
    entries_s: float  # until all of it was published
    noise: float  # share of the CPUs that other processes took meanwhile
    slices: list[Slice]
    paced: dict[int, Timing]
    proofs: dict[str, Timing]
    receipts: dict[str, Timing]
    peak_memory_mb: float
    database_mb: float
    tiles_mb: float
    fsck_s: float

    def missed(self) -> list[str]:
        """The targets that these figures miss."""
        found = {
            "entries/s": -self.entries_s,
            "append p99 ms": max(timing.p99 for timing in self.paced.values()),
            "proof p99 ms": max(timing.p99 for timing in self.proofs.values()),
            "old/new receipts": self.receipts["old"].p50 / self.receipts["new"].p50,
        }
        limits = {**TARGETS, "entries/s": -TARGETS["entries/s"]}
        return [name for name, value in found.items() if value > limits[name]]


class Drafts:
    """Entries as a call makes them, each with an id as the gateway makes them."""

    def __init__(self) -> None:
        digest = bytes(range(32))
        digests = Digests(digest, None, digest, digest, digest)
        self._statement = outcome_statement(_facts(digests))
        self._opening = opening(bytes(32), digests)
        self._random = random.Random(0)

    @property
    def size(self) -> int:
        """Bytes of a statement."""
        return len(self._statement)

    def next(self) -> EntryDraft:
        """The next one."""
        name = f"dec-{time.time_ns() // 1_000_000:012x}{self._random.randbytes(10).hex()}"
        return EntryDraft(
            OUTCOME, "tenant-a", name, self._statement.replace(ID.encode(), name.encode()), self._opening
        )


def _facts(digests: Digests) -> CallFacts:
    attempt = AttemptFact("meridian-b", "mayo-internal", "ok", 200, 1_767_225_600_000, 812)
    candidate = {
        "deployment": "meridian-a",
        "provider": "mayo-internal",
        "capabilities": ["chat"],
        "tier": "sealed",
        "scopes": ["fda", "hipaa"],
        "provider_origin": ["US", "mayo"],
        "model_origin": ["US", "jhu"],
        "drift": "stable",
        "p95_ms": 812,
        "cost_nano_usd": 1_200_000,
        "trains": 0,
        "retention_days": 0,
        "model_hash": f"sha256:{'a' * 64}",
        "model_hash_basis": "signed_manifest",
        "documents": [f"sha256:{'b' * 64}", f"sha256:{'c' * 64}"],
        "failed": [],
    }
    return CallFacts(
        decision_id=ID,
        tenant="tenant-a",
        endpoint="chat.completions",
        stream=False,
        result=Result.ANSWERED,
        status=200,
        error_code=None,
        started_ms=1_767_225_600_000,
        finished_ms=1_767_225_600_812,
        policy="clinical-strict",
        policy_digest=bytes(32),
        model="mayo-jhu/meridian-med-13b-v2",
        model_hash=f"sha256:{'a' * 64}",
        model_hash_basis="signed_manifest",
        deployment="meridian-b",
        provider="mayo-internal",
        tier_required="sealed",
        tier_observed="sealed",
        tier_reasons=(),
        attempts=(attempt,),
        prompt_tokens=412,
        completion_tokens=230,
        digests=digests,
        request={"capability": "chat", "prompt_tokens": 412, "max_tokens": 512},
        candidates=(candidate, {**candidate, "deployment": "meridian-b"}),
    )


class Grower:
    """Appends in a closed loop: ``in_flight`` at a time, each followed at once by another."""

    def __init__(self, log: TransparencyLog, drafts: Drafts, in_flight: int) -> None:
        self._log = log
        self._drafts = drafts
        self._in_flight = in_flight
        self._left = 0
        self._times: list[float] = []

    async def grow(self, number: int) -> list[float]:
        """Append ``number`` entries; gives the seconds that each took."""
        self._left, self._times = number, []
        await asyncio.gather(*(self._work() for _ in range(min(self._in_flight, number))))
        return self._times

    async def _work(self) -> None:
        while self._left:
            self._left -= 1
            started = time.perf_counter()
            await self._log.append(self._drafts.next())
            self._times.append(time.perf_counter() - started)


async def measure(directory: Path, args: argparse.Namespace) -> Figures:
    """All four parts on one log in ``directory``."""
    drafts = Drafts()
    busy, own, began = machine_busy_s(), time.process_time(), time.perf_counter()
    log = await TransparencyLog.open(directory / "log", ORIGIN, clock=lambda: time.time_ns() // 1_000_000)
    try:
        slices, elapsed = await _grow(log, Grower(log, drafts, args.in_flight), args)
        paced = {rate: await _paced(log, drafts, rate, args.seconds) for rate in args.rates}
        await _published(log)
        proofs = _proofs(log, args.samples)
        receipts = {
            age: await _timed(lambda index: log.receipt(index, None, 5.0), _indices(log, age, args.samples))
            for age in ("old", "new")
        }
    finally:
        await log.close()
    others = machine_busy_s() - busy - (time.process_time() - own)
    noise = max(0.0, others) / (time.perf_counter() - began) / (os.cpu_count() or 1)
    paths = LogPaths.of(directory / "log")
    say("checking all of it")
    started = time.perf_counter()
    with opened(paths.state) as parts:
        report = check(parts, quick=True)
    if report.faults:
        raise SystemExit(f"bench.log: the log has faults: {report.faults[0]}")
    return Figures(
        entries=report.rows,
        in_flight=args.in_flight,
        statement_bytes=drafts.size,
        entries_s=args.entries / elapsed,
        noise=noise,
        slices=slices,
        paced=paced,
        proofs=proofs,
        receipts=receipts,
        peak_memory_mb=_peak_mb(),
        database_mb=paths.database.stat().st_size / 1e6,
        tiles_mb=sum(file.stat().st_blocks * 512 for file in paths.tiles.rglob("*") if file.is_file()) / 1e6,
        fsck_s=time.perf_counter() - started,
    )


async def _grow(log: TransparencyLog, grower: Grower, args: argparse.Namespace) -> tuple[list[Slice], float]:
    slices: list[Slice] = []
    process, step = psutil.Process(), max(1, args.entries // args.slices)
    began = time.perf_counter()
    while (size := log.status().size) < args.entries:
        started, cpu = time.perf_counter(), time.process_time()
        wanted = min(step, args.entries - size)
        times = await grower.grow(wanted)
        elapsed = time.perf_counter() - started
        timing = _timing(times)
        status = log.status()
        slices.append(
            Slice(
                status.size,
                wanted / elapsed,
                timing.p50,
                timing.p99,
                (time.process_time() - cpu) / wanted * 1e6,
                process.memory_info().rss / 1e6,
                status.size - status.published_size,
            )
        )
        say(f"{status.size:>9,} entries, {wanted / elapsed:,.0f}/s, {slices[-1].behind:,} to publish")
    await _published(log)
    return slices, time.perf_counter() - began


async def _paced(log: TransparencyLog, drafts: Drafts, rate: int, seconds: float) -> Timing:
    """An open loop: entry n is due at n / rate, whatever became of those before it."""
    say(f"{rate}/s for {seconds:g} s")
    times: list[float] = []
    clock = time.perf_counter

    async def one(due: float) -> None:
        await log.append(drafts.next())
        times.append(clock() - due)

    began, tasks = clock(), set()
    for n in range(int(rate * seconds)):
        due = began + n / rate
        if (left := due - clock()) > 0:
            await asyncio.sleep(left)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return _timing(times)


def _proofs(log: TransparencyLog, samples: int) -> dict[str, Timing]:
    """Proofs as they are served: each reads its tiles anew. Each is verified, outside of its time."""
    checkpoint = log.published().checkpoint
    found = {}
    for age in ("old", "new"):
        times = []
        for index in _indices(log, age, samples):
            started = time.perf_counter()
            nodes = log.reader.nodes(checkpoint.size)
            path = inclusion_proof(index, checkpoint.size, nodes)
            times.append(time.perf_counter() - started)
            verify_inclusion(nodes(0, index), index, checkpoint.size, path, checkpoint.root)
        found[age] = _timing(times)
    return found


async def _timed(call: Callable[[int], Awaitable[object]], indices: list[int]) -> Timing:
    times = []
    for index in indices:
        started = time.perf_counter()
        await call(index)
        times.append(time.perf_counter() - started)
    return _timing(times)


def _indices(log: TransparencyLog, age: str, samples: int) -> list[int]:
    """Random entries of the first, or of the last, tenth of the log; the same ones in every run."""
    size = log.published().checkpoint.size
    start = 0 if age == "old" else size - max(1, size // 10)
    return random.Random(age).choices(range(start, start + max(1, size // 10)), k=samples)


async def _published(log: TransparencyLog) -> None:
    """Wait until all that is sequenced is published."""
    await log.receipt(log.status().size - 1, None, 600.0)


def _timing(seconds: list[float]) -> Timing:
    return Timing(percentile(seconds, 50), percentile(seconds, 99), max(seconds) * 1e3)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def report(figures: Figures) -> list[str]:
    """The tables."""
    rows = [["entries", "entries/s", "append ms p50", "p99", "CPU us/entry", "memory MB", "to publish"]]
    rows += [
        [
            f"{s.size:,}",
            *map(number, (s.entries_s, s.p50_ms, s.p99_ms, s.cpu_us, s.memory_mb)),
            f"{s.behind:,}",
        ]
        for s in figures.slices
    ]
    timings = {
        **{f"append at {rate}/s": timing for rate, timing in figures.paced.items()},
        **{f"proof, {age} entries": timing for age, timing in figures.proofs.items()},
        **{f"receipt, {age} entries": timing for age, timing in figures.receipts.items()},
    }
    table = [["ms", "p50", "p99", "most"]]
    table += [[name, number(t.p50), number(t.p99), number(t.most)] for name, t in timings.items()]
    missed = figures.missed()
    return [
        *render(rows),
        "",
        (
            f"  sustained {figures.entries_s:,.0f} entries/s until published, {figures.in_flight} appends in flight, "
            f"statements of {figures.statement_bytes:,} bytes"
        ),
        "",
        *render(table),
        "",
        (
            f"  peak memory {figures.peak_memory_mb:.0f} MB; database {figures.database_mb:,.0f} MB, tiles "
            f"{figures.tiles_mb:,.0f} MB on disk; fsck without signatures {figures.fsck_s:.1f} s, no faults"
        ),
        f"  noise: other processes took {figures.noise:.0%} of the CPUs",
        (
            f"  targets: {', '.join(f'{name} {value:g}' for name, value in TARGETS.items())}: "
            f"{'missed ' + ', '.join(missed) if missed else 'met'}"
        ),
    ]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        prog="bench.log", description="What the transparency log can do by itself."
    )
    parser.add_argument("--entries", type=at_least_one, default=1_000_000)
    parser.add_argument("--in-flight", type=at_least_one, default=256, help="appends that wait at a time")
    parser.add_argument("--slices", type=at_least_one, default=10)
    parser.add_argument(
        "--rates", type=at_least_one, nargs="*", default=[200, 1000], help="paced appends a second"
    )
    parser.add_argument("--seconds", type=at_least_one, default=15, help="of each paced load")
    parser.add_argument("--samples", type=at_least_one, default=500, help="proofs and receipts of each age")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    args = parser.parse_args()
    with workplace("bench-log") as directory:
        machine = describe(directory)
        gc.freeze()  # as the processor does
        figures = uvloop.run(measure(directory, args))  # as the processor
        print("\n".join([*header("The log by itself", machine, ()), "", *report(figures)]))
        if args.json is not None:
            args.json.write_text(
                json.dumps({"machine": asdict(machine), "figures": asdict(figures)}, indent=1)
            )
        if figures.missed():
            raise SystemExit(1)


if __name__ == "__main__":
    main()

"""One load on several sides in turns: A B A B …, so that what else the machine does meets all of them alike.

A ``Sample`` is one side's part of one round. Before the first round each side gets a short load that is not counted.
CPU time is read a moment after the last answer, because the gateway publishes its log a moment after it. Figures are
medians over rounds with their least and greatest; what a side adds is taken round by round from its own pair.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import cpu_count, getpid
from pathlib import Path

from bench.children import BenchError, Child, Children
from bench.load import Job, Result
from bench.meter import Meter, machine_busy_s
from bench.side import Side

_SETTLE_S = 0.6
"""Longer than the interval in which the log publishes, seconds."""
_WARM_S = 0.3
_LIMIT_S = 60.0
_SLOWEST_PER_S = 20.0
"""Fewer calls per second than that and the measurement is given up."""


@dataclass(frozen=True, slots=True)
class Load:
    """What each connection does in a round."""

    name: str
    connections: int
    body: Mapping[str, object]
    """The request without its model."""
    seconds: float = 0.0
    streams: int = 0
    """Streams per connection; 0: whole answers until ``seconds`` are over."""
    chunks: int = 0
    """Content chunks per stream."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One side's part of one round. Latencies in ms, rates per second, CPU time in seconds."""

    calls: int
    chunks: int
    wall_s: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    """From the request to the first text of a stream; 0 without streams."""
    first_p99_ms: float
    cpu_s: Mapping[str, float]
    """By part of the side."""
    client_cpu_s: float
    mock_cpu_s: float
    others: float
    """Share of the machine's CPU time that went to processes which are not part of this measurement."""

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.wall_s

    @property
    def chunks_per_s(self) -> float:
        return self.chunks / self.wall_s

    def cpu_ms_per_call(self, part: str) -> float:
        return 1e3 * self.cpu_s[part] / self.calls

    def cpu_us_per_chunk(self, part: str) -> float:
        return 1e6 * self.cpu_s[part] / self.chunks


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over rounds."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


Samples = Mapping[str, Sequence[Sample]]
"""Samples of one load by side, the nth of each from the nth round."""


def spread(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> Spread:
    return Spread.of([figure(sample) for sample in samples])


def added(base: Sequence[Sample], side: Sequence[Sample], figure: Callable[[Sample], float]) -> Spread:
    """What ``side`` has more than ``base``, round by round."""
    return Spread.of([figure(b) - figure(a) for a, b in zip(base, side, strict=True)])


class Bench:
    """The load generator and what it needs to know to sort out CPU time."""

    def __init__(self, client: Child, mock: Meter, sides: Sequence[Side]) -> None:
        self.sides = sides
        self.calls = {side.name: 0 for side in sides}  # answered, those that warm up included
        self._client = client
        self._mock = mock
        meters = [meter for side in sides for meter in side.meters.values()]
        self._ours = [*meters, mock, Meter(client.pid), Meter(getpid())]

    def turns(self, load: Load, rounds: int) -> dict[str, list[Sample]]:
        """So many samples of each side, in turns."""
        for side in self.sides:
            self.perform(
                side, replace(load, seconds=min(load.seconds, _WARM_S), streams=min(load.streams, 1))
            )
        found: dict[str, list[Sample]] = {side.name: [] for side in self.sides}
        for _ in range(rounds):
            for side in self.sides:
                found[side.name].append(self.sample(side, load))
        return found

    def sample(self, side: Side, load: Load) -> Sample:
        """One load on one side. Raises ``BenchError`` when a call was not answered as it should be."""
        before = [(meter, meter.read()) for meter in self._ours]
        busy, began = machine_busy_s(), time.monotonic()
        parts = {name: meter.read() for name, meter in side.meters.items()}
        upstream = self._mock.read()
        result = self.perform(side, load)
        time.sleep(_SETTLE_S)
        cpu = {name: side.meters[name].cpu_since(reading) for name, reading in parts.items()}
        mock = self._mock.cpu_since(upstream)
        elapsed = (time.monotonic() - began) * (cpu_count() or 1)
        others = machine_busy_s() - busy - sum(meter.cpu_since(reading) for meter, reading in before)
        return Sample(
            calls=len(result.latencies),
            chunks=len(result.latencies) * load.chunks,
            wall_s=result.wall,
            p50_ms=percentile(result.latencies, 50),
            p99_ms=percentile(result.latencies, 99),
            first_p50_ms=percentile(result.first_contents, 50),
            first_p99_ms=percentile(result.first_contents, 99),
            cpu_s=cpu,
            client_cpu_s=result.cpu,
            mock_cpu_s=mock,
            others=max(0.0, others / elapsed),
        )

    def perform(self, side: Side, load: Load, calls: int = 0) -> Result:
        """Do a load; with ``calls`` so many calls in all, whatever the load says."""
        job = Job(
            port=side.port,
            key=side.key,
            body=json.dumps({"model": side.model, **load.body}),
            connections=load.connections,
            limit_s=_LIMIT_S + calls / _SLOWEST_PER_S,
            seconds=0.0 if calls else load.seconds,
            calls=calls or load.connections * load.streams,
            expect=side.expect,
            events=load.chunks,
        )
        result = ask(self._client, job)
        if result.failures or not result.latencies:
            reasons = "\n".join(f"  {count} times: {reason}" for reason, count in result.failures.items())
            raise BenchError(f"{side.name}, {load.name}: calls failed\n{reasons or '  no call at all'}")
        self.calls[side.name] += len(result.latencies)
        return result


def client_process(children: Children, directory: Path) -> Child:
    """The load generator, waiting for jobs."""
    argv = [sys.executable, "-m", "bench.load"]
    return children.start("load generator", argv, directory / "load.log", piped=True)


def ask(client: Child, job: Job) -> Result:
    """Have the load generator do a job. Raises ``BenchError`` when it has ended."""
    line = json.dumps({name: getattr(job, name) for name in Job.__slots__})
    try:
        client.input.write(line.encode() + b"\n")
        client.input.flush()
        answer = client.output.readline()
    except BrokenPipeError:
        answer = b""
    if not answer:
        raise BenchError(f"the load generator ended; see its last lines:\n{client.log.read_text()}")
    return Result(**json.loads(answer))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value in seconds below which so many percent lie (nearest rank), in ms; 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = max(0, -(-len(ordered) * percent // 100) - 1)
    return 1e3 * ordered[int(rank)]

"""The targets of the project beside the figures: reached, not reached, or not decided by this run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.rounds import Sample, Samples, added, spread
from bench.side import PROCESSOR
from bench.table import number

JSON_CPU_MS = 1.5
CHUNK_CPU_US = 100.0
ADDED_P50_MS = 4.0
FIRST_ANSWER_S = 5.0
RESIDENT_MB = 200.0
LONG_RUN_CALLS = 100_000
FLAT_GROWTH = 0.05
"""Memory counts as flat when the last 40 % of the long run add no more than this share."""
PEER_FACTOR = 10.0
SIGNATURE_US = 30.0
LIMITS_US = 200.0
METRICS_US = 15.0


@dataclass(frozen=True, slots=True)
class Target:
    """One line: what was asked, what came out. ``reached`` is ``None`` when this run cannot tell."""

    name: str
    limit: str
    figure: str
    reached: bool | None
    note: str = ""

    def row(self) -> list[str]:
        verdict = {True: "reached", False: "NOT REACHED", None: "not decided"}[self.reached]
        return [self.name, self.limit, self.figure, verdict + (f": {self.note}" if self.note else "")]


def json_cpu(loads: Mapping[str, Samples]) -> list[Target]:
    """A line for each load: it depends on the load, so no single figure would be the truth."""
    return [_cpu(load, each["gateway"], JSON_CPU_MS, "ms", _per_call) for load, each in loads.items()]


def chunk_cpu(loads: Mapping[str, Samples]) -> list[Target]:
    """A line for each load of streams."""
    return [_cpu(load, each["gateway"], CHUNK_CPU_US, "µs", _per_chunk) for load, each in loads.items()]


def added_p50(single: Samples) -> Target:
    """``single`` is JSON at one connection."""
    base, side = single.values()
    found = added(base, side, lambda sample: sample.p50_ms).median
    return Target(
        "added p50, JSON, 1 connection",
        f"<= {ADDED_P50_MS:g} ms",
        f"{number(found)} ms",
        found <= ADDED_P50_MS,
    )


def first_answer(seconds: Sequence[float]) -> Target:
    worst = max(seconds)
    return Target(
        "first answer after the start",
        f"<= {FIRST_ANSWER_S:g} s",
        f"{number(worst)} s",
        worst <= FIRST_ANSWER_S,
        f"the slowest of {len(seconds)} starts",
    )


def memory(calls: int, resident_mb: float, peak_mb: float | None) -> Target:
    """``calls`` is how many the long run made; fewer than asked for cannot show that the target is reached."""
    highest = max(resident_mb, peak_mb or 0.0)
    missed, complete = highest > RESIDENT_MB, calls >= LONG_RUN_CALLS
    return Target(
        "processor memory after 100,000 requests",
        f"<= {RESIDENT_MB:g} MB",
        f"{number(highest)} MB",
        False if missed else (True if complete else None),
        "" if complete else f"so far, after {calls:,} requests; BENCH_REQUESTS={LONG_RUN_CALLS} decides",
    )


def flat(calls: int, at_60: float, at_100: float) -> Target:
    growth = at_100 / at_60 - 1
    return Target(
        "processor memory flat, 60 % to 100 %",
        f"<= +{100 * FLAT_GROWTH:g} %",
        f"{100 * growth:+.1f} %",
        growth <= FLAT_GROWTH,
        f"over the last {calls * 2 // 5:,} of {calls:,} requests",
    )


def peer(name: str, loads: Mapping[str, Samples]) -> list[Target]:
    """The gateway's throughput over the other's, for each load."""
    targets = []
    for load, samples in loads.items():
        ours, theirs = (
            spread(samples[side], lambda sample: sample.calls_per_s) for side in ("gateway", name)
        )
        factor = ours.median / theirs.median
        targets.append(
            Target(
                f"throughput over {name}'s, {load}",
                f">= {PEER_FACTOR:g} times",
                f"{number(factor)} times",
                factor >= PEER_FACTOR,
            )
        )
    return targets


def signature(us: float) -> Target:
    """``us`` is CPU of one SigV4 signature of a request of 2 KB."""
    return Target(
        "CPU of a SigV4 signature, 2 KB",
        f"<= {SIGNATURE_US:g} µs",
        f"{number(us)} µs",
        us <= SIGNATURE_US,
    )


def limits(us: float) -> Target:
    """``us`` is CPU that four limits and two spend caps add to a call."""
    return Target(
        "CPU of four limits and two caps", f"<= {LIMITS_US:g} µs", f"{number(us)} µs", us <= LIMITS_US
    )


def metrics(us: float) -> Target:
    """``us`` is CPU that metrics add to a call with one attempt."""
    return Target("CPU of a call's metrics", f"<= {METRICS_US:g} µs", f"{number(us)} µs", us <= METRICS_US)


def peer_elsewhere() -> Target:
    return Target(
        "throughput over LiteLLM's", f">= {PEER_FACTOR:g} times", "-", None, "`make bench-peers` measures it"
    )


def _per_call(sample: Sample) -> float:
    return sample.cpu_ms_per_call(PROCESSOR)


def _per_chunk(sample: Sample) -> float:
    return sample.cpu_us_per_chunk(PROCESSOR)


def _cpu(
    load: str, samples: Sequence[Sample], limit: float, unit: str, figure: Callable[[Sample], float]
) -> Target:
    found = spread(samples, figure).median
    what = "request" if figure is _per_call else "chunk"
    shown = f"{number(found)} {unit}"
    return Target(f"processor CPU per {what}, {load}", f"<= {limit:g} {unit}", shown, found <= limit)

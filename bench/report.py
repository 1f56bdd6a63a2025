"""What ``run`` measured, judged and printed; the JSON holds every sample."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import targets
from bench.adapters import Cost
from bench.loads import CHUNKS, PACE_MS
from bench.machine import Machine
from bench.rounds import Samples
from bench.side import ENVOY, PROCESSOR
from bench.table import Column, Figure, header, load_rows, number, others, render
from bench.telemetry import TENANTS


@dataclass(frozen=True, slots=True)
class Options:
    """How much to measure."""

    rounds: int
    seconds: float
    """Of JSON calls per side and round."""
    requests: int
    """In the long run."""
    starts: int
    json: Path | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB by part of the gateway, at points of the long run, and the peak over everything."""

    at: dict[str, dict[str, float]]
    peak: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured."""

    machine: Machine
    options: Options
    concurrency: str
    starts_s: list[float]
    json: dict[str, Samples]
    sse: dict[str, Samples]
    memory: Memory
    calls: int
    """That the gateway answered in this run."""
    entries: int
    """That its log holds."""
    adapters: dict[str, Cost]
    signature_us: float
    limits_us: dict[str, float]
    """That limits add to a call, by which."""
    metrics_us: dict[str, float]
    """That metrics add to a call, by its attempts."""
    scrape_ms: float


def judge(report: Report) -> list[targets.Target]:
    """The figures beside the project's targets."""
    at = {point: parts[PROCESSOR] for point, parts in report.memory.at.items()}
    requests = report.options.requests
    return [
        *targets.json_cpu(report.json),
        *targets.chunk_cpu(report.sse),
        targets.signature(report.signature_us),
        targets.limits(max(report.limits_us.values())),
        targets.metrics(report.metrics_us["one attempt"]),
        targets.added_p50(next(iter(report.json.values()))),
        targets.peer_elsewhere(),
        targets.first_answer(report.starts_s),
        targets.memory(requests, at["100 %"], report.memory.peak[PROCESSOR]),
        targets.flat(requests, at["60 %"], at["100 %"]),
    ]


def lines(report: Report, results: list[targets.Target]) -> list[str]:
    """The table."""
    all_samples = [*report.json.values(), *report.sse.values()]
    notes = [
        f"sides     bare Envoy and the gateway, {report.concurrency} Envoy threads each, the same mock behind both",
        f"rounds    {report.options.rounds} in turns; median (least to greatest); added: round by round",
        others(all_samples, report.machine),
    ]
    out = header("SovereignRouter bench", report.machine, notes)
    out += ["", "Whole JSON answers, closed loop. CPU in ms per request", *_json_table(report.json)]
    out += [
        "",
        f"Streams of {CHUNKS} chunks, paced {PACE_MS} ms or not. CPU in µs per chunk",
        *_sse_table(report.sse),
    ]
    out += ["", "Adapters alone, no sockets. CPU in µs", *_adapter_table(report.adapters)]
    limits = [["", "CPU in µs"], *([name, number(cost)] for name, cost in report.limits_us.items())]
    out += ["", "Limits and spend caps alone, added to a call", *render(limits)]
    metrics = [["", "CPU in µs"], *([name, number(cost)] for name, cost in report.metrics_us.items())]
    out += ["", "Metrics alone, added to a call", *render(metrics)]
    out += [f"A scrape after calls of {TENANTS:,} tenants: {number(report.scrape_ms)} ms of CPU"]
    out += ["", "Resident memory in MB; long run at 16 connections", *_memory_table(report.memory)]
    starts = ", ".join(f"{number(took)} s" for took in report.starts_s)
    out += ["", f"From `sovereign up --detach` to the first chat answer: {starts}"]
    out += [f"The gateway answered {report.calls:,} calls; its log has {report.entries:,} entries."]
    out += ["", *render([["Target", "", "figure", ""], *(result.row() for result in results)])]
    return out


def _adapter_table(costs: dict[str, Cost]) -> list[str]:
    rows = [["", "request", "whole answer", "streamed chunk"]]
    for kind, cost in costs.items():
        rows.append([kind, *(number(each) for each in (cost.request_us, cost.answer_us, cost.chunk_us))])
    return render(rows)


def _json_table(loads: dict[str, Samples]) -> list[str]:
    columns: list[Column] = [
        ("calls/s", lambda _: lambda sample: sample.calls_per_s),
        ("p50 ms", lambda _: lambda sample: sample.p50_ms),
        ("p99 ms", lambda _: lambda sample: sample.p99_ms),
        ("Envoy CPU", lambda _: lambda sample: sample.cpu_ms_per_call(ENVOY)),
        ("processor CPU", lambda name: _of_gateway(name, lambda sample: sample.cpu_ms_per_call(PROCESSOR))),
    ]
    return _table(loads, columns, ["p50 ms", "p99 ms", "Envoy CPU"])


def _sse_table(loads: dict[str, Samples]) -> list[str]:
    columns: list[Column] = [
        ("chunks/s", lambda _: lambda sample: sample.chunks_per_s),
        ("first text p50 ms", lambda _: lambda sample: sample.first_p50_ms),
        ("p99 ms", lambda _: lambda sample: sample.first_p99_ms),
        ("Envoy CPU", lambda _: lambda sample: sample.cpu_us_per_chunk(ENVOY)),
        ("processor CPU", lambda name: _of_gateway(name, lambda sample: sample.cpu_us_per_chunk(PROCESSOR))),
    ]
    return _table(loads, columns, ["first text p50 ms", "p99 ms", "Envoy CPU"])


def _of_gateway(name: str, figure: Figure) -> Figure | None:
    return figure if name == "gateway" else None


def _table(loads: dict[str, Samples], columns: list[Column], extra: list[str]) -> list[str]:
    rows = [["", "", *(heading for heading, _ in columns)]]
    for label, samples in loads.items():
        rows += load_rows(label, samples, columns, extra)
    return render(rows)


def _memory_table(memory: Memory) -> list[str]:
    points = list(memory.at)
    rows = [["", *points, "peak"]]
    for part, peak in memory.peak.items():
        shown = "unknown" if peak is None else number(peak)
        rows.append([part, *(number(memory.at[point][part]) for point in points), shown])
    return render(rows)


def write_json(path: Path, report: Any, results: list[targets.Target]) -> None:
    """The same with every sample, for machines."""
    document = {**asdict(report), "targets": [asdict(result) for result in results]}
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")

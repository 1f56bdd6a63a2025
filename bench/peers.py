"""``make bench-peers``: other gateways and ours under the same load, in turns. See bench/README.md.

One other gateway so far, LiteLLM's proxy. When it cannot be installed or started that is what is printed, with the
reason, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from bench import litellm, targets
from bench.children import Children
from bench.gateway import Gateway
from bench.loads import json_load
from bench.machine import Machine, describe
from bench.rounds import Bench, Samples, client_process
from bench.table import Column, header, load_rows, number, others, render
from bench.workplace import at_least_one, say, workplace


def main() -> int:
    options = _options()
    with workplace("bench-peers") as directory:
        try:
            return _measure(options, directory)
        except litellm.Unavailable as reason:
            print(f"{litellm.NAME} is NOT MEASURED. {reason}")
            return 1


def _measure(options: argparse.Namespace, directory: Path) -> int:
    version = litellm.version()
    machine = describe(directory)
    machine = replace(machine, versions={**machine.versions, litellm.NAME: version})
    loads: dict[str, Samples] = {}
    with Children() as children:
        gateway = Gateway(children, directory / "gateway")
        say(f"starting {litellm.NAME}")
        sides = (gateway.side(), litellm.start(children, directory, gateway.mock))
        bench = Bench(client_process(children, directory), gateway.mock.meter, sides)
        for connections in options.connections:
            load = json_load(connections, options.seconds)
            say(load.name)
            loads[load.name] = bench.turns(load, options.rounds)
        gateway.require_unharmed()
        memory = {
            side.name: {name: meter.resident_mb() for name, meter in side.meters.items()} for side in sides
        }
    results = targets.peer(litellm.NAME, loads)
    print("\n".join(_lines(machine, gateway.concurrency, options.rounds, loads, memory, results)))
    if options.json:
        document = _document(machine, loads, memory, results)
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _document(
    machine: Machine,
    loads: dict[str, Samples],
    memory: dict[str, dict[str, float]],
    results: list[targets.Target],
) -> dict[str, object]:
    samples = {
        load: {side: [asdict(sample) for sample in found] for side, found in each.items()}
        for load, each in loads.items()
    }
    return {
        "machine": asdict(machine),
        "json": samples,
        "memory": memory,
        "targets": [asdict(result) for result in results],
    }


def _lines(
    machine: Machine,
    concurrency: str,
    rounds: int,
    loads: dict[str, Samples],
    memory: dict[str, dict[str, float]],
    results: list[targets.Target],
) -> list[str]:
    notes = [
        f"gateway   as `sovereign up` runs it: one processor, {concurrency} Envoy threads, everything on",
        f"{litellm.NAME:9} one model, one worker, master key, no database; the same mock behind both",
        f"rounds    {rounds} in turns; median (least to greatest)",
        others(loads.values(), machine),
    ]
    columns: list[Column] = [
        ("calls/s", lambda _: lambda sample: sample.calls_per_s),
        ("p50 ms", lambda _: lambda sample: sample.p50_ms),
        ("p99 ms", lambda _: lambda sample: sample.p99_ms),
        ("CPU ms per request", lambda _: lambda sample: 1e3 * sum(sample.cpu_s.values()) / sample.calls),
    ]
    rows = [["", "", *(heading for heading, _ in columns)]]
    for label, samples in loads.items():
        rows += load_rows(label, samples, columns, ())
    used = "; ".join(
        f"{side}: " + ", ".join(f"{part} {number(mb)}" for part, mb in parts.items())
        for side, parts in memory.items()
    )
    out = header("SovereignRouter bench, other gateways", machine, notes)
    out += ["", "Whole JSON answers, closed loop. CPU of all processes of a side together", *render(rows)]
    out += ["", f"Resident memory in MB afterwards. {used}"]
    return [*out, "", *render([["Target", "", "figure", ""], *(result.row() for result in results)])]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-peers", description="Ours and other gateways, in turns."
    )
    parser.add_argument("--rounds", type=at_least_one, default=5, help="per load (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="per side and round (default %(default)s)")
    parser.add_argument("--connections", type=at_least_one, nargs="+", default=[1, 16], help="default 1 16")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""``make bench``: bare Envoy and the gateway in turns on one machine, as one table. See bench/README.md.

In order: the start (three fresh directories), the adapters, the limits and the metrics alone, whole JSON answers,
streams, the long run for memory. Every call is checked, and at the end the log must hold an entry for each. Exit code 1
when something could not be measured; a target that is missed is shown, not an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.adapters import measure as adapter_costs
from bench.children import BenchError, Children
from bench.gateway import Gateway, first_answer_s
from bench.ledger import measure as limit_costs
from bench.loads import json_load, paced, unpaced
from bench.machine import describe
from bench.report import Memory, Options, Report, judge, lines, write_json
from bench.rounds import Bench, Samples, client_process
from bench.side import Side, bare
from bench.telemetry import measure as metrics_costs
from bench.telemetry import scrape_ms
from bench.workplace import at_least_one, say, workplace

_JSON_CONNECTIONS = (1, 16, 64)
_PACED_STREAMS = (1, 8, 32)
_LONG_CONNECTIONS = 16
_BLOCKS = 5  # of the long run, with a look at memory after each


def main() -> int:
    options = _options()
    with workplace("bench") as directory:
        report = measure(options, directory)
        results = judge(report)
        print("\n".join(lines(report, results)))
        if options.json:
            write_json(options.json, report, results)
    return 0


def measure(options: Options, directory: Path) -> Report:
    """All of it, about three minutes by default."""
    machine = describe(directory)
    say(f"{options.starts} starts")
    starts = [first_answer_s(directory / f"start-{number}") for number in range(options.starts)]
    say("adapters alone")
    adapters = adapter_costs()
    say("limits alone")
    limits = limit_costs(directory)
    say("metrics alone")
    metrics, (scrape, _) = metrics_costs(), scrape_ms()
    with Children() as children:
        gateway = Gateway(children, directory / "gateway")
        gateway_side = gateway.side()
        fresh = _resident(gateway_side)
        bare_side = bare(children, directory, gateway.mock, gateway.concurrency)
        bench = Bench(client_process(children, directory), gateway.mock.meter, (bare_side, gateway_side))
        try:
            whole, streams = _json(bench, options), _sse(bench, gateway, options)
            memory = _long_run(bench, gateway_side, options.requests, fresh)
            gateway.require_unharmed()
        except BenchError as error:
            raise BenchError(f"{error}\n{gateway.logs()}") from None
        return Report(
            machine,
            options,
            gateway.concurrency,
            starts,
            whole,
            streams,
            memory,
            bench.calls["gateway"],
            gateway.entries(),
            *adapters,
            limits,
            metrics,
            scrape,
        )


def _json(bench: Bench, options: Options) -> dict[str, Samples]:
    found: dict[str, Samples] = {}
    for connections in _JSON_CONNECTIONS:
        load = json_load(connections, options.seconds)
        say(load.name)
        found[load.name] = bench.turns(load, options.rounds)
    return found


def _sse(bench: Bench, gateway: Gateway, options: Options) -> dict[str, Samples]:
    found: dict[str, Samples] = {}
    for load, fault in (*map(paced, _PACED_STREAMS), unpaced(16, 8)):
        say(load.name)
        gateway.mock.fault(**fault)
        found[load.name] = bench.turns(load, options.rounds)
    gateway.mock.fault()
    return found


def _long_run(bench: Bench, side: Side, requests: int, fresh: dict[str, float]) -> Memory:
    say(f"long run, {requests} requests")
    points = {"start": fresh, "0 %": _resident(side)}
    for block in range(1, _BLOCKS + 1):
        bench.perform(side, json_load(_LONG_CONNECTIONS, 0), calls=max(1, requests // _BLOCKS))
        points[f"{100 * block // _BLOCKS} %"] = _resident(side)
    return Memory(points, {name: meter.peak_mb() for name, meter in side.meters.items()})


def _resident(side: Side) -> dict[str, float]:
    return {name: meter.resident_mb() for name, meter in side.meters.items()}


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="make bench", description="What the gateway costs beside bare Envoy."
    )
    parser.add_argument("--rounds", type=at_least_one, default=5, help="per load (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=1.2, help="of JSON per side and round (default %(default)s)"
    )
    parser.add_argument(
        "--requests", type=at_least_one, default=20_000, help="in the long run (default %(default)s)"
    )
    parser.add_argument("--starts", type=at_least_one, default=3, help="default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there, too")
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())

"""What the credential scan costs a call, and how often it is wrong about texts that have no credential.

Times are CPU time of this process: median, least and greatest of some rounds. The prompt of 2 KB is a usual one;
large bodies are ``clean``'s texts, of all families in turn. Hostile bodies are ranked by small ones, and the worst
measured at 256 KiB and 1 MiB. Memory: what building the scanner adds, and what a process of its own needs at most to
scan the largest body. Deliberately not here: the call around the scan (``run``), and whether everything is found
(tests).
"""

from __future__ import annotations

import argparse
import json
import random
import string
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from bench import clean, hostile
from bench.machine import Machine, describe
from bench.meter import Meter
from bench.rounds import Spread
from bench.table import header, number, render, show
from bench.targets import Target
from bench.workplace import at_least_one, say, workplace
from sovereign_ext.scanner.effort import NotScannable
from sovereign_ext.scanner.registry import DETECTORS
from sovereign_ext.scanner.scan import Scanner

PROMPT: Final = 2_048
SIZES_MIB: Final = (1, 10, 32)
PROMPT_US: Final = 50.0
CLEAN_MB_S: Final = 200.0
FALSE_ALARMS: Final = 1.0  # for 10 MB, of the six families together
SIX: Final = frozenset({"openai", "anthropic", "aws", "github", "slack", "stripe"})
RANKED_BYTES: Final = 2**15
Text = tuple[str, str]
"""Its family, and itself."""

SHOWN: Final = 12  # of the worst hostile bodies
_CALLS: Final = 500  # of a prompt's round


@dataclass(frozen=True, slots=True)
class Hostile:
    """A body made to be expensive."""

    name: str
    s_per_mib: float
    growth: float
    """How many times longer four times the size takes; 4 is linear, less where it is refused."""
    refused: bool
    """Whether the larger one is: then it is not scanned to its end."""


@dataclass(slots=True)
class Family:
    """Texts of one sort: how many MB, scanned in how many seconds, with which findings by ``family/kind``."""

    megabytes: float = 0.0
    seconds: float = 0.0
    alarms: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured."""

    machine: Machine
    rounds: int
    building_ms: Spread
    building_mb: float
    prompts_us: dict[str, Spread]
    clean_mb_s: dict[str, Spread]
    peak_mb: float | None
    """Of a process that scans the largest clean body, less what it had before the scan."""
    hostile: list[Hostile]
    tried: int
    families: dict[str, Family]
    """Of the texts."""


def spread(rounds: int, figure: Callable[[], float]) -> Spread:
    return Spread.of([figure() for _ in range(rounds)])


def cpu_s(work: Callable[[], object], calls: int = 1) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - began) / calls


def prompt(ending: str = "") -> bytes:
    """A chat request of 2 KB that ends with ``ending``."""
    question = (
        "I need screws that hold a wooden board of 18 mm on a steel frame, about forty of them, and whatever I need to "
        "make the holes. What do you have, where is it, and what will it cost? "
    )
    system = "You answer questions about the stock of a hardware shop. Say only what the list of goods says."

    def of(text: str) -> bytes:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text + ending}]
        return json.dumps({"model": "m", "temperature": 0.2, "messages": messages}).encode()

    return of((question * 20)[: PROMPT - len(of(""))])


def credential() -> str:
    """A GitHub token as GitHub makes them, of nobody's: its last six characters are the checksum of the others."""
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    token = "".join(random.Random(6).choices(digits, k=30))
    checksum = zlib.crc32(token.encode())
    return "ghp_" + token + "".join(digits[checksum // 62**place % 62] for place in range(5, -1, -1))


def large_bodies(texts: Sequence[Text]) -> dict[str, bytes]:
    """One chat request for each size, with pieces of all families."""
    found = {}
    for mib in SIZES_MIB:
        messages, left = [], mib * 2**20 - 100
        for at in count():
            piece = texts[at % len(texts)][1][:100_000]
            messages.append({"role": "user", "content": piece})
            left -= len(json.dumps(messages[-1], ensure_ascii=False).encode()) + 2
            if left <= 0:
                break
        found[f"{mib} MiB"] = json.dumps({"model": "m", "messages": messages}, ensure_ascii=False).encode()
    return found


def hostile_bodies(scanner: Scanner) -> tuple[list[Hostile], int]:
    """The worst of all, and how many there are: ranked by a small body each, then measured with large ones."""
    fills = [*hostile.bodies(DETECTORS), ("a credential", hostile.credentials([credential().encode()]))]

    def seconds(fill: hostile.Fill, size: int) -> tuple[float, bool]:
        """CPU time of ``size`` bytes of it, and whether it is refused."""
        body, refused = fill(size), False

        def scan() -> None:
            nonlocal refused
            try:
                scanner.scan(body)
            except NotScannable:
                refused = True

        return cpu_s(scan) * size / len(body), refused

    ranked = sorted(fills, key=lambda each: -seconds(each[1], RANKED_BYTES)[0])
    found = []
    for name, fill in ranked[:SHOWN]:
        took, refused = seconds(fill, 2**20)
        found.append(Hostile(name, took, took / seconds(fill, 2**18)[0], refused))
    return sorted(found, key=lambda each: -each.s_per_mib), len(fills)


def false_alarms(scanner: Scanner, texts: Sequence[Text]) -> tuple[dict[str, Family], list[Text]]:
    """What is found in each family of texts, and the texts in which nothing is.

    Each finding is told on standard error, to be looked at.
    """
    families: dict[str, Family] = {}
    kinds = {detector.kind: detector.family for detector in DETECTORS}
    clear = []
    for at, (name, text) in enumerate(texts):
        family = families.setdefault(name, Family())
        body = clean.body(text, at)
        began = time.process_time()
        findings = scanner.scan(body).findings
        family.seconds += time.process_time() - began
        family.megabytes += len(body) / 1e6
        for finding in findings:
            kind = f"{kinds[finding.kind]}/{finding.kind}"
            family.alarms[kind] = family.alarms.get(kind, 0) + 1
            say(f"{name}: {kind}: {finding.secret.reveal()[:60]!r}")
        if not findings:
            clear.append((name, text))
    return families, clear


def peak_mb(body: Path) -> float | None:
    """MB that a process of its own needs at most while it scans what is in the file, above what it had.

    ``None`` where the system does not count anew (it must be Linux).
    """
    code = (
        "import sys, psutil; from pathlib import Path\n"
        "from bench.meter import Meter; from sovereign_ext.scanner.scan import Scanner\n"
        "meter = Meter(psutil.Process().pid); scanner = Scanner(); scanner.scan(b'{}')\n"
        "body = Path(sys.argv[1]).read_bytes(); Path('/proc/self/clear_refs').write_text('5')\n"
        "before = meter.resident_mb(); scanner.scan(body); print(meter.peak_mb() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(body)], capture_output=True, check=False, timeout=600
    )
    return None if done.returncode else float(done.stdout)


def measure(rounds: int, megabytes: float, directory: Path) -> Report:
    """All of it, in a few minutes."""
    machine = describe(directory)
    say("building")
    before = Meter(psutil.Process().pid).resident_mb()
    scanner = Scanner()
    built_mb = Meter(psutil.Process().pid).resident_mb() - before
    building = spread(rounds, lambda: 1e3 * cpu_s(Scanner))
    say("texts")
    texts = list(clean.texts(dict.fromkeys(clean.FAMILIES, megabytes / len(clean.FAMILIES))))
    random.Random(6).shuffle(texts)
    say("false alarms")
    families, clear = false_alarms(scanner, texts)
    say("prompts")
    prompts = {"clean": prompt(), "with one finding": prompt(" " + credential() + " ok?")}
    assert [len(scanner.scan(each).findings) for each in prompts.values()] == [0, 1]
    prompts_us = {
        name: spread(rounds, lambda body=body: 1e6 * cpu_s(lambda: scanner.scan(body), _CALLS))  # type: ignore[misc]
        for name, body in prompts.items()
    }
    say("large bodies")
    bodies = large_bodies(clear)
    clean_mb_s = {
        name: spread(rounds, lambda body=body: len(body) / 1e6 / cpu_s(lambda: scanner.scan(body)))  # type: ignore[misc]
        for name, body in bodies.items()
    }
    largest = directory / "body.json"
    largest.write_bytes(list(bodies.values())[-1])
    peak = peak_mb(largest)
    say("hostile bodies")
    worst, tried = hostile_bodies(scanner)
    return Report(
        machine, rounds, building, built_mb, prompts_us, clean_mb_s, peak, worst, tried, families
    )  # fmt: skip


def of_six(report: Report) -> int:
    alarms = [item for family in report.families.values() for item in family.alarms.items()]
    return sum(count for kind, count in alarms if kind.split("/")[0] in SIX)


def judge(report: Report) -> list[Target]:
    """The figures beside the project's targets."""
    clean_us = report.prompts_us["clean"].median
    slowest = min(each.median for each in report.clean_mb_s.values())
    rate = 10 * of_six(report) / sum(each.megabytes for each in report.families.values())
    prompt_limit, clean_limit = f"<= {PROMPT_US:g} µs", f">= {CLEAN_MB_S:g} MB/s"
    return [
        Target("scan of a 2 KB prompt", prompt_limit, f"{number(clean_us)} µs", clean_us <= PROMPT_US),
        Target("scan of large clean bodies", clean_limit, f"{number(slowest)} MB/s", slowest >= CLEAN_MB_S),
        Target(
            "false alarms of the six families",
            f"< {FALSE_ALARMS:g} per 10 MB",
            f"{number(rate)} per 10 MB",
            rate < FALSE_ALARMS,
        ),
    ]


def lines(report: Report, results: list[Target]) -> list[str]:
    """The table."""
    notes = [
        f"rounds    {report.rounds}; median (least to greatest), CPU time of one thread",
        f"detectors {len(DETECTORS)} kinds in {len({each.family for each in DETECTORS})} families",
    ]
    rows = [["", ""], ["building the scanner, ms", show(report.building_ms)]]
    rows += [["  memory it adds, MB", number(report.building_mb)]]
    rows += [[f"prompt of 2 KB, {name}, µs", show(found)] for name, found in report.prompts_us.items()]
    rows += [[f"clean texts, {name}, MB/s", show(found)] for name, found in report.clean_mb_s.items()]
    peak = report.peak_mb
    rows += [
        [f"  memory to scan {SIZES_MIB[-1]} MiB at most, MB", "unknown" if peak is None else number(peak)]
    ]
    out = [*header("credential scan", report.machine, notes), *render(rows)]
    table = [["", "s/MiB", "four times the size takes", ""]]
    for each in report.hostile:
        end = "refused" if each.refused else "scanned"
        table.append([each.name, f"{each.s_per_mib:.3f}", f"{each.growth:.1f} times", end])
    out += ["", f"Hostile bodies: the worst of {report.tried}", *render(table)]
    table = [["", "MB", "MB/s", "findings"]]
    for name, family in report.families.items():
        found = ", ".join(f"{kind} {n}" for kind, n in sorted(family.alarms.items())) or "none"
        table.append([name, number(family.megabytes), number(family.megabytes / family.seconds), found])
    out += ["", "Texts without credentials", *render(table)]
    return [*out, "", *render([["Target", "", "figure", ""], *(result.row() for result in results)])]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-scan", description="What the credential scan costs.")
    parser.add_argument("--rounds", type=at_least_one, default=7, help="default %(default)s")
    parser.add_argument(
        "--megabytes", type=at_least_one, default=64, help="of clean texts (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    options = parser.parse_args()
    with workplace("scan") as directory:
        report = measure(options.rounds, options.megabytes, directory)
        results = judge(report)
        print("\n".join(lines(report, results)))
        if options.json:
            document = {**asdict(report), "targets": [asdict(each) for each in results]}
            options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What many tenants and keys cost: the start of a gateway that has them in its database, and a call's lookup.

The database is one that ``sovereign up`` made, filled with rows as the management API writes them; what is timed is the
command until a chat call is answered, first with no tenant of the database and then with all of them. Lookups are timed
in this process: CPU time of one call's authentication, the least of several rounds in turns, because whatever disturbs
only adds. What is missing are the rows' log entries.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
from sqlalchemy import insert

from bench.gateway import first_answer_s
from bench.machine import describe
from bench.table import header, number, render
from bench.workplace import at_least_one, say, workplace
from sovereign_ext.config.model import Config
from sovereign_ext.enrolment import Enrolment
from sovereign_ext.secret import Secret
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.storage.resources import Resource, ResourceStore
from sovereign_ext.storage.schema import resources
from sovereign_ext.tenants.directory import Directory, Kind
from sovereign_ext.tenants.keyhash import KeyHash, KeyHashes
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint
from sovereign_ext.tenants.resolve import resolve

TENANTS: Final = 10_000
KEYS_OF_EACH: Final = 10
START_TARGET_S: Final = 5.0
ADDED_TARGET_US: Final = 3.0
SIZES: Final = (100, 1_000, 10_000, 100_000)
CALLS: Final = 2_000  # in one round
ROUNDS: Final = 15
STARTS: Final = 3
_NOW: Final = 1_800_000_000.0
_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds from command to answer, without and with the rows; seconds and MiB of loading alone; µs of a lookup."""

    bare_s: list[float]
    full_s: list[float]
    load_s: float
    load_mib: float
    lookups_us: dict[str, float]


def rows(tenants: int, keys_of_each: int, hashes: KeyHashes) -> Iterator[Resource]:
    """Tenants and their keys, as the API would have made them."""
    revisions = count()
    for number_ in range(tenants):
        name = f"bench-{number_}"
        document = {"id": name, "policies": ["any"], "default_policy": "any", "margin_percent": "0"}
        yield Resource(f"tenants/{name}", Kind.TENANT, name, json.dumps(document), next(revisions), 1, 1)
        for at in range(keys_of_each):
            key: dict[str, object] = {
                "id": f"k{at}",
                "hash": hashes.stored(key_of(number_ * keys_of_each + at)),
                "expires_at": "2099-01-01T00:00:00Z",
                "revoked_at": None,
                "policies": [],
                "limits": [],
                "spend_caps": [],
                "replaces": None,
            }
            yield Resource(
                f"tenants/{name}/keys/k{at}", Kind.KEY, name, json.dumps(key), next(revisions), 1, 1
            )


def key_of(number_: int) -> Secret:
    """The key of that number."""
    return mint(KeyKind.TENANT, hashlib.sha256(b"bench %d" % number_).digest())


def fill(state_dir: Path, tenants: int, keys_of_each: int) -> ResourceStore:
    """Put them into the database of a gateway that has been stopped."""
    hashes = KeyHashes.from_text(Secret((state_dir / "key-hash.secret").read_text()))
    engine = open_sqlite(state_dir / "log" / "log.db")
    names = [column.name for column in resources.c]
    found = [{name: getattr(row, name) for name in names} for row in rows(tenants, keys_of_each, hashes)]
    with engine.begin() as connection:
        for at in range(0, len(found), _AT_ONCE):
            connection.execute(insert(resources), found[at : at + _AT_ONCE])
    return ResourceStore(engine)


def lookups() -> dict[str, float]:
    """µs of CPU that one call's authentication takes, by who is looked up among how many."""
    hashes = KeyHashes(KeyHash(b"s" * 32))
    file = Config.model_validate(
        {
            "version": 1,
            "policies": [{"id": "any"}],
            "tenants": [
                {
                    "id": "file",
                    "policies": ["any"],
                    "default_policy": "any",
                    "keys": [{"id": f"k{at}", "hash": hash_key(f"file {at}")} for at in range(100)],
                }
            ],
        }
    )
    sides: dict[str, Callable[[], None]] = {}

    def side(name: str, directory: Directory, keys: Sequence[str]) -> None:
        headers = [f"Bearer {keys[at % len(keys)]}".encode() for at in range(CALLS)]

        def calls() -> None:
            for each in headers:
                resolve(each, directory, _NOW)

        sides[name] = calls

    side("100 keys of the file", Directory.of(file), [f"file {at}" for at in range(100)])
    for size in SIZES:
        directory = Directory.of(file, hashes)
        for row in rows(size // KEYS_OF_EACH, KEYS_OF_EACH, hashes):
            directory.apply(row)
        step = max(1, size // CALLS)
        keys = [key_of(at).reveal() for at in range(0, size, step)]
        side(f"{size:,} keys of the database", directory, keys)
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(ROUNDS):
        for name, calls in sides.items():
            began = time.process_time_ns()
            calls()
            best[name] = min(best[name], (time.process_time_ns() - began) / 1_000 / CALLS)
    return best


def measure(directory: Path, tenants: int, keys_of_each: int) -> Found:
    """All of it, in about a minute."""
    state_dir = directory / "state"
    say("starts without tenants of the database")
    first_answer_s(state_dir)
    bare = [first_answer_s(state_dir) for _ in range(STARTS)]
    say(f"{tenants:,} tenants with {keys_of_each} keys each")
    store = fill(state_dir, tenants, keys_of_each)
    full = [first_answer_s(state_dir) for _ in range(STARTS)]
    hashes = KeyHashes.from_text(Secret((state_dir / "key-hash.secret").read_text()))
    before = psutil.Process().memory_info().rss
    loaded = Directory(hashes)
    began = time.perf_counter()
    Enrolment(loaded, store).load()
    load_s = time.perf_counter() - began
    mib = (psutil.Process().memory_info().rss - before) / 2**20
    assert loaded.grant(key_of(tenants * keys_of_each - 1).reveal()) is not None
    say("lookups")
    return Found(bare, full, load_s, mib, lookups())


def report(found: Found, tenants: int, keys_of_each: int, directory: Path) -> list[str]:
    """The table."""
    file = found.lookups_us["100 keys of the file"]
    full = statistics.median(found.full_s)
    most = max(found.lookups_us.values())
    table = [
        ["", "", "target"],
        ["start, none of the database", f"{number(statistics.median(found.bare_s))} s", ""],
        [
            f"start, {tenants:,} tenants and {tenants * keys_of_each:,} keys",
            f"{number(full)} s",
            f"{START_TARGET_S:g} s {'ok' if full <= START_TARGET_S else 'MISSED'}",
        ],
        ["  of it reading them", f"{number(found.load_s)} s, {number(found.load_mib)} MiB", ""],
    ]
    table += [
        [f"lookup, {name}", f"{number(us)} µs, {us - file:+.2f}", ""] for name, us in found.lookups_us.items()
    ]
    table[-1][2] = f"+{ADDED_TARGET_US:g} µs {'ok' if most - file <= ADDED_TARGET_US else 'MISSED'}"
    notes = ["start: from the command to a chat call's answer, median; lookup: CPU time, the least of rounds"]
    return [*header("tenants and keys", describe(directory), notes), *render(table)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.directory", description=__doc__)
    parser.add_argument("--tenants", type=at_least_one, default=TENANTS)
    parser.add_argument("--keys", type=at_least_one, default=KEYS_OF_EACH, help="of each tenant")
    options = parser.parse_args()
    with workplace("directory") as directory:
        found = measure(directory, options.tenants, options.keys)
        print("\n".join(report(found, options.tenants, options.keys, directory)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

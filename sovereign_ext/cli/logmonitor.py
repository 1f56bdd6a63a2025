"""``sovereign log monitor``: runs the monitor over a state directory or a public log, and says what it came to.

Exit codes: 0 nothing wrong, 1 a violation was found, 2 something could not be checked. What a public log does not
show is named, but is not a 2: it is not there to be checked.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sovereign_ext.cli.log import row_verifier
from sovereign_ext.cli.logparts import LogParts, opened
from sovereign_ext.errors import LogError, LogUnavailable, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sovereign_ext.tlog.follow import Fetch
    from sovereign_ext.tlog.note import Verifier

FINE, VIOLATION, UNCHECKED = 0, 1, 2
NOT_PUBLIC = "a public log shows neither statements nor policies: decisions were not judged"


@dataclass(slots=True)
class Outcome:
    """What a run found. ``facts`` are for people and scripts, in the order to show them."""

    facts: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code."""
        return VIOLATION if self.violations else UNCHECKED if self.unchecked else FINE


def run_monitor(args: argparse.Namespace) -> int:
    """Run as the options say, print, give the exit code."""
    outcome = Outcome()
    try:
        if args.url is not None:
            _public(args, outcome)
        else:
            _private(args, outcome)
    except (LogError, VerificationError, OSError) as error:
        # An option, a key or a file that is not what it should be: nothing is proven of the log.
        outcome.unchecked.append(str(error))
    print(_as_json(outcome) if args.json else _render(outcome))
    return outcome.code


def _private(args: argparse.Namespace, outcome: Outcome) -> None:
    with opened(args.state_dir, args.checkpoint_dir, args.config) as parts:
        keys = parts.keys
        leaf_at = _judge(parts, outcome, quick=args.quick)
        _promises(args.promises, leaf_at, keys.log.name, keys.promise, outcome)
        if args.seen is not None:
            _follow(lambda path, _: parts.reader.get(path), keys.log, args.seen, outcome)


def _judge(parts: LogParts, outcome: Outcome, *, quick: bool) -> Callable[[int], bytes | None]:
    from sovereign_ext.cli.verify import recorded_condition
    from sovereign_ext.storage.documents import DocumentStore
    from sovereign_ext.storage.entries import EntryStore
    from sovereign_ext.tlog.fsck import Fsck
    from sovereign_ext.tlog.monitor import EntryMonitor

    keys, store = parts.keys, EntryStore(parts.engine)
    verify = None if quick else row_verifier(keys.envelope)
    monitor = EntryMonitor(store, DocumentStore(parts.engine), verify, recorded_condition())
    report = Fsck(store, parts.reader, parts.signed, keys.log, monitor.row).run()
    found = monitor.findings
    outcome.violations.extend(report.faults)
    outcome.unchecked.extend(
        f"{count} of the entries from {first} on: {reason}"
        for reason, (count, first) in found.unchecked.items()
    )
    if found.taken:
        outcome.notes.append(f"the condition was taken as recorded in {found.taken} entries")
    if found.unfinished:
        outcome.notes.append(
            f"{found.unfinished} decisions have no outcome (yet): in flight, or cut off by a crash"
        )
    outcome.facts.update(
        origin=keys.log.name,
        size=report.size,
        root="unknown" if report.root is None else report.root.hex(),
        entries=report.rows,
        kinds=found.entries,
        judged=found.judged,
        signatures="not checked" if quick else "checked",
    )

    def leaf_at(index: int) -> bytes | None:
        row = store.get(index) if 0 <= index < 1 << 63 else None
        return None if row is None else row.leaf_hash

    return leaf_at


def _public(args: argparse.Namespace, outcome: Outcome) -> None:
    import httpx

    from sovereign_ext.attest.trusted_root import read_log_keys
    from sovereign_ext.tlog.note import parse_verifier

    if (args.key is None) == (args.keys is None) or args.seen is None:
        raise LogUnavailable("--url takes --key or --keys, and --seen, where to keep the checkpoint")
    keys = None if args.keys is None else read_log_keys(args.keys.read_bytes())
    log = parse_verifier(args.key) if keys is None else keys.log
    with httpx.Client(timeout=30, trust_env=False) as client:
        fetch = http_fetch(client, args.url)
        _follow(fetch, log, args.seen, outcome)
        if not outcome.violations:
            leaf_at = _public_leaf(fetch, outcome.facts["size"], bytes.fromhex(outcome.facts["root"]))
            _promises(args.promises, leaf_at, log.name, None if keys is None else keys.promise, outcome)
    outcome.notes.append(NOT_PUBLIC)


def _follow(fetch: Fetch, log: Verifier, seen: Path, outcome: Outcome) -> None:
    from sovereign_ext.tlog.files import read_file, write_files
    from sovereign_ext.tlog.follow import follow

    kept = read_file(seen)
    try:
        found = follow(fetch, log, kept)
    except VerificationError as error:
        # What was seen before stays: it is the evidence.
        outcome.violations.append(str(error))
        return
    write_files(seen.parent, [(seen.name, found.note)])
    outcome.facts.update(
        origin=log.name,
        size=found.now.size,
        root=found.now.root.hex(),
        seen_before=found.before.size,
        new_entries=found.read,
        signers=sorted(key.hex() for key in found.signers),
    )


def _promises(
    file: Path | None,
    leaf_at: Callable[[int], bytes | None],
    origin: str,
    key: bytes | None,
    outcome: Outcome,
) -> None:
    from sovereign_ext.tlog.monitor import verify_promised

    if file is None:
        return
    kept = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                verify_promised(json.loads(line), leaf_at, origin, key)
                kept += 1
            except (VerificationError, ValueError, RecursionError) as error:
                outcome.violations.append(f"{file.name}:{number}: {error}")
    outcome.facts["promises_kept"] = kept
    if key is None:
        outcome.notes.append("no promise key was given (--keys): whose promises these are was not checked")


def _public_leaf(fetch: Fetch, size: int, root: bytes) -> Callable[[int], bytes | None]:
    """Leaf hashes out of the public tiles, each proven to be in the tree."""
    from sovereign_ext.tlog.follow import read_tile
    from sovereign_ext.tlog.proof import inclusion_proof, verify_inclusion
    from sovereign_ext.tlog.tiles import node_reader

    nodes = node_reader(size, lambda tile: read_tile(fetch, tile, size))

    def leaf_at(index: int) -> bytes | None:
        if not 0 <= index < size:
            return None
        leaf = nodes(0, index)
        verify_inclusion(leaf, index, size, inclusion_proof(index, size, nodes), root)
        return leaf

    return leaf_at


def http_fetch(client: Any, url: str) -> Fetch:
    """Reads a log's public files below ``url`` with an ``httpx.Client``."""
    import httpx

    def fetch(path: str, most: int) -> bytes | None:
        data = bytearray()
        try:
            with client.stream("GET", f"{url.rstrip('/')}/{path}") as response:
                if response.status_code in (404, 410):
                    return None
                if response.status_code != 200:
                    raise LogUnavailable(f"{path}: HTTP status {response.status_code}")
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > most:
                        raise LogUnavailable(f"{path} is longer than {most} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LogUnavailable(f"the log cannot be read: {type(error).__name__}") from None
        return bytes(data)

    return fetch


def _as_json(outcome: Outcome) -> str:
    report = {
        "ok": outcome.code == FINE,
        **outcome.facts,
        "violations": outcome.violations,
        "unchecked": outcome.unchecked,
        "notes": outcome.notes,
    }
    return json.dumps(report, indent=2)


def _render(outcome: Outcome) -> str:
    lines = [f"violation: {text}" for text in outcome.violations]
    lines += [f"not checked: {text}" for text in outcome.unchecked]
    lines += [f"note: {text}" for text in outcome.notes]
    for name, value in outcome.facts.items():
        shown = (
            ", ".join(f"{count} {kind}" for kind, count in value.items())
            if isinstance(value, dict)
            else value
        )
        shown = ", ".join(shown) if isinstance(shown, list) else shown
        lines.append(f"{name.replace('_', ' '):<13} {shown}")
    endings = {FINE: "nothing wrong", VIOLATION: "VIOLATED", UNCHECKED: "not all could be checked"}
    return "\n".join([*lines, endings[outcome.code]])

"""``sovereign log``: looks after a transparency log. ``fsck`` compares all its parts, ``monitor`` judges what it says;
``anchors`` lists who else holds its checkpoints.

Reads only. The checks are ``tlog.fsck``'s, ``tlog.monitor``'s and ``tlog.follow``'s.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sovereign_ext.cli.logparts import LogParts, add_config, add_place, find_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from sovereign_ext.storage.entries import StoredRow
    from sovereign_ext.tlog.fsck import FsckReport

__all__ = ["find_log", "register", "row_verifier", "run"]


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("log", help="look after the transparency log")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fsck = actions.add_parser(
        "fsck",
        help="check all rows, signatures, tiles and checkpoints",
        description="Recomputes the log's tree from its rows and compares every tile and checkpoint with it. "
        "Exit code 1 when there is a fault. May run beside a live log.",
    )
    add_place(fsck)
    fsck.add_argument(
        "--checkpoint-dir", type=Path, metavar="DIR", help="where the signed checkpoint is, if apart"
    )
    fsck.add_argument("--quick", action="store_true", help="do not verify the envelopes' signatures")

    monitor = actions.add_parser(
        "monitor",
        help="judge every entry: was each call handled as its policy demands?",
        description="Checks all that fsck checks, then evaluates every recorded decision again. With --url only "
        "what the log makes public: that it extends what it showed before. Exit code 0: nothing wrong, 1: a "
        "violation, 2: something could not be checked.",
    )
    source = monitor.add_mutually_exclusive_group()
    source.add_argument("--state-dir", type=Path, metavar="DIR", default=Path(".sovereign"))
    source.add_argument(
        "--url", metavar="URL", help="a log's public prefix; takes --key or --keys, and --seen"
    )
    add_config(monitor)
    monitor.add_argument("--key", metavar="VKEY", help="with --url: the log's verifier key, name+id+base64")
    monitor.add_argument(
        "--keys", type=Path, metavar="FILE", help="with --url, instead of --key: the log's log-keys.json"
    )
    monitor.add_argument(
        "--seen", type=Path, metavar="FILE", help="keeps the checkpoint seen last, from one run to the next"
    )
    monitor.add_argument(
        "--promises", type=Path, metavar="FILE", help="attestations that clients were given, one JSON a line"
    )
    monitor.add_argument(
        "--checkpoint-dir", type=Path, metavar="DIR", help="where the signed checkpoint is, if apart"
    )
    monitor.add_argument("--quick", action="store_true", help="do not verify the envelopes' signatures")
    monitor.add_argument("--json", action="store_true", help="print the report as one JSON object")

    anchors = actions.add_parser(
        "anchors",
        help="list the checkpoints that external logs hold",
        description="Lists, newest first, what is anchored and what is pending. Exit code 1 when a pending one was "
        "refused or not answered so far.",
    )
    add_place(anchors)
    anchors.add_argument("--last", type=int, default=10, metavar="N", help="checkpoints of each anchor (10)")
    anchors.add_argument("--json", action="store_true", help="print one JSON list")


def run(args: argparse.Namespace) -> int:
    if args.action == "monitor":
        from sovereign_ext.cli.logmonitor import run_monitor

        return run_monitor(args)
    if args.action == "anchors":
        from sovereign_ext.cli.loganchors import run_anchors

        return run_anchors(args)
    from sovereign_ext.cli.logparts import opened

    with opened(args.state_dir, args.checkpoint_dir, args.config) as parts:
        report = check(parts, quick=args.quick)
    print(_render(report))
    return 1 if report.faults else 0


def check(parts: LogParts, *, quick: bool) -> FsckReport:
    """Compare all parts of a log with each other; ``quick`` leaves out signatures. Raises the database's errors."""
    from sovereign_ext.storage.entries import EntryStore
    from sovereign_ext.tlog.fsck import Fsck

    verify = None if quick else row_verifier(parts.keys.envelope)
    return Fsck(EntryStore(parts.engine), parts.reader, parts.signed, parts.keys.log, verify).run()


def row_verifier(envelope_key: bytes) -> Callable[[StoredRow], None]:
    """Checks that a row's leaf is the entry of its envelope, signed by the log's envelope key."""
    from sovereign_ext.attest import dsse
    from sovereign_ext.attest.entry import parse_body, verify_entry
    from sovereign_ext.errors import VerificationError

    def verify(row: StoredRow) -> None:
        body = parse_body(row.body)
        verify_entry(dsse.parse(row.envelope), body)
        if body.spki != envelope_key:
            raise VerificationError("signed by another key than the log's envelope key")

    return verify


def _render(report: FsckReport) -> str:
    lines = [f"fault: {fault}" for fault in report.faults]
    root = "unknown" if report.root is None else report.root.hex()
    lines.append(f"size {report.size}, root {root}")
    signatures = f"{report.signatures} signatures" if report.signatures else "signatures not checked"
    lines.append(f"read {report.rows} entries, {report.tiles} tiles, {signatures}")
    lines.append(f"{len(report.faults)} fault(s)" if report.faults else "no faults")
    return "\n".join(lines)

"""``sovereign audit``: the log's entries in words, a list for people or JSON Lines for programs.

A client of ``AuditService``; which rows are shown depends on the key. Deliberately not here: any judgement of the
entries (``sovereign log monitor``) and anything that opens their commitments.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from sovereign_ext.cli.api import Gateway

_PATH = "/sf/v1/auditRows"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from sovereign_ext.cli.api import add_gateway

    parser = subparsers.add_parser("audit", help="read the log's entries")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    shown = actions.add_parser(
        "list",
        help="show entries, the newest first",
        description="One line an entry: index, time, kind, tenant, and what it says.",
    )
    shown.add_argument("--last", type=int, default=20, metavar="N", help="so many (20)")
    shown.add_argument("--json", action="store_true", help="print one JSON list")
    export = actions.add_parser(
        "export",
        help="write entries as JSON Lines, the oldest first",
        description="Writes every entry that there is and the filter lets through. Exit code 1 when not all of it "
        "came. `--full` adds what `sovereign usage reconcile --export` verifies.",
    )
    export.add_argument("--output", type=Path, metavar="FILE", help="a new file instead of standard output")
    export.add_argument("--full", action="store_true", help="with envelopes and leaves")
    for action in (shown, export):
        action.add_argument(
            "--filter",
            default="",
            metavar="TEXT",
            help="such as 'tenant = acme AND time >= 2026-11-01T00:00:00Z AND status >= 500'",
        )
        add_gateway(action)


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.api import Gateway

    gateway = Gateway.of(args)
    if args.action == "list":
        _list(gateway, args)
    elif args.output is None:
        _export(gateway, args, sys.stdout.buffer)
    else:
        with args.output.open("xb") as file:
            _export(gateway, args, file)
    return 0


def _list(gateway: Gateway, args: argparse.Namespace) -> None:
    query = {"filter": args.filter, "page_size": max(min(args.last, 250), 1)}
    rows = list(islice(gateway.pages(_PATH, query, "audit_rows"), max(args.last, 0)))
    if args.json:
        print(json.dumps(rows, indent=2))
    for row in () if args.json else rows:
        said = row.get("predicate", {})
        words = [said.get(name) for name in ("result", "status", "error_code", "policy", "model", "provider")]
        words = words if row["kind"] == "outcome" else [row["predicate_type"]]
        shown = "  ".join(f"{word:g}" if isinstance(word, float) else str(word) for word in words if word)
        print(f"{row['index']:>8}  {row['time']:<24}  {row['kind']:<9}  {row['tenant'] or '-'}  {shown}")


def _export(gateway: Gateway, args: argparse.Namespace, out: IO[bytes]) -> None:
    from sovereign_ext.errors import StartError

    query = {"filter": args.filter, "full": "true" if args.full else None}
    last = b""
    for piece in _whole_lines(gateway.stream(f"{_PATH}:export", query)):
        last = piece
        out.write(piece)
    out.flush()
    ended = last.rstrip(b"\n").rsplit(b"\n", 1)[-1]
    if ended.startswith(b'{"error":'):
        raise StartError(f"the export ended early: {json.loads(ended)['error'].get('message')}")


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut at line ends."""
    kept = b""
    for piece in pieces:
        head, newline, tail = (kept + piece).rpartition(b"\n")
        kept = tail
        if newline:
            yield head + newline
    if kept:
        yield kept

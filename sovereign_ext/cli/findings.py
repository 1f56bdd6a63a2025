"""``sovereign findings``: which credentials leaked into requests, when and by whom, for people or as JSON.

A client of ``FindingService``; which findings are shown depends on the key. Their pointers are made of names that
clients chose, so nothing of them that a terminal might obey is printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sovereign_ext.cli.api import Gateway

GROUPS = ("tenant", "key", "policy", "action", "kind", "fingerprint")
_BY_DEFAULT = ("tenant", "kind", "fingerprint")
_PATH = "/sf/v1/findings"
_SHOWN = ("time", "tenant", "key", "action", "kind", "name", "place", "pointer", "fingerprint")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from sovereign_ext.cli.api import add_gateway

    parser = subparsers.add_parser("findings", help="which credentials leaked into requests")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    shown = actions.add_parser(
        "list",
        help="show findings, the newest first",
        description="One line for each place of a credential. The fingerprint is the same for the same credential.",
    )
    shown.add_argument("--last", type=int, default=20, metavar="N", help="so many (20)")
    summary = actions.add_parser(
        "summary",
        help="count findings and calls, the last seen first",
        description=f"By default by {', '.join(_BY_DEFAULT)}: one line for each credential.",
    )
    summary.add_argument(
        "--by", action="append", choices=GROUPS, default=[], help="one sum for each; may be repeated"
    )
    for action in (shown, summary):
        action.add_argument(
            "--filter",
            default="",
            metavar="TEXT",
            help="such as 'tenant = acme AND family = aws AND time >= 2026-11-01T00:00:00Z'",
        )
        action.add_argument("--json", action="store_true", help="print JSON")
        add_gateway(action)


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.api import Gateway

    gateway = Gateway.of(args)
    if args.action == "list":
        _list(gateway, args)
    else:
        _summary(gateway, args)
    return 0


def _list(gateway: Gateway, args: argparse.Namespace) -> None:
    from sovereign_ext.cli.keysapi import print_table

    query = {"filter": args.filter, "page_size": max(min(args.last, 1_000), 1)}
    found = list(islice(gateway.pages(_PATH, query, "findings"), max(args.last, 0)))
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for each in found:
        each["place"] = f"{each['place']} of {each['place_count']}"
    print_table([_SHOWN, *(_cells(each, _SHOWN) for each in found)])


def _summary(gateway: Gateway, args: argparse.Namespace) -> None:
    from sovereign_ext.cli.keysapi import print_table

    by = [name for name in GROUPS if name in (args.by or _BY_DEFAULT)]
    query = {"filter": args.filter, "group_by": by, "page_size": 1_000}
    found: list[dict[str, Any]] = []
    for page in gateway.whole_pages(f"{_PATH}:summarize", query):
        found += page["summaries"]
    if args.json:
        print(json.dumps({"summaries": found, "untold_count": page["untold_count"]}, indent=2))
        return
    members = (*by, "count", "calls", "first_time", "last_time")
    head = (*by, "findings", "calls", "first", "last")
    print_table([head, *(_cells(each, members) for each in found)])
    if page["untold_count"] != "0":
        print(
            f"and {page['untold_count']} more places, of which the log tells no more than that they were there"
        )


def _cells(found: dict[str, Any], members: Sequence[str]) -> tuple[str, ...]:
    return tuple(_plain(str(found[name])) for name in members)


def _plain(text: str) -> str:
    """Text for a cell, without what a terminal might obey."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) or "-"

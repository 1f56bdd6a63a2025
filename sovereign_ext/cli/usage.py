"""``sovereign usage``: what tenants used and owe, and whether that is what the log says.

``report`` and ``invoice`` ask the management API; ``reconcile`` and ``rebuild`` work on the log's database, or
on an export of it, and are in ``usagebooks``.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from sovereign_ext.cli.api import Gateway

GROUPS = ("tenant", "model", "provider", "key", "price_source", "margin_percent")
_AMOUNTS = (
    ("calls", "calls"),
    ("prompt", "prompt_tokens"),
    ("completion", "completion_tokens"),
    ("cost $", "cost_nano_usd"),
    ("billed $", "billed_nano_usd"),
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from sovereign_ext.cli.api import add_gateway
    from sovereign_ext.cli.usagebooks import register_books

    parser = subparsers.add_parser("usage", help="what tenants used and owe, and whether the log says so")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    report = actions.add_parser(
        "report",
        help="sums of calls, tokens and dollars",
        description="By default of the month under way. Times are UTC.",
    )
    report.add_argument(
        "--from", dest="start", metavar="TIME", help="such as 2026-11-01 or 2026-11-01T08:00:00Z"
    )
    report.add_argument("--to", dest="end", metavar="TIME", help="excluded")
    report.add_argument("--bucket", choices=("hour", "day", "month"), help="one sum for each of them")
    report.add_argument(
        "--by", action="append", choices=GROUPS, default=[], help="one sum for each; may be repeated"
    )
    for name in ("tenant", "model", "provider", "key"):
        report.add_argument(f"--{name}", metavar="ID", help=f"only of this {name}")
    invoice = actions.add_parser("invoice", help="what a tenant owes for a month, and which entries say so")
    invoice.add_argument("--tenant", required=True, metavar="ID")
    invoice.add_argument("--month", required=True, metavar="YYYY-MM")
    for action in (report, invoice):
        add_gateway(action)
        action.add_argument("--json", action="store_true", help="print JSON")
    register_books(actions)


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli import usagebooks
    from sovereign_ext.cli.api import Gateway

    if args.action in ("reconcile", "rebuild"):
        return usagebooks.run_books(args)
    gateway = Gateway.of(args)
    return _report(gateway, args) if args.action == "report" else _invoice(gateway, args)


def _report(gateway: Gateway, args: argparse.Namespace) -> int:
    query = {
        "start_time": _time(args.start),
        "end_time": _time(args.end),
        "bucket": args.bucket,
        "group_by": args.by,
        **{name: getattr(args, name) for name in ("tenant", "model", "provider", "key")},
    }
    found = list(gateway.pages("/sf/v1/usage", query, "usage"))
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    groups = [name for name in GROUPS if name in args.by]
    rows = [
        [
            *([each["start_time"]] if args.bucket else []),
            *(each.get(name, "") or "(none)" for name in groups),
            *_amounts(each["amounts"]),
        ]
        for each in found
    ]
    _table([*(["from"] if args.bucket else []), *groups, *(name for name, _ in _AMOUNTS)], rows)
    return 0


def _invoice(gateway: Gateway, args: argparse.Namespace) -> int:
    found = gateway.get(f"/sf/v1/tenants/{quote(args.tenant, safe='')}/invoices/{quote(args.month, safe='')}")
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    by = ("key", "model", "provider", "price_source", "margin_percent")
    print(f"{found['name']}, {'closed' if found['closed'] else 'the month is not over'}")
    print()
    rows = [[*(line[name] or "(none)" for name in by), *_amounts(line["amounts"])] for line in found["lines"]]
    rows.append(["total", "", "", "", "", *_amounts(found["total"])])
    _table([*by, *(name for name, _ in _AMOUNTS)], rows)
    print()
    if "margin_nano_usd" in found:
        print(f"margin      $ {_usd(found['margin_nano_usd'])}")
    entries = found["rows"]
    where = f", from {entries['first_index']} to {entries['last_index']}" if "first_index" in entries else ""
    print(f"entries     {entries['count']}{where}")
    print(f"root hash   {entries['root_hash']}")
    covered = found.get("checkpoint")
    print(
        f"checkpoint  {'covers them, size ' + covered['size'] if covered else 'does not cover all of them yet'}"
    )
    return 0


def _amounts(amounts: dict[str, Any]) -> list[str]:
    return [
        "-" if member not in amounts else _usd(amounts[member]) if "nano" in member else str(amounts[member])
        for _, member in _AMOUNTS
    ]


def _usd(nano: Any) -> str:
    from sovereign_ext.policy.cost import usd_text

    number = int(nano)
    return usd_text(number) if number >= 0 else f"-{usd_text(-number)}"


def _time(text: str | None) -> str | None:
    """RFC 3339 of what people write. Raises ``StartError``."""
    from datetime import UTC, datetime

    from sovereign_ext.errors import StartError

    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise StartError(f"{text} is not a time such as 2026-11-01 or 2026-11-01T08:00:00Z") from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return time.isoformat().replace("+00:00", "Z")


def _table(head: list[str], rows: list[list[str]]) -> None:
    numbers = len(_AMOUNTS)
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    for row in [head, *rows]:
        cells = [
            cell.rjust(width) if at >= len(head) - numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())

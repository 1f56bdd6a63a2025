"""``sovereign keys`` on a running gateway: the keys that its management API makes, in place of those of the file.

A new key is written to stdout once, and nowhere else; everything else goes to stderr, so that it can be piped.
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from sovereign_ext.cli.api import Gateway

COLUMNS = ("KEY", "STATE", "EXPIRES", "LAST USED", "IN FILE")


def run(args: argparse.Namespace) -> int:
    """One of ``new``, ``list``, ``rotate``, ``revoke``."""
    from sovereign_ext.cli.api import Gateway

    gateway = Gateway.of(args)
    return {"new": _new, "list": _list, "rotate": _rotate, "revoke": _revoke}[args.action](gateway, args)


def _new(gateway: Gateway, args: argparse.Namespace) -> int:
    noun = "operator_key_id" if args.admin else "key_id"
    document: dict[str, Any] = {"policies": args.policy} if args.policy else {}
    if args.expires is not None:
        document["expires_at"] = _time(args.expires)
    made = gateway.send("POST", f"/sf/v1/{_owner(args)}/keys", {noun: args.id}, document)
    return _show(made, "made")


def _rotate(gateway: Gateway, args: argparse.Namespace) -> int:
    document: dict[str, Any] = {"new_key_id": args.id} if args.id else {}
    if args.overlap is not None:
        document["overlap_s"] = str(int(args.overlap.total_seconds()))
    if args.expires is not None:
        document["expires_at"] = _time(args.expires)
    made = gateway.send("POST", f"/sf/v1/{_key(args)}:rotate", None, document)
    return _show(made, f"made in place of {made['replaces']}, which goes on for a while,")


def _revoke(gateway: Gateway, args: argparse.Namespace) -> int:
    revoked = gateway.send("POST", f"/sf/v1/{_key(args)}:revoke", None, {})
    print(f"revoked {revoked['name']} at {revoked['revoked_at']}")
    return 0


def _list(gateway: Gateway, args: argparse.Namespace) -> int:
    owners = [_owner(args)] if args.owner else [each["name"] for each in _owners(gateway, admin=args.admin)]
    member = "operator_keys" if args.admin else "keys"
    rows: list[tuple[str, ...]] = [COLUMNS]
    for owner in owners:
        for key in gateway.pages(f"/sf/v1/{owner}/keys", {}, member):
            end, used = key.get("expires_at", "never"), key.get("last_used_time", "")
            rows.append((key["name"], key["state"].lower(), end, used, "yes" if key.get("declared") else ""))
    print_table(rows)
    return 0


def _owners(gateway: Gateway, *, admin: bool) -> list[dict[str, Any]]:
    collection = "operators" if admin else "tenants"
    return list(gateway.pages(f"/sf/v1/{collection}", {}, collection))


def _owner(args: argparse.Namespace) -> str:
    return f"{'operators' if args.admin else 'tenants'}/{quote(args.owner, safe='')}"


def _key(args: argparse.Namespace) -> str:
    """Its name, from ``--owner`` and the id, or given whole."""
    from sovereign_ext.errors import StartError

    if "/" in args.key_id:
        return quote(args.key_id)
    if args.owner is None:
        raise StartError("say whose key it is with --owner, or give its name such as tenants/acme/keys/ci")
    return f"{_owner(args)}/keys/{quote(args.key_id, safe='')}"


def _show(key: dict[str, Any], done: str) -> int:
    print(key["secret"])
    print(f"{done} {key['name']}; it expires at {key['expires_at']} and is not shown again", file=sys.stderr)
    return 0


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Columns under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

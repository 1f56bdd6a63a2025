"""``sovereign tenants``: make, list and delete the tenants of a running gateway, by its management API.

Those of ``sovereign.yaml`` are listed, too, and changed there only.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from sovereign_ext.cli.api import Gateway


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from sovereign_ext.cli.api import add_gateway

    parser = subparsers.add_parser("tenants", help="make, list and delete tenants of a running gateway")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a tenant; it has no key yet")
    create.add_argument("tenant", metavar="TENANT", help="its id")
    create.add_argument(
        "--policy",
        action="append",
        required=True,
        metavar="ID",
        help="a policy that it may use; may be repeated, the first is the default",
    )
    create.add_argument("--default-policy", metavar="ID", help="another of them as the default")
    create.add_argument(
        "--identity",
        action="append",
        default=[],
        metavar="SPIFFE-ID",
        help="a workload whose certificate stands for a key; may be repeated",
    )
    create.add_argument("--margin", metavar="PERCENT", help="billed on top of what providers charge")
    delete = actions.add_parser("delete", help="delete a tenant and its keys")
    delete.add_argument("tenant", metavar="TENANT")
    listing = actions.add_parser("list", help="show every tenant and its policies")
    for action in (create, delete, listing):
        add_gateway(action)


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.api import Gateway

    return {"create": _create, "delete": _delete, "list": _list}[args.action](Gateway.of(args), args)


def _create(gateway: Gateway, args: argparse.Namespace) -> int:
    document: dict[str, Any] = {
        "policies": args.policy,
        "default_policy": args.default_policy or args.policy[0],
        "identities": args.identity,
    }
    if args.margin is not None:
        document["margin_percent"] = args.margin
    made = gateway.send("POST", "/sf/v1/tenants", {"tenant_id": args.tenant}, document)
    print(f"made {made['name']}; `sovereign keys new {args.tenant} --api` makes a key")
    return 0


def _delete(gateway: Gateway, args: argparse.Namespace) -> int:
    gateway.send("DELETE", f"/sf/v1/tenants/{quote(args.tenant, safe='')}")
    print(f"deleted tenants/{args.tenant} and its keys")
    return 0


def _list(gateway: Gateway, _: argparse.Namespace) -> int:
    from sovereign_ext.cli.keysapi import print_table

    rows: list[tuple[str, ...]] = [("TENANT", "DEFAULT POLICY", "POLICIES", "IN FILE")]
    for each in gateway.pages("/sf/v1/tenants", {}, "tenants"):
        policies = ", ".join(each["policies"])
        declared = "yes" if each.get("declared") else ""
        rows.append((each["name"].split("/", 1)[1], each["default_policy"], policies, declared))
    print_table(rows)
    return 0

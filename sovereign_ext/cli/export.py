"""``sovereign export``: write out what a running gateway's database holds, as a file that ``sovereign apply`` takes.

What is written has no secrets: keys of tenants and operators and provider keys are not in it. What comes out goes in
again without changing anything.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from sovereign_ext.cli.api import add_gateway

    parser = subparsers.add_parser(
        "export",
        help="write out the configuration that a running gateway's database holds",
        description="Writes YAML in the shape of sovereign.yaml to stdout, for `sovereign apply`. Keys and other "
        "secrets are not in it.",
    )
    parser.add_argument(
        "--all", action="store_true", help="also what the gateway's own file declares: everything in use"
    )
    add_gateway(parser)


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.api import Gateway
    from sovereign_ext.cli.declarative import there
    from sovereign_ext.config.desired import MODELS, as_file
    from sovereign_ext.config.yamlwrite import rendered

    found = there(Gateway.of(args), frozenset(MODELS))
    things = [thing for thing in found if args.all or not thing.declared]
    print(rendered(as_file(things)), end="")
    return 0

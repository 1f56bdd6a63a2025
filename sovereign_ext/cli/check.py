"""``sovereign check``: can this configuration file be used, and if not, everything that is wrong with it.

Reads the file as the gateway does and nothing else: no provider is contacted, no credential is read. Faults
go to stdout, one line each, as ``FILE:LINE: field: reason``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

CONFIG_FILE = Path("sovereign.yaml")
DEMO_CONFIG_FILE = Path(".sovereign/sovereign.yaml")


def default_file() -> Path:
    """``sovereign.yaml`` here, or the one that ``sovereign up`` made where there is no other."""
    return DEMO_CONFIG_FILE if DEMO_CONFIG_FILE.exists() and not CONFIG_FILE.exists() else CONFIG_FILE


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="say whether a configuration file can be used",
        description="Prints every fault of the file, one per line; exit code 1 if there is any.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help=f"default: {CONFIG_FILE}, else {DEMO_CONFIG_FILE}",
    )


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.config.load import load
    from sovereign_ext.errors import ConfigError

    file = args.file or default_file()
    try:
        config = load(file).config
    except ConfigError as error:
        for fault in error.faults:
            print(fault)
        return 1
    counts = (
        (len(config.tenants), "tenant", "tenants"),
        (len(config.policies), "policy", "policies"),
        (len(config.models), "model", "models"),
        (len(config.providers), "provider", "providers"),
        (len(config.deployments), "deployment", "deployments"),
    )
    print(f"{file}: ok ({', '.join(f'{n} {one if n == 1 else many}' for n, one, many in counts)})")
    return 0

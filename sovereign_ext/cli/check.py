"""``sovereign check``: can this configuration file be used, and if not, everything that is wrong with it.

Reads the file and the documents it refers to as the gateway does, and nothing else: no provider is contacted, no
credential and no evidence is read. Faults go to stdout, one line each, as ``FILE:LINE: field: reason``; so do
warnings, after ``warning:``, which change no exit code.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
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
        description="Prints every fault of the file and of the keys, manifests and statements it refers to, one "
        "per line; exit code 1 if there is any. Warnings (statements that do not count, policies that nothing can "
        "satisfy) change no exit code.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help=f"default: {CONFIG_FILE}, else {DEMO_CONFIG_FILE}",
    )


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.config.documents import idle_patterns
    from sovereign_ext.config.listprices import with_list_prices
    from sovereign_ext.config.load import base_of, load
    from sovereign_ext.config.yamltree import dotted
    from sovereign_ext.errors import ConfigError
    from sovereign_ext.policy import satisfiable
    from sovereign_ext.registry.build import build

    file = args.file or default_file()
    try:
        loaded = load(file)
        config = loaded.config
        registry = build(config, loaded.documents, time.time(), file=str(file))
    except ConfigError as error:
        for fault in error.faults:
            print(fault)
        return 1
    for idle in idle_patterns(config, base_of(file)):
        print(f"warning: {ConfigError(idle.reason, file=str(file), field=dotted(idle.field))}")
    priced = with_list_prices(config, datetime.now(UTC))
    for warning in (*registry.warnings, *satisfiable.warnings(priced, str(file))):
        print(f"warning: {warning}")
    counts = (
        (len(config.tenants), "tenant", "tenants"),
        (len(config.policies), "policy", "policies"),
        (len(config.models), "model", "models"),
        (len(config.providers), "provider", "providers"),
        (len(config.deployments), "deployment", "deployments"),
        *([(len(registry.documents), "signed document", "signed documents")] if registry.documents else []),
    )
    print(f"{file}: ok ({', '.join(f'{n} {one if n == 1 else many}' for n, one, many in counts)})")
    return 0

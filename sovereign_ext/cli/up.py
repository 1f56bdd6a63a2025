"""``sovereign up``: the whole gateway on this machine, with mock providers to try it on, until Ctrl-C.

Makes the state directory's contents at the first start and keeps them afterwards. Deliberately not here: the
supervision itself (``supervise``), and any import beyond the standard library.
"""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_PORT = 8080
DEFAULT_STATE_DIR = Path(".sovereign")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "up",
        help="start Envoy, the processor and mock providers; Ctrl-C stops all of it",
        description="Starts the gateway on loopback with mock providers, and prints its keys and examples.",
    )
    add_state_dir(parser)
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="where Envoy listens (default %(default)s); 0: any"
    )
    parser.add_argument(
        "--detach", action="store_true", help="return when it is ready; `sovereign down` stops it"
    )


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """The option that ``up``, ``status`` and ``down`` share."""
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        default=DEFAULT_STATE_DIR,
        help="keys, configuration, log and output of the processes (default ./%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.supervise import session

    return session.up(args.state_dir.absolute(), args.port, detach=args.detach)


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")

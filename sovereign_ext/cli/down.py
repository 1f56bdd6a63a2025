"""``sovereign down``: stops what ``sovereign up`` runs on a state directory, and waits until it is gone.

Nothing running is fine: then there is nothing to stop, and the exit code is 0. Deliberately not here:
stopping the processes one by one; the supervisor does that, and its guard should the supervisor not be able
to.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from sovereign_ext.cli.up import add_state_dir

_AFTER_KILL_S = 15.0


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("down", help="stop what `sovereign up` started, and wait until it is gone")
    add_state_dir(parser)
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        default=30.0,
        help="for an orderly stop; then it is killed (default %(default)g)",
    )


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.supervise import layout, lock
    from sovereign_ext.errors import StartError

    root = args.state_dir.absolute()
    path = layout.lock_file(root)
    pid = lock.running(path)
    if pid is None:
        print(f"not running on {root}")
        return 0
    os.kill(pid, signal.SIGTERM)
    if lock.wait_released(path, args.timeout):
        print("stopped")
        return 0
    print(f"no orderly stop within {args.timeout:g} s, killing process {pid}", file=sys.stderr)
    os.kill(pid, signal.SIGKILL)
    if not lock.wait_released(path, _AFTER_KILL_S):
        raise StartError(f"process {pid} does not end")
    return 0

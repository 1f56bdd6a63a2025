"""``sovereign status``: the processes of a state directory, the log, and how each provider is doing.

Processes come from the supervisor's record, which counts only while the supervisor's lock is held; the rest
is asked of the gateway's management API with the admin key of ``demo.env``. Exit code 3 when nothing runs, 1
when it runs but does not serve. Deliberately not here: anything that changes something.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from sovereign_ext.cli.up import add_state_dir

EXIT_NOT_SERVING = 1
EXIT_NOT_RUNNING = 3


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "status", help="show the processes, the log and how each provider is doing"
    )
    add_state_dir(parser)
    parser.add_argument("--json", action="store_true", help="the same as one JSON object")


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.cli.supervise import report

    status = report.gather(args.state_dir.absolute())
    print(json.dumps(status, indent=2) if args.json else report.render(status, sys.stdout))
    return _exit_code(status)


def _exit_code(status: dict[str, Any]) -> int:
    if not status["running"]:
        return EXIT_NOT_RUNNING
    return 0 if status["serving"] else EXIT_NOT_SERVING

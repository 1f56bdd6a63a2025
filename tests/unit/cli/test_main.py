"""``sovereign`` itself: subcommands, exit codes, what is imported and what a failure looks like."""

from __future__ import annotations

import argparse
import ast
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from sovereign_ext import __version__
from sovereign_ext.cli import main as cli
from sovereign_ext.errors import ConfigError

HEAVY = (
    "grpc",
    "google.protobuf",
    "pydantic",
    "sqlalchemy",
    "alembic",
    "httpx",
    "yaml",
    "cryptography",
    "msgspec",
)


def _with_command(monkeypatch: pytest.MonkeyPatch, run) -> None:
    """Make ``up`` a command that does ``run``."""

    def register(subparsers: argparse._SubParsersAction) -> None:
        subparsers.add_parser("up")

    module = types.ModuleType("sovereign_ext.cli.up")
    module.register, module.run = register, run
    monkeypatch.setitem(sys.modules, "sovereign_ext.cli.up", module)


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_help(name, capsys):
    """`sovereign NAME --help` explains its options and exits with 0."""
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: sovereign {name} " in capsys.readouterr().out


def test_help_lists_the_commands(capsys):
    """Without a command named, all of them are listed."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = capsys.readouterr().out
    assert all(re.search(rf"^    {name}\s", listed, re.MULTILINE) for name in cli.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["no-such"], ["up", "--port", "x"], ["up", "--port", "65536"]])
def test_wrong_usage_exits_2(arguments, capsys):
    """A wrong command line is argparse's exit code 2 and says what was expected."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: sovereign" in capsys.readouterr().err


def test_version(capsys):
    """`--version` names ours, Python's and Envoy's."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert f"sovereign {__version__} (Python 3." in shown
    assert "Envoy 1." in shown


def test_the_command_decides_the_exit_code(monkeypatch):
    """What ``run`` returns is the exit code."""
    _with_command(monkeypatch, lambda args: 3)
    assert cli.main(["up"]) == 3


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("no such model", file="s.yaml", line=3), "sovereign: s.yaml:3: no such model\n"),
        (
            FileNotFoundError(2, "No such file or directory", "x.yaml"),
            "sovereign: x.yaml: No such file or directory\n",
        ),
        (
            ValueError("sk-router-secret"),
            "sovereign: unexpected ValueError (SOVEREIGN_DEBUG=1 shows where)\n",
        ),
    ],
)
def test_a_failure_is_one_line(monkeypatch, capsys, error, line):
    """Our errors and the system's speak for themselves; others show no text, since it may hold a secret."""

    def run(args):
        raise error

    _with_command(monkeypatch, run)
    monkeypatch.delenv("SOVEREIGN_DEBUG", raising=False)
    assert cli.main(["up"]) == 1
    assert capsys.readouterr().err == line


def test_debug_shows_the_traceback(monkeypatch):
    """With SOVEREIGN_DEBUG the exception comes through."""

    def run(args):
        raise ValueError("here")

    _with_command(monkeypatch, run)
    monkeypatch.setenv("SOVEREIGN_DEBUG", "1")
    with pytest.raises(ValueError, match="here"):
        cli.main(["up"])


def test_ctrl_c_is_130(monkeypatch):
    """An interrupted command ends as shells expect it."""

    def run(args):
        raise KeyboardInterrupt

    _with_command(monkeypatch, run)
    assert cli.main(["up"]) == 130


@pytest.mark.parametrize(("pid", "heeded"), [(1, True), (2, False)])
def test_the_first_process_heeds_sigterm_before_its_command_is_imported(monkeypatch, pid, heeded):
    """The kernel gives it no default action; any other process has one, and keeps it."""
    found = []

    def register(subparsers: argparse._SubParsersAction) -> None:
        found.append(signal.getsignal(signal.SIGTERM))
        subparsers.add_parser("up")

    module = types.ModuleType("sovereign_ext.cli.up")
    module.register, module.run = register, lambda args: 0
    monkeypatch.setitem(sys.modules, "sovereign_ext.cli.up", module)
    monkeypatch.setattr(os, "getpid", lambda: pid)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert cli.main(["up"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found == [cli._terminate if heeded else before]


def test_an_old_python_is_told_so(monkeypatch, capsys):
    """One clear line instead of a SyntaxError somewhere."""
    monkeypatch.setattr(cli.sys, "version_info", (3, 9, 2))
    assert cli.main(["up"]) == 1
    assert capsys.readouterr().err.startswith("sovereign: needs Python 3.11 or newer, this is ")


def test_main_has_no_syntax_that_an_old_python_refuses():
    """The check above is of no use in a file that the old interpreter cannot compile."""
    ast.parse(Path(cli.__file__).read_text(), feature_version=(3, 7))


def test_a_reader_that_went_away_is_141():
    """`sovereign … | head -0` neither hangs nor prints a traceback."""
    code = (
        "import sys, types, sovereign_ext.cli as p; m = types.ModuleType('sovereign_ext.cli.up')\n"
        "m.register = lambda s: s.add_parser('up')\n"
        "def run(args):\n    while True: print('x' * 4096)\n"
        "m.run = run; sys.modules['sovereign_ext.cli.up'] = m\n"
        "from sovereign_ext.cli.main import main; sys.exit(main(['up']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 141
    process.stderr.close()


@pytest.mark.parametrize("name", ["up", "status", "down"])
def test_the_reference_page_has_every_option(name, capsys):
    """An option that nobody can look up is as good as none."""
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    page = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()
    section = page.split(f"## sovereign {name}\n")[1].split("\n## ")[0]
    assert options <= set(re.findall(r"--[a-z-]+", section))


def test_the_supervisor_imports_only_the_standard_library():
    """`sovereign up` must cost nothing but what it starts: no gRPC, pydantic or SQLAlchemy in the parent."""
    found = _python(
        "import sys; before = set(sys.modules)\n"
        "from sovereign_ext.cli import main, up, status, down\n"
        "from sovereign_ext.cli.supervise import session, report\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert found.stdout == "[]\n", found.stderr


def test_help_imports_nothing_heavy():
    """`sovereign --help` loads every subcommand's parser, and none of what they run."""
    found = _python(
        "import sys; from sovereign_ext.cli.main import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    assert found.stderr == "[]\n"

"""The shell scripts behind the Makefile: which Python is taken, when an environment is built, what CI
returns.

They run for real, in a copy of the tree that is just large enough, with stand-ins for the interpreters so
that nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[3]

FAKE_PYTHON = """\
#!/bin/sh
# Answers questions like the real one, makes empty environments, and keeps a journal instead of installing.
case "$1 $2" in
"-c import venv, ensurepip") exit {no_venv} ;;
"-V ") echo "Python 3.12.0"; exit 0 ;;
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit 0 ;;
"-m pip") echo "$*" >>"{journal}"; exit "$(cat "{journal}.exit" 2>/dev/null || echo 0)" ;;
esac
exec "{real}" "$@"
"""


@pytest.fixture
def tree(tmp_path):
    """A checkout with the scripts and two-line locks."""
    for part in ("scripts", ".ci"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "requirements").mkdir()
    for name in ("build", "runtime", "dev", "judges"):
        (tmp_path / "requirements" / f"{name}.lock").write_text(f"{name}==1\n")
    (tmp_path / "path").mkdir()
    return tmp_path


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def fake_python(tree: Path, name: str = "python3", *, no_venv: int = 0) -> Path:
    journal = tree / "journal"
    journal.touch()
    text = FAKE_PYTHON.format(real=sys.executable, journal=journal, no_venv=no_venv)
    return executable(tree / "path" / name, text)


def old_python(tree: Path, name: str, version: str) -> None:
    major, minor, _ = version.split(".")
    executable(
        tree / "path" / name,
        "#!/bin/sh\n"
        f'case "$2" in *"< (3, 11)"*) exit {int((int(major), int(minor)) < (3, 11))} ;;\n'
        f"*print*) echo {version} ;; esac\n",
    )


def setup(tree: Path, *parts: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a PATH that holds only our stand-ins and the basic tools."""
    tools = tree / "tools"
    if not tools.exists():
        tools.mkdir()
        for tool in ("dirname", "rm", "cat", "sh", "mkdir", "cp", "id", "cksum"):
            (tools / tool).symlink_to(shutil.which(tool))
    return subprocess.run(
        [tree / "scripts" / "setup.sh", *parts],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": f"{tree / 'path'}:{tools}", "HOME": str(tree), **environment},
    )


def journal(tree: Path) -> list[str]:
    return (tree / "journal").read_text().splitlines()


def test_only_locked_packages_are_installed(tree):
    """Every lock with hashes, then the project without looking at its dependencies."""
    fake_python(tree)
    assert setup(tree, "runtime").returncode == 0
    build, runtime, project = journal(tree)
    assert "--require-hashes" in build
    assert build.endswith("-r requirements/build.lock")
    assert "--require-hashes" in runtime
    assert runtime.endswith("-r requirements/runtime.lock")
    assert "--no-deps --no-build-isolation --editable ." in project
    assert not any("http" in line or "index" in line for line in journal(tree)), (
        "pip's own configuration decides"
    )


def test_a_second_run_does_nothing(tree):
    """The stamp says that nothing changed; a development environment serves `make run` as well."""
    fake_python(tree)
    setup(tree, "dev")
    before = journal(tree)
    for part in ("dev", "runtime"):
        again = setup(tree, part)
        assert (again.returncode, again.stderr) == (0, "")
    assert journal(tree) == before


@pytest.mark.parametrize(
    "changed", ["requirements/runtime.lock", "requirements/build.lock", "pyproject.toml"]
)
def test_a_changed_lock_builds_anew(tree, changed):
    """From nothing, so that a package taken out of the lock is gone."""
    fake_python(tree)
    setup(tree, "runtime")
    (tree / ".venv" / "stale").touch()
    (tree / changed).write_text("changed==2\n")
    assert setup(tree, "runtime").returncode == 0
    assert len(journal(tree)) == 6
    assert not (tree / ".venv" / "stale").exists()


def test_a_moved_checkout_builds_anew(tree, tmp_path_factory):
    """Environments hold absolute paths."""
    fake_python(tree)
    setup(tree, "runtime")
    moved = tmp_path_factory.mktemp("moved") / "tree"
    shutil.copytree(tree, moved, symlinks=True)
    assert "making .venv" in setup(moved, "runtime").stderr


def test_a_failed_installation_leaves_nothing_behind(tree):
    """No half-made environment, one line that says what failed; the next run builds it."""
    fake_python(tree)
    (tree / "journal.exit").write_text("1")
    failed = setup(tree, "runtime")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == (
        "sovereign: could not install requirements/build.lock into .venv (pip's message is above)"
    )
    assert not (tree / ".venv").exists()
    (tree / "journal.exit").unlink()
    assert setup(tree, "runtime").returncode == 0
    assert (tree / ".venv" / ".stamp").exists()


def test_an_environment_without_stamp_is_not_trusted(tree):
    """It may be the rest of a build that was killed."""
    fake_python(tree)
    (tree / ".venv").mkdir()
    (tree / ".venv" / "half").touch()
    assert setup(tree, "runtime").returncode == 0
    assert not (tree / ".venv" / "half").exists()


def test_judges_live_apart(tree):
    """Their environment holds their lock, and not this project."""
    fake_python(tree)
    assert setup(tree, "judges").returncode == 0
    assert [line.split()[-1] for line in journal(tree)] == ["requirements/judges.lock"]
    assert (tree / ".venv-judges" / ".stamp").exists()


def test_a_newer_python_beside_an_old_one_is_found(tree):
    """python3 is tried first, then the names with versions; stand-ins that only print an error are passed
    over.
    """
    old_python(tree, "python3", "3.9.2")
    executable(tree / "path" / "python3.14", "#!/bin/sh\necho 'command not found' >&2; exit 127\n")
    fake_python(tree, "python3.12")
    assert setup(tree, "runtime").returncode == 0
    assert (tree / ".venv" / ".stamp").exists()


def test_only_old_pythons_is_one_line(tree):
    """It names what was found."""
    old_python(tree, "python3", "3.9.2")
    failed = setup(tree, "runtime")
    assert failed.returncode == 1
    assert failed.stderr == "sovereign: needs Python 3.11 or newer, found only python3=3.9.2\n"


def test_no_python_is_one_line(tree):
    """It names what was tried."""
    failed = setup(tree, "runtime", PYTHON="python3.99")
    assert failed.returncode == 1
    assert failed.stderr == "sovereign: needs Python 3.11 or newer, found none (tried python3.99)\n"


def test_a_debian_python_without_venv_is_one_line(tree):
    """Debian splits ensurepip off; the line names the package."""
    fake_python(tree, no_venv=1)
    failed = setup(tree, "runtime")
    assert failed.returncode == 1
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert failed.stderr == (
        f"sovereign: this Python cannot make virtual environments: run apt-get install python{version}-venv\n"
    )


def test_missing_programs_without_apt_are_one_line(tree):
    """All of them at once."""
    (tree / "requirements" / "debian.txt").write_text("# judges\n\ngo golang-go\nsh dash\nno-such other\n")
    failed = setup(tree, "tools")
    assert failed.returncode == 1
    assert failed.stderr == "sovereign: make test needs these programs on PATH: go no-such\n"


def test_missing_programs_are_installed_by_root(tree):
    """Only the missing ones, by the names of their packages."""
    (tree / "requirements" / "debian.txt").write_text("go golang-go\nsh dash\n")
    executable(tree / "path" / "id", "#!/bin/sh\necho 0\n")
    executable(tree / "path" / "env", '#!/bin/sh\nshift; exec "$@"\n')
    executable(tree / "path" / "apt-get", f'#!/bin/sh\necho "$*" >>"{tree}/apt"\n')
    assert setup(tree, "tools").returncode == 0
    update, install = (tree / "apt").read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install ")
    assert install.endswith(" golang-go")


def test_node_packages_come_from_their_lock(tree):
    """`npm ci` once; nothing where there is no such directory; nothing left behind by a failure."""
    fake_python(tree)
    assert setup(tree, "node").returncode == 0
    judges = tree / "tests" / "judges" / "node"
    judges.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        (judges / name).write_text("{}")
    assert "needs npm" in setup(tree, "node").stderr
    executable(tree / "path" / "node", "#!/bin/sh\necho v22\n")
    executable(
        tree / "path" / "npm", f'#!/bin/sh\nmkdir node_modules; echo "$*" >>"{tree}/npm"; exit ${{FAIL:-0}}\n'
    )
    assert "npm ci failed" in setup(tree, "node", FAIL="1").stderr
    assert not (judges / "node_modules").exists()
    assert setup(tree, "node").returncode == 0
    assert setup(tree, "node").returncode == 0
    assert [line.split()[0] for line in (tree / "npm").read_text().splitlines()] == ["ci", "ci"]


def make(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_make_help_lists_every_target(tree):
    """The list is made from the comments, so a target without one would be missing here."""
    shown = {line.split()[0] for line in make(tree).stdout.splitlines()}
    text = (tree / "Makefile").read_text()
    phony = next(line for line in text.splitlines() if line.startswith(".PHONY:")).split()[1:]
    assert shown == set(phony)
    assert {"run", "test", "unit", "lint", "type", "bench", "bench-peers", "proto", "lock", "clean"} <= shown


@pytest.mark.parametrize("code", [0, 1, 5])
def test_ci_ends_with_pytests_closing_line_and_exit_code(tree, code):
    """make would answer every failure with 2 and a line of its own."""
    executable(tree / "scripts" / "setup.sh", "#!/bin/sh\necho set-up >&2\n")
    (tree / ".venv" / "bin").mkdir(parents=True)
    closing = "=== 1 failed, 2 passed in 0.01s ==="
    executable(tree / ".venv" / "bin" / "python", f"#!/bin/sh\necho '{closing}'\nexit {code}\n")
    ended = subprocess.run(
        [tree / ".ci" / "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )
    assert ended.stdout.splitlines()[-1] == closing
    assert ended.returncode == code


def test_ci_fails_when_the_set_up_does(tree):
    """Even though no pytest ran that could have said so; an earlier run's result does not count."""
    executable(tree / "scripts" / "setup.sh", "#!/bin/sh\necho 'sovereign: no Python' >&2; exit 1\n")
    (tree / "build").mkdir()
    (tree / "build" / "pytest.status").write_text("0\n")
    ended = subprocess.run(
        [tree / ".ci" / "run"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert ended.returncode != 0
    assert "sovereign: no Python" in ended.stdout

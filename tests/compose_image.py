"""The Dockerfile without a Docker engine: its instructions, and its build stages' steps run in a directory.

COPY and RUN of a stage are carried out as they stand, but that `/opt/sovereign` and `/build` are below a directory and
`python` is an interpreter of this machine. What only an engine can do is left out: the base image, layers, ownership.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"
UID = 65532
STEP_S = 600
_KEPT = (
    "HOME",
    "PIP_",
    "SSL_",
    "REQUESTS_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)  # what pip is told here
_CANDIDATES = ("python3.14", "python3.13", "python3.12", "python3.11")


@dataclass(frozen=True)
class Instruction:
    """One line of a Dockerfile, continued lines joined: ``RUN`` and what it is given."""

    name: str
    rest: str


@dataclass
class Stage:
    """``FROM base AS name`` and what follows."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """What the instructions of this name are given."""
        return [each.rest for each in self.instructions if each.name == name]


def stages(text: str | None = None) -> dict[str, Stage]:
    """The stages by name, in order. What stands before the first FROM is left out."""
    found: dict[str, Stage] = {}
    for each in instructions(DOCKERFILE.read_text("utf-8") if text is None else text):
        if each.name == "FROM":
            base, _, name = each.rest.partition(" AS ")
            found[name] = Stage(base, name)
        elif found:
            list(found.values())[-1].instructions.append(each)
    return found


def instructions(text: str) -> Iterator[Instruction]:
    """Without comments and empty lines. Raises ``ValueError`` for a line that is none."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            if not name.isupper():
                raise ValueError(f"no instruction: {line}")
            yield Instruction(name, rest.strip())


class Build:
    """Stages carried out below ``directory``. ``log`` is what the steps printed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tree = directory / "opt/sovereign"
        self.work = directory / "build"
        self.log: list[str] = []
        self._bin = directory / "bin"
        self._environment: dict[str, str] = {}
        for each in (self.tree.parent, self.work, self._bin):
            each.mkdir(parents=True)
        shim = self._bin / "python"
        shim.write_text(
            "#!/bin/sh\n"
            f'if [ "$1 $2" = "-m pip" ]; then exec {shlex.quote(sys.executable)} "$@"; fi\n'
            f'exec {shlex.quote(interpreter())} "$@"\n'
        )
        shim.chmod(0o755)

    def run(self, stage: Stage) -> None:
        """Carry out a stage's COPY and RUN. Fails with what the step printed."""
        for each in stage.instructions:
            if each.name in ("ENV", "ARG"):
                for pair in shlex.split(each.rest):
                    name, _, value = pair.partition("=")
                    if name != "PIP_NO_CACHE_DIR":  # what a build of an image must not keep, a test may
                        self._environment[name] = value
            elif each.name == "COPY":
                self._copy(each.rest)
            elif each.name == "RUN":
                self._step(each.rest)
            elif each.name != "WORKDIR":
                raise AssertionError(f"a build stage with {each.name}")

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        into = self.work / target
        into.mkdir(parents=True, exist_ok=True)
        for source in sources:
            found = ROOT / source
            if found.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(found, into, dirs_exist_ok=True, ignore=ignore)
            else:
                shutil.copy(found, into)

    def _step(self, command: str) -> None:
        here = command.replace("/opt/sovereign", str(self.tree))
        kept = {name: value for name, value in os.environ.items() if name.upper().startswith(_KEPT)}
        path = f"{self._bin}:/usr/bin:/bin"
        environment = {**kept, **self._environment, "PATH": path, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            ["sh", "-c", here], cwd=self.work, env=environment, capture_output=True, text=True,
            timeout=STEP_S, check=False,
        )  # fmt: skip
        self.log.append(done.stdout + done.stderr)
        assert done.returncode == 0, f"RUN {here}\n{self.log[-1]}"


def interpreter() -> str:
    """A Python for the tree: the one that runs the tests, unless the image's user may not run it."""
    own = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
    others = [str(Path(place) / name) for place in ("/usr/local/bin", "/usr/bin") for name in _CANDIDATES]
    for each in (own, *others):
        if Path(each).exists() and _runs(each):
            return each
    return own


def unprivileged(python: str) -> list[str]:
    """What to put before a command so that it runs as the image's user, without capabilities; nothing where we are
    an ordinary user ourselves, or where that user may not run ``python``.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None or not _runs(python):
        return []
    return _SETPRIV


_SETPRIV = [
    "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
    "--no-new-privs",
]  # fmt: skip


def _runs(python: str) -> bool:
    prefix = _SETPRIV if os.geteuid() == 0 and shutil.which("setpriv") else []
    done = subprocess.run(
        [*prefix, python, "-I", "-c", "import venv"], cwd="/", capture_output=True, check=False, timeout=60
    )
    return done.returncode == 0

"""docker-compose.yml as the specification's own library reads it: `tests/judges/compose`, in Go; and a copy of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from judging import go_built

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
VARIABLES = tuple(sorted(set(re.findall(r"\$\{([A-Z_]+_DIGEST):\?", COMPOSE.read_text("utf-8")))))
DIGESTS = {name: f"sha256:{number:064x}" for number, name in enumerate(VARIABLES, start=1)}
"""Digests of nothing, to read the file with."""


class RefusedError(Exception):
    """The file is not what the specification allows."""


class ComposeJudge:
    """Built once in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._binary = go_built("compose", directory)

    def load(self, file: Path, profiles: str = "", environ: dict[str, str] | None = None) -> dict[str, Any]:
        """The project as Docker Compose understands it. Raises ``RefusedError``."""
        given = [f"{name}={value}" for name, value in (DIGESTS if environ is None else environ).items()]
        done = subprocess.run(
            [self._binary, file, profiles, *given], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise RefusedError(done.stderr.strip())
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def copied(directory: Path) -> None:
    """What the file and ``scripts/compose.sh`` need of a checkout, without anybody's ``compose/local``."""
    for name in ("docker-compose.yml", "Dockerfile", "scripts/compose.sh"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, directory / name)
    shutil.copytree(ROOT / "compose", directory / "compose", ignore=shutil.ignore_patterns("local"))

"""docker-compose.yml as the specification's own library reads it: `tests/judges/compose`, in Go."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
SOURCES = Path(__file__).parent / "judges" / "compose"
VARIABLES = tuple(sorted(set(re.findall(r"\$\{([A-Z_]+_DIGEST):\?", COMPOSE.read_text("utf-8")))))
DIGESTS = {name: f"sha256:{number:064x}" for number, name in enumerate(VARIABLES, start=1)}
"""Digests of nothing, to read the file with."""


class RefusedError(Exception):
    """The file is not what the specification allows."""


class ComposeJudge:
    """Built once in ``directory``."""

    def __init__(self, directory: Path) -> None:
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        assert go is not None, "these tests need Go >= 1.24 (Debian: apt-get install golang-go)"
        self._binary = directory / "compose-judge"
        environment = {**os.environ, "GOFLAGS": "-buildvcs=false -mod=readonly"}
        build = [go, "build", "-o", str(self._binary), "."]
        subprocess.run(build, cwd=SOURCES, env=environment, check=True, timeout=600)

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

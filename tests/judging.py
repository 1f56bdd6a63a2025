"""Other people's software as judges, run as processes: Sigstore's verifiers in JavaScript and Python.

Each takes a receipt, a trusted root and the envelope key (PEM) and prints ``verified`` or ``refused: …``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TESTS = Path(__file__).parent


def sigstore_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on sigstore-python, in the judges' environment."""
    python = Path(
        os.environ.get("SOVEREIGN_JUDGES_PYTHON") or TESTS.parent / ".venv-judges" / "bin" / "python"
    )
    assert python.exists(), f"no interpreter with sigstore at {python}: run `make test`, which sets it up"
    script = TESTS / "judges" / "sigstore_python.py"
    return subprocess.run(
        [python, script, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def sigstore_js(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on @sigstore/verify."""
    directory = TESTS / "judges" / "node"
    assert (directory / "node_modules").is_dir(), (
        f"no packages in {directory}: run `make test`, or `npm ci` there"
    )
    command = ["node", directory / "judge.mjs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

"""Other people's software as judges, run as processes: Sigstore's verifiers in JavaScript and Python, the libraries of
AWS and Google, modules in Go.

Each of Sigstore's takes a receipt, a trusted root and the envelope key (PEM) and prints ``verified`` or
``refused: …``. AWS's and Google's stay and answer questions, a line each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent


def sigstore_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on sigstore-python, in the judges' environment."""
    command = [judges_python(), TESTS / "judges" / "sigstore_python.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


class Judge:
    """Questions to a judge that stays, such as ``judges/aws.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, question: str, **given: Any) -> Any:
        """The answer. Raises ``ValueError`` with what the library said if it refused."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"ask": question, **given}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "failed" in answer:
            raise ValueError(answer["failed"])
        return answer["answer"]


Aws = Judge


def aws() -> AbstractContextManager[Judge]:
    """botocore and boto3 in the judges' environment, in one process for as long as the block runs."""
    return _staying("aws.py")


def anthropic_sdk() -> AbstractContextManager[Judge]:
    """Anthropic's SDK in the judges' environment, in one process for as long as the block runs."""
    return _staying("anthropic_sdk.py")


def kubernetes() -> AbstractContextManager[Judge]:
    """Kubernetes' schemas in the judges' environment, in one process for as long as the block runs."""
    return _staying("kubernetes_schemas.py")


def google() -> AbstractContextManager[Judge]:
    """google-genai's types in the judges' environment, in one process for as long as the block runs."""
    return _staying("gemini.py")


def leaks() -> AbstractContextManager[Judge]:
    """detect-secrets in the judges' environment, in one process for as long as the block runs."""
    return _staying("leaks.py")


def standard_webhooks() -> AbstractContextManager[Judge]:
    """The reference implementation in the judges' environment, in one process for as long as the block runs."""
    return _staying("standard_webhooks.py")


@contextmanager
def _staying(script: str) -> Iterator[Judge]:
    command = [judges_python(), TESTS / "judges" / script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Judge(process)
        finally:
            process.terminate()


def judges_python() -> Path:
    """The interpreter of the judges' environment; their programs are beside it."""
    python = Path(
        os.environ.get("SOVEREIGN_JUDGES_PYTHON") or TESTS.parent / ".venv-judges" / "bin" / "python"
    )
    assert python.exists(), f"no interpreter of the judges at {python}: run `make test`, which sets it up"
    return python


def go_built(name: str, directory: Path) -> Path:
    """The judge of ``judges/NAME`` as a program in ``directory``. A machine without Go fails the test, no skipping."""
    sources, binary = TESTS / "judges" / name, directory / f"{name}-judge"
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    assert go is not None, (
        f"these tests need the Go of {sources / 'go.mod'} (Debian: apt-get install golang-go)"
    )
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false -mod=readonly"}
    subprocess.run([go, "build", "-o", binary, "."], cwd=sources, env=environment, check=True, timeout=600)
    return binary


def sigstore_js(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on @sigstore/verify."""
    directory = TESTS / "judges" / "node"
    assert (directory / "node_modules").is_dir(), (
        f"no packages in {directory}: run `make test`, or `npm ci` there"
    )
    command = ["node", directory / "judge.mjs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

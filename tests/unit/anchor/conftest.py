"""Rekors to anchor in: the test server in every kind, and the real ones where ``make test`` could build them."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from anchor_world import KINDS, private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from rekor_server import Answer, Rekor, running

from sovereign_ext.cli.supervise.probe import free_ports

BINARIES = Path(__file__).parents[3] / "build/rekor"


@pytest.fixture(params=KINDS, ids=" ".join)
def kind_and_key(request: pytest.FixtureRequest) -> tuple[str, str]:
    """API and key type."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def rekor(kind_and_key: tuple[str, str]) -> Iterator[Rekor]:
    """A running test server of that key type; it speaks both APIs."""
    with running(Rekor(private_key(kind_and_key[1]))) as server:
        yield server


class _Front(Rekor):
    """What an operator puts before a Rekor v2: reads come from its tiles, writes go to it."""

    upstream: str = ""
    tiles: Path = Path()

    def answer(self, method: str, target: str, data: bytes) -> Answer:
        self.requests.append(f"{method} {target}")
        if method == "GET":
            file = self.tiles / target.removeprefix("/api/v2/")
            return (200, {}, file.read_bytes()) if file.is_file() else (404, {}, b"")
        request = urllib.request.Request(self.upstream + target, data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()


@pytest.fixture(params=["ed25519", "p256"])
def real_v2(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rekor]:
    """Sigstore's rekor-tiles on files, behind a front that serves its tiles."""
    front = _Front(private_key(request.param), name="rekor-v2.test")
    key, store, ports = tmp_path / "key.pem", tmp_path / "store", [*map(str, free_ports(3))]
    key.write_bytes(_pem(front))
    store.mkdir()
    argv = ["serve", "--hostname", front.name, "--storage-dir", str(store), "--signer-filepath", str(key)]
    argv += ["--http-port", ports[0], "--grpc-port", ports[1], "--http-metrics-port", ports[2]]
    argv += ["--checkpoint-interval", "200ms", "--batch-max-age", "20ms"]
    front.upstream, front.tiles = f"http://127.0.0.1:{ports[0]}", store
    with _program("v2", argv, f"{front.upstream}/healthz", tmp_path), running(front):
        yield front


@pytest.fixture
def real_v1(tmp_path: Path) -> Iterator[Rekor]:
    """Sigstore's Rekor v1, with Trillian in memory."""
    rekor = Rekor(private_key("p256"), name="rekor-v1.test")
    key, (port,) = tmp_path / "key.pem", map(str, free_ports(1))
    key.write_bytes(_pem(rekor))
    rekor.url = f"http://127.0.0.1:{port}"
    with _program("v1", [port, rekor.name, str(key)], f"{rekor.url}/api/v1/log", tmp_path):
        yield rekor


def _pem(rekor: Rekor) -> bytes:
    return rekor.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@contextmanager
def _program(name: str, argv: list[str], health: str, directory: Path) -> Iterator[None]:
    binary = BINARIES / name
    if not binary.is_file():
        pytest.skip(
            f"no {binary.relative_to(BINARIES.parents[1])}: scripts/setup.sh rekor makes it (Go >= 1.25.11)"
        )
    output = directory / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen([binary, *argv], stdout=file, stderr=file, cwd=directory)
    try:
        _wait(process, health, output)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory / "store", ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], health: str, output: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(health, timeout=5):
            return
        time.sleep(0.05)
    pytest.fail(f"did not come up:\n{output.read_text()[-2000:]}")

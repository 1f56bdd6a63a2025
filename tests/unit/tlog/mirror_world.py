"""What the tests of witnesses and mirrors share: a log that can fork, a mirror process, a server of tiles."""

from __future__ import annotations

import functools
import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.tlog.addcheckpoint import AddCheckpoint
from sovereign_ext.tlog.checkpoint import Checkpoint, origin_hash, sign_checkpoint
from sovereign_ext.tlog.cosignature import Cosigner, CosignerKey, parse_cosigner_key
from sovereign_ext.tlog.edge import TileBuilder
from sovereign_ext.tlog.files import write_files
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.note import Signer, Verifier
from sovereign_ext.tlog.proof import consistency_proof, tree_root
from sovereign_ext.tlog.reader import CHECKPOINT
from sovereign_ext.tlog.tiles import Tile, node_reader

LOG = "log.example/1"
NAME = "mirror.example/m"


def key_of(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def raw_public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def note_signer(name: str = LOG, seed: int = 1) -> Signer:
    key = key_of(seed)
    return Signer(Verifier(name, raw_public(key)), key.sign)


def cosigner(name: str = "w.example/1", seed: int = 9) -> Cosigner:
    key = key_of(seed)
    return Cosigner(CosignerKey(name, raw_public(key)), key.sign)


class Branch:
    """A log's history up to some size, in memory; ``fork`` tells another story from an earlier size on."""

    def __init__(
        self, size: int, name: str = LOG, seed: int = 1, say: Callable[[int], bytes] | None = None
    ) -> None:
        self.say = say or (lambda index: b"entry %d" % index)
        self.signer = note_signer(name, seed)
        self.size = size
        self._tiles: dict[str, bytes] = {}
        builder = TileBuilder()
        for index in range(size):
            entry = self.say(index)
            self._tiles.update((tile.path, data) for tile, data in builder.append(entry, leaf_hash(entry)))
        self._tiles.update((tile.path, data) for tile, data in builder.partial_tiles())
        self.nodes = node_reader(size, lambda tile: self._tiles[tile.path])

    def fork(self, at: int, size: int | None = None) -> Branch:
        """Another branch under the same key, equal up to ``at``."""
        say = self.say
        other = Branch(size or self.size, say=lambda i: say(i) if i < at else b"forged %d" % i)
        other.signer = self.signer
        return other

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.signer.verifier.name, size, tree_root(size, self.nodes))

    def note(self, size: int, *more: Signer) -> bytes:
        return sign_checkpoint(self.checkpoint(size), [self.signer, *more])

    def request(self, old: int, new: int) -> AddCheckpoint:
        """An honest request, as far as this branch goes."""
        return AddCheckpoint(old, tuple(consistency_proof(old, new, self.nodes)), self.note(new))

    def publish(self, directory: Path, size: int | None = None) -> None:
        """Write tiles and checkpoint as a log does."""
        end = self.size if size is None else size
        builder = TileBuilder()
        tiles: list[tuple[Tile, bytes]] = []
        for index in range(end):
            tiles += builder.append(self.say(index), leaf_hash(self.say(index)))
        tiles += builder.partial_tiles()
        write_files(directory, [(tile.path, data) for tile, data in tiles])
        write_files(directory, [(CHECKPOINT, self.note(end))])


def wait_for(condition: Callable[[], object]) -> None:
    """Ask until it is so; a test that waits in vain fails."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen in 30 s"
        time.sleep(0.01)


class MirrorProcess:
    """``sovereign mirror`` as a process, on a free port."""

    def __init__(self, state: Path, *options: str, port: int = 0, name: str | None = NAME) -> None:
        command = [sys.executable, "-m", "sovereign_ext.cli.main", "mirror", "--state-dir", str(state)]
        command += ["--listen", f"127.0.0.1:{port}", *([] if name is None else ["--name", name]), *options]
        self.state = state
        self.errors = state.with_name(f"{state.name}.stderr")
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline().split() for _ in range(3)]
        assert [line[0] for line in lines if line] == ["witness", "mirror", "listening"], (
            self.errors.read_text()
        )
        self.witness_vkey, self.mirror_vkey, self.url = (line[1] for line in lines)
        self.port = int(self.url.rpartition(":")[2])

    @property
    def witness(self) -> CosignerKey:
        return parse_cosigner_key(self.witness_vkey)

    @property
    def settings(self) -> dict[str, str]:
        """The mirror as an item of ``log.mirrors`` in sovereign.yaml."""
        return {"url": self.url, "key": self.witness_vkey, "mirror_key": self.mirror_vkey}

    def add(self, request: AddCheckpoint | bytes) -> httpx.Response:
        body = request if isinstance(request, bytes) else request.encode()
        return httpx.post(f"{self.url}/add-checkpoint", content=body, timeout=30)

    def get(self, path: str, origin: str = LOG) -> httpx.Response:
        return httpx.get(f"{self.url}/{origin_hash(origin)}/{path}", timeout=30)

    def status(self) -> dict[str, Any]:
        logs: list[dict[str, Any]] = httpx.get(f"{self.url}/", timeout=30).json()["logs"]
        return logs[0]

    def kept(self, origin: str = LOG) -> dict[str, bytes]:
        """Every file it keeps of a log, evidence apart."""
        root = self.state / "logs" / origin_hash(origin)
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and "forks" not in path.parts and not path.name.startswith(".")
        }

    def evidence(self, origin: str = LOG) -> list[dict[str, Any]]:
        forks = self.state / "logs" / origin_hash(origin) / "forks"
        return [json.loads(path.read_bytes()) for path in sorted(forks.glob("*.json"))]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._closed()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._closed()
        return code

    def _closed(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def mirror_process(state: Path, *options: str, **more: Any) -> Iterator[MirrorProcess]:
    """A mirror, killed at the end if it still runs."""
    mirror = MirrorProcess(state, *options, **more)
    try:
        yield mirror
    finally:
        if mirror.process.poll() is None:
            mirror.kill()
        else:
            mirror._closed()


def log_options(branch: Branch, url: str | None = None) -> Sequence[str]:
    options = ["--log-key", branch.signer.verifier.encode(), "--poll-s", "0.05"]
    return options if url is None else [*options, "--log-url", url]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _TileServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that was killed while it read is what some tests are about."""


@contextmanager
def tiles_over_http(directory: Path) -> Iterator[str]:
    """Serves a published log; gives its URL."""
    directory.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(_Quiet, directory=str(directory))
    with _TileServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()

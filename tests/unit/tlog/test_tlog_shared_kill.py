"""Three replicas under load whose processes, database and connections are killed, frozen and cut: one log comes out.

Whatever is done to them, at the end every acknowledged entry is at its index with its leaf, no index is missing, every
checkpoint that any of them ever knew is a prefix of the last, receipts of any replica verify, and fsck finds nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from log_world import ORIGIN
from shared_log_world import LEASE_S, Site

from sovereign_ext.attest.keys import PublicKeys
from sovereign_ext.attest.promise import Promise, verify_promise
from sovereign_ext.attest.verify import TrustedKeys, verify_receipt
from sovereign_ext.storage.entries import EntryStore
from sovereign_ext.tlog.checkpoint import open_checkpoint
from sovereign_ext.tlog.proof import consistency_proof, verify_consistency
from sovereign_ext.tlog.reader import LogReader

pytestmark = pytest.mark.services

APPENDER = Path(__file__).with_name("shared_appender.py")
PATIENCE_S = 30.0


class Process:
    """One replica. A thread reads what it says."""

    def __init__(self, site: Site, name: str) -> None:
        self.name = name
        self.entries: list[tuple[int, str, int, str]] = []
        self.notes: list[bytes] = []
        self.role = ""
        self.stopped: str | None = None
        self.receipts: list[dict[str, Any]] = []
        self.faults: list[str] = []
        arguments = [sys.executable, str(APPENDER), site.url, str(site.root), name]
        self._popen = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def ask(self, index: int) -> None:
        assert self._popen.stdin is not None
        print(f"receipt {index}", file=self._popen.stdin, flush=True)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; everything that it had said is read when this returns."""
        self._popen.kill()
        self._popen.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for stream in (self._popen.stdin, self._popen.stdout):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            if not line.endswith("\n"):
                return  # killed in the middle of it
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "entry":
                index, leaf, time_ms, promise = rest.split()
                self.entries.append((int(index), leaf, int(time_ms), promise))
            elif word == "seen":
                self.notes.append(b64decode(rest))
            elif word == "role":
                self.role = rest
            elif word == "stopped":
                self.stopped = rest
            elif word == "receipt":
                self.receipts.append(json.loads(rest))
            elif word == "no":
                self.faults.append(rest)


class Cluster:
    """All lives of all replicas."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.lives: list[Process] = []
        self.running: dict[str, Process] = {}

    def start(self, name: str) -> Process:
        process = Process(self.site, name)
        self.lives.append(process)
        self.running[name] = process
        return process

    def replace(self, process: Process) -> None:
        """Kill it, and start another one in its state directory."""
        process.kill()
        self.start(process.name)

    @property
    def leader(self) -> Process | None:
        leaders = [process for process in self.running.values() if process.role == "leader"]
        return leaders[0] if len(leaders) == 1 else None

    def wait_for(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            stopped = {process.name: process.stopped for process in self.running.values() if process.stopped}
            assert not stopped, stopped
            assert time.monotonic() < deadline, f"in vain: {what}"
            time.sleep(0.02)

    def progress(self, *names: str, checkpoint: bool = True) -> None:
        """Until each of these (all, by default) has appended more, and knows a checkpoint that was made now."""
        chosen = [self.running[name] for name in names or tuple(self.running)]
        before = {process.name: (len(process.entries), len(process.notes)) for process in chosen}

        def more() -> bool:
            return all(
                len(process.entries) > before[process.name][0] + 10
                and (len(process.notes) > before[process.name][1] + 2 or not checkpoint)
                for process in chosen
            )

        self.wait_for(more, f"progress of {sorted(before)} beyond {before}")

    def end(self) -> None:
        for process in self.running.values():
            process.signal(signal.SIGCONT)
            process.kill()


@contextmanager
def cluster(site: Site) -> Iterator[Cluster]:
    made = Cluster(site)
    try:
        for name in ("a", "b", "c"):
            made.start(name)
        made.progress()
        yield made
    finally:
        made.end()


async def judge(made: Cluster, go_judge: Any) -> None:
    site = made.site
    async with site.replica("judge") as log:
        await log.receipt(log.status().size - 1, None, 10)
        keys, size = log.public_keys, log.status().size
        report = site.fsck(log)
        assert report.faults == []
        assert report.rows == size
        head = log.published().checkpoint
        engine = site.engine()
        stored = {index: leaf.hex() for index, _, leaf in EntryStore(engine).leaves(0, size)}
        engine.dispose()
    assert sorted(stored) == list(range(size))
    acknowledged(made, stored, keys)
    nodes = LogReader(site.tiles()).nodes(head.size)
    notes = {note for life in made.lives for note in life.notes}
    assert len(notes) > 10
    sizes: dict[int, bytes] = {}
    for note in notes:
        seen = open_checkpoint(note, ORIGIN, [keys.log])[0]
        assert sizes.setdefault(seen.size, seen.root) == seen.root, f"two trees of size {seen.size}"
        path = consistency_proof(seen.size, head.size, nodes)
        verify_consistency(seen.size, seen.root, head.size, head.root, path)
    for life in made.lives:  # no replica ever went back
        known = [open_checkpoint(note, ORIGIN, [keys.log])[0].size for note in life.notes]
        assert known == sorted(known)
    indices = [str(index) for index in range(0, head.size, max(1, head.size // 16))]
    said = go_judge("log", str(site.root / "tiles"), keys.log.encode(), *indices)
    assert said.returncode == 0, said.stderr


def acknowledged(made: Cluster, stored: dict[int, str], keys: PublicKeys) -> None:
    """Every entry that a caller was told of is where it was told, and nobody else was told the same."""
    told: dict[int, str] = {}
    for life in made.lives:
        for index, leaf, time_ms, promise in life.entries:
            assert told.setdefault(index, leaf) == leaf, f"index {index} was given twice"
            assert stored.get(index) == leaf
            if index % 10 == 0:
                said = Promise(ORIGIN, index, bytes.fromhex(leaf), time_ms)
                verify_promise(said, b64decode(promise), keys.promise)
    assert len(told) > 100


def receipts(made: Cluster) -> None:
    """The same entries from every replica; each verifies."""
    indices = [life.entries[0][0] for life in made.lives if life.entries]
    for process in made.running.values():
        for index in indices:
            process.ask(index)
    made.wait_for(
        lambda: all(len(p.receipts) + len(p.faults) == len(indices) for p in made.running.values()),
        "receipts",
    )
    for process in made.running.values():
        assert process.faults == []
        assert all(verify_receipt(receipt, TrustedKeys()).ok for receipt in process.receipts)


def test_replicas_are_killed_and_frozen(postgres: Any, tmp_path: Path, go_judge: Any) -> None:
    """kill -9 of leader and follower, and a leader that is frozen past its lease and then goes on."""
    with cluster(Site(postgres.url, tmp_path)) as made:
        for _ in range(2):
            made.wait_for(lambda: made.leader is not None, "a leader")
            killed = made.leader
            assert killed is not None
            others = [name for name in made.running if name != killed.name]
            killed.kill()
            del made.running[killed.name]
            began = time.monotonic()
            made.progress(*others)
            assert time.monotonic() - began < LEASE_S + 8
            made.start(killed.name)
            made.progress()
        followers = [process for process in made.running.values() if process.role == "follower"]
        made.replace(random.choice(followers))
        made.progress()
        freeze_the_leader(made)
        freeze_the_leader(made)
        receipts(made)
    asyncio.run(judge(made, go_judge))


def freeze_the_leader(made: Cluster) -> None:
    """Stopped anywhere, past its lease; the others go on; woken, it is a follower that appends."""
    made.wait_for(lambda: made.leader is not None, "a leader")
    frozen = made.leader
    assert frozen is not None
    frozen.signal(signal.SIGSTOP)
    began = time.monotonic()
    others = [name for name in made.running if name != frozen.name]
    made.wait_for(lambda: any(made.running[name].role == "leader" for name in others), "another leader")
    made.progress(*others)
    assert time.monotonic() - began < LEASE_S + 8, "it may have held the head, but not for long"
    frozen.signal(signal.SIGCONT)
    made.wait_for(lambda: frozen.role == "follower", "that it follows")
    made.progress()


def test_the_database_is_restarted_and_killed(postgres: Any, tmp_path: Path, go_judge: Any) -> None:
    """Sessions are ended, the server is restarted, and killed in the middle of everything."""
    with cluster(Site(postgres.url, tmp_path)) as made:
        for _ in range(5):
            postgres.disconnect()
            made.progress(checkpoint=False)
        made.progress()
        for _ in range(2):
            postgres.restart()
            made.progress()
            postgres.kill()
            postgres.start()
            made.progress()
        postgres.freeze()
        time.sleep(LEASE_S * 1.5)  # nobody can renew: whoever led stops by its own clock
        postgres.thaw()
        made.progress()
        receipts(made)
    asyncio.run(judge(made, go_judge))

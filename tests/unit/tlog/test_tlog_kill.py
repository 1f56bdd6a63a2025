"""A log whose process is killed again and again keeps every promise it made."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from log_world import ORIGIN, fsck, opened

from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint
from sovereign_ext.tlog.proof import consistency_proof, tree_root, verify_consistency

pytestmark = pytest.mark.services

ROUNDS = 20
APPENDER = Path(__file__).with_name("killed_appender.py")


def one_life(appender: subprocess.Popen[str], chance: random.Random) -> dict[int, str]:
    """Let the appender run until a random moment, kill it, and give what it had acknowledged."""
    assert appender.stdin is not None
    assert appender.stdout is not None
    print(file=appender.stdin, flush=True)
    word, pid = appender.stdout.readline().split()
    assert word == "pid"
    acknowledged: dict[int, str] = {}
    wanted = chance.randrange(0, 120)
    while len(acknowledged) < wanted:
        index, leaf = appender.stdout.readline().split()
        acknowledged[int(index)] = leaf
    time.sleep(
        chance.uniform(0, 0.01)
    )  # not to wait for anything: to hit any place in commit and publication
    os.kill(int(pid), signal.SIGKILL)
    while (line := appender.stdout.readline().strip()) != "dead":
        index, leaf = line.split()
        acknowledged[int(index)] = leaf
    return acknowledged


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """After each kill the log starts again; in the end every acknowledged entry is at its index with its
    leaf, no index is missing, fsck finds nothing, and every checkpoint ever signed or published is a prefix
    of the last."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    acknowledged: dict[int, str] = {}
    notes: list[bytes] = []
    arguments = [sys.executable, str(APPENDER), str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as appender:
        try:
            for _ in range(ROUNDS):
                acknowledged_now = one_life(appender, chance)
                assert not acknowledged.keys() & acknowledged_now.keys(), "an index was given twice"
                acknowledged |= acknowledged_now
                notes += [(tmp_path / where / "checkpoint").read_bytes() for where in ("signed", "tiles")]
        finally:
            appender.kill()
    asyncio.run(judge(tmp_path, acknowledged, notes))


async def judge(state: Path, acknowledged: dict[int, str], notes: list[bytes]) -> None:
    async with opened(state) as log:
        size = log.status().size
        stored = {index: leaf.hex() for index, _, leaf in log._store.leaves(0, size)}
        head = open_checkpoint(log.reader.checkpoint() or b"", ORIGIN, [log.public_keys.log])[0]
        seen = [open_checkpoint(note, ORIGIN, [log.public_keys.log])[0] for note in notes]
    assert len(acknowledged) > ROUNDS
    assert sorted(stored) == list(range(size))
    assert {index: stored.get(index) for index in acknowledged} == acknowledged
    consistent(log.reader.nodes, seen, head)
    report = fsck(state)
    assert report.faults == []
    assert report.size == size


def consistent(nodes: object, seen: list[Checkpoint], head: Checkpoint) -> None:
    read = nodes(head.size)  # type: ignore[operator]
    assert tree_root(head.size, read) == head.root
    for checkpoint in seen:
        path = consistency_proof(checkpoint.size, head.size, read)
        verify_consistency(checkpoint.size, checkpoint.root, head.size, head.root, path)

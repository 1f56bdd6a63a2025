"""A mirror that is killed again and again: never cosigns two branches of a log, never shows half a copy."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from mirror_world import (
    Branch,
    MirrorProcess,
    log_options,
    mirror_process,
    tiles_over_http,
    wait_for,
)

from sovereign_ext.tlog.addcheckpoint import parse_size, with_lines
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.cosignature import find_cosignature, parse_cosigner_key, verify_ack
from sovereign_ext.tlog.tiles import Tile, tile_width

pytestmark = pytest.mark.services

ROUNDS = 10
SUBMITTERS = 3
HONEST = Branch(3000)
RIVAL = HONEST.fork(15)


@dataclass
class Told:
    """What the mirror said, over all its lives: every checkpoint it cosigned, in the order of the answers."""

    cosigned: list[Checkpoint] = field(default_factory=list)
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


def submit(
    mirror: MirrorProcess, branch: Branch, chance: random.Random, told: Told, stop: threading.Event
) -> None:
    """Submit checkpoints of one branch, from where the mirror says it is, until it is gone."""
    old = 0
    with httpx.Client(timeout=30) as client:
        while not stop.is_set():
            size = min(branch.size, old + chance.randrange(1, 6))
            try:
                answer = client.post(
                    f"{mirror.url}/add-checkpoint", content=branch.request(old, size).encode()
                )
            except httpx.HTTPError:
                return
            if answer.status_code == 200:
                checkpoint = branch.checkpoint(size)
                if find_cosignature(with_lines(checkpoint.text(), answer.content), mirror.witness) is None:
                    told.wrong.append("a 200 without our cosignature")
                told.cosigned.append(checkpoint)
                old = size
            elif answer.status_code == 409:
                told.refused += 1
                old = min(parse_size(answer.content), branch.size)
            elif answer.status_code == 422:
                told.refused += 1  # a proof from the other branch's tree
            else:
                told.wrong.append(f"status {answer.status_code}: {answer.text}")


def one_life(state: Path, chance: random.Random, told: Told) -> None:
    """Start the mirror, submit both branches to it, kill it at some moment, and look at what it left."""
    stop = threading.Event()
    with mirror_process(state, *log_options(HONEST)) as mirror:
        before = max((checkpoint.size for checkpoint in told.cosigned), default=0)
        assert mirror.status()["witnessed_size"] >= before, "what was cosigned was forgotten"
        branches = [HONEST, RIVAL] * SUBMITTERS
        seeds = [random.Random(chance.random()) for _ in branches]
        threads = [
            threading.Thread(target=submit, args=(mirror, branch, seed, told, stop))
            for branch, seed in zip(branches, seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        wanted = len(told.cosigned) + chance.randrange(1, 20)
        wait_for(lambda: len(told.cosigned) >= wanted)
        # Not to wait for anything: to hit any place between judging, writing, signing and answering.
        time.sleep(chance.uniform(0, 0.02))
        mirror.kill()
        stop.set()
        for thread in threads:
            thread.join()


def seeded() -> random.Random:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # shown when the test fails
    return random.Random(seed)


def test_a_witness_killed_under_load_from_two_branches(tmp_path: Path) -> None:
    """Every checkpoint that was ever cosigned lies on one branch, and each new life knows at least all that earlier
    ones had answered for."""
    chance, told = seeded(), Told()
    for _ in range(ROUNDS):
        one_life(tmp_path / "m", chance, told)
    largest = max(checkpoint.size for checkpoint in told.cosigned)
    print(f"{len(told.cosigned)} cosigned up to {largest}, {told.refused} refused")
    assert not told.wrong
    assert largest > 15, "the load must get beyond the fork"
    assert told.refused > ROUNDS
    branches = [one for one in (HONEST, RIVAL) if all(one.checkpoint(c.size) == c for c in told.cosigned)]
    assert len(branches) == 1
    with mirror_process(tmp_path / "m", *log_options(HONEST)) as mirror:
        assert mirror.status()["witnessed_size"] >= largest


def test_a_copy_killed_while_it_grows(tmp_path: Path) -> None:
    """However it ends, the next life finds a whole copy and goes on; in the end all entries are there."""
    chance, published, shown = seeded(), 0, 0
    with tiles_over_http(tmp_path / "log") as url:
        HONEST.publish(tmp_path / "log", 1)
        for _ in range(ROUNDS):
            with mirror_process(tmp_path / "m", *log_options(HONEST, url)) as mirror:
                end = time.monotonic() + chance.uniform(0.05, 0.5)
                while time.monotonic() < end:
                    published = min(published + chance.randrange(1, 300), HONEST.size)
                    HONEST.publish(tmp_path / "log", published)
                    size = mirror.status()["mirrored_size"]
                    assert size >= shown
                    shown = size
                mirror.kill()
        with mirror_process(tmp_path / "m", *log_options(HONEST, url)) as mirror:
            HONEST.publish(tmp_path / "log")
            wait_for(lambda: mirror.status()["mirrored_size"] == HONEST.size)
            for index in range(0, HONEST.size, 256):
                path = Tile(None, index // 256, tile_width(None, index // 256, HONEST.size)).path
                assert mirror.get(path).content == (tmp_path / "log" / path).read_bytes()
            copied, _ = verify_ack(
                mirror.get("checkpoint").content,
                HONEST.signer.verifier,
                parse_cosigner_key(mirror.mirror_vkey),
            )
            assert copied == HONEST.checkpoint(HONEST.size)

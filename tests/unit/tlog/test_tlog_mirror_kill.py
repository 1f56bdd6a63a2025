"""A mirror that is killed again and again, under load from two branches of one log, never cosigns both."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from mirror_world import (
    Branch,
    MirrorProcess,
    log_options,
    mirror_process,
    tiles_over_http,
)

from sovereign_ext.mirror.copy import LogCopy
from sovereign_ext.mirror.identity import load_identity
from sovereign_ext.tlog.addcheckpoint import parse_size, with_lines
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.cosignature import find_cosignature

ROUNDS = 10
SUBMITTERS = 3
HONEST = Branch(3000)
RIVAL = HONEST.fork(700)


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
            size = min(branch.size, old + chance.randrange(0, 6))
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


def one_life(state: Path, url: str, chance: random.Random, told: Told) -> None:
    """Start the mirror, submit both branches to it, kill it at some moment, and look at what it left."""
    stop = threading.Event()
    with mirror_process(state, *log_options(HONEST, url)) as mirror:
        before = max((checkpoint.size for checkpoint in told.cosigned), default=0)
        assert mirror.status()["witnessed_size"] >= before, "what was cosigned was forgotten"
        branches = [HONEST] * SUBMITTERS + [RIVAL] * SUBMITTERS
        seeds = [random.Random(chance.random()) for _ in branches]
        threads = [
            threading.Thread(target=submit, args=(mirror, branch, seed, told, stop))
            for branch, seed in zip(branches, seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        # Not to wait for anything: to hit any place between judging, writing, signing and answering.
        time.sleep(chance.uniform(0.1, 0.6))
        mirror.kill()
        stop.set()
        for thread in threads:
            thread.join()


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Every checkpoint that was ever cosigned lies on one branch, none is smaller than one cosigned before by the
    same connection, and each new life knows at least all that earlier ones had answered for. The copy is whole."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    told = Told()
    HONEST.publish(tmp_path / "log")
    with tiles_over_http(tmp_path / "log") as url:
        for _ in range(ROUNDS):
            one_life(tmp_path / "m", url, chance, told)
    assert not told.wrong
    assert len(told.cosigned) > ROUNDS
    on_honest = all(c.size <= HONEST.size and HONEST.checkpoint(c.size) == c for c in told.cosigned)
    on_rival = all(c.size <= RIVAL.size and RIVAL.checkpoint(c.size) == c for c in told.cosigned)
    assert on_honest or on_rival
    largest = max(checkpoint.size for checkpoint in told.cosigned)
    print(f"{len(told.cosigned)} cosigned up to {largest}, {told.refused} refused")
    with mirror_process(tmp_path / "m", *log_options(HONEST)) as mirror:
        status = mirror.status()
        assert status["witnessed_size"] >= largest
        mirror.stop()
    # Opening verifies the mirror checkpoint and its tiles; every entry is there and the log's.
    copy_dir = next((tmp_path / "m" / "logs").iterdir()) / "copy"
    identity = load_identity(tmp_path / "m", None)
    copy = LogCopy(HONEST.signer.verifier, identity.mirror, copy_dir, now_s=lambda: 1)
    size = copy.checkpoint.size
    assert copy.root_at(size) == HONEST.checkpoint(size).root
    assert size <= status["witnessed_size"]

"""Two processes that both want to integrate one log never fork it: one has the lease, the other is told."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from log_world import ORIGIN, draft, fill, fsck, opened

from sovereign_ext.errors import LogCorrupt, LogUnavailable
from sovereign_ext.tlog.files import Lease
from sovereign_ext.tlog.service import TransparencyLog

pytestmark = pytest.mark.services

RIVAL = Path(__file__).with_name("rival_opener.py")


def rivals(state: Path, number: int, *options: str) -> list[subprocess.Popen[str]]:
    """Processes that all open the log in ``state`` at the same moment, when told to go."""
    started = [
        subprocess.Popen(
            [sys.executable, str(RIVAL), str(state), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(number)
    ]
    for rival in started:
        assert said(rival) == "ready"
    for rival in started:
        assert rival.stdin is not None
        print("go", file=rival.stdin, flush=True)
    return started


def said(rival: subprocess.Popen[str]) -> str:
    assert rival.stdout is not None
    return rival.stdout.readline().strip()


def end(rival: subprocess.Popen[str]) -> None:
    rival.kill()
    rival.wait()
    for stream in (rival.stdin, rival.stdout):
        assert stream is not None
        stream.close()


def test_of_processes_started_at_once_one_wins(tmp_path: Path) -> None:
    """Round after round: one opens, the others say who has it; kill -9 of the winner lets the next one in, whose
    tree goes on where the last one ended."""
    for round_ in range(3):
        started = rivals(tmp_path, 3)
        try:
            words = [said(rival) for rival in started]
            assert sorted(word.split(":")[0] for word in words) == [
                "LogUnavailable",
                "LogUnavailable",
                "open",
            ]
            assert all(
                "another process has this log open (lock on log.lock)" in w for w in words if w[0] == "L"
            )
            winner = started[[word.startswith("open") for word in words].index(True)]
            assert said(winner) == f"published {5 * (round_ + 1)}"
        finally:
            for rival in started:
                end(rival)
    assert fsck(tmp_path).faults == []
    assert fsck(tmp_path).size == 15


def test_a_copy_of_the_state_cannot_sign_beside_the_original(tmp_path: Path) -> None:
    """Two state directories with one place for the signed checkpoint: its lease is the second lock."""

    async def scenario() -> None:
        apart = tmp_path / "apart"
        async with opened(tmp_path / "a", checkpoint_dir=apart) as log:
            await fill(log, 1)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        async with opened(tmp_path / "a", checkpoint_dir=apart):
            with pytest.raises(LogUnavailable, match="another process has this log open"):
                await TransparencyLog.open(tmp_path / "b", ORIGIN, clock=lambda: 0, checkpoint_dir=apart)
        # The loser kept no lock of its own state, so the copy may be opened with the original closed.
        async with opened(tmp_path / "b", checkpoint_dir=apart) as log:
            await fill(log, 1)

    asyncio.run(scenario())


def test_who_lost_the_lock_file_stops_signing(tmp_path: Path) -> None:
    """Somebody removes the lock: a second process gets in, and the first signs nothing more."""

    async def scenario() -> None:
        async with opened(tmp_path) as first:
            await fill(first, 2)
            await first.receipt(1, None, 10)
            (tmp_path / "log.lock").unlink()
            async with opened(tmp_path) as second:
                await first.append(draft())
                with pytest.raises(LogUnavailable, match="nothing more is published"):
                    await first.receipt(2, None, 10)
                assert "the lock log.lock was removed" in (first.status().last_error or "")
                await fill(second, 2)
                await second.receipt(4, None, 10)
        assert fsck(tmp_path).faults == []

    asyncio.run(scenario())


def test_a_lease_is_given_back_and_not_inherited(tmp_path: Path) -> None:
    """Release is final, repeats do nothing, and a program that the process starts does not hold it."""
    path = tmp_path / "lock"
    lease = Lease(path)
    with pytest.raises(LogUnavailable):
        Lease(path)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        lease.release()
        lease.release()
        with pytest.raises(LogCorrupt):
            lease.check()
        again = Lease(path)
        child.kill()
    again.check()
    os.replace(tmp_path / "lock", tmp_path / "moved")
    with pytest.raises(LogCorrupt, match="removed"):
        again.check()
    again.release()

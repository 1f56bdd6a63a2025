"""``sovereign log anchors``: what is anchored, what is pending and why, for people and scripts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from anchor_world import anchored_log, fill, private_key, target, until
from rekor_server import Rekor, running

from sovereign_ext.attest.rekor import V1, V2
from sovereign_ext.cli.main import main


def test_anchors_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Anchored and pending ones, newest first; the exit code tells whether one has failed."""

    async def scenario(good: Rekor, down: Rekor | None) -> None:
        targets = [target(good, V1, id="good")] + ([target(down, V2, id="down")] if down else [])
        async with anchored_log(tmp_path / "log", *targets, entries=3) as (_, anchors):
            await until(lambda: anchors.covering(2))
            if down is not None:
                await until(lambda: [s for s in anchors.statuses() if s.last_error])

    argv = ["log", "anchors", "--state-dir", str(tmp_path)]
    with running(Rekor(private_key("p256"))) as good:
        asyncio.run(scenario(good, None))
        assert main(argv) == 0
        assert capsys.readouterr().out == "good: size 3 is entry 0 since 2026-01-01T00:00:00Z\n"
        with running(Rekor(private_key("ed25519"))) as down:
            pass
        asyncio.run(scenario(good, down))
    assert main(argv) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("down: size 6 is pending since 2026-01-01T00:00:00Z, ")
    assert "ConnectError" in lines[0]
    assert main([*argv, "--json"]) == 1
    listed = json.loads(capsys.readouterr().out)
    assert [(row["anchor"], row["state"], row["index"]) for row in listed] == [
        ("down", "pending", None),
        ("good", "anchored", 0),
    ]


def test_a_log_without_anchors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Says so; a directory without a log is an error."""

    async def scenario() -> None:
        async with anchored_log(tmp_path / "log") as (log, _):
            await fill(log, 1)

    asyncio.run(scenario())
    assert main(["log", "anchors", "--state-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing is anchored\n"
    assert main(["log", "anchors", "--state-dir", str(tmp_path / "none")]) == 1
    assert "there is no log in" in capsys.readouterr().err

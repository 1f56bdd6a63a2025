"""`sovereign processor --workers N` where workers would have nothing in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from sovereign_ext.cli.main import main as sovereign


def test_what_they_would_share_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what, nothing is started, and nothing of an earlier start is touched."""
    config = tmp_path / "sovereign.yaml"
    config.write_text("version: 1\norigin: sovereign.test/log\npolicies: [{id: p}]\n")
    part = tmp_path / "state" / "envoy" / "workers" / "1.json"
    part.parent.mkdir(parents=True)
    part.write_text("[]")
    argv = ["processor", "--config", str(config), "--state-dir", str(tmp_path / "state"), "--workers", "2"]
    assert sovereign(argv) == 1
    said = "sovereign: storage.database: is needed for more than one worker, and what goes with it\n"
    assert capsys.readouterr().err == said
    assert part.exists()
    assert not list((tmp_path / "state" / "run").iterdir())

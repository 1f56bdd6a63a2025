"""``sovereign webhooks``, and the receiver in the documentation, which readers copy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from webhook_receiver import Receiver, new_secret
from webhook_world import ORIGIN, World, hook, steps
from webhook_world import Box as InMemory

from sovereign_ext.cli.main import main
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.config.load import parse
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.storage.migrate import ensure_schema
from sovereign_ext.webhook.client import Answer, Result

PAGE = (Path(__file__).parents[3] / "docs/scanner.md").read_text(encoding="utf-8")
SECRET = new_secret()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose receiver nobody is yet: ``told`` names one."""
    monkeypatch.setenv("LEAKS_SECRET", SECRET)
    return told(tmp_path / "sovereign.yaml", "https://siem.test/hook")


def told(file: Path, url: str) -> Path:
    webhooks = [
        {"id": "siem", "url": url, "secrets": [{"env": "LEAKS_SECRET"}]},
        {"id": "other", "url": url, "secrets": [{"env": "NOT_SET"}]},
    ]
    file.write_text(yaml.safe_dump({"version": 1, "origin": ORIGIN, "findings": {"webhooks": webhooks}}))
    return file


@pytest.mark.services
def test_a_test_event_is_signed_and_tells_of_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Although the secret of another receiver cannot be read."""
    with Receiver() as receiver:
        told(file, receiver.url)
        assert main(["webhooks", "test", "siem", "--config", str(file)]) == 0
        (got,) = receiver.got
    assert got.signed_by(SECRET)
    assert got.event["type"] == "webhook.test"
    assert got.event["data"] == {"log": ORIGIN, "webhook": "siem"}
    assert capsys.readouterr().out == f"siem took {got.id}\n"


@pytest.mark.services
def test_a_test_event_that_is_not_taken_says_why(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Receiver(lambda *_: (401, {}, b"who are you?")) as receiver:
        told(file, receiver.url)
        assert main(["webhooks", "test", "siem", "--config", str(file)]) == 1
    out = capsys.readouterr().out
    assert re.fullmatch(r"siem did not take evt_[0-9a-f]{32}: answered 401\n", out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["test", "nobody"], "has no webhook nobody; it has: siem, other"),
        (["test", "other"], "findings.webhooks[1].secrets[0].env: environment variable NOT_SET is not set"),
        (["resume", "siem", "--state-dir", "none"], "there is no log in none"),
    ],
)
def test_what_cannot_be_done_is_said(
    file: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["webhooks", *arguments, "--config", str(file)]) == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert SECRET not in shown.out + shown.err


def test_resume_begins_again_what_had_ended(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it stands, or from an entry on; a receiver that no gateway knows yet is named."""
    (tmp_path / "log").mkdir()
    engine = open_sqlite(tmp_path / "log" / "log.db")
    ensure_schema(engine)
    world = World(engine)
    wanted = [world.add() for _ in range(3)]
    command = ["webhooks", "resume", "siem", "--config", str(file), "--state-dir", str(tmp_path)]
    assert main(command) == 1
    assert "no gateway has begun webhook siem yet" in capsys.readouterr().err
    follower = world.follower(hook())
    box = InMemory(Answer(Result.TAKEN), Answer(Result.GONE))
    steps(follower, box, 3)
    assert main(command) == 0
    assert capsys.readouterr().out == "siem is tried again within seconds, from where it stands on\n"
    steps(follower, box, 2)
    assert main([*command, "--from", "1"]) == 0
    steps(follower, box, 2)
    assert box.indices == [*wanted[:2], *wanted[1:], *wanted[1:]]
    with pytest.raises(SystemExit):
        main([*command, "--from", "-1"])
    world.entries.close()
    engine.dispose()


def test_the_configuration_in_the_documentation_can_be_used() -> None:
    (example,) = re.findall(r"```yaml\n(findings:.*?)```", PAGE, re.DOTALL)
    assert parse("version: 1\n" + example).findings.webhooks[0].id == "revoke"


@contextmanager
def documented(tmp_path: Path) -> Iterator[str]:
    """The receiver of the documentation, running; what it prints is in ``out``. Gives its URL."""
    (script,) = re.findall(r"```python\n(import base64.*?)```", PAGE, re.DOTALL)
    port = free_ports(1)[0]
    environ = {**os.environ, "REVOKE_WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=out, stderr=out, env=environ)
    try:
        yield f"http://127.0.0.1:{port}/hooks/leaks"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.services
def test_the_receiver_in_the_documentation_takes_what_we_sign_and_nothing_else(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with documented(tmp_path) as url:
        told(file, url)
        command = ["webhooks", "test", "siem", "--config", str(file)]
        for _ in range(200):
            if main(command) == 0:
                break
        printed = capsys.readouterr().out.splitlines()[-1]
        assert re.fullmatch("siem took evt_.*", printed), printed
        monkeypatch.setenv("LEAKS_SECRET", new_secret())
        assert main(command) == 1
        assert "answered 401" in capsys.readouterr().out
    lines = [line for line in (tmp_path / "out").read_text().splitlines() if line.startswith("evt_")]
    assert len(lines) == 1
    assert lines[0].startswith(printed.removeprefix("siem took "))

"""``sovereign provider-keys`` on real files, as a process where its input matters."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sovereign_ext.cli import main as cli
from sovereign_ext.keystore.base import fingerprint
from sovereign_ext.secret import Secret

pytestmark = pytest.mark.services

SECRET = "sk-canary-91bd"
TEXT = """\
version: 1
keystore:
  local:
    master_key: {env: TEST_MASTER}
tenants:
  - {id: acme, policies: [p], default_policy: p}
policies: [{id: p}]
providers: [{id: east, kind: openai, endpoint: "http://east.example/v1"}]
"""
MASTERS = {name: base64.b64encode(os.urandom(32)).decode() for name in ("TEST_MASTER", "TEST_NEXT")}
COMMAND = [sys.executable, "-P", "-m", "sovereign_ext.cli.main", "provider-keys"]


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options that name a configuration and a state directory of their own."""
    for name, value in MASTERS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "sovereign.yaml").write_text(TEXT)
    return ["--file", str(tmp_path / "sovereign.yaml"), "--state-dir", str(tmp_path)]


def run(*words: str, given: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    raw = given.encode() if isinstance(given, str) else given
    done = subprocess.run([*COMMAND, *words], input=raw, capture_output=True, check=False, timeout=60)
    told = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    assert SECRET not in told.stdout + told.stderr
    assert "Traceback" not in told.stderr
    return told


def listed(where: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    assert cli.main(["provider-keys", "list", "--json", *where]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_set_list_rotate_rm(where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The life of a key, by fingerprint; one trailing newline is not part of it."""
    assert run("set", "acme", "east", *where, given=SECRET + "\n").returncode == 0
    assert run("set", "*", "east", *where, given="sk-shared").returncode == 0
    shown = listed(where, capsys)
    assert [(key["tenant"], key["version"], key["fingerprint"]) for key in shown] == [
        ("*", 1, fingerprint(Secret("sk-shared"))),
        ("acme", 1, fingerprint(Secret(SECRET))),
    ]
    assert "already" in run("rotate", "acme", "east", *where, given=SECRET).stderr
    done = run("rotate", "acme", "east", "--json", *where, given="sk-next\r\n")
    assert json.loads(done.stdout)["fingerprint"] == fingerprint(Secret("sk-next"))
    assert [key["version"] for key in listed(where, capsys)] == [1, 2]
    table = run("list", *where).stdout.splitlines()
    assert table[0].split() == ["TENANT", "PROVIDER", "FINGERPRINT", "VERSION", "SET", "AGE"]
    assert len(table) == 3
    assert run("rm", "acme", "east", *where).returncode == 0
    assert run("rm", "acme", "east", *where).returncode == 1
    assert [key["tenant"] for key in listed(where, capsys)] == ["*"]


@pytest.mark.parametrize(
    ("words", "given", "reason"),
    [
        (["set", "acme", "east"], "", "nothing came"),
        (["set", "acme", "east"], "\n", "nothing came"),
        (["set", "acme", "east"], f" {SECRET}", "space around"),
        (["set", "acme", "east"], b"\xff\xfe", "not UTF-8"),
        (["set", "acme", "east"], "x" * 70_000, "longer than"),
        (["set", "acmee", "east"], SECRET, "no tenant 'acmee'"),
        (["set", "acme", "esat"], SECRET, "no provider 'esat'"),
        (["rotate", "acme", "east"], SECRET, "use `set`"),
        (["rotate", "acme"], SECRET, "or --master alone"),
        (["rotate", "acme", "east", "--master"], SECRET, "or --master alone"),
        (["rotate", "--master"], SECRET, "no such file"),
        (["rm", "acme", "east"], "", "no key"),
    ],
)
def test_what_cannot_be_done(where: list[str], words: list[str], given: str | bytes, reason: str) -> None:
    """One line that says why, exit code 1, and no file."""
    done = run(*words, *where, given=given)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert not (Path(where[-1]) / "provider-keys.json").exists()


def test_a_secret_cannot_be_an_argument(where: list[str]) -> None:
    """There is no place for one."""
    done = subprocess.run(
        [*COMMAND, "set", "acme", "east", "sk-in-an-argument", *where],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2


def test_a_terminal_is_asked_without_echo(where: list[str]) -> None:
    """What is typed is stored and does not appear."""
    leader, follower = pty.openpty()
    try:
        with subprocess.Popen(
            [*COMMAND, "set", "acme", "east", *where],
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as asking:
            assert asking.stderr is not None
            prompt = b""
            while not prompt.endswith(b": "):
                piece = asking.stderr.read(1)
                assert piece, prompt
                prompt += piece
            os.write(leader, SECRET.encode() + b"\n")
            out, rest = asking.communicate(timeout=60)
        assert asking.returncode == 0
        assert fingerprint(Secret(SECRET)) in out.decode()
        os.set_blocking(leader, False)
        echoed = b""
        with contextlib.suppress(BlockingIOError):  # not even a line end
            echoed = os.read(leader, 1000)
    finally:
        os.close(leader)
        os.close(follower)
    assert SECRET.encode() not in prompt + out + rest + echoed


def test_a_new_master_key(where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Both in the file, `rotate --master`, then the new one alone; versions and fingerprints stay."""
    assert run("set", "acme", "east", *where, given=SECRET).returncode == 0
    before = listed(where, capsys)
    file = Path(where[1])
    file.write_text(
        TEXT.replace("{env: TEST_MASTER}", "{env: TEST_NEXT}\n    previous: [{env: TEST_MASTER}]")
    )
    assert "sealed 1 key " in run("rotate", "--master", *where).stdout
    file.write_text(TEXT.replace("TEST_MASTER", "TEST_NEXT"))
    assert listed(where, capsys) == before
    assert run("rotate", "acme", "east", *where, given="sk-other").returncode == 0
    file.write_text(TEXT)
    refused = run("rotate", "acme", "east", *where, given="sk-third")
    assert refused.returncode == 1
    assert "sealed under master key" in refused.stderr


def test_without_a_local_section(where: list[str]) -> None:
    """It says what to add."""
    Path(where[1]).write_text("version: 1\n")
    done = run("list", *where)
    assert done.returncode == 1
    assert "master_key: {file: /path/to/master.key}" in done.stderr

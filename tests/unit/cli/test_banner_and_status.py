"""What people read: the banner after a start, and ``sovereign status``."""

from __future__ import annotations

import ast
import http.server
import io
import json
import re
import sys
import threading
import time
from pathlib import Path

import pytest

from sovereign_ext.cli.main import main
from sovereign_ext.cli.supervise import banner, demo, layout, report
from sovereign_ext.cli.supervise.lock import SupervisorLock
from sovereign_ext.secret import Secret

CONFIG = {
    "version": "3",
    "digest": "sha256:0123456789abcdef",
    "faults": [{"line": 4, "field": "tenants[0].id", "reason": "expected a name"}],
}
LOG = {
    "name": "log",
    "origin": "sovereign.local/demo",
    "logId": "abc=",
    "size": "7",
    "publishedSize": "5",
    "checkpointTime": "2026-01-02T03:04:05.5Z",
    "healthy": True,
    "anchors": [
        {"id": "corp", "kind": "rekor-v2", "size": "5", "time": "2026-01-02T03:04:05.250Z"},
        {"id": "far", "kind": "rekor-v1", "queued": 2, "lastError": "no route"},
    ],
    "webhooks": [
        {"id": "siem", "nextIndex": "5", "delivered": "3", "deliveredTime": "2026-01-02T03:04:05.250Z"},
        {
            "id": "slow",
            "waiting": 4,
            "attempts": 2,
            "lastError": "answered 500",
            "givenUp": "9",
            "failingSince": "2026-01-02T03:04:05.250Z",
        },
        {"id": "off", "lastError": "answered 410", "goneTime": "2026-01-02T03:04:05.250Z"},
    ],
}
PROVIDERS = {
    "providers": [
        {
            "name": "providers/cloud-a",
            "kind": "openai",
            "deployments": [
                {
                    "name": "providers/cloud-a/deployments/small-cloud-a",
                    "model": "demo/small",
                    "health": {
                        "state": "COOLING",
                        "reason": "status",
                        "score": 0.125,
                        "consecutiveFailures": 3,
                        "retryInS": 11.6,
                        "window": {"successes": 1, "failures": 3, "p50Ms": 4.4},
                    },
                }
            ],
        },
        {
            "name": "providers/gpu",
            "kind": "vllm",
            "deployments": [{"model": "demo/small", "health": {"state": "CLOSED", "score": 1}}],
        },
    ]
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def trial():
    return demo.Demo("http://127.0.0.1:8080/v1", Secret("sk-router-T"), Secret("sk-admin-A"), {}, "", True)


def _banner(trial, stream, detached=False) -> str:
    places = layout.Layout(Path("/state"), Path("/state/run"))
    return banner.ready_text(trial, places, took_s=1.25, detached=detached, stream=stream)


def test_the_banner_has_all_one_needs(trial):
    """Base URL, both keys, an example per client, and how to go on; plain where nobody sees colours."""
    text = _banner(trial, io.StringIO())
    for part in (
        "http://127.0.0.1:8080/v1",
        "sk-router-T",
        "sk-admin-A",
        "/state/demo.env",
        "curl -sN",
        "sf/v1/receipts",
    ):
        assert part in text
    assert "\x1b" not in text
    assert "Ctrl-C stops all of it" in text
    assert "down --state-dir /state stops it." in _banner(trial, io.StringIO(), detached=True)


@pytest.mark.parametrize(
    ("which", "script", "command"),
    [
        ("/usr/bin/sovereign", "x", "sovereign"),
        (None, ".venv/bin/sovereign", ".venv/bin/sovereign"),
        (None, "/site/main.py", f"{sys.executable} -m sovereign_ext.cli.main"),
    ],
)
def test_the_banner_names_commands_that_work(trial, monkeypatch, which, script, command):
    """`make run` does not put its environment on PATH; the default state directory need not be said."""
    monkeypatch.setattr("shutil.which", lambda name: which)
    monkeypatch.setattr(sys, "argv", [script])
    monkeypatch.chdir("/")
    places = layout.Layout(Path("/.sovereign"), Path("/.sovereign/run"))
    text = banner.ready_text(trial, places, took_s=1.0, detached=True, stream=io.StringIO())
    assert text.endswith(f"\n{command} status shows how it is doing, {command} down stops it.")


def test_the_banner_is_coloured_on_a_terminal_that_wants_it(trial, monkeypatch):
    """NO_COLOR and dumb terminals are obeyed; the words are the same."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    coloured = _banner(trial, Terminal())
    assert "\x1b[1;32m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == _banner(trial, io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in _banner(trial, Terminal())


def test_the_python_example_is_python(trial):
    """What is copied must run."""
    text = _banner(trial, io.StringIO())
    example = text.split("pip install openai\n")[1].split("\n\n")[0]
    tree = ast.parse("\n".join(line[2:] for line in example.splitlines()))
    assert {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    } == {
        "OpenAI",
        "print",
    }


@pytest.fixture
def running(tmp_path):
    """A state directory whose lock is held, and a management API on its port; ``replies`` may be changed."""
    replies = {
        "/sf/v1/log": (200, LOG),
        "/sf/v1/config": (200, CONFIG),
        "/sf/v1/providers?page_size=1000": (200, PROVIDERS),
    }

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            admin = demo.keys_of(places)[1].reveal()
            status, body = (
                replies[self.path] if self.headers["authorization"] == f"Bearer {admin}" else (401, {})
            )
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args):
            pass

    layout.prepare_root(tmp_path)
    places = layout.Layout(tmp_path, tmp_path / "run")
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        demo.prepare(places, server.server_port)
        process = {"name": "envoy", "pid": 42, "started_at": time.time() - 3700, "starts": 2, "log": "x"}
        record = {"base_url": "http://b/v1", "port": server.server_port, "started_at": 0.0, "serving": True}
        layout.write_private(places.record, json.dumps({**record, "processes": [process]}))
        lock = SupervisorLock.take(layout.lock_file(tmp_path))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield tmp_path, replies
        server.shutdown()
        thread.join()
        lock.release()


def test_nothing_running_is_exit_3(tmp_path, capsys):
    """With and without a state directory, as text and as JSON."""
    assert main(["status", "--state-dir", str(tmp_path / "none")]) == 3
    assert "not running on " in capsys.readouterr().out
    assert main(["status", "--json", "--state-dir", str(tmp_path)]) == 3
    assert json.loads(capsys.readouterr().out)["running"] is False


def test_down_without_anything_running_is_done(tmp_path, capsys):
    """There is nothing to stop, so nothing failed."""
    assert main(["down", "--state-dir", str(tmp_path)]) == 0
    assert "not running on " in capsys.readouterr().out


def test_status_as_json(running, capsys):
    """One object with the processes, the log and the providers, in snake_case, sizes as numbers."""
    assert main(["status", "--json", "--state-dir", str(running[0])]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["running"], shown["serving"], shown["problems"]) == (True, True, [])
    assert [each["name"] for each in shown["processes"]] == ["supervisor", "envoy"]
    assert (shown["log"]["size"], shown["log"]["published_size"]) == (7, 5)
    assert shown["providers"][0]["deployments"][0]["health"]["retry_in_s"] == 11.6
    assert shown["config"]["version"] == 3
    assert set(shown["versions"]) == {"sovereign", "envoy", "python"}


def test_status_as_text(running, capsys):
    """The same for people: a line for each process and each deployment, with its state and why."""
    assert main(["status", "--state-dir", str(running[0])]) == 0
    text = capsys.readouterr().out
    assert "SovereignRouter is serving" in text
    assert re.search(
        r"  anchor    corp \(rekor-v2\), holds the checkpoint over 5, anchored \d+ h \d+ min ago\n", text
    )
    assert "  anchor    far (rekor-v1), holds none yet, 2 queued\n" in text
    assert "  ! not anchored in far: no route\n" in text
    assert re.search(r"  webhook   siem took 3 events, the last \d+ h \d+ min ago, 0 waiting\n", text)
    assert "  webhook   slow took 0 events, 4 waiting, 9 given up\n" in text
    assert re.search(r"  ! webhook slow failed 2 times, for \d+ h \d+ min: answered 500\n", text)
    assert re.search(r"  ! webhook off is off for \d+ h \d+ min: answered 410\n", text)
    assert re.search(r"envoy +42 +1 h 1 min +2\n", text)
    assert re.search(
        r"cloud-a +openai +demo/small +COOLING +0\.12 +1 ok, 3 failed, 4 ms +"
        r"status, 3 in a row, again in 12 s\n",
        text,
    )
    assert re.search(r"gpu +vllm +demo/small +CLOSED +1\.00 +idle\n", text)
    assert "sovereign.local/demo, 7 entries, checkpoint over 5 signed " in text
    assert "version 3, sha256:0123456789ab…" in text
    assert "! not in use: line 4: tenants[0].id: expected a name\n" in text
    assert "sk-" not in text


def test_a_management_api_that_fails_is_named(running, capsys):
    """It runs but does not serve: exit code 1, and what could not be asked."""
    root, replies = running
    replies["/sf/v1/log"] = (503, {})
    assert main(["status", "--state-dir", str(root)]) == 1
    text = capsys.readouterr().out
    assert "not serving" in text
    assert "! GET /sf/v1/log answers 503" in text
    assert "cloud-a" in text


def test_a_log_that_takes_nothing_is_said():
    """The line that matters most when calls are refused."""
    status = {
        "running": True, "serving": True, "base_url": "b", "versions": {}, "processes": [], "providers": None,
        "config": None,
        "problems": [], "log": {"origin": "o", "size": 1, "published_size": 0, "healthy": False},
    }  # fmt: skip
    text = report.render(status, io.StringIO())
    assert "o, 1 entries, no checkpoint yet, takes no new entries: calls are refused" in text

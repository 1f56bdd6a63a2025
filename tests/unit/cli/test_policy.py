"""``sovereign policy evaluate``: what it asks, what it prints, and what it says when it cannot ask."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sovereign_ext.cli import main as cli

pytestmark = pytest.mark.services

ANSWER: dict[str, Any] = {
    "policy": "policies/clinical",
    "policy_digest": "sha256:" + "ab" * 32,
    "model": "org/m",
    "request": {"capability": "chat", "prompt_tokens": "12", "max_tokens": "40"},
    "deployments": [
        {
            "deployment": "m.a", "provider": "a", "eligible": True, "failed": [], "skipped": "cooling",
            "tier": "sealed", "tier_reasons": [], "scopes": ["fda"], "drift": "stable", "p95_ms": "200",
            "cost_nano_usd": "1100000",
        },
        {
            "deployment": "m.b", "provider": "b", "eligible": False, "skipped": "", "scopes": [],
            "failed": [{"rule": "tier", "expected": "at least sealed", "actual": "open (no_tls)"},
                       {"rule": "scopes", "expected": "all of fda", "actual": ""}],
            "tier": "open", "tier_reasons": ["no_tls"], "drift": "unknown",
        },
    ],
    "order": ["m.a"],
    "shadows": [{"policy": "policies/new", "policy_digest": "x", "eligible": [], "rejected": [], "plan_changes": True}],
}  # fmt: skip


@contextlib.contextmanager
def gateway(status: int, answer: Any) -> Iterator[tuple[str, list[tuple[str, str | None, Any]]]]:
    """An HTTP server on loopback that answers so; its URL and what it was asked."""
    asked: list[tuple[str, str | None, Any]] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append((self.path, self.headers["authorization"], json.loads(body)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SF_ADMIN_KEY", "sk-admin-x")
    monkeypatch.delenv("SF_API_KEY", raising=False)


def evaluate(*options: str) -> int:
    return cli.main(["policy", "evaluate", "--policy", "clinical", *options])


def test_what_is_asked_and_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each deployment with what is known of it, and each failed rule with what was expected and came."""
    with gateway(200, ANSWER) as (url, asked):
        code = evaluate(
            "--model", "org/m", "--prompt-tokens", "12", "--max-tokens", "40", "--url", url + "/v1"
        )
    assert code == 0
    question = {"model": "org/m", "capability": "chat", "prompt_tokens": 12, "max_tokens": 40}
    assert asked == [("/sf/v1/policies/clinical:evaluate", "Bearer sk-admin-x", question)]
    assert capsys.readouterr().out.splitlines() == [
        "clinical  sha256:abababababab…",
        "org/m, chat, 12 tokens of prompt, at most 40 of answer",
        "",
        "  eligible  m.a  tier sealed scopes fda p95 200 ms at most $0.0011",
        "              left out: cooling",
        "  excluded  m.b  tier open (no_tls)",
        "              tier: expected at least sealed, is open (no_tls)",
        "              scopes: expected all of fda",
        "  shadow new: another plan, eligible none",
        "",
        "would ask: m.a",
    ]


def test_a_call_that_would_be_refused_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a body to be measured, and a tenant's key."""
    monkeypatch.delenv("SF_ADMIN_KEY")
    monkeypatch.setenv("SF_API_KEY", "sk-router-x")
    body = {"model": "org/m", "messages": []}
    (tmp_path / "body.json").write_text(json.dumps(body))
    refusal = {"status": 403, "code": "no_eligible_deployment", "message": "No."}
    with gateway(200, {**ANSWER, "order": [], "refusal": refusal}) as (url, asked):
        assert evaluate("--request", str(tmp_path / "body.json"), "--tenant", "t", "--url", url) == 1
    assert asked[0][1:] == ("Bearer sk-router-x", {"capability": "chat", "request": body, "tenant": "t"})
    assert capsys.readouterr().out.endswith("would refuse: 403 no_eligible_deployment\n")


def test_json_is_the_answer_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with gateway(200, ANSWER) as (url, _):
        assert evaluate("--model", "org/m", "--json", "--url", url) == 0
    assert json.loads(capsys.readouterr().out) == ANSWER


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (404, {"code": 5, "message": "there is no such policy"}, "404: there is no such policy"),
        (400, {"error": {"message": "bad field"}}, "400: bad field"),
        (502, b"<html>", "502: nothing that could be read"),
        (200, [], "200: nothing that could be read"),
    ],
)
def test_errors_of_the_gateway(
    status: int, answer: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with what the gateway says, and never the key."""
    with gateway(status, answer) as (url, _):
        assert evaluate("--model", "m", "--url", url) == 1
    error = capsys.readouterr().err
    assert error == f"sovereign: the gateway says {said}\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "m"], "nothing is running on"),
        ([], "give --model, --request or both"),
        (["--model", "m", "--url", "ftp://x"], "--url must be like"),
        (["--model", "m", "--url", "http://127.0.0.1:1"], "no answer from http://127.0.0.1:1"),
        (["--request", "nonsense.json"], "is not JSON"),
    ],
)
def test_errors_before_there_is_an_answer(
    options: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nonsense.json").write_text("{")
    if "--request" in options:
        options = [*options, "--url", "http://127.0.0.1:1"]
    assert evaluate(*options, "--state-dir", str(tmp_path / "none")) == 1
    assert said in capsys.readouterr().err


def test_no_key_is_said_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("SF_ADMIN_KEY")
    assert evaluate("--model", "m", "--url", "http://127.0.0.1:1") == 1
    assert "SF_ADMIN_KEY" in capsys.readouterr().err

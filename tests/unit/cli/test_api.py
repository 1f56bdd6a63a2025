"""How commands ask the management API: what goes out, and what people are told of what comes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sovereign_ext.cli import main
from sovereign_ext.cli.api import Gateway

KEY = "sk-admin-of-these-tests"


class Server(ThreadingHTTPServer):
    """Answers everything with ``answer``; ``asked`` are the requests."""

    daemon_threads = True
    answer: tuple[int, Any] = (200, {})

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        super().__init__(("127.0.0.1", 0), Answering)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.server.asked.append((self.command, self.path, self.headers["authorization"]))
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status, document = self.server.answer
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("SF_ADMIN_KEY", KEY)
    with Server() as running:
        monkeypatch.setenv("SF_BASE_URL", running.url + "/v1")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 1) -> str:
    """What is on stderr; the key never is."""
    assert main.main(words) == code
    out, err = capsys.readouterr()
    assert KEY not in out + err
    return err


def test_every_fault_is_shown(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The API names them all at once, so that nobody has to ask once for each."""
    violations = [
        {"field": "tenant.policies[0]", "description": "there is no policy 'a'"},
        {"field": "tenant.identities[0]", "description": "belongs to another tenant"},
    ]
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_FIELD"},
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "field_violations": violations},
    ]
    text = "tenant.policies[0]: there is no policy 'a' (and 1 more)"
    server.answer = 400, {"code": 3, "message": text, "details": details}
    shown = said(capsys, "tenants", "create", "acme", "--policy", "a")
    assert shown.splitlines() == [
        f"sovereign: the gateway says 400: {text}",
        "  tenant.policies[0]: there is no policy 'a'",
        "  tenant.identities[0]: belongs to another tenant",
    ]


@pytest.mark.parametrize("text", [f"{KEY}\n{KEY}2", f"{KEY} x", f"{KEY}\x7f", KEY + "…", "…" * 3])
@pytest.mark.parametrize("place", ["file", "variable"])
def test_what_cannot_be_a_key_is_said_to_be_none(
    server: Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    text: str,
    place: str,
) -> None:
    """Before it is sent, in words that say where it came from and not what it is."""
    options: tuple[str, ...] = ()
    where = "SF_ADMIN_KEY"
    if place == "file":
        file = tmp_path / "key"
        file.write_text(text)
        options, where = ("--admin-key-file", str(file)), str(file)
    else:
        monkeypatch.setenv("SF_ADMIN_KEY", text)
    shown = said(capsys, "tenants", "list", *options)
    assert shown == f"sovereign: {where} holds no key: a key is one word of printable ASCII\n"
    assert server.asked == []


@pytest.mark.parametrize("url", ["http://host:99999", "http://[::1", "host:8080", "http:///x"])
def test_what_is_no_url(capsys: pytest.CaptureFixture[str], server: Server, url: str) -> None:
    """Is shown."""
    assert said(capsys, "tenants", "list", "--url", url) == (
        f"sovereign: --url must be like https://host:8443, is {url}\n"
    )


def test_what_people_type_stays_in_its_place(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A tenant is one part of a path, whatever is in it."""
    server.answer = 404, {"code": 5, "message": "there is no such invoice"}
    shown = said(capsys, "usage", "invoice", "--tenant", "a b/c", "--month", "2026-11?x=1")
    assert "there is no such invoice" in shown
    assert server.asked == [("GET", "/sf/v1/tenants/a%20b%2Fc/invoices/2026-11%3Fx%3D1", f"Bearer {KEY}")]


def test_no_page_is_asked_for_beyond_what_is_shown(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that ends with its page is not read on, although there is more of it."""
    page = [{"name": "findings/2-1"}, {"name": "findings/1-1"}]
    server.answer = 200, {"findings": page, "next_page_token": "more"}
    assert main.main(["findings", "list", "--last", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == page
    assert [path for _, path, _ in server.asked] == ["/sf/v1/findings?page_size=2"]


def test_sums_of_all_pages_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order in which they come."""
    pages = {
        None: {"summaries": [{"kind": "jwt"}], "next_page_token": "2", "untold_count": "3"},
        "2": {"summaries": [{"kind": "npm-token"}], "next_page_token": "", "untold_count": "3"},
    }
    monkeypatch.setenv("SF_ADMIN_KEY", KEY)
    monkeypatch.setattr(Gateway, "get", lambda self, path, query: pages[query["page_token"]])
    assert main.main(["findings", "summary", "--url", "http://gateway", "--json"]) == 0
    shown = {"summaries": [{"kind": "jwt"}, {"kind": "npm-token"}], "untold_count": "3"}
    assert json.loads(capsys.readouterr().out) == shown


@pytest.mark.parametrize(
    ("command", "member", "last", "pages"),
    [
        ("audit", "audit_rows", 2, 1),
        ("audit", "audit_rows", 3, 2),
        ("findings", "findings", 2, 1),
        ("findings", "findings", 3, 2),
        ("audit", "audit_rows", 0, 0),
    ],
)
def test_no_page_is_asked_for_in_vain(
    server: Server, capsys: pytest.CaptureFixture[str], command: str, member: str, last: int, pages: int
) -> None:
    """``--last N`` ends with the N-th, although there are more."""
    server.answer = 200, {member: [{"index": 2}, {"index": 1}], "next_page_token": "more"}
    assert main.main((command, "list", "--json", "--last", str(last))) == 0
    assert len(json.loads(capsys.readouterr().out)) == last
    assert len(server.asked) == pages

"""``sovereign mock`` as a process: what it prints, TLS, several servers, options that cannot be used."""

from __future__ import annotations

import argparse
import datetime
import http.client
import ipaddress
import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mock_world import chat

from sovereign_ext.cli import mock as cli
from sovereign_ext.errors import CallerError
from sovereign_ext.mock.faults import Cut, Fault, Rule, Scope, Stall, rule_from_text
from sovereign_ext.mock.wires import WIRES

PROGRAM = (
    "import argparse, sys; from sovereign_ext.cli import mock; p = argparse.ArgumentParser(); "
    "mock.register(p.add_subparsers(required=True)); a = p.parse_args(); sys.exit(a.run(a))"
)


class Process:
    """``sovereign mock`` running; lines are read as they are printed."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "mock", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


def ask(url: str, kind: str, context: ssl.SSLContext | None = None) -> int:
    place = urlsplit(url)
    assert place.hostname is not None
    if context is not None:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            place.hostname, place.port, timeout=10, context=context
        )
    else:
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
    asked = chat(kind)
    connection.request("POST", asked.path, json.dumps(asked.body), asked.headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_several_servers_with_their_own_options() -> None:
    """One line each, in order; options belong to the kind before them; SIGTERM ends with 0."""
    process = Process(
        "--kind", "openai", "--fault", "status=503,times=1", "--kind", "anthropic", "--no-control"
    )
    try:
        lines = [process.line().split(" ") for _ in range(2)]
        assert [line[:2] for line in lines] == [["mock", "openai"], ["mock", "anthropic"]]
        assert [ask(lines[0][2], "openai") for _ in range(2)] == [503, 200]
        assert ask(lines[1][2], "anthropic") == 200
    finally:
        code = process.stop()
    assert code == 0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mock")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file


def test_tls(certificate: tuple[Path, Path]) -> None:
    """HTTPS with the given certificate; a reset works through it too."""
    cert_file, key_file = certificate
    options = [
        "--tls-cert",
        str(cert_file),
        "--tls-key",
        str(key_file),
        "--fault",
        "cut.after_bytes=3,times=1",
    ]
    process = Process("--kind", "openai", *options)
    try:
        url = process.line().split(" ")[2]
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=str(cert_file))
        asked = chat("openai")
        connection = http.client.HTTPSConnection("127.0.0.1", urlsplit(url).port, timeout=10, context=context)
        connection.request("POST", asked.path, json.dumps(asked.body))
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            connection.getresponse().read()
        connection.close()
        assert ask(url, "openai", context) == 200
    finally:
        assert process.stop() == 0


def parsed(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sovereign")
    cli.register(parser.add_subparsers(required=True))
    return parser.parse_args(["mock", *options])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--kind", "openai", "--fault", "statu=500"], "statu"),
        (["--kind", "openai", "--fault", "status"], "key=value"),
        (["--kind", "openai", "--fault", "cut=1,cut.how=rst"], "cut"),
        (["--kind", "openai", "--fault", "{"], "not a fault"),
        (["--kind", "openai", "--tls-cert", "a.pem"], "--tls-key"),
        (["--kind", "openai", "--tls-cert", "absent.pem", "--tls-key", "absent.pem"], "TLS"),
        (["--kind", "openai", "--host", "192.0.2.1"], "listen"),
    ],
)
def test_options_that_cannot_be_used(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one line that says why."""
    assert cli.run(parsed(*options)) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "options", [[], ["--port", "1"], ["--kind", "x"], ["--kind", "openai", "--port", "70000"]]
)
def test_usage_errors(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """argparse says what is wrong."""
    with pytest.raises(SystemExit) as caught:
        cli.run(parsed(*options))
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_kinds_match_the_registry() -> None:
    """The command line knows every wire without importing any."""
    assert set(cli.KINDS) == set(WIRES)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("status=503", Rule(fault=Fault(status=503))),
        (
            "model=a:b,times=2,status=429,retry_after=3",
            Rule(fault=Fault(status=429, retry_after=3), scope=Scope(model="a:b"), times=2),
        ),
        (
            "path=/token,cut.after_events=3,cut.how=fin,stall.at=first_event",
            Rule(
                fault=Fault(cut=Cut(after_events=3, how="fin"), stall=Stall(at="first_event")),
                scope=Scope(path="/token"),
            ),
        ),
        ('{"status":500}', Rule(fault=Fault(status=500))),
        ('{"fault":{"status":500},"scope":"all","times":1}', Rule(fault=Fault(status=500), times=1)),
    ],
)
def test_faults_on_the_command_line(text: str, rule: Rule) -> None:
    """The short form and both JSON forms."""
    assert rule_from_text(text) == rule


def test_model_names_that_look_like_numbers_stay_text() -> None:
    """Scope values are never read as JSON."""
    scope = rule_from_text("model=7,status=500").scope
    assert isinstance(scope, Scope)
    assert scope.model == "7"
    with pytest.raises(CallerError):
        rule_from_text("model=m,times=0,status=500")

"""The mock attestation verifier: its protocol, its control requests, its command line."""

from __future__ import annotations

import datetime
import http.client
import json
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from test_mock_cli import PROGRAM, parsed

from sovereign_ext.cli import mock as cli
from sovereign_ext.errors import CallerError
from sovereign_ext.mock.verifier import MEASUREMENT, Behaviour, Verifier
from sovereign_ext.mock.verifier_thread import RunningVerifier
from sovereign_ext.mock.verifier_token import Signer, measured

NONCE = "MDEyMzQ1Njc4OWFiY2RlZg"


def certificate(key: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "enclave")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.public_key(key.public_key()).sign(key, algorithm).public_bytes(Encoding.PEM)


PEM = certificate(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def verifier() -> Iterator[RunningVerifier]:
    with RunningVerifier(Verifier(PEM)) as running:
        yield running


def call(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, bytes]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, raw, headers)
    response = connection.getresponse()
    got = response.status, response.headers.get("content-type", ""), response.read()
    connection.close()
    return got


def part(token: str, index: int) -> dict[str, Any]:
    text = token.split(".")[index]
    value: dict[str, Any] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return value


def test_the_protocol(verifier: RunningVerifier) -> None:
    """A token for a nonce, in JSON or bare; a key set that has its key."""
    status, kind, body = call(verifier.url, "POST", "/attest", {"nonce": NONCE})
    assert (status, kind) == (200, "application/json")
    token = json.loads(body)["token"]
    claims = part(token, 1)
    assert (claims["eat_nonce"], claims["dbgstat"]) == (NONCE, "disabled-since-boot")
    assert abs(claims["iat"] - time.time()) < 60
    assert claims["exp"] - claims["iat"] == 300

    status, kind, body = call(verifier.url, "GET", "/.well-known/jwks.json")
    assert (status, kind) == (200, "application/jwk-set+json")
    (key,) = json.loads(body)["keys"]
    assert (key["kid"], key["alg"], "d" in key) == (part(token, 0)["kid"], "ES256", False)

    accepting = {"accept": "application/eat+jwt"}
    status, kind, body = call(verifier.url, "POST", "/attest", {"nonce": NONCE}, **accepting)
    assert (status, kind, body.count(b".")) == (200, "application/eat+jwt", 2)
    assert "eat_nonce" not in part(json.loads(call(verifier.url, "GET", "/attest")[2])["token"], 1)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/attest", b"", 400),
        ("POST", "/attest", b"[]", 400),
        ("POST", "/attest", {}, 400),
        ("POST", "/attest", {"nonce": 7}, 400),
        ("POST", "/attest", {"nonce": "short"}, 400),
        ("POST", "/attest", {"nonce": "x" * 89}, 400),
        ("PUT", "/attest", None, 405),
        ("POST", "/.well-known/jwks.json", {}, 405),
        ("GET", "/", None, 404),
    ],
)
def test_requests_that_are_refused(
    verifier: RunningVerifier, method: str, path: str, body: Any, status: int
) -> None:
    """As JSON with a reason."""
    got = call(verifier.url, method, path, body)
    assert got[0] == status
    assert json.loads(got[2])["error"]


def test_behaviour_changes_while_it_runs(verifier: RunningVerifier) -> None:
    """POST sets what is named and nothing else, DELETE sets everything back."""
    status, _, body = call(verifier.url, "POST", "/_mock/verifier", {"debug": True, "lifetime_s": 5})
    assert (status, json.loads(body)["debug"], json.loads(body)["lifetime_s"]) == (200, True, 5)
    claims = part(json.loads(call(verifier.url, "GET", "/attest")[2])["token"], 1)
    assert (claims["dbgstat"], claims["exp"] - claims["iat"]) == ("enabled", 5)
    assert json.loads(call(verifier.url, "POST", "/_mock/verifier", {"down": True})[2])["debug"] is False
    assert call(verifier.url, "GET", "/attest")[0] == 503
    assert json.loads(call(verifier.url, "GET", "/_mock/verifier")[2])["down"] is True
    assert json.loads(call(verifier.url, "DELETE", "/_mock/verifier")[2])["down"] is False
    assert call(verifier.url, "GET", "/attest")[0] == 200


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [
        ("POST", {"debugg": True}, 400),
        ("POST", {"debug": 1}, 400),
        ("POST", {"lifetime_s": 0}, 400),
        ("POST", {"binding": "x5t"}, 400),
        ("POST", b"{", 400),
        ("PUT", {}, 405),
    ],
)
def test_behaviour_that_cannot_be(verifier: RunningVerifier, method: str, body: Any, status: int) -> None:
    """Refused, and the behaviour stays."""
    before = verifier.verifier.behaviour
    assert call(verifier.url, method, "/_mock/verifier", body)[0] == status
    assert verifier.verifier.behaviour == before


def test_control_can_be_switched_off() -> None:
    with RunningVerifier(Verifier(PEM), control=False) as verifier:
        assert call(verifier.url, "POST", "/_mock/verifier", {"debug": True})[0] == 404


def test_what_is_wrong_with_tokens() -> None:
    """Each flag breaks what it names and leaves the rest."""
    mock = Verifier(PEM)
    good = part(mock.token(NONCE, 1000), 1)

    def told(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        mock.behave(**changes)
        token = mock.token(NONCE, 1000)
        return part(token, 0), {
            name: value for name, value in part(token, 1).items() if good.get(name) != value
        }

    assert told(expired=True)[1] == {"iat": 699, "nbf": 699, "exp": 999}
    assert told(future_s=60)[1] == {"iat": 1060, "nbf": 1060, "exp": 1360}
    assert set(told(other_key=True)[1]) == {"cnf"}
    assert told(wrong_nonce=True)[1]["eat_nonce"] != NONCE
    assert set(told(wrong_issuer=True)[1]) == {"iss"}
    assert told(alg_none=True) == ({"alg": "none", "typ": "eat+jwt", "kid": mock.signer.kid}, {})
    assert told(foreign_signature=True)[0]["kid"] == mock.signer.kid
    assert told(measurement="enclave-7")[1] == {"x-sovereign-measurement": "enclave-7"}
    mock.behave(unbound=True)
    assert "cnf" not in part(mock.token(NONCE, 1000), 1)
    mock.behave(binding="spki")
    assert "x-sovereign-tls-spki" in part(mock.token(NONCE, 1000), 1)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=lambda key: type(key).__name__,
)
def test_certificates_of_every_usual_kind(key: Any) -> None:
    mock = Verifier(certificate(key))
    assert part(mock.token(None, 1000), 1)["cnf"]["jwk"]["kty"] in ("EC", "RSA", "OKP")


def test_certificates_that_cannot_be_used() -> None:
    for broken in (b"", b"x", certificate(ec.generate_private_key(ec.SECP521R1()))):
        with pytest.raises(CallerError):
            Verifier(broken)


@pytest.mark.parametrize(("size", "name"), [(32, "sha-256"), (48, "sha-384"), (64, "sha-512")])
def test_digests_are_said_as_measured_components(size: int, name: str) -> None:
    (entry,) = measured("ab" * size)["measurements"]
    assert entry[0] == 296
    assert json.loads(entry[1])["digested-measurement"][0] == name


def test_the_usual_measurement_is_a_digest() -> None:
    assert sha256(b"sovereign mock enclave").hexdigest() == MEASUREMENT == Behaviour().measurement


# -- command line --------------------------------------------------------------------------------------------------


def test_a_verifier_beside_a_provider(tmp_path: Path) -> None:
    """One line each; the key is made and kept; tokens say what the options say."""
    (tmp_path / "cert.pem").write_bytes(PEM)
    options = ["--kind", "vllm", "--verifier", "--certificate", str(tmp_path / "cert.pem")]
    options += ["--signing-key", str(tmp_path / "key.pem"), "--measurement", "m", "--issuer", "i", "--debug"]
    options += ["--lifetime", "7", "--fault", "path=/x,status=500"]
    command = [sys.executable, "-c", PROGRAM, "mock", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().split() for _ in range(2)]
            assert [line[:2] for line in lines] == [["mock", "vllm"], ["mock", "verifier"]]
            token = json.loads(call(lines[1][2], "GET", "/attest")[2])["token"]
        finally:
            process.terminate()
        assert process.wait(10) == 0
    claims = part(token, 1)
    assert (claims["x-sovereign-measurement"], claims["iss"], claims["dbgstat"]) == ("m", "i", "enabled")
    assert claims["exp"] - claims["iat"] == 7
    assert part(token, 0)["kid"] == Signer.from_file(tmp_path / "key.pem").kid


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--verifier"], "--certificate"),
        (["--verifier", "--certificate", "absent.pem"], "absent.pem"),
        (["--verifier", "--certificate", "{cert}", "--lifetime", "0"], "lifetime_s"),
        (["--verifier", "--certificate", "{junk}"], "PEM"),
        (["--verifier", "--certificate", "{cert}", "--signing-key", "{junk}"], "P-256"),
        (["--verifier", "--certificate", "{cert}", "--signing-key", "{rsa}"], "P-256"),
    ],
)
def test_options_of_a_verifier_that_cannot_be_used(
    options: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and one line that says why."""
    other = rsa.generate_private_key(65537, 2048)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, data in (("cert", PEM), ("junk", b"x"), ("rsa", pem)):
        (tmp_path / name).write_bytes(data)
    named = {name: str(tmp_path / name) for name in ("cert", "junk", "rsa")}
    assert cli.run(parsed(*(option.format(**named) for option in options))) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--certificate", "x"],
        ["--kind", "vllm", "--certificate", "x"],
        ["--kind", "vllm", "--debug"],
        ["--issuer", "x"],
    ],
)
def test_options_that_belong_to_a_verifier(options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(*options)
    assert caught.value.code == 2

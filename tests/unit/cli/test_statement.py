"""``sovereign statement``, and ``sovereign check`` on what it made."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sovereign_ext.cli.main import main
from sovereign_ext.config.reasons import PATTERNS
from sovereign_ext.config.trust import IDENTIFIER_PATTERN
from sovereign_ext.registry.evidence import pin_of

Capture = pytest.CaptureFixture[str]
DIGEST = "sha256:" + "1" * 64
PIN = "A" * 43 + "="
ABOUT = ["--model", "acme/med", "--digest", DIGEST]
WITNESS = ["--type", "witness", *ABOUT, "--witness", "fda", "--scope", "clinical", "--basis", "study 7",
           "--intended-use", "triage", "--not-after", "30d"]  # fmt: skip
PROVIDER = ["--type", "provider", *ABOUT, "--provider", "own", "--spki-pin", PIN, "--not-after", "30d"]
DRIFT = ["--type", "drift", *ABOUT, "--observer", "lab", "--metric", "accuracy", "--posture", "stable",
         "--valid-for", "7d"]  # fmt: skip
REVOCATION = ["--type", "revocation", "--by", "fda", "--revokes", DIGEST, "--reason", "wrong"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    """A directory with a P-256 key ``w`` and an Ed25519 key ``e``."""
    monkeypatch.chdir(tmp_path)
    assert main(["statement", "keygen", "w"]) == 0
    assert main(["statement", "keygen", "e", "--ed25519"]) == 0
    capsys.readouterr()
    return tmp_path


def sign(*options: str, key: str = "w", out: str = "out.json") -> int:
    return main(["statement", "sign", "--key", f"{key}.pem", "-o", out, *options])


def inspected(capsys: Capture, file: str = "out.json") -> dict[str, object]:
    capsys.readouterr()
    assert main(["statement", "inspect", file, "--json"]) == 0
    facts: dict[str, object] = json.loads(capsys.readouterr().out)
    return facts


def test_keys_are_private_and_never_replaced(here: Path, capsys: Capture) -> None:
    """Mode 0600, nothing of them on the terminal, and a second keygen changes nothing."""
    for name in ("w", "e"):
        private, public = here / f"{name}.pem", here / f"{name}.pub.pem"
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
        key = load_pem_private_key(private.read_bytes(), None)
        expected = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        assert public.read_bytes() == expected
        before = private.read_bytes()
        assert main(["statement", "keygen", name]) == 1
        public.unlink()
        assert main(["statement", "keygen", name]) == 1
        assert private.read_bytes() == before
        out, err = capsys.readouterr()
        assert out == ""
        assert err == f"sovereign: {name}.pem exists already; a key is never replaced\n" * 2
    assert sorted(path.name for path in here.iterdir()) == ["e.pem", "w.pem"]


@pytest.mark.parametrize("key", ["w", "e"])
@pytest.mark.parametrize("options", [WITNESS, PROVIDER, DRIFT, REVOCATION], ids=lambda words: words[1])
def test_what_was_signed_verifies(options: list[str], key: str, here: Path, capsys: Capture) -> None:
    """With the signer's key and no other; nothing of the private key is in file or output."""
    assert sign(*options, key=key) == 0
    assert main(["statement", "verify", "out.json", "--key", f"{key}.pub.pem"]) == 0
    assert main(["statement", "verify", "out.json", "--key", f"{'e' if key == 'w' else 'w'}.pub.pem"]) == 1
    out, err = capsys.readouterr()
    assert "signed by this key" in out
    assert err == "sovereign: out.json: the envelope names another key than the signer's\n"
    secret = (here / f"{key}.pem").read_text().splitlines()[1]
    assert secret not in out + (here / "out.json").read_text()


def test_options_become_members(here: Path, capsys: Capture) -> None:
    """Every one, with times in UTC."""
    times = ["--not-before", "2027-01-31", "--not-after", "2027-02-01T01:00:00+01:00"]
    assert sign(*WITNESS[:-2], *times, "--supersedes", DIGEST) == 0
    statement = inspected(capsys)["statement"]
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "acme/med", "digest": {"sha256": "1" * 64}}],
        "predicateType": "urn:sovereign:witness-statement:v1",
        "predicate": {
            "witness": "fda",
            "scope": "clinical",
            "basis": "study 7",
            "intended_use": "triage",
            "not_before": "2027-01-31T00:00:00Z",
            "not_after": "2027-02-01T00:00:00Z",
            "supersedes": [DIGEST],
        },
    }


def test_times_are_now_by_default(here: Path, capsys: Capture) -> None:
    """And spans begin now."""
    before = datetime.now(UTC).replace(microsecond=0)
    assert sign(*WITNESS) == 0
    predicate = inspected(capsys)["statement"]["predicate"]  # type: ignore[index]
    begin, end = (datetime.fromisoformat(predicate[name]) for name in ("not_before", "not_after"))
    assert before <= begin <= datetime.now(UTC)
    assert end - begin == timedelta(days=30)


def test_a_certificate_is_pinned_by_its_key(here: Path, capsys: Capture) -> None:
    """So that nobody has to compute pins by hand."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "llm")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    ).sign(key, SHA256())
    (here / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    assert sign(*PROVIDER, "--certificate", "cert.pem", "--spiffe-id", "spiffe://example.org/llm") == 0
    predicate = inspected(capsys)["statement"]["predicate"]  # type: ignore[index]
    pin = pin_of(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert predicate["endpoint_identity"] == {
        "spki_pins": [PIN, pin],
        "spiffe_id": "spiffe://example.org/llm",
    }


def test_a_revocation_names_file_and_payload(here: Path, capsys: Capture) -> None:
    """Of statements and of model signatures; a digest is taken as it is."""
    assert sign(*WITNESS, out="w1.json") == 0
    (here / "model").write_bytes(b"weights")
    assert main(["model", "sign", "model", "--key", "w.pem", "-o", "model.sig"]) == 0
    facts = inspected(capsys, "w1.json")
    assert sign(*REVOCATION, "--revokes", "w1.json", "--revokes", "model.sig") == 0
    predicate = inspected(capsys)["statement"]["predicate"]  # type: ignore[index]
    assert predicate["revokes"][:3] == [DIGEST, facts["document"], facts["payload"]]
    assert len(predicate["revokes"]) == 5


def test_inspect_shows_every_member_and_steers_no_terminal(here: Path, capsys: Capture) -> None:
    """What somebody else wrote is shown escaped; and it says that nothing was verified."""
    assert sign(*WITNESS, "--basis", "\x1b[2Jstudy") == 0
    capsys.readouterr()
    assert main(["statement", "inspect", "out.json"]) == 0
    out = capsys.readouterr().out
    assert '"\\u001b[2Jstudy"' in out
    assert "\x1b" not in out
    for name in ("witness", "scope", "intended_use", "not_before", "not_after", "document", "payload"):
        assert f"\n  {name:<13} " in out
    assert out.endswith("the signature was not checked: `sovereign statement verify` does\n")


REFUSED = {
    "an option is missing": ([*WITNESS[:2]], "a witness statement takes --model"),
    "nothing to revoke": (
        ["--type", "revocation", "--by", "fda", "--reason", "x"],
        "a revocation takes --revokes",
    ),
    "not a digest": (
        [*WITNESS, "--digest", "1234"],
        "this cannot be signed: subject[0].digest.sha256: expected 64 lower-case hex digits",
    ),
    "not a scope": (
        [*WITNESS, "--scope", "With Spaces"],
        f"this cannot be signed: predicate.scope: expected {PATTERNS[IDENTIFIER_PATTERN]}",
    ),
    "over before it begins": (
        [*WITNESS, "--not-after", "2020-01-01"],
        "this cannot be signed: predicate.not_after: is not later than not_before",
    ),
    "not a time": (
        [*WITNESS, "--not-after", "tomorrow"],
        "--not-after: expected a time (2027-01-31T12:00:00Z), a date or a span (30d)",
    ),
    "not a span": ([*DRIFT, "--valid-for", "2027-01-01"], "--valid-for takes a span such as 7d or 12h"),
    "no identity": (
        [word for word in PROVIDER if word not in ("--spki-pin", PIN)],
        "this cannot be signed: predicate.endpoint_identity: names neither spki_pins nor a spiffe_id",
    ),
    "a file that is not there": (
        [*REVOCATION, "--revokes", "nowhere.json"],
        "nowhere.json: No such file or directory",
    ),
    "a file that is no statement": ([*REVOCATION, "--revokes", "w.pem"], "w.pem: is not JSON"),
    "not a certificate": ([*PROVIDER, "--certificate", "w.pem"], "w.pem is not a PEM certificate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_signed_is_said_in_one_line(name: str, here: Path, capsys: Capture) -> None:
    """Exit code 1 and no file."""
    options, line = REFUSED[name]
    assert sign(*options) == 1
    assert capsys.readouterr() == ("", f"sovereign: {line}\n")
    assert not (here / "out.json").exists()


def test_keys_that_cannot_sign_are_named_and_not_quoted(here: Path, capsys: Capture) -> None:
    """Public, encrypted, of another curve, or no key at all."""
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (here / "locked.pem").write_bytes(encrypted)
    other = ec.generate_private_key(ec.SECP384R1())
    p384 = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (here / "p384.pem").write_bytes(p384)
    (here / "text.pem").write_text("my secret")
    for name in ("w.pub", "locked", "p384", "text", "nowhere"):
        assert sign(*WITNESS, key=name) == 1
    err = capsys.readouterr().err
    assert err.splitlines() == [
        "sovereign: w.pub.pem: is not a PEM private key",
        "sovereign: locked.pem: is encrypted; a key without passphrase is needed",
        "sovereign: p384.pem: is neither an ECDSA P-256 nor an Ed25519 key",
        "sovereign: text.pem: is not a PEM private key",
        "sovereign: nowhere.pem: No such file or directory",
    ]
    assert not (here / "out.json").exists()


def test_an_output_is_never_replaced(here: Path, capsys: Capture) -> None:
    """Nor left behind half-written."""
    assert sign(*WITNESS) == 0
    before = (here / "out.json").read_bytes()
    assert sign(*WITNESS) == 1
    assert sign(*WITNESS, out="nowhere/out.json") == 1
    assert capsys.readouterr().err.splitlines() == [
        "sovereign: out.json: exists already",
        "sovereign: nowhere: no such directory",
    ]
    assert (here / "out.json").read_bytes() == before
    assert not list(here.glob(".out.json*"))


def test_a_damaged_statement_does_not_verify(here: Path, capsys: Capture) -> None:
    """In one line, with the file's name."""
    assert sign(*WITNESS) == 0
    raw = (here / "out.json").read_bytes()
    (here / "out.json").write_bytes(raw.replace(b'"payload":"ey', b'"payload":"fy'))
    assert main(["statement", "verify", "out.json", "--key", "w.pub.pem"]) == 1
    (here / "out.json").write_bytes(b"{}")
    assert main(["statement", "verify", "out.json", "--key", "w.pub.pem"]) == 1
    assert main(["statement", "inspect", "out.json"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "sovereign: out.json: the envelope's signature does not match its payload and key",
        "sovereign: out.json: payloadType: is missing",
        "sovereign: out.json: payloadType: is missing",
    ]


CONFIG = """\
version: 1
trust:
  organisation: hospital
  witnesses: [{id: fda, key_file: e.pub.pem, organisation: fda, scopes: [clinical]}]
  publishers: [{id: acme, key_file: w.pub.pem}]
  statements: ["statements/*.json"]
models:
  - {id: acme/med, publisher: acme, digest: "DIGEST", digest_basis: signed_manifest, manifest: model.sig}
providers: [{id: own, kind: vllm, endpoint: "https://own/v1", key_file: w.pub.pem, tls: {spki_pins: ["PIN"]},
  origin: {organisation: own}}]
deployments: [{id: dep, model: acme/med, provider: own, upstream_model: m}]
policies: [{id: p, required_tier: TIER}]
"""


def test_check_reads_what_was_signed(here: Path, capsys: Capture) -> None:
    """From keys to a configuration that holds, as documented; then each thing that `check` would say."""
    (here / "model").mkdir()
    (here / "model/weights").write_bytes(b"weights")
    (here / "statements").mkdir()
    assert main(["model", "sign", "model", "--key", "w.pem", "-o", "model.sig"]) == 0
    assert main(["model", "digest", "model"]) == 0
    digest = capsys.readouterr().out.splitlines()[-1]
    assert sign(*PROVIDER, "--digest", digest, out="statements/p.json") == 0
    config = CONFIG.replace("DIGEST", digest).replace("PIN", PIN)
    Path("sovereign.yaml").write_text(config.replace("TIER", "attested"))
    capsys.readouterr()
    assert main(["check"]) == 0
    expected = "1 policy, 1 model, 1 provider, 1 deployment, 2 signed documents"
    assert capsys.readouterr().out == f"sovereign.yaml: ok (0 tenants, {expected})\n"

    Path("sovereign.yaml").write_text(config.replace("TIER", "witnessed"))
    assert main(["check"]) == 0
    warning, _ = capsys.readouterr().out.splitlines()
    assert warning == (
        "warning: sovereign.yaml: policies[0]: can never be satisfied: 'dep': reaches 'attested' only "
        "(too_few_witnesses, drift_unknown, no_evidence)"
    )

    assert sign(*WITNESS, key="w", out="statements/w.json") == 0
    capsys.readouterr()
    assert main(["check"]) == 1
    line = "statements/w.json: signatures: the envelope names another key than the signer's\n"
    assert capsys.readouterr().out == line

    for path in (here / "statements").iterdir():
        path.unlink()
    assert main(["check"]) == 0
    line = "warning: sovereign.yaml: trust.statements[0]: 'statements/*.json' finds no file"
    assert capsys.readouterr().out.splitlines()[0] == line

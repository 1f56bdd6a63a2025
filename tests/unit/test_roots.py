"""Whom our own connections trust: what ``ca_file`` holds and nobody else, and for whom there is such a file."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.anchor.target import targets
from sovereign_ext.attest.keys import spki
from sovereign_ext.cli.supervise.certificates import make_root
from sovereign_ext.config.load import load
from sovereign_ext.config.trust import Anchor, Log
from sovereign_ext.errors import ConfigError
from sovereign_ext.roots import read_roots, tls_context
from sovereign_ext.tlog.cosignature import CosignerKey
from sovereign_ext.tlog.witnesses import witness_set
from sovereign_ext.vouching import Vouching

ROOT = make_root("corp", datetime.datetime.now(datetime.UTC))
PEM = ROOT.certificate_pem
REKOR = ROOT.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
WITNESS = CosignerKey("w.example/1", spki(Ed25519PrivateKey.from_private_bytes(bytes(32)))[-32:]).encode()
NO_ROOTS = {
    "empty": b"",
    "blank": b" \n\n",
    "text": b"roots follow\n",
    "not ASCII": b"\xff\xfe",
    "no content": b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    "cut": PEM[: len(PEM) // 2],
    "a key": ROOT.key_pem,
}
no_roots = pytest.mark.parametrize("roots", NO_ROOTS.values(), ids=NO_ROOTS)


@no_roots
def test_a_file_without_a_certificate_is_refused(roots: bytes) -> None:
    """Above all an empty one, for which OpenSSL would trust everybody that the system trusts."""
    with pytest.raises(ConfigError, match="holds no PEM certificate"):
        tls_context(roots)


def test_given_roots_are_the_only_ones() -> None:
    """With comments around them too, as bundles have, in any alphabet."""
    other = make_root("other", datetime.datetime.now(datetime.UTC)).certificate_pem
    context = tls_context("# Autorité\n".encode() + PEM + b"\n# and\n" + other)
    found = [x509.load_der_x509_certificate(der) for der in context.get_ca_certs(binary_form=True)]
    assert sorted(each.subject.rfc4514_string() for each in found) == ["CN=corp", "CN=other"]
    assert context.check_hostname


def test_a_system_without_roots_has_those_of_certifi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise nothing on the internet could be asked from a bare container."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert len(tls_context(None).get_ca_certs()) > 50


def test_the_systems_roots_are_taken_where_none_are_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Which are what OpenSSL finds in its usual places."""
    (tmp_path / "system.pem").write_bytes(PEM)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert len(tls_context(None).get_ca_certs()) == 1


def test_without_a_file_nothing_is_read() -> None:
    """``None`` stands for the system's."""
    assert read_roots(None, pytest.fail, "x") is None
    assert read_roots("ca", {"ca": PEM}.__getitem__, "x") == PEM


@no_roots
def test_mirrors_and_anchors_refuse_it_at_its_field(roots: bytes) -> None:
    """One rule for all who have such a file."""
    read = {"ca": roots, "key": REKOR}.__getitem__
    mirror = {"url": "https://m", "key": WITNESS, "ca_file": "ca"}
    with pytest.raises(ConfigError) as caught:
        witness_set(Log.model_validate({"mirrors": [mirror]}), read)
    assert caught.value.field == "log.mirrors[0].ca_file"
    anchor = Anchor.model_validate({"id": "a", "url": "https://a", "key_file": "key", "ca_file": "ca"})
    with pytest.raises(ConfigError) as caught:
        targets([anchor], read)
    assert [fault.field for fault in caught.value.faults] == ["log.anchors[0].ca_file"]


@no_roots
def test_evidence_refuses_it_before_the_configuration_is_used(tmp_path: Path, roots: bytes) -> None:
    """The last good configuration stays, and with it the evidence it has."""
    (tmp_path / "ca").write_bytes(roots)
    (tmp_path / "keys").write_bytes(b"{}")
    file = tmp_path / "sovereign.yaml"
    file.write_text(
        "version: 1\nproviders:\n  - id: p\n    kind: vllm\n    endpoint: https://p/v1\n"
        "    evidence: {url: 'https://p/e', jwks_file: keys, ca_file: ca, measurements: [m]}\n"
    )
    vouching = Vouching(
        lambda: pytest.fail("needs no log"), str(file), lambda: pytest.fail("needs no database")
    )
    with pytest.raises(ConfigError) as caught:
        vouching.prepare(load(file))
    assert caught.value.field == "providers[0].evidence.ca_file"
    (tmp_path / "ca").write_bytes(PEM)
    assert vouching.prepare(load(file)).files["ca"] == PEM

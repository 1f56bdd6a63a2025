"""Credentials that the configuration points at."""

from __future__ import annotations

from pathlib import Path

import pytest

from sovereign_ext.config.model import Credential, Provider, ProviderKind
from sovereign_ext.keystore.base import CredentialMissingError
from sovereign_ext.keystore.declared import DeclaredKeystore

SECRET = "sk-own-secret"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def provider(**source: str) -> Provider:
    credential = Credential(**source) if source else None
    return Provider(id="p", kind=ProviderKind.OPENAI, endpoint="http://p.example", credential=credential)


def found(store: DeclaredKeystore, wanted: Provider) -> str | None:
    secret = store.find(wanted)
    return None if secret is None else secret.reveal()


def test_none_needed():
    """A provider without a credential gets none."""
    assert found(DeclaredKeystore({}, Clock()), provider()) is None


@pytest.mark.parametrize("text", [SECRET, f" {SECRET}\n", f"{SECRET}\r\n"])
def test_environment(text: str):
    """Space around a key, as `export KEY=$(cat file)` leaves it, is no part of it."""
    assert found(DeclaredKeystore({"KEY": text}, Clock()), provider(env="KEY")) == SECRET


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}, {"KEY": " \n"}])
def test_an_unset_variable(environ: dict[str, str]):
    """Missing and empty are the same, and the error names the variable."""
    with pytest.raises(CredentialMissingError, match="KEY"):
        DeclaredKeystore(environ, Clock()).find(provider(env="KEY"))


def test_a_file_that_changes(tmp_path: Path):
    """A rotated key is used within a second; in between the file is left alone."""
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    clock = Clock()
    store, wanted = DeclaredKeystore({}, clock), provider(file=str(path))
    assert found(store, wanted) == SECRET
    path.write_text("rotated")
    clock.now = 0.9
    assert found(store, wanted) == SECRET
    clock.now = 1.0
    assert found(store, wanted) == "rotated"


def test_a_file_that_cannot_be_read(tmp_path: Path):
    """Absent, empty, binary and directories: the error names the path and shows nothing of the content."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" + SECRET.encode())
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for path in (tmp_path / "absent", binary, empty, tmp_path):
        with pytest.raises(CredentialMissingError) as caught:
            DeclaredKeystore({}, Clock()).find(provider(file=str(path)))
        assert str(path) in str(caught.value)
        assert SECRET not in str(caught.value)


def test_a_file_that_goes_away(tmp_path: Path):
    """A file removed after it was read is an error once it is looked at again, not the old key for ever."""
    path = tmp_path / "key"
    path.write_text(SECRET)
    clock = Clock()
    store = DeclaredKeystore({}, clock)
    assert found(store, provider(file=str(path))) == SECRET
    path.unlink()
    clock.now = 5.0
    with pytest.raises(CredentialMissingError):
        store.find(provider(file=str(path)))


def test_nothing_shows_it():
    """Neither the store nor what it finds shows the key when printed."""
    store = DeclaredKeystore({"KEY": SECRET}, Clock())
    secret = store.find(provider(env="KEY"))
    assert SECRET not in f"{secret!r} {secret} {secret!s:>40} {store!r}"

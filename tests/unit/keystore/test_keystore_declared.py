"""Credentials that the configuration points at."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from keystore_world import provider

from sovereign_ext.keystore.base import CredentialMissingError
from sovereign_ext.keystore.declared import Declared

SECRET = "sk-own-secret"


def found(declared: Declared, env: str | None = None, file: str | None = None) -> str | None:
    secret = asyncio.run(declared.find(provider(env=env, file=file)))
    return None if secret is None else secret.reveal()


def test_none_needed() -> None:
    """A provider without a credential gets none."""
    assert found(Declared({})) is None


@pytest.mark.parametrize("text", [SECRET, f" {SECRET}\n", f"{SECRET}\r\n"])
def test_environment(text: str) -> None:
    """Space around a key, as `export KEY=$(cat file)` leaves it, is no part of it."""
    assert found(Declared({"KEY": text}), env="KEY") == SECRET


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}, {"KEY": " \n"}])
def test_an_unset_variable(environ: dict[str, str]) -> None:
    """Missing and empty are the same, and the error names the variable."""
    with pytest.raises(CredentialMissingError, match="KEY"):
        found(Declared(environ), env="KEY")


def test_a_file_that_changes(tmp_path: Path) -> None:
    """It is read each time it is asked for; that it has changed is noticed, once for each change."""
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    declared = Declared({})
    assert found(declared, file=str(path)) == SECRET
    assert not declared.changed()
    path.write_text("rotated")
    os.utime(path, ns=(1, 1))
    assert declared.changed()
    assert not declared.changed()
    assert found(declared, file=str(path)) == "rotated"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Absent, empty, binary and directories: the error names the path and shows nothing of the content."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" + SECRET.encode())
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for path in (tmp_path / "absent", binary, empty, tmp_path):
        with pytest.raises(CredentialMissingError) as caught:
            found(Declared({}), file=str(path))
        assert str(path) in str(caught.value)
        assert SECRET not in str(caught.value)


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    """A file removed after it was read is a change, and then an error: not the old key for ever."""
    path = tmp_path / "key"
    path.write_text(SECRET)
    declared = Declared({})
    assert found(declared, file=str(path)) == SECRET
    path.unlink()
    assert declared.changed()
    with pytest.raises(CredentialMissingError):
        found(declared, file=str(path))


def test_nothing_shows_it() -> None:
    """Neither the store nor what it finds shows the key when printed."""
    declared = Declared({"KEY": SECRET})
    secret = asyncio.run(declared.find(provider(env="KEY")))
    assert secret is not None
    assert SECRET not in f"{secret!r} {secret} {secret!s:>40} {declared!r}"

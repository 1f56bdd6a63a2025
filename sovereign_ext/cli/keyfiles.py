"""Files that hold keys and signed documents, for the commands that sign and verify.

A private key is never shown, not even in part: what is wrong with one is said in words of our own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sovereign_ext.registry.envelope import PrivateKey, PublicKey


def fail(line: str) -> int:
    """Say why, in one line; the exit code."""
    print(f"sovereign: {line}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def about(path: Path) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    from sovereign_ext.errors import VerificationError

    try:
        yield
    except VerificationError as error:
        raise VerificationError(f"{path}: {error}") from None


def read_file(path: Path) -> bytes:
    """The bytes of a file; ``OSError`` becomes one line in ``main``."""
    return path.read_bytes()


def read_private(path: Path) -> PrivateKey:
    """A private key from a PEM file. Raises ``VerificationError`` with the file's name and nothing of its content."""
    from sovereign_ext.registry.envelope import read_private_key

    with about(path):
        return read_private_key(read_file(path))


def read_public(path: Path) -> PublicKey:
    """A public key from a PEM file. Raises ``VerificationError`` with the file's name."""
    from sovereign_ext.registry.envelope import read_public_key

    with about(path):
        return read_public_key(read_file(path))


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that must not exist yet; it appears whole, or not at all. Raises ``OSError``."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such directory", str(path.parent))
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(name, path)  # unlike a rename, never replaces what is there
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "exists already", str(path)) from None
    finally:
        Path(name).unlink(missing_ok=True)


def write_key_pair(private: Path, public: Path, key: PrivateKey, *, public_mode: int = 0o644) -> None:
    """Write both halves of a key as PEM, the private one for its owner only. Raises ``OSError``; replaces nothing."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from sovereign_ext.attest.keys import private_pem

    write_new(private, private_pem(key), mode=0o600)
    write_new(
        public,
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        mode=public_mode,
    )


def sha256_of(raw: bytes) -> str:
    """``sha256:`` and the hex SHA-256 of ``raw``."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()

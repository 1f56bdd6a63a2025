"""The log's signing keys on disk: made together at the first start, kept ever after.

One directory with mode 0700 holds three PKCS #8 PEM files with mode 0600: ``log.pem`` (Ed25519,
checkpoints), ``envelope.pem`` (ECDSA P-256, DSSE envelopes) and ``promise.pem`` (Ed25519, promises). Losing
one key must not endanger the others, so none is derived from another. A mirror keeps its two keys the same way.
There is no rotation and no passphrase here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sovereign_ext.errors import LogCorrupt, LogUnavailable
from sovereign_ext.tlog.note import Signer, Verifier

_PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_FILES = ("log", "envelope", "promise")


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What a verifier needs. ``envelope`` and ``promise`` are SubjectPublicKeyInfo in DER."""

    log: Verifier
    envelope: bytes
    promise: bytes


class SigningKeys:
    """The three private keys. Its repr shows none of them."""

    __slots__ = ("envelope", "log", "promise")

    def __init__(
        self, log: Ed25519PrivateKey, envelope: ec.EllipticCurvePrivateKey, promise: Ed25519PrivateKey
    ) -> None:
        self.log = log
        self.envelope = envelope
        self.promise = promise

    def __repr__(self) -> str:
        return "SigningKeys(<hidden>)"

    def public(self, origin: str) -> PublicKeys:
        """The public halves; the log key is named after the ``origin``, as C2SP tlog-checkpoint wants."""
        raw = self.log.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PublicKeys(Verifier(origin, raw), spki(self.envelope), spki(self.promise))

    def checkpoint_signer(self, origin: str) -> Signer:
        """The log key as a note signer."""
        return Signer(self.public(origin).log, self.log.sign)


def spki(key: _PrivateKey) -> bytes:
    """The public half as SubjectPublicKeyInfo in DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_hint(spki_der: bytes) -> str:
    """Name of a key in bundles and envelopes: base64 of SHA-256 over its SubjectPublicKeyInfo."""
    return b64encode(sha256(spki_der).digest()).decode()


def load_or_create_keys(directory: Path) -> SigningKeys:
    """The keys in ``directory``; all three are made, atomically, if it does not exist.

    Raises ``LogCorrupt`` when the directory lacks a key or holds something else: a fresh key in its place
    would make a second log under the same origin. Raises ``LogUnavailable`` when it cannot be read or
    written.
    """
    try:
        if not directory.exists():
            create_key_directory(directory, _new_keys())
        return SigningKeys(
            load_ed25519(directory / "log.pem"),
            _p256(directory / "envelope.pem"),
            load_ed25519(directory / "promise.pem"),
        )
    except OSError as error:
        raise LogUnavailable(f"cannot use the log's keys: {error}") from error


def create_key_directory(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make a directory of private ``files`` (name to content) that appears whole and durable, or not at all.

    Does nothing when a rival was faster: its files are there then. Raises ``OSError``.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, data in files.items():
            _write_private(staging / name, data)
        _sync_directory(staging)
        staging.rename(directory)
        _sync_directory(directory.parent)
    except OSError:
        if not directory.is_dir():
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def private_pem(key: _PrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _new_keys() -> dict[str, bytes]:
    keys: tuple[_PrivateKey, ...] = (
        Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256R1()),
        Ed25519PrivateKey.generate(),
    )
    return {f"{name}.pem": private_pem(key) for name, key in zip(_FILES, keys, strict=True)}


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_ed25519(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 key from a PEM file. Raises ``LogCorrupt`` when there is none, ``OSError``."""
    key = _load(path)
    if not isinstance(key, Ed25519PrivateKey):
        raise LogCorrupt(f"key file {path.name} does not hold an Ed25519 key")
    return key


def _p256(path: Path) -> ec.EllipticCurvePrivateKey:
    key = _load(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise LogCorrupt(f"key file {path.name} does not hold an ECDSA P-256 key")
    return key


def _load(path: Path) -> object:
    try:
        return load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        raise LogCorrupt(f"key file {path.name} is missing; restore it from a backup") from None
    except (ValueError, TypeError):
        # Never chained: the parser's message could quote the file.
        raise LogCorrupt(f"key file {path.name} is not an unencrypted PKCS #8 PEM key") from None

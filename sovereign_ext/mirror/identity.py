"""Who a mirror is: its name and its two signing keys on disk, made together at the first start.

C2SP wants a mirror's word ("I hold these entries") and a witness's word ("this extends what I saw") to come from
distinct cosigners, and an Ed25519 cosignature does not say which of the two it is. So there are two keys:
``NAME`` signs as mirror, ``NAME/witness`` as witness. Keys are not rotated: a new key is a new mirror.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.attest.keys import create_key_directory, load_ed25519, private_pem
from sovereign_ext.errors import ConfigError, LogCorrupt, LogUnavailable
from sovereign_ext.tlog.cosignature import Cosigner, CosignerKey
from sovereign_ext.tlog.note import valid_name

_NAME = "name"


class Identity:
    """A mirror's cosigners. Its repr shows no key."""

    __slots__ = ("mirror", "name", "witness")

    def __init__(self, name: str, mirror: Ed25519PrivateKey, witness: Ed25519PrivateKey) -> None:
        self.name = name
        self.mirror = _cosigner(name, mirror)
        self.witness = _cosigner(f"{name}/witness", witness)

    def __repr__(self) -> str:
        return f"Identity({self.name!r})"

    def describe(self) -> str:
        """Both verifier keys, a line each."""
        return f"witness {self.witness.key.encode()}\nmirror {self.mirror.key.encode()}"


def load_identity(state_dir: Path, name: str | None) -> Identity:
    """The identity in ``state_dir``, made under ``name`` if there is none; ``None`` takes the name that is there.

    Raises ``ConfigError`` for a name that cannot be used, ``LogCorrupt`` when the keys are missing but were used or
    belong to another name, ``LogUnavailable`` when they cannot be read or written.
    """
    directory = state_dir / "keys"
    try:
        if not directory.exists():
            _create(state_dir, directory, name)
        kept = (directory / _NAME).read_text().strip()
        if name is not None and name != kept:
            raise LogCorrupt(f"the mirror in {state_dir} is {kept!r}, not {name!r}")
        return Identity(kept, load_ed25519(directory / "mirror.pem"), load_ed25519(directory / "witness.pem"))
    except OSError as error:
        raise LogUnavailable(f"cannot use the mirror's keys: {error}") from error


def _create(state_dir: Path, directory: Path, name: str | None) -> None:
    if (state_dir / "logs").exists():
        raise LogCorrupt("the mirror's keys are missing; restore them from a backup")
    if name is None:
        raise ConfigError(f"there is no mirror in {state_dir} yet; give it a name with --name")
    if not valid_name(name):
        raise ConfigError(f"{name!r} cannot be a mirror's name: no spaces, plus signs or control characters")
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {f"{role}.pem": private_pem(Ed25519PrivateKey.generate()) for role in ("mirror", "witness")}
    create_key_directory(directory, files | {_NAME: f"{name}\n".encode()})


def _cosigner(name: str, key: Ed25519PrivateKey) -> Cosigner:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Cosigner(CosignerKey(name, raw), key.sign)

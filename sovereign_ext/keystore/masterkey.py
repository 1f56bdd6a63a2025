"""The key that the local key file is sealed with: 32 random bytes, and what is derived from them (HKDF, RFC 5869).

Records, the list as a whole and the key's id each have a derived key of their own, so that none says anything about
another. Where a master key comes from is told by a ``MasterSource``: an environment variable, a file that only its
owner may read, or the key file itself, where a KMS has wrapped it.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sovereign_ext.keystore.base import CredentialUnavailableError, KeyWrap

KEY_BYTES: Final = 32
_ID_BYTES: Final = 6
_MAX_FILE_BYTES: Final = 4096
_FORM: Final = "32 random bytes as base64 (44 characters, `openssl rand -base64 32`) or as 64 hex digits"


@dataclass(frozen=True, slots=True)
class MasterKey:
    """32 secret bytes. What may be shown of them is ``id``."""

    material: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.material) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes")

    @classmethod
    def parse(cls, text: str) -> MasterKey:
        """From base64 or hex. Raises ``ValueError``, which says what was expected and nothing of ``text``."""
        text = text.strip()
        try:
            if len(text) == 2 * KEY_BYTES:
                return cls(bytes.fromhex(text))
            return cls(base64.b64decode(text, validate=True))
        except (ValueError, binascii.Error):
            raise ValueError(f"is no master key: expected {_FORM}") from None

    @property
    def id(self) -> str:
        """12 hex digits that tell master keys apart."""
        return self.derive(b"id")[:_ID_BYTES].hex()

    def derive(self, purpose: bytes) -> bytes:
        """The 32-byte key for one purpose."""
        info = b"SovereignRouter provider keys v1: " + purpose
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self.material)


class MasterSource(Protocol):
    """Knows one master key. ``name`` says where from, for messages; ``wrapped_by`` is the KMS's name or ``None``."""

    name: str
    wrapped_by: str | None

    async def open(self, wrapped: bytes | None) -> MasterKey:
        """The key; ``wrapped`` is what the file's header holds. Raises ``CredentialUnavailableError``."""

    async def fresh(self) -> tuple[MasterKey, bytes | None]:
        """The key for a new file, and what its header is to hold. Raises ``CredentialUnavailableError``."""


class KeyFromEnvironment:
    """The master key in an environment variable."""

    wrapped_by: str | None = None

    def __init__(self, variable: str, environ: Mapping[str, str]) -> None:
        self.name = f"environment variable {variable}"
        self._variable = variable
        self._environ = environ

    async def open(self, wrapped: bytes | None) -> MasterKey:
        text = self._environ.get(self._variable, "")
        if not text.strip():
            raise CredentialUnavailableError("no_master_key", f"master key: {self.name} is not set")
        return _parsed(text, self.name)

    async def fresh(self) -> tuple[MasterKey, bytes | None]:
        return await self.open(None), None


class KeyFromFile:
    """The master key in a file that nobody but its owner may read. Read each time it is asked for."""

    wrapped_by: str | None = None

    def __init__(self, path: Path) -> None:
        self.name = f"file {path}"
        self._path = path

    async def open(self, wrapped: bytes | None) -> MasterKey:
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as stream:
                status = os.fstat(stream.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise CredentialUnavailableError(
                        "no_master_key", f"master key: {self.name} is no regular file"
                    )
                if status.st_mode & 0o077:
                    raise CredentialUnavailableError(
                        "no_master_key",
                        f"master key: {self.name} may be used by others (mode {status.st_mode & 0o777:04o}); "
                        "`chmod 600` it",
                    )
                text = stream.read(_MAX_FILE_BYTES).decode("ascii", "replace")
        except OSError as error:
            reason = error.strerror or "cannot be read"
            raise CredentialUnavailableError("no_master_key", f"master key: {self.name}: {reason}") from None
        return _parsed(text, self.name)

    async def fresh(self) -> tuple[MasterKey, bytes | None]:
        return await self.open(None), None


class WrappedKey:
    """A master key that the key file holds itself, wrapped by a KMS. ``random`` gives that many random bytes."""

    def __init__(self, wrap: KeyWrap, random: Callable[[int], bytes]) -> None:
        self.name = wrap.name
        self.wrapped_by: str | None = wrap.name
        self._wrap = wrap
        self._random = random

    async def open(self, wrapped: bytes | None) -> MasterKey:
        if wrapped is None:
            raise CredentialUnavailableError(
                "wrong_master_key", f"the key file's master key was not wrapped by {self.name}"
            )
        plain = await self._wrap.unwrap(wrapped)
        if len(plain) != KEY_BYTES:
            raise CredentialUnavailableError(
                "damaged", f"{self.name} unwrapped {len(plain)} bytes, not {KEY_BYTES}"
            )
        return MasterKey(plain)

    async def fresh(self) -> tuple[MasterKey, bytes | None]:
        plain = self._random(KEY_BYTES)
        return MasterKey(plain), await self._wrap.wrap(plain)


def _parsed(text: str, name: str) -> MasterKey:
    try:
        return MasterKey.parse(text)
    except ValueError as error:
        raise CredentialUnavailableError("no_master_key", f"master key: {name} {error}") from None

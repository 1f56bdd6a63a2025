"""The local key file's format: one JSON document, each secret sealed with AES-256-GCM (NIST SP 800-38D).

Values in, values out: no file, no clock, no randomness. Three things are protected by the master key:

1. each secret, sealed with its tenant, provider, version, time and fingerprint as associated data, so that a record
   cannot be passed off as another's or as a later one;
2. the list as a whole, by an HMAC over all records: a record taken out would make its tenant fall back to a shared
   key, so it must not go unnoticed;
3. the master key itself, by its id: a wrong one is told apart from damage.

What it does not protect against: somebody who puts back a whole older file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sovereign_ext.keystore.base import fingerprint
from sovereign_ext.keystore.masterkey import MasterKey
from sovereign_ext.secret import Secret

FORMAT: Final = "sovereign-provider-keys/1"
CIPHER: Final = "AES-256-GCM"
NONCE_BYTES: Final = 12
MAX_FILE_BYTES: Final = 64 * 1024 * 1024

Pair = tuple[str, str]
"""Tenant (``*``: shared) and provider."""


class DamagedError(Exception):
    """The file is not what was written. The text says where, never what it holds."""


class WrongMasterKeyError(Exception):
    """The file is sealed under another master key; the text names both ids."""


@dataclass(frozen=True, slots=True)
class Record:
    """One sealed secret. ``version`` counts from 1 with each rotation; ``set_s`` is Unix seconds."""

    tenant: str
    provider: str
    version: int
    set_s: int
    fingerprint: str
    nonce: bytes = field(repr=False)
    sealed: bytes = field(repr=False)

    @property
    def pair(self) -> Pair:
        return self.tenant, self.provider


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The whole file, as read or to be written. ``wrapped`` is the master key as the KMS ``wrapped_by`` sealed it."""

    master_id: str
    wrapped_by: str | None
    wrapped: bytes | None = field(repr=False)
    records: tuple[Record, ...]
    mac: bytes = field(repr=False)

    def find(self, pair: Pair) -> Record | None:
        """The record of exactly this pair."""
        return next((record for record in self.records if record.pair == pair), None)


def seal(
    master: MasterKey,
    pair: Pair,
    secret: Secret,
    *,
    version: int,
    set_s: int,
    nonce: bytes,
    shown: str | None = None,
) -> Record:
    """Seal ``secret``. ``nonce`` is 12 random bytes, never used before under this master key.

    ``shown`` is its fingerprint, where that is another than ``base.fingerprint``.
    """
    shown = shown or fingerprint(secret)
    bound = _bound(pair, version, set_s, shown)
    sealed = AESGCM(master.derive(b"records")).encrypt(nonce, secret.reveal().encode("utf-8"), bound)
    return Record(*pair, version, set_s, shown, nonce, sealed)


def unseal(master: MasterKey, record: Record) -> Secret:
    """What ``seal`` was given. Raises ``DamagedError``."""
    bound = _bound(record.pair, record.version, record.set_s, record.fingerprint)
    try:
        plain = AESGCM(master.derive(b"records")).decrypt(record.nonce, record.sealed, bound)
    except InvalidTag:
        raise DamagedError(f"the record of {record.tenant}, {record.provider} does not open") from None
    return Secret(plain.decode("utf-8"))


def with_records(
    master: MasterKey, wrapped_by: str | None, wrapped: bytes | None, records: tuple[Record, ...]
) -> KeyFile:
    """A file of ``records``, in the order of tenant and provider."""
    ordered = tuple(sorted(records, key=lambda record: record.pair))
    return KeyFile(master.id, wrapped_by, wrapped, ordered, _mac(master, ordered))


def check(master: MasterKey, file: KeyFile) -> None:
    """See that ``file`` was written under ``master`` and is whole.

    Raises ``WrongMasterKeyError`` or ``DamagedError``.
    """
    if file.master_id != master.id:
        raise WrongMasterKeyError(f"it is sealed under master key {file.master_id}, this is {master.id}")
    if not hmac.compare_digest(file.mac, _mac(master, file.records)):
        raise DamagedError("its list of keys is not the one that was written")


def render(file: KeyFile) -> bytes:
    """The bytes of the file."""
    master: dict[str, Any] = {"id": file.master_id}
    if file.wrapped is not None:
        master |= {"wrapped_by": file.wrapped_by, "wrapped": _base64(file.wrapped)}
    keys = [
        {
            "tenant": record.tenant,
            "provider": record.provider,
            "version": record.version,
            "set_s": record.set_s,
            "fingerprint": record.fingerprint,
            "nonce": _base64(record.nonce),
            "sealed": _base64(record.sealed),
        }
        for record in file.records
    ]
    document = {"format": FORMAT, "cipher": CIPHER, "master": master, "mac": _base64(file.mac), "keys": keys}
    return json.dumps(document, indent=1).encode() + b"\n"


def parse(raw: bytes) -> KeyFile:
    """Read the bytes of a file; nothing is opened yet. Raises ``DamagedError``."""
    try:
        document = json.loads(raw)
        if (document["format"], document["cipher"]) != (FORMAT, CIPHER):
            raise DamagedError(f"its format is not {FORMAT} with {CIPHER}")
        master = document["master"]
        wrapped = master.get("wrapped")
        records = tuple(_record(item) for item in document["keys"])
        if len({record.pair for record in records}) != len(records):
            raise DamagedError("it holds two records of one tenant and provider")
        return KeyFile(
            _text(master["id"]),
            None if wrapped is None else _text(master["wrapped_by"]),
            None if wrapped is None else _bytes(wrapped),
            records,
            _bytes(document["mac"]),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # From None: a decoding error quotes its input, and the input is what must not be shown.
        raise DamagedError("it is not a key file, or a part of one") from None


def _record(item: Any) -> Record:
    nonce = _bytes(item["nonce"])
    if len(nonce) != NONCE_BYTES:
        raise ValueError
    return Record(
        _text(item["tenant"]),
        _text(item["provider"]),
        _number(item["version"]),
        _number(item["set_s"]),
        _text(item["fingerprint"]),
        nonce,
        _bytes(item["sealed"]),
    )


def _bound(pair: Pair, version: int, set_s: int, shown: str) -> bytes:
    return json.dumps([FORMAT, *pair, version, set_s, shown]).encode()


def _mac(master: MasterKey, records: tuple[Record, ...]) -> bytes:
    listed = [
        [
            *record.pair,
            record.version,
            record.set_s,
            record.fingerprint,
            _base64(record.nonce),
            _base64(record.sealed),
        ]
        for record in records
    ]
    return hmac.digest(master.derive(b"list"), json.dumps([FORMAT, listed]).encode(), hashlib.sha256)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error:
        raise ValueError from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value

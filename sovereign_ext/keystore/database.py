"""The link ``database``: provider keys that the management API set, sealed in the database, kept sealed in memory.

Each is a resource of its own whose document is a ``sealed.Record`` and the id of the master key behind it; what the
associated data bind is the same as in the local file, so that a record cannot be passed off as another's. Where a KMS
wraps the master key, the wrapped one is in the document, too: replicas share the database, not a key file.

What is in the database is not protected as a list: who can write to it can take a record out, or put an older one back.
The log says what was set when. Rows are read when the feed says that there are newer ones; a call reads memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.keystore.base import FINGERPRINT_HEX, SHARED, CredentialUnavailableError
from sovereign_ext.keystore.masterkey import MasterKey, MasterSource
from sovereign_ext.keystore.sealed import DamagedError, Pair, Record, seal, unseal
from sovereign_ext.secret import Secret

KIND: Final = "provider_key"
_COLLECTION: Final = "providerKeys"
_TRY_AGAIN_S: Final = 0.5

_log = logging.getLogger(__name__)


class Row(Protocol):
    """A row of the database (``storage.resources.Resource``)."""

    @property
    def name(self) -> str: ...
    @property
    def document(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def deleted(self) -> bool: ...


class Rows(Protocol):
    """Reads of the database (``storage.resources.ResourceStore``); any thread may call it."""

    def since(self, revision: int, kinds: Sequence[str] = ()) -> Iterable[Row]: ...


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A sealed key and what it is sealed under. ``wrapped`` is the master key as the KMS ``wrapped_by`` sealed it."""

    record: Record
    master_id: str
    wrapped_by: str | None = None
    wrapped: bytes | None = field(default=None, repr=False)

    def document(self) -> dict[str, Any]:
        """As it is stored; nothing in it opens anything without the master key."""
        record = self.record
        master: dict[str, Any] = {"id": self.master_id}
        if self.wrapped is not None:
            master |= {"wrapped_by": self.wrapped_by, "wrapped": b64encode(self.wrapped).decode()}
        return {
            "master": master,
            "version": record.version,
            "set_s": record.set_s,
            "fingerprint": record.fingerprint,
            "nonce": b64encode(record.nonce).decode(),
            "sealed": b64encode(record.sealed).decode(),
        }

    @classmethod
    def of(cls, name: str, document: Mapping[str, Any]) -> StoredKey:
        """What ``document`` gave, under the name of its resource. Raises ``DamagedError``."""
        try:
            master = document["master"]
            wrapped = master.get("wrapped")
            tenant, provider = pair_of(name)
            record = Record(
                tenant,
                provider,
                int(document["version"]),
                int(document["set_s"]),
                str(document["fingerprint"]),
                b64decode(document["nonce"], validate=True),
                b64decode(document["sealed"], validate=True),
            )
            unwrapped = None if wrapped is None else b64decode(wrapped, validate=True)
            return cls(record, str(master["id"]), master.get("wrapped_by"), unwrapped)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise DamagedError(f"what is stored as {name} is no provider key") from None


def pair_of(name: str) -> Pair:
    """Tenant and provider of ``tenants/{tenant}/providerKeys/{provider}`` or ``providerKeys/{provider}``.

    Raises ``ValueError``.
    """
    parts = name.split("/")
    if len(parts) == 2 and parts[0] == _COLLECTION:
        return SHARED, parts[1]
    if len(parts) == 4 and parts[0] == "tenants" and parts[2] == _COLLECTION and parts[1] != SHARED:
        return parts[1], parts[3]
    raise ValueError(name)


def keyed_fingerprint(master: MasterKey, secret: Secret) -> str:
    """12 hex digits that tell keys apart for who holds the master key, and say nothing to others."""
    digest = hmac.digest(master.derive(b"fingerprint"), secret.reveal().encode("utf-8"), hashlib.sha256)
    return digest.hex()[:FINGERPRINT_HEX]


class StoredKeys:
    """All stored keys, as far as they are known here. Belongs to one event loop, ``load`` apart."""

    def __init__(self) -> None:
        self._keys: dict[Pair, StoredKey | DamagedError] = {}
        self._revision = -1
        self._noticed = asyncio.Event()

    def get(self, pair: Pair) -> StoredKey | None:
        """The one of exactly this pair. Raises ``DamagedError``."""
        found = self._keys.get(pair)
        if isinstance(found, DamagedError):
            raise DamagedError(str(found))
        return found

    def wrapped(self, wrapped_by: str) -> bytes | None:
        """A master key that this KMS wrapped for another record, so that not every record has one of its own."""
        for each in self._keys.values():
            if isinstance(each, StoredKey) and each.wrapped_by == wrapped_by:
                return each.wrapped
        return None

    def load(self, rows: Rows) -> bool:
        """Read what is new; whether anything was. May block."""
        changed = False
        for row in rows.since(self._revision, (KIND,)):
            self.apply(row)
            changed = True
        return changed

    def apply(self, row: Row) -> None:
        """Take in one row; one that cannot be read stands for a key that is damaged."""
        self._revision = max(self._revision, row.revision)
        try:
            pair = pair_of(row.name)
        except ValueError:
            _log.error("%s is not the name of a provider key", row.name)
            return
        if row.deleted:
            self._keys.pop(pair, None)
            return
        try:
            self._keys[pair] = StoredKey.of(row.name, json.loads(row.document))
        except (DamagedError, ValueError) as error:
            self._keys[pair] = error if isinstance(error, DamagedError) else DamagedError(row.name)
            _log.error("%s", self._keys[pair])

    def notice(self) -> None:
        """Something is new, perhaps. On the event loop."""
        self._noticed.set()

    async def run(self, rows: Rows, changed: Callable[[], None]) -> None:
        """Take in what is new whenever something is, and call ``changed`` then, until cancelled."""
        while True:
            await self._noticed.wait()
            self._noticed.clear()
            try:
                found = await asyncio.to_thread(lambda: list(rows.since(self._revision, (KIND,))))
            except SQLAlchemyError as error:
                _log.warning("provider keys of the database stay as they were: %s", type(error).__name__)
                await asyncio.sleep(_TRY_AGAIN_S)
                self._noticed.set()
                continue
            for row in found:
                self.apply(row)
            if found:
                changed()


class DatabaseKeys:
    """Finds stored keys. ``masters`` are the master key's sources, the one in use first; none: no key can be opened."""

    name = "database"

    def __init__(self, stored: StoredKeys, masters: Sequence[MasterSource]) -> None:
        self._stored = stored
        self._masters = masters
        self._opened: dict[tuple[str, bytes | None], MasterKey] = {}
        self._opening = asyncio.Lock()

    async def find(self, tenant: str, provider: str) -> Secret | None:
        """The key of exactly this pair. Raises ``CredentialUnavailableError``."""
        try:
            key = self._stored.get((tenant, provider))
            return None if key is None else unseal(await self._master_of(key), key.record)
        except DamagedError as error:
            raise CredentialUnavailableError("damaged", f"stored key: {error}") from None

    async def seal(
        self, pair: Pair, secret: Secret, before: StoredKey | None, *, set_s: int, nonce: bytes
    ) -> StoredKey:
        """``secret`` as it is to be stored in place of ``before``: the same object if it is the same secret.

        ``nonce`` is as ``sealed.seal`` wants it. Raises ``CredentialUnavailableError``; ``no_master_key`` if none is
        configured.
        """
        master, wrapped_by, wrapped = await self._master_in_use()
        shown = keyed_fingerprint(master, secret)
        if before is not None and (before.record.fingerprint, before.master_id) == (shown, master.id):
            return before
        version = 1 if before is None else before.record.version + 1
        record = seal(master, pair, secret, version=version, set_s=set_s, nonce=nonce, shown=shown)
        return StoredKey(record, master.id, wrapped_by, wrapped)

    async def _master_in_use(self) -> tuple[MasterKey, str | None, bytes | None]:
        if not self._masters:
            raise _no_master("none is configured (keystore.local.master_key)")
        source = self._masters[0]
        if source.wrapped_by is None:
            return await source.open(None), None, None
        wrapped = self._stored.wrapped(source.wrapped_by)
        if wrapped is not None:
            return await source.open(wrapped), source.wrapped_by, wrapped
        master, wrapped = await source.fresh()
        return master, source.wrapped_by, wrapped

    async def _master_of(self, key: StoredKey) -> MasterKey:
        place = key.master_id, key.wrapped
        async with self._opening:
            if place not in self._opened:
                self._opened[place] = await self._open(key)
            return self._opened[place]

    async def _open(self, key: StoredKey) -> MasterKey:
        failed: CredentialUnavailableError | None = None
        for source in self._masters:
            if source.wrapped_by != key.wrapped_by:
                continue
            try:
                master = await source.open(key.wrapped)
            except CredentialUnavailableError as error:
                failed = failed or error
                continue
            if master.id == key.master_id:
                return master
        if failed is not None:
            raise failed
        raise _no_master(f"a stored key is sealed under {key.master_id}, which is none of those configured")


def _no_master(reason: str) -> CredentialUnavailableError:
    return CredentialUnavailableError("no_master_key", f"master key: {reason}")

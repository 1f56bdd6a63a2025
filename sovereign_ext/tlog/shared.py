"""Opening a log that several processes share: database, tiles and keys are common, the rest is each process's own.

In ``state_dir`` remain ``log.lock`` (two processes of one host need two directories), ``public/`` and, there or in
``checkpoint_dir``, the memory of what was signed: storage that is not restored together with the database. The order:
lock, keys, head, row of the signed checkpoint, comparison of keys and memory, public files. Whichever of several first
starts comes first makes what is missing; what the others made in vain is never used.

The counterpart for a log that one process has open is ``state``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.attest.keys import PublicKeys, SigningKeys, load_or_create_keys
from sovereign_ext.attest.trusted_root import public_files
from sovereign_ext.errors import LogCorrupt, LogUnavailable
from sovereign_ext.storage.documents import DocumentStore
from sovereign_ext.storage.entries import EntryStore
from sovereign_ext.storage.migrate import ensure_schema
from sovereign_ext.storage.published import LONGEST_LEASE_MS, PublishedStore
from sovereign_ext.tlog.checkpoint import Checkpoint, sign_checkpoint
from sovereign_ext.tlog.files import Lease, read_file, write_files
from sovereign_ext.tlog.hashing import EMPTY_ROOT
from sovereign_ext.tlog.integrator import Published
from sovereign_ext.tlog.replica import LEASE_S, Replica, Shared
from sovereign_ext.tlog.state import LogPaths, take_leases
from sovereign_ext.tlog.tenure import Memory
from sovereign_ext.tlog.tilestore import SharedDirectoryTiles, TileStore


@dataclass(frozen=True, slots=True)
class SharedLog:
    """What the processes of one log have in common.

    ``engine`` is an open database, the caller's to dispose of; ``keys`` the directory of the log's keys, made by
    whoever is first when it is on common storage. ``lease_s`` is how long a leader that was killed is waited for.
    """

    engine: Engine
    tiles: TileStore
    keys: Path
    lease_s: float = LEASE_S

    def __post_init__(self) -> None:
        if not 0.5 <= self.lease_s <= LONGEST_LEASE_MS / 1000:
            raise ValueError(f"lease_s is {self.lease_s:g}, expected 0.5 to {LONGEST_LEASE_MS // 1000}")


def shared_directory(root: Path) -> SharedDirectoryTiles:
    """Tiles in a directory that all processes of the log see."""
    return SharedDirectoryTiles(root, f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}")


class OpenedShared:
    """What an open shared log holds; as ``state.OpenedState``. ``size`` entries were sequenced when it was opened."""

    def __init__(
        self, paths: LogPaths, leases: tuple[Lease, ...], shared: SharedLog, keys: SigningKeys, origin: str
    ) -> None:
        self.paths = paths
        self.keys = keys
        self.public: PublicKeys = keys.public(origin)
        self.tiles = shared.tiles
        self.store = EntryStore(shared.engine)
        self.documents = DocumentStore(shared.engine)
        self.size = self.store.size()
        self._leases = leases
        self._shared = shared
        self._origin = origin
        self._replica: Replica | None = None

    def integrate(
        self,
        interval_s: float,
        now_ms: Callable[[], int],
        on_published: Callable[[Published], None],
        on_corrupt: Callable[[str], None],
    ) -> Replica:
        """Begin to follow or to lead. Raises ``LogCorrupt``, the database's errors, ``OSError``."""
        shared = Shared(
            self._shared.engine,
            PublishedStore(self._shared.engine),
            self.store,
            self.tiles,
            Memory(self.paths.signed),
            self.keys.checkpoint_signer(self._origin),
            f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}",
            self._shared.lease_s,
        )
        self._replica = Replica(
            shared, interval_s=interval_s, now_ms=now_ms, on_published=on_published, on_corrupt=on_corrupt
        )
        return self._replica

    def close(self) -> None:
        """Let go of everything but the engine."""
        self.store.reset()
        self.tiles.close()
        for lease in self._leases:
            lease.release()


def open_shared(paths: LogPaths, origin: str, shared: SharedLog) -> OpenedShared:
    """Everything that comes before sequencing. Raises ``LogCorrupt`` or ``LogUnavailable``."""
    leases = take_leases(paths)
    try:
        shared.tiles.probe()
        ensure_schema(shared.engine)
        store = PublishedStore(shared.engine)
        there = store.standing()
        if there is not None and not shared.keys.exists():
            raise LogCorrupt(
                f"the log's keys are not in {shared.keys}: give this replica those of the others"
            )
        keys = load_or_create_keys(shared.keys)
        if (found := EntryStore(shared.engine).create_head(origin)) != origin:
            raise LogCorrupt(f"the log in this database is {found!r}, not {origin!r}")
        _begin(store, keys, origin, shared.keys)
        files = public_files(keys.public(origin), int((shared.keys / "log.pem").stat().st_mtime))
        if any(read_file(paths.public / name) != data for name, data in files):
            write_files(paths.public, files)
        paths.signed.mkdir(parents=True, exist_ok=True, mode=0o700)
        return OpenedShared(paths, leases, shared, keys, origin)
    except BaseException as error:
        for lease in leases:
            lease.release()
        if isinstance(error, OSError | SQLAlchemyError):
            raise LogUnavailable(f"cannot open the log: {error}") from error
        raise


def key_digests(public: PublicKeys) -> str:
    """What the database keeps of the keys, to tell a replica that has others."""
    digests = {
        "log": public.log.log_id,
        "envelope": sha256(public.envelope).digest(),
        "promise": sha256(public.promise).digest(),
    }
    return " ".join(f"{role}={digest.hex()}" for role, digest in digests.items())


def _begin(store: PublishedStore, keys: SigningKeys, origin: str, directory: Path) -> None:
    signer = keys.checkpoint_signer(origin)
    store.begin(
        sign_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT), [signer]), key_digests(keys.public(origin))
    )
    found = store.standing()
    if found is None:
        raise LogCorrupt("the database does not hold this log")
    if found.keys != key_digests(keys.public(origin)):
        raise LogCorrupt(
            f"the log in this database was made with other keys than those in {directory}: replicas share their keys"
        )

"""The state directory of a log: where its parts are, and bringing them up in the right order.

Layout::

    log.db          rows, envelopes, openings, documents (private)
    keys/           signing keys (private)
    signed/         the last signed checkpoint; may live elsewhere, see ``open``
    tiles/          what the public may read: checkpoint, tile/…
    public/         trusted_root.json, log-keys.json
    log.lock        the lease; a second one is in ``signed/`` when that lives elsewhere

Nothing runs yet when ``open_state`` returns: sequencing and publishing are started by ``service``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.attest.keys import PublicKeys, SigningKeys, load_or_create_keys
from sovereign_ext.attest.trusted_root import public_files
from sovereign_ext.errors import LogCorrupt, LogUnavailable
from sovereign_ext.storage.documents import DocumentStore
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.storage.entries import EntryStore
from sovereign_ext.storage.migrate import ensure_schema
from sovereign_ext.tlog.files import Lease, read_file, write_files
from sovereign_ext.tlog.integrator import Integrator, Published
from sovereign_ext.tlog.publisher import Publisher
from sovereign_ext.tlog.signed import SignedFile
from sovereign_ext.tlog.tilestore import CHECKPOINT, DirectoryTiles, TileStore


@dataclass(frozen=True, slots=True)
class LogPaths:
    """Where the parts of a log are, see the module's docstring."""

    state: Path
    signed: Path

    @classmethod
    def of(cls, state_dir: Path, checkpoint_dir: Path | None = None) -> LogPaths:
        """The layout below ``state_dir``."""
        return cls(state_dir, checkpoint_dir or state_dir / "signed")

    @property
    def database(self) -> Path:
        return self.state / "log.db"

    @property
    def keys(self) -> Path:
        return self.state / "keys"

    @property
    def tiles(self) -> Path:
        return self.state / "tiles"

    @property
    def public(self) -> Path:
        return self.state / "public"

    @property
    def lock(self) -> Path:
        return self.state / "log.lock"


@dataclass(frozen=True, slots=True)
class OpenedState:
    """What an open log holds. ``size`` entries were sequenced when it was opened."""

    paths: LogPaths
    leases: tuple[Lease, ...]
    keys: SigningKeys
    public: PublicKeys
    store: EntryStore
    documents: DocumentStore
    tiles: TileStore
    publisher: Publisher
    size: int

    def integrate(
        self,
        interval_s: float,
        now_ms: Callable[[], int],
        on_published: Callable[[Published], None],
        on_corrupt: Callable[[str], None],
    ) -> Integrator:
        """What publishes, to be started."""
        return Integrator(
            self.publisher, interval_s=interval_s, on_published=on_published, on_corrupt=on_corrupt
        )

    def close(self) -> None:
        """Let go of the database and the leases: another process may open the log now."""
        self.store.close()
        for lease in self.leases:
            lease.release()


def open_state(paths: LogPaths, origin: str) -> OpenedState:
    """Everything that ``open`` does with files, in order: lease, keys, database, recovery, public files."""
    leases = take_leases(paths)
    store = None
    try:
        if not paths.keys.exists() and (paths.database.exists() or read_file(paths.signed / CHECKPOINT)):
            raise LogCorrupt("the log's keys are missing; restore them from a backup")
        keys = load_or_create_keys(paths.keys)
        public = keys.public(origin)
        engine = open_sqlite(paths.database)
        ensure_schema(engine)
        store = EntryStore(engine)
        if (found := store.create_head(origin)) != origin:
            raise LogCorrupt(f"the log in this directory is {found!r}, not {origin!r}")
        tiles = DirectoryTiles(paths.tiles)
        signed = SignedFile(paths.signed, lambda: _check(leases))
        publisher = Publisher(store, tiles, signed, keys.checkpoint_signer(origin))
        publisher.recover()
        created_s = int((paths.keys / "log.pem").stat().st_mtime)
        files = public_files(public, created_s)
        if any(read_file(paths.public / name) != data for name, data in files):
            write_files(paths.public, files)
        documents = DocumentStore(engine)
        return OpenedState(paths, leases, keys, public, store, documents, tiles, publisher, store.size())
    except BaseException as error:
        if store is not None:
            store.close()
        for lease in leases:
            lease.release()
        if isinstance(error, OSError | SQLAlchemyError):
            raise LogUnavailable(f"cannot open the log: {error}") from error
        raise


def take_leases(paths: LogPaths) -> tuple[Lease, ...]:
    """One on the state, and one on the signed checkpoint where it is apart: a copy of the state directory must not
    sign beside the original. Raises ``LogUnavailable``."""
    taken: list[Lease] = []
    try:
        paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken.append(Lease(paths.lock))
        if not paths.signed.resolve().is_relative_to(paths.state.resolve()):
            paths.signed.mkdir(parents=True, exist_ok=True, mode=0o700)
            taken.append(Lease(paths.signed / paths.lock.name))
    except (OSError, LogUnavailable) as error:
        for lease in taken:
            lease.release()
        if isinstance(error, LogUnavailable):
            raise
        raise LogUnavailable(f"cannot use the state directory: {error}") from error
    return tuple(taken)


def _check(leases: tuple[Lease, ...]) -> None:
    for lease in leases:
        lease.check()

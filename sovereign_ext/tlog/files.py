"""Durable files: a file is there whole or not at all, also after a power cut; and the lock that makes one
writer.

Temporary file, fsync, rename, fsync of the directory. Names of temporary files are fixed because only the
holder of the ``Lease`` writes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from sovereign_ext.errors import LogCorrupt, LogUnavailable
from sovereign_ext.tlog.tiles import Tile


def write_files(root: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write each ``(path below root, content)``; on return all of them are durable. Raises ``OSError``."""
    touched: dict[Path, None] = {}
    for name, data in files:
        path = root / name
        _make_directory(path.parent, touched)
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        touched[path.parent] = None
    for directory in touched:
        sync_directory(directory)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes | None:
    """The file's content; ``None`` if there is none. Other ``OSError`` are raised."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def drop_partial_tiles(root: Path, full: Iterable[Tile]) -> None:
    """Remove the partial tiles that the ``full`` ones have superseded."""
    for tile in full:
        partial = root / f"{tile.path}.p"
        try:
            for file in partial.iterdir():
                file.unlink()
            partial.rmdir()
        except OSError:
            pass  # there was none, or it stays: superfluous but not wrong


class Lease:
    """The right to write one log, held as an advisory lock (flock) on a file until ``release`` or the process
    ends, however it ends.

    It holds between processes of one host. A lock is on a file, not on its name, so ``check`` notices when the
    file was removed under us and somebody else could lock a new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.check()
        except OSError:
            self.release()
            raise LogUnavailable(f"another process has this log open (lock on {path.name})") from None
        except LogCorrupt:
            self.release()
            raise LogUnavailable(f"the lock {path.name} was replaced while it was taken; try again") from None

    def check(self) -> None:
        """Raise ``LogCorrupt`` unless the file that is locked is still the one under its name."""
        try:
            held = self._descriptor is not None and os.path.samestat(
                os.fstat(self._descriptor), os.stat(self._path)
            )
        except FileNotFoundError:
            held = False
        if not held:
            raise LogCorrupt(f"the lock {self._path.name} was removed: another process may write this log")

    def release(self) -> None:
        """Give the lease back; does nothing the second time."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _make_directory(path: Path, touched: dict[Path, None]) -> None:
    if path in touched or path.is_dir():
        return
    _make_directory(path.parent, touched)
    path.mkdir(exist_ok=True)
    touched[path] = touched[path.parent] = None

"""Where a log's public files are kept: the interface, and a directory as the one that everybody has.

A log writes tiles, which never change, and shows one ``checkpoint``, which does. Whoever writes is known to hold the
right to (``Publisher``'s matter), but may have lost it a moment ago without knowing: tiles are made of the entries
alone, so writing one twice is harmless, and a partial tile is dropped only when the full one is there. Only the
checkpoint can go backwards; each store says how it keeps that from happening. The other store is ``s3tiles``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from sovereign_ext.tlog.files import drop_partial_tiles, read_file, sync_directory, write_files
from sovereign_ext.tlog.tiles import Tile

CHECKPOINT: Final = "checkpoint"
"""Name of the published checkpoint (C2SP tlog-tiles)."""

NEW: Final = ".new"
"""Directory of unfinished files, of all writers of a shared directory."""

STALE_S: Final = 3_600.0


class TileStore(Protocol):
    """The public files of one log, by their C2SP paths. Any thread may call it. Raises ``OSError``."""

    conditional: bool
    """Whether ``show`` itself makes sure that an older checkpoint never takes the place of a newer one."""

    def probe(self) -> None:
        """Look, before the first write, whether the store can be used. Raises ``LogUnavailable`` or ``OSError``."""

    def read(self, path: str) -> bytes | None:
        """The content at ``path``; ``None`` if there is none."""

    def write(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Store tiles. Each is there whole or not at all; on return all of them are durable."""

    def show(self, note: bytes, size: int, check: Callable[[], None]) -> None:
        """Make ``note``, a checkpoint over ``size`` entries, the one that is shown. Durable on return.

        ``check`` raises when this process may not write any more.
        """

    def drop_partial(self, full: Iterable[Tile]) -> None:
        """Remove the partial tiles that the ``full`` ones have superseded, as far as that works."""

    def shown_ns(self) -> int | None:
        """When the checkpoint that is shown was written, Unix nanoseconds."""

    def close(self) -> None:
        """Let go of connections."""


class DirectoryTiles:
    """Tiles in a directory. With one writer, who holds its ``Lease``."""

    conditional = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def probe(self) -> None:
        pass

    def read(self, path: str) -> bytes | None:
        return read_file(self._root / path)

    def write(self, files: Iterable[tuple[str, bytes]]) -> None:
        write_files(self._root, files)

    def show(self, note: bytes, size: int, check: Callable[[], None]) -> None:
        write_files(self._root, [(CHECKPOINT, note)])

    def drop_partial(self, full: Iterable[Tile]) -> None:
        drop_partial_tiles(self._root, full)

    def shown_ns(self) -> int | None:
        try:
            return (self._root / CHECKPOINT).stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def close(self) -> None:
        pass


class SharedDirectoryTiles(DirectoryTiles):
    """Tiles in a directory that several hosts have mounted, written by whoever leads.

    A file system has no conditional rename, so ``check`` is asked right before it. A writer that is stopped between the
    two, for longer than its lease, can show an older checkpoint for the moment until the leader looks again
    (``Replica``); it is one of the same tree. ``writer`` is a name that nobody else has.
    """

    conditional = False

    def __init__(self, root: Path, writer: str) -> None:
        super().__init__(root)
        self._writer = writer
        self._written = itertools.count()

    def write(self, files: Iterable[tuple[str, bytes]]) -> None:
        touched: dict[Path, None] = {}
        for name, data in files:
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._new(data).replace(path)
            for directory in (path.parent, *path.parent.parents):
                touched[directory] = None
                if directory == self._root:
                    break
        for directory in touched:
            sync_directory(directory)

    def show(self, note: bytes, size: int, check: Callable[[], None]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        new = self._new(note)
        check()
        new.replace(self._root / CHECKPOINT)
        sync_directory(self._root)

    def probe(self) -> None:
        (self._root / NEW).mkdir(parents=True, exist_ok=True)
        self._new(b"").unlink()
        # What writers that were killed left unfinished, long ago.
        with contextlib.suppress(OSError):
            for path in (self._root / NEW).iterdir():
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > STALE_S:
                        path.unlink()

    def _new(self, data: bytes) -> Path:
        """A durable file that has no name of its own yet. Writers do not share names, so nobody sees half a file."""
        directory = self._root / NEW
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self._writer}-{next(self._written)}"
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return path

"""A term as the one that integrates: the right to write, as far as this process can know it; and what it remembers.

``Tenure`` ends by this process's own monotonic clock, before the lease in the database does, so a leader that cannot
reach the database stops by itself. It is not what keeps the log whole: that is the row's fence (``storage.published``).
``Memory`` is the note that this process saw last, on storage of its own: it notices a database that went back.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.errors import LeaseLost, LogCorrupt, LogUnavailable
from sovereign_ext.storage.published import PublishedStore
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.files import read_file, write_files
from sovereign_ext.tlog.tilestore import CHECKPOINT


class Tenure:
    """One term under ``token``. ``until`` is in seconds of the monotonic clock. Any thread may ask."""

    def __init__(self, token: int, until: float) -> None:
        self.token = token
        self._until = until

    @property
    def lasts(self) -> bool:
        """Whether this process may still write."""
        return time.monotonic() < self._until

    def extend(self, until: float) -> None:
        """The lease was renewed."""
        self._until = until

    def end(self) -> None:
        """Nothing more may be written."""
        self._until = float("-inf")

    def check(self) -> None:
        """Raise ``LeaseLost`` unless it lasts."""
        if not self.lasts:
            raise LeaseLost("the lease ran out")


class Memory:
    """The newest signed checkpoint that this process has seen, in ``directory``. Raises ``OSError``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writing = threading.Lock()
        self._size = -1

    def load(self) -> bytes | None:
        """The note; ``None`` if there is none."""
        return read_file(self._directory / CHECKPOINT)

    def keep(self, note: bytes, size: int) -> None:
        """Remember ``note``, over ``size`` entries, unless a larger one is remembered. Durable on return."""
        with self._writing:
            if size > self._size:
                write_files(self._directory, [(CHECKPOINT, note)])
                self._size = size


class SharedNotes:
    """``SignedNotes`` in the database, for one tenure."""

    def __init__(self, store: PublishedStore, memory: Memory, tenure: Tenure) -> None:
        self._store = store
        self._memory = memory
        self._tenure = tenure

    def load(self) -> bytes | None:
        found = self._store.standing()
        return None if found is None else found.note

    def replace(self, before: bytes, checkpoint: Checkpoint, note: bytes) -> None:
        self._tenure.check()
        if not self._store.replace(self._tenure.token, before, checkpoint.size, note):
            self._refused()
        # From here on it may be shown: whoever has seen it will miss it in a database that was restored.
        self._memory.keep(note, checkpoint.size)

    def attach(self, checkpoint: Checkpoint, note: bytes) -> None:
        self._tenure.check()
        try:
            done = self._store.attach(self._tenure.token, checkpoint.size, note)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"the database did not take it: {type(error).__name__}") from None
        if not done:
            raise LeaseLost("another process integrates this log")

    def check(self) -> None:
        self._tenure.check()

    def seen(self) -> bytes | None:
        return self._memory.load()

    def _refused(self) -> None:
        found = self._store.standing()
        if found is not None and found.token > self._tenure.token:
            raise LeaseLost("another process integrates this log")
        raise LogCorrupt(
            "the signed checkpoint was changed by somebody else, or the database was restored from a backup"
        )


class SharedCosigned:
    """``CosignedNotes`` in the database, for one tenure."""

    def __init__(self, store: PublishedStore, tenure: Tenure, name: str) -> None:
        self._store = store
        self._tenure = tenure
        self._name = name

    def load(self) -> bytes | None:
        try:
            return self._store.notes().get(self._name)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot read what was cosigned: {type(error).__name__}") from None

    def save(self, note: bytes) -> None:
        try:
            done = self._store.put_note(self._tenure.token, self._name, note, time.time_ns() // 1_000_000)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"the database did not take it: {type(error).__name__}") from None
        if not done:
            raise LeaseLost("another process integrates this log")

"""The checkpoint that was signed last, in a file: for a log that one process has open.

What keeps a second process from signing is the lease (``files.Lease``); ``guard`` asks whether it still holds. The
counterpart for several processes is ``tenure``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sovereign_ext.errors import LogCorrupt
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.files import read_file, write_files
from sovereign_ext.tlog.tilestore import CHECKPOINT


class SignedFile:
    """``SignedNotes`` in ``directory``. ``guard`` raises ``LogCorrupt`` when another process may sign."""

    def __init__(self, directory: Path, guard: Callable[[], None] = lambda: None) -> None:
        self._directory = directory
        self._guard = guard

    def load(self) -> bytes | None:
        return read_file(self._directory / CHECKPOINT)

    def replace(self, before: bytes, checkpoint: Checkpoint, note: bytes) -> None:
        if (self.load() or b"") != before:
            raise LogCorrupt("the signed checkpoint was changed by somebody else")
        self.check()
        write_files(self._directory, [(CHECKPOINT, note)])

    def attach(self, checkpoint: Checkpoint, note: bytes) -> None:
        pass  # only ever shown

    def check(self) -> None:
        self._guard()

    def seen(self) -> bytes | None:
        return None

"""One log as a witness sees it: the newest checkpoint it cosigned, and the rules for the next (C2SP tlog-witness).

Order of ``add``, as the specification demands; a refusal changes nothing but the evidence:

1. The checkpoint must be signed by the log's key (403). Lines of other keys are dropped.
2. The old size must not lie beyond the checkpoint's (400),
3. and be the size that was cosigned last (409 with that size).
4. The same size must have the same root (409).
5. The proof must show that the checkpoint extends that one (422).
6. The checkpoint is made durable, then cosigned.

3 to 6 happen under one lock, so that no smaller checkpoint can slip in behind a larger one. Not here: HTTP, and
which logs there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sovereign_ext.errors import LogCorrupt, LogUnavailable, VerificationError
from sovereign_ext.mirror.evidence import Evidence
from sovereign_ext.tlog.addcheckpoint import SIZE_TYPE, AddCheckpoint, encode_size
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint
from sovereign_ext.tlog.cosignature import Cosigner, cosign
from sovereign_ext.tlog.files import read_file, sync_directory, write_files
from sovereign_ext.tlog.hashing import EMPTY_ROOT
from sovereign_ext.tlog.note import Note, Verifier
from sovereign_ext.tlog.proof import verify_consistency

HEAD = "head"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint and the note the log signed, lines of others taken out. ``note`` is empty before the first."""

    checkpoint: Checkpoint
    note: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``add-checkpoint`` answers: HTTP status, body and its media type."""

    status: int
    body: bytes
    content_type: str = TEXT


class WitnessedLog:
    """The witness's side of one log. ``root_at(size)`` gives the root of an earlier tree, if we hold it."""

    def __init__(
        self,
        log: Verifier,
        cosigner: Cosigner,
        directory: Path,
        *,
        now_s: Callable[[], int],
        root_at: Callable[[int], bytes | None],
    ) -> None:
        self.log = log
        self.evidence = Evidence(directory / "forks", log.name)
        self._cosigner = cosigner
        self._directory = directory
        self._now_s = now_s
        self._root_at = root_at
        self._lock = threading.Lock()
        self.head = self._load()

    def add(self, request: AddCheckpoint) -> Verdict:
        """Judge a request. May be called from any thread. Raises ``LogUnavailable`` when nothing can be written."""
        try:
            checkpoint, note = open_checkpoint(request.note, self.log.name, [self.log])
        except VerificationError as error:
            return _refused(403, str(error))
        own = tuple(s for s in note.signatures if (s.name, s.key_id) == (self.log.name, self.log.key_id))
        shown = Head(checkpoint, Note(note.text, own).encode())
        if request.old > checkpoint.size:
            return _refused(400, f"old size {request.old} is beyond the checkpoint's size {checkpoint.size}")
        with self._lock:
            refused = self._judge(request, shown)
            if refused is not None:
                return refused
            if not self.head.note or checkpoint.size > self.head.checkpoint.size:
                self._save(shown)
        line = cosign(note.text, self._cosigner, self._now_s()).line()
        return Verdict(200, line.encode())

    def _judge(self, request: AddCheckpoint, shown: Head) -> Verdict | None:
        held, seen = self.head.checkpoint, shown.checkpoint
        if request.old != held.size or (seen.size == held.size and seen.root != held.root):
            self._look_for_fork(shown)
            return Verdict(409, encode_size(held.size), SIZE_TYPE)
        try:
            verify_consistency(held.size, held.root, seen.size, seen.root, request.proof)
        except VerificationError as error:
            if seen.size > held.size > 0:
                reason = f"no valid proof leads from size {held.size} to {seen.size}: {error}"
                self.evidence.suspect(self.head.note, shown.note, reason, self._now_s())
            return _refused(422, str(error))
        return None

    def _look_for_fork(self, shown: Head) -> None:
        held, seen = self.head.checkpoint, shown.checkpoint
        root = held.root if seen.size == held.size else self._root_at(seen.size)
        if root is not None and root != seen.root and self.head.note:
            reason = f"size {seen.size} was signed with root {seen.root.hex()}, it is {root.hex()}"
            self.evidence.fork(self.head.note, shown.note, reason, self._now_s())

    def _save(self, head: Head) -> None:
        try:
            write_files(self._directory, [(HEAD, head.note)])
        except OSError as error:
            raise LogUnavailable(f"cannot keep the checkpoint: {error}") from error
        self.head = head

    def _load(self) -> Head:
        note = read_file(self._directory / HEAD)
        if note is None:
            return Head(Checkpoint(self.log.name, 0, EMPTY_ROOT), b"")
        # An earlier life may have ended between the file's rename and the sync that makes it last; what we cosign again
        # without writing must not be less durable than what we write.
        sync_directory(self._directory)
        try:
            return Head(open_checkpoint(note, self.log.name, [self.log])[0], note)
        except VerificationError as error:
            raise LogCorrupt(f"the kept checkpoint of {self.log.name} is not the log's: {error}") from None


def _refused(status: int, reason: str) -> Verdict:
    return Verdict(status, f"{reason}\n".encode())

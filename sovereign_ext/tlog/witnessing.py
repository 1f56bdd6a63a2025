"""Has published checkpoints cosigned by witnesses, beside sequencing and publishing and never in their way.

One thread a witness, because each may hang. Cosignatures only add up when they are under the same checkpoint, so
all witnesses are shown the same one, in rounds:

1. A round shows the newest published checkpoint. Every witness that is not busy submits it.
2. Whoever fails tries again after a growing pause, within this round or a later one.
3. The round is over, and the next begins as soon as something newer is published, when the quorum is met, when
   everybody has answered or failed, or after ``ROUND_S`` seconds: one that hangs holds nobody up.

A checkpoint that reached the quorum is made durable as ``cosigned`` beside the signed one, then handed on. A
cosignature that comes later is added to it. After its cosignature a witness that mirrors is asked how far it is.
Deliberately not here: HTTP (``witnessclient``) and what a policy says (``policyfile``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from sovereign_ext.errors import LogCorrupt, LogError, VerificationError, WitnessRefused
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint
from sovereign_ext.tlog.cosignature import MirrorAck, verify_cosignatures
from sovereign_ext.tlog.files import read_file, write_files
from sovereign_ext.tlog.integrator import Published
from sovereign_ext.tlog.note import Note, Signature, Verifier, parse_note
from sovereign_ext.tlog.proof import tree_root
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.witnessclient import WitnessClient
from sovereign_ext.tlog.witnesses import WitnessPeer, WitnessSet, WitnessStatus

COSIGNED: Final = "cosigned"
"""Name of the file, beside the signed checkpoint, that keeps the newest one with a quorum."""

ROUND_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 30.0
KEPT_ROUNDS: Final = 8

_logger = logging.getLogger(__name__)


class CosignedNotes(Protocol):
    """Keeps the newest checkpoint that reached the quorum. Raises ``OSError`` or ``LogError``."""

    def load(self) -> bytes | None:
        """The note; ``None`` if there was none yet."""

    def save(self, note: bytes) -> None:
        """Keep ``note`` instead. Durable on return."""


class CosignedFile:
    """``CosignedNotes`` in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> bytes | None:
        return read_file(self._directory / COSIGNED)

    def save(self, note: bytes) -> None:
        write_files(self._directory, [(COSIGNED, note)])


@dataclass(slots=True)
class _Pauses:
    """When to try again: pauses double up to the longest. Times are monotonic seconds."""

    due: float = 0.0
    pause: float = FIRST_PAUSE_S

    def failed(self, now: float) -> None:
        self.due = now + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE_S)

    def reset(self, due: float = 0.0) -> None:
        self.due, self.pause = due, FIRST_PAUSE_S


@dataclass(slots=True)
class _Worker:
    """What is known of one peer. ``done`` and ``failed`` are the last rounds of which that is so."""

    peer: WitnessPeer
    done: int = 0
    failed: int = 0
    asking: _Pauses = field(default_factory=_Pauses)
    mirroring: _Pauses = field(default_factory=_Pauses)
    size: int = 0
    time_s: int = 0
    ack: MirrorAck | None = None
    last_error: str | None = None


@dataclass(slots=True)
class _Round:
    """A checkpoint and the cosignatures it has so far, by the peer's place in the settings."""

    published: Published
    number: int
    since: float
    lines: dict[int, Signature] = field(default_factory=dict)
    met: bool = False


class Witnessing:
    """Asks the witnesses of one log. ``on_cosigned(checkpoint, note)`` is called on a witness's thread."""

    def __init__(
        self,
        witnesses: WitnessSet,
        log: Verifier,
        reader: LogReader,
        kept: CosignedNotes,
        *,
        now_s: Callable[[], int],
        on_cosigned: Callable[[Checkpoint, bytes], None],
    ) -> None:
        self.witnesses = witnesses
        self._log = log
        self._reader = reader
        self._kept = kept
        self._now_s = now_s
        self._on_cosigned = on_cosigned
        self._condition = threading.Condition()
        self._saving = threading.Lock()
        self._workers = [_Worker(peer) for peer in witnesses.peers]
        self._rounds: list[_Round] = []
        self._newest: Published | None = None
        self._stopping = False
        self.cosigned: Published | None = None

    def start(self, published: Published) -> None:
        """Take up what was cosigned earlier and begin to ask. Raises ``LogCorrupt``, ``OSError``."""
        self.cosigned = self._restore(published)
        if self.cosigned is not None:
            self._on_cosigned(self.cosigned.checkpoint, self.cosigned.note)
        self.notice(published)
        for at, worker in enumerate(self._workers):
            name = f"log-witness-{at}"
            threading.Thread(target=self._run, args=(at, worker), name=name, daemon=True).start()

    def notice(self, published: Published) -> None:
        """A checkpoint was published; older ones than the newest known are ignored. Does not wait; any thread."""
        with self._condition:
            if self._newest is None or published.checkpoint.size > self._newest.checkpoint.size:
                self._newest = published
                self._turn()

    def close(self) -> None:
        """Ask no more, and write nothing after the return. Answers that are under way are dropped."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        with self._saving:
            pass  # whoever was writing has finished

    def acks(self) -> tuple[MirrorAck, ...]:
        """What each mirror last said it holds; mirrors that said nothing yet are left out."""
        return tuple(worker.ack for worker in self._workers if worker.ack is not None)

    def statuses(self) -> tuple[WitnessStatus, ...]:
        """How it goes with each witness, in the order of the settings."""
        return tuple(
            WitnessStatus(
                worker.peer.key.name, worker.peer.url, worker.size, worker.time_s, worker.last_error
            )
            for worker in self._workers
        )

    def _restore(self, published: Published) -> Published | None:
        note = self._kept.load()
        if note is None:
            return None
        try:
            checkpoint, opened = open_checkpoint(note, self._log.name, [self._log])
            if not enough(opened, self.witnesses):
                return None  # the policy changed: what it asks for now must be asked for again
        except VerificationError as error:
            _logger.warning("the kept cosigned checkpoint is not used: %s", error)
            return None
        head = published.checkpoint
        if checkpoint.size > head.size:
            raise LogCorrupt(f"size {checkpoint.size} was cosigned, only size {head.size} was signed")
        if tree_root(checkpoint.size, self._reader.nodes(head.size)) != checkpoint.root:
            raise LogCorrupt(
                f"the checkpoint cosigned at size {checkpoint.size} has another root than the log"
            )
        return Published(checkpoint, note)

    def _run(self, at: int, worker: _Worker) -> None:
        client = WitnessClient(worker.peer, self._log, self._reader.nodes, self._now_s)
        try:
            while (task := self._next(worker)) is not None:
                if isinstance(task, _Round):
                    self._ask(at, worker, client, task)
                else:
                    self._ask_mirror(worker, client, task)
        finally:
            client.close()

    def _next(self, worker: _Worker) -> _Round | Checkpoint | None:
        """What this worker does next: submit a round's checkpoint, or ask for its mirror; ``None`` to end."""
        with self._condition:
            while not self._stopping:
                now = time.monotonic()
                self._turn()
                turn, dues = self._rounds[-1], [turn_end(self._rounds[-1], now)]
                if worker.done < turn.number:
                    if worker.asking.due <= now:
                        return turn
                    dues.append(worker.asking.due)
                if self._behind(worker):
                    if worker.mirroring.due <= now and self._newest is not None:
                        return self._newest.checkpoint
                    dues.append(worker.mirroring.due)
                self._condition.wait(None if (due := min(dues)) == float("inf") else max(0.0, due - now))
            return None

    def _behind(self, worker: _Worker) -> bool:
        """Whether the mirror has not said yet that it holds what it cosigned as a witness."""
        known = -1 if worker.ack is None else worker.ack.size
        return worker.peer.mirror_key is not None and worker.done > 0 and known < worker.size

    def _ask(self, at: int, worker: _Worker, client: WitnessClient, turn: _Round) -> None:
        checkpoint = turn.published.checkpoint
        try:
            line, cosignature = client.cosign(checkpoint, turn.published.note)
        except Exception as error:  # whatever a witness does, this thread lives on and asks again
            self._note_failure(worker, error)
            with self._condition:
                worker.failed = turn.number
                worker.asking.failed(time.monotonic())
                self._turn()
            return
        with self._condition:
            worker.done = turn.number
            worker.asking.reset()
            worker.mirroring.reset(time.monotonic() + FIRST_PAUSE_S / 4)
            worker.size, worker.time_s, worker.last_error = checkpoint.size, cosignature.time_s, None
            turn.lines[at] = line
            turn.met = self._note(turn) is not None
            self._turn()
        if turn.met:
            self._save(turn)

    def _ask_mirror(self, worker: _Worker, client: WitnessClient, head: Checkpoint) -> None:
        try:
            ack = client.mirrored(head)
        except Exception as error:  # as above
            self._note_failure(worker, error)
            ack = None
        with self._condition:
            if ack is not None and (worker.ack is None or ack.size > worker.ack.size):
                worker.ack = ack
                worker.mirroring.reset()
            else:
                worker.mirroring.failed(time.monotonic())

    def _note_failure(self, worker: _Worker, error: Exception) -> None:
        reason = str(error) if isinstance(error, WitnessRefused) else f"{type(error).__name__}: {error}"
        if reason != worker.last_error:
            _logger.warning("witness %s (%s): %s", worker.peer.key.name, worker.peer.url, reason)
        worker.last_error = reason

    def _turn(self) -> None:
        """Begin the next round if it is due. The caller holds the lock."""
        newest, now = self._newest, time.monotonic()
        if newest is None:
            return
        if self._rounds:
            last = self._rounds[-1]
            if newest.checkpoint.size <= last.published.checkpoint.size:
                return
            settled = all(last.number in (worker.done, worker.failed) for worker in self._workers)
            if not (last.met or settled or now >= last.since + ROUND_S):
                return
        number = self._rounds[-1].number + 1 if self._rounds else 1
        self._rounds = [*self._rounds[-KEPT_ROUNDS:], _Round(newest, number, now)]
        self._condition.notify_all()

    def _note(self, turn: _Round) -> bytes | None:
        """The round's checkpoint with its cosignatures, if they are enough. The caller holds the lock."""
        note = parse_note(turn.published.note)
        lines = tuple(turn.lines[at] for at in sorted(turn.lines))
        note = Note(note.text, note.signatures + lines)
        return note.encode() if enough(note, self.witnesses) else None

    def _save(self, turn: _Round) -> None:
        with self._saving:
            with self._condition:
                note = self._note(turn)  # here, so that nobody's later line is overwritten
            checkpoint, kept = turn.published.checkpoint, self.cosigned
            if note is None or self._stopping or (kept and kept.checkpoint.size > checkpoint.size):
                return
            try:
                self._kept.save(note)
                self.cosigned = Published(checkpoint, note)
                self._on_cosigned(checkpoint, note)
            except (OSError, LogError) as error:
                _logger.warning("cannot keep the cosigned checkpoint: %s", error)


def enough(note: Note, witnesses: WitnessSet) -> bool:
    """Whether a checkpoint that the log signed has the cosignatures that ``witnesses`` ask for.

    Raises ``VerificationError`` when one of theirs does not verify.
    """
    found = verify_cosignatures(note, [peer.key for peer in witnesses.peers], witnesses.policy)
    # A policy may ask for nobody; a checkpoint that nobody cosigned is still not a cosigned one.
    return bool(found.quorum and found.cosignatures)


def turn_end(turn: _Round, now: float) -> float:
    """When a worker should look again whether the round is over, in monotonic seconds."""
    end = turn.since + ROUND_S
    return end if end > now else float("inf")

"""One of several processes that share a log: leads or follows, and changes from one to the other by itself.

All of them sequence; one integrates. Its steps, several times a second:

1. Look at the row (``storage.published``): who leads, what was signed last, how far the entries reach.
2. As leader, renew the lease. If that is not possible in time the tenure ends, and with it the integrator.
3. As follower, take over the checkpoint, after it was verified and remembered. One that is smaller than what was seen
   before, or another of the same size, or fewer entries than are known: the database was restored, or it forked. Stop.
4. As follower, take the lease if it is over: recover (``Publisher``), then integrate (``Integrator``).

Between two looks processes wake each other (``storage.listen``): ``published``, ``note``, ``free``, ``grown SIZE`` and
``hurry SIZE``, the last two meant for the leader. A word that is lost costs half a second, nothing else, and none is
believed: any role of the database could say it.

To its owner it is what an ``Integrator`` is to a log that one process has open.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from sovereign_ext.errors import LogCorrupt, VerificationError
from sovereign_ext.storage.listen import Listener
from sovereign_ext.storage.published import CHANNEL, PublishedStore, Standing
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint
from sovereign_ext.tlog.hashing import EMPTY_ROOT
from sovereign_ext.tlog.integrator import Integrator, Published
from sovereign_ext.tlog.note import Signer
from sovereign_ext.tlog.proof import tree_root
from sovereign_ext.tlog.publisher import LeafSource, Publisher
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.sharedwitnessing import SharedWitnessing
from sovereign_ext.tlog.tenure import Memory, SharedNotes, Tenure
from sovereign_ext.tlog.tilestore import TileStore

LEASE_S: Final = 3.0
"""How long a leader that was killed keeps others from taking over."""

MARGIN: Final = 0.2
"""The part of a lease that a leader gives away: it stops that much earlier than another one may begin."""

LOOK_S: Final = 0.4
"""Longest time between two looks."""

LEAST_S: Final = 0.01
"""Shortest time between two looks, however often one is woken."""

COMPARE_S: Final = 10.0
"""How often a follower proves to itself that the log extends what it saw before."""

BEHIND_S: Final = 10.0
"""Entries that no checkpoint covers after this long are worth telling of."""

LEADER: Final = "leader"
FOLLOWER: Final = "follower"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shared:
    """What a replica works with. ``holder`` names this life of this process."""

    engine: Engine
    store: PublishedStore
    source: LeafSource
    tiles: TileStore
    memory: Memory
    signer: Signer
    holder: str
    lease_s: float = LEASE_S


@dataclass(frozen=True, slots=True)
class _Term:
    tenure: Tenure
    publisher: Publisher
    integrator: Integrator


class Replica:
    """See the module. ``on_published(published)`` and ``on_corrupt(reason)`` are called on threads of its own."""

    def __init__(
        self,
        shared: Shared,
        *,
        interval_s: float,
        now_ms: Callable[[], int],
        on_published: Callable[[Published], None],
        on_corrupt: Callable[[str], None],
    ) -> None:
        self._shared = shared
        self._store = shared.store
        self._interval_s = interval_s
        self._on_published = on_published
        self._on_corrupt = on_corrupt
        self._reader = LogReader(shared.tiles)
        self._condition = threading.Condition()
        self._woken = False
        self._stopping = False
        self._told = 0  # size that the leader was last told of
        self._hurried = 0
        self._hurry_told = 0
        self._compared = Published(Checkpoint(shared.signer.verifier.name, 0, EMPTY_ROOT), b"")
        self._compared_at = float("-inf")
        self._covered_at = time.monotonic()
        self._term: _Term | None = None
        self._leading = False  # the tenure's first checkpoint is there
        self._thread = threading.Thread(target=self._run, name="log-replica", daemon=True)
        self._listener = Listener(shared.engine, CHANNEL, self._heard)
        self._error: str | None = None
        self._corrupt: str | None = None
        self.witnessing = SharedWitnessing(
            shared.store, shared.signer.verifier, self._reader, now_ms=now_ms, news=self._wake
        )
        self.head = 0
        self.leader = ""
        self._signed = 0
        self.published = self._compared

    @property
    def role(self) -> str:
        """``leader`` or ``follower``."""
        return LEADER if self._leading else FOLLOWER

    @property
    def last_error(self) -> str | None:
        """Why nothing is published, or nothing learnt of it, if that is so."""
        term = self._term
        error = self._error or (None if term is None else term.integrator.last_error)
        if error is not None:
            return error
        if time.monotonic() - self._covered_at > BEHIND_S and self.head > self.published.checkpoint.size:
            return f"no checkpoint for {BEHIND_S:g} s; the last leader was {self.leader or 'nobody'}"
        return None

    def start(self, size: int) -> None:
        """Begin to follow; ``size`` entries are sequenced already. Blocks.

        Raises ``LogCorrupt`` when the database contradicts what is remembered, its errors, ``OSError``.
        """
        self.head = max(self.head, size)
        standing = self._look()
        self.published = Published(self._open(standing.note), standing.note)
        self._remember(standing)
        self._thread.start()
        self._listener.start()

    def notify(self, size: int) -> None:
        """``size`` entries are sequenced now. May be called from any thread."""
        self.head = max(self.head, size)
        term = self._term
        if term is not None:
            term.integrator.notify(size)
        elif self._told <= self.published.checkpoint.size:  # otherwise the leader knows that it is behind
            self._wake()

    def hurry(self, size: int) -> None:
        """Somebody waits for a checkpoint that covers ``size`` entries. May be called from any thread."""
        self._hurried = max(self._hurried, size)
        term = self._term
        if term is not None:
            term.integrator.hurry(size)
        else:
            self._wake()

    def close(self) -> None:
        """Publish what is sequenced, if this is the leader, give the lease back, end the threads. Blocks."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.ident is not None:  # it was started
            self._thread.join()
        self._listener.close()
        self.witnessing.close()

    # -- waking ------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._condition:
            self._woken = True
            self._condition.notify()

    def _heard(self, word: str) -> None:
        what, _, size = word.partition(" ")
        if what in ("grown", "hurry"):
            if self._term is not None:
                if what == "hurry" and size.isdecimal():
                    self._hurried = max(self._hurried, int(size))
                self._wake()
        elif self._term is None:  # all else is said by the leader
            self._wake()

    def _wait(self, since: float, pause_s: float) -> bool:
        """Until there may be something to do; false when there is nothing more."""
        with self._condition:
            due = since + pause_s
            while not self._stopping and (left := due - time.monotonic()) > 0 and not self._woken:
                self._condition.wait(left)
            while not self._stopping and (left := since + LEAST_S - time.monotonic()) > 0:
                self._condition.wait(left)
            self._woken = False
            return not self._stopping

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = 0.0
        since = time.monotonic()
        while self._wait(since, pause_s):
            since = time.monotonic()
            try:
                pause_s = self._step()
                self._error = None
            except LogCorrupt as error:
                self._fail(str(error))
                return
            except Exception as error:  # the database is away, a disk is full: look again
                pause_s = LOOK_S
                self._error = f"{type(error).__name__}: {error}"
            if self._term is not None and not self._term.tenure.lasts:
                self._step_down("the lease ran out")
        self._resign("this process ends")

    def _step(self) -> float:
        """One look and what follows from it; gives the seconds until the next."""
        self._renew()
        standing = self._look()
        if self.head <= self.published.checkpoint.size:
            self._covered_at = time.monotonic()
        if self._term is None:
            self._take(standing)
            self.witnessing.learn(self._store.notes())
            if standing.left_ms == 0:
                self._stand()
            else:
                self._tell()
                return min(LOOK_S, standing.left_ms / 1000)
        else:
            self._lead(self._term, standing)
        return LOOK_S

    def _look(self) -> Standing:
        signed, known = self._signed, self.head  # both were durable before the database is asked
        standing = self._store.standing()
        if standing is None:
            raise LogCorrupt("the database does not hold this log any more")
        if standing.size < signed:
            raise LogCorrupt(
                f"size {signed} was signed, the database says {standing.size}: was it restored from a backup?"
            )
        if standing.head < max(known, signed):
            raise LogCorrupt(
                f"the database holds {standing.head} entries, {max(known, signed)} were there: "
                "was it restored from a backup?"
            )
        self.leader = standing.holder
        self.head = max(self.head, standing.head)
        return standing

    # -- as follower -------------------------------------------------------------------------------------------

    def _take(self, standing: Standing) -> None:
        mine = self.published
        if standing.note == mine.note:
            self._compare()
            return
        checkpoint = self._open(standing.note)
        if checkpoint.size == mine.checkpoint.size and checkpoint != mine.checkpoint:
            raise LogCorrupt(f"two checkpoints of size {checkpoint.size} were signed")
        self._shared.memory.keep(standing.note, checkpoint.size)
        self._publish(Published(checkpoint, standing.note))
        self._compare()

    def _publish(self, published: Published) -> None:
        self.published = published
        self._signed = published.checkpoint.size
        self._covered_at = time.monotonic()
        self.witnessing.notice(published)
        self._on_published(published)

    def _compare(self) -> None:
        """Does the log extend what was compared last? Reads tiles, so not every time."""
        old, new = self._compared, self.published
        if new.note == old.note or time.monotonic() - self._compared_at < COMPARE_S:
            return
        self._compared_at = time.monotonic()
        try:
            root = tree_root(old.checkpoint.size, self._reader.nodes(new.checkpoint.size))
        except LogCorrupt as error:  # tiles can be lost; the leader makes them again
            _log.warning("cannot compare checkpoints: %s", error)
            return
        if old.note and root != old.checkpoint.root:
            raise LogCorrupt(
                f"the tree of size {new.checkpoint.size} does not extend the one of size {old.checkpoint.size}"
            )
        self._compared = new

    def _remember(self, standing: Standing) -> None:
        """At start: what was remembered must be a part of what the database says."""
        note = self._shared.memory.load()
        if note is not None:
            seen = self._open(note)
            self._signed = seen.size
            self._look()
            self._compared = Published(seen, note)
            if seen.size == standing.size and seen != self.published.checkpoint:
                raise LogCorrupt(f"two checkpoints of size {seen.size} were signed")
            self._compare()
        self._shared.memory.keep(standing.note, standing.size)

    def _tell(self) -> None:
        """Let the leader know that entries wait, or somebody for them."""
        covered = self.published.checkpoint.size
        if self._hurried > max(covered, self._hurry_told):
            self._hurry_told = self._told = self._hurried
            self._store.tell(f"hurry {self._hurried}")
        elif self.head > covered and self._told <= covered:
            self._told = self.head
            self._store.tell(f"grown {self.head}")

    # -- from one to the other ---------------------------------------------------------------------------------

    def _stand(self) -> None:
        began = time.monotonic()
        token = self._store.acquire(self._shared.holder, int(self._shared.lease_s * 1000))
        if token is None:
            return
        shared = self._shared
        tenure = Tenure(token, began + shared.lease_s * (1 - MARGIN))
        notes = SharedNotes(shared.store, shared.memory, tenure)
        publisher = Publisher(shared.source, shared.tiles, notes, shared.signer)
        integrator = Integrator(
            publisher,
            interval_s=self._interval_s,
            on_published=self._integrated,
            on_corrupt=self._corrupted,
            on_lost=self._wake,
            recovered=False,
        )
        self._term = _Term(tenure, publisher, integrator)
        _log.info("integrates the log from now on, under token %d", token)
        integrator.start(self.head)
        integrator.hurry(self._hurried)

    def _integrated(self, published: Published) -> None:
        """On the integrator's thread."""
        new = published.checkpoint.size > self.published.checkpoint.size
        if new:
            self._publish(published)
        if not self._leading:
            self._wake()
        if new:
            try:
                self._store.tell("published")
            except Exception as error:
                _log.debug("the others were not told: %s", type(error).__name__)

    def _corrupted(self, reason: str) -> None:
        self._corrupt = reason
        self._wake()

    def _renew(self) -> None:
        if self._corrupt is not None:
            raise LogCorrupt(self._corrupt)
        term = self._term
        if term is None:
            return
        if not term.integrator.alive:
            self._step_down(term.integrator.last_error or "the integrator ended")
            return
        began = time.monotonic()
        if self._store.renew(term.tenure.token, int(self._shared.lease_s * 1000)):
            term.tenure.extend(began + self._shared.lease_s * (1 - MARGIN))
        else:
            self._step_down("another process integrates the log, or the lease ran out")

    def _lead(self, term: _Term, standing: Standing) -> None:
        term.integrator.notify(standing.head)
        self._hurried = min(self._hurried, standing.head)
        if self._hurried > standing.size:
            term.integrator.hurry(self._hurried)
        if not term.integrator.recovered:
            return
        if not self._leading:
            self.witnessing.lead(term.tenure, term.publisher, self.published)
            self._leading = True
        term.publisher.keep_shown(standing.shown, standing.size)
        self.witnessing.tend()

    def _step_down(self, reason: str) -> None:
        term, self._term, self._leading = self._term, None, False
        if term is not None:
            term.tenure.end()
            self.witnessing.step_down()
            term.integrator.close()
            _log.warning("does not integrate the log any more: %s", reason)

    def _resign(self, reason: str) -> None:
        """Publish what there is, then let another one lead."""
        term = self._term
        if term is None:
            return
        term.integrator.close()
        self._step_down(reason)
        try:
            self._store.release(term.tenure.token)
            self._store.tell("free")
        except Exception as error:
            _log.warning("the lease was not given back: %s", type(error).__name__)

    def _fail(self, reason: str) -> None:
        self._error = reason
        self._on_corrupt(reason)
        if self._term is not None:
            self._term.tenure.end()  # nothing more is signed
        self._resign(reason)

    def _open(self, note: bytes) -> Checkpoint:
        verifier = self._shared.signer.verifier
        try:
            return open_checkpoint(note, verifier.name, [verifier])[0]
        except VerificationError as error:
            raise LogCorrupt(f"a checkpoint does not belong to this log and key: {error}") from None

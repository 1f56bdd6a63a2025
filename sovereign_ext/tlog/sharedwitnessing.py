"""Witnesses of a log that several processes share: the leader asks them, the others show what it learnt.

The leader runs ``witnessing`` and writes down what changes: the cosigned checkpoint before it is used, acknowledgements
of mirrors and how it goes with each witness soon after. The others read those notes and verify what they say by the
keys of their own configuration. ``cosigned``, ``acks`` and ``statuses`` cost no IO, whoever is asked.
"""

from __future__ import annotations

import logging
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from sovereign_ext.errors import LeaseLost, VerificationError
from sovereign_ext.storage.published import PublishedStore
from sovereign_ext.tlog.checkpoint import open_checkpoint
from sovereign_ext.tlog.cosignature import MirrorAck, verify_ack
from sovereign_ext.tlog.integrator import Published
from sovereign_ext.tlog.note import Verifier
from sovereign_ext.tlog.publisher import Publisher
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.tenure import SharedCosigned, Tenure
from sovereign_ext.tlog.witnesses import WitnessPeer, WitnessSet, WitnessStatus
from sovereign_ext.tlog.witnessing import COSIGNED, Witnessing, enough

STATE: Final = "witnesses"
"""Name of the note that says how it goes with the witnesses."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What the leader's notes said, verified."""

    cosigned: Published | None = None
    acks: tuple[MirrorAck, ...] = ()
    statuses: tuple[WitnessStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class _Term:
    tenure: Tenure
    publisher: Publisher


class SharedWitnessing:
    """The witnesses of one process's view. Any thread may call it.

    ``news()`` is called, on a witness's thread, when there may be something to ``tend``.
    """

    def __init__(
        self,
        store: PublishedStore,
        log: Verifier,
        reader: LogReader,
        *,
        now_ms: Callable[[], int],
        news: Callable[[], None],
    ) -> None:
        self._store = store
        self._log = log
        self._reader = reader
        self._now_ms = now_ms
        self._news = news
        self._changing = threading.Lock()
        self._term: _Term | None = None
        self._asking: Witnessing | None = None
        self._newest: Published | None = None
        self._notes: dict[str, bytes] = {}
        self._learnt = _Learnt()
        self.witnesses: WitnessSet | None = None

    @property
    def cosigned(self) -> Published | None:
        """The newest checkpoint known to have the quorum."""
        asking = self._asking
        return self._learnt.cosigned if asking is None else asking.cosigned

    def acks(self) -> tuple[MirrorAck, ...]:
        """What each mirror last said it holds."""
        asking = self._asking
        if asking is None:
            return self._learnt.acks
        # A new leader has asked nobody yet: what the one before learnt still stands.
        now = {ack.name: ack for ack in self._learnt.acks} | {ack.name: ack for ack in asking.acks()}
        return tuple(now.values())

    def statuses(self) -> tuple[WitnessStatus, ...]:
        """How it goes with each witness, in the order of the settings."""
        asking = self._asking
        return self._learnt.statuses if asking is None else asking.statuses()

    def follow(self, witnesses: WitnessSet | None) -> None:
        """Have checkpoints cosigned by ``witnesses`` from now on. Raises ``LogCorrupt``, ``LogError``, ``OSError``."""
        with self._changing:
            self._stop()
            self.witnesses = witnesses
            self._learn()
            self._ask()

    def lead(self, tenure: Tenure, publisher: Publisher, newest: Published) -> None:
        """Ask the witnesses from now on. Raises as ``follow``."""
        with self._changing:
            self._term, self._newest = _Term(tenure, publisher), newest
            self._ask()

    def step_down(self) -> None:
        """Ask them no more."""
        with self._changing:
            self._term = None
            self._stop()

    def notice(self, published: Published) -> None:
        """A checkpoint was published. Does not wait."""
        self._newest = published
        if (asking := self._asking) is not None:
            asking.notice(published)

    def learn(self, notes: dict[str, bytes]) -> None:
        """What the notes say now."""
        if notes != self._notes:
            with self._changing:
                self._notes = notes
                self._learn()

    def tend(self) -> None:
        """Write down how it goes, if that has changed. Raises the database's errors."""
        asking, term = self._asking, self._term
        if asking is None or term is None:
            return
        said = {
            "statuses": [asdict(status) for status in asking.statuses()],
            "acks": [{"name": ack.name, "note": b64encode(ack.note).decode()} for ack in self.acks()],
        }
        body = msgspec.json.encode(said)
        if body != self._notes.get(STATE) and self._store.put_note(
            term.tenure.token, STATE, body, self._now_ms()
        ):
            self._notes = {**self._notes, STATE: body}
            self._store.tell("note")

    def close(self) -> None:
        """Ask no more, and write nothing after the return."""
        self.step_down()

    def _ask(self) -> None:
        term, newest = self._term, self._newest
        if self.witnesses is None or term is None or newest is None or self._asking is not None:
            return
        asking = Witnessing(
            self.witnesses,
            self._log,
            self._reader,
            SharedCosigned(self._store, term.tenure, COSIGNED),
            now_s=lambda: self._now_ms() // 1000,
            on_cosigned=lambda checkpoint, note: self._cosigned(term, Published(checkpoint, note)),
        )
        try:
            asking.start(newest)
        except LeaseLost:
            return
        self._asking = asking
        asking.notice(self._newest or newest)

    def _stop(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.close()
            self._learnt = _Learnt(asking.cosigned, self._learnt.acks, asking.statuses())

    def _cosigned(self, term: _Term, cosigned: Published) -> None:
        term.publisher.attach(cosigned.checkpoint, cosigned.note)
        self._news()

    def _learn(self) -> None:
        witnesses = self.witnesses
        if witnesses is None:
            self._learnt = _Learnt()
            return
        said = _read(self._notes.get(STATE))
        peers = {peer.mirror_key.name: peer for peer in witnesses.peers if peer.mirror_key is not None}
        urls = {peer.url for peer in witnesses.peers}
        acks = [self._ack(peers[name], note) for name, note in said.acks if name in peers]
        self._learnt = _Learnt(
            self._read_cosigned(witnesses),
            tuple(ack for ack in acks if ack is not None),
            tuple(status for status in said.statuses if status.url in urls),
        )

    def _read_cosigned(self, witnesses: WitnessSet) -> Published | None:
        note = self._notes.get(COSIGNED)
        if note is None:
            return None
        try:
            checkpoint, opened = open_checkpoint(note, self._log.name, [self._log])
            return Published(checkpoint, note) if enough(opened, witnesses) else None
        except VerificationError as error:
            _log.warning("the leader's cosigned checkpoint is not used: %s", error)
            return None

    def _ack(self, peer: WitnessPeer, note: bytes) -> MirrorAck | None:
        assert peer.mirror_key is not None
        try:
            return verify_ack(note, self._log, peer.mirror_key)[1]
        except VerificationError as error:
            _log.warning("what the leader says of mirror %s is not used: %s", peer.mirror_key.name, error)
            return None


@dataclass(frozen=True, slots=True)
class _Said:
    statuses: tuple[WitnessStatus, ...] = ()
    acks: tuple[tuple[str, bytes], ...] = ()


def _read(body: bytes | None) -> _Said:
    if body is None:
        return _Said()
    try:
        said: dict[str, Any] = msgspec.json.decode(body)
        return _Said(
            tuple(WitnessStatus(**status) for status in said["statuses"]),
            tuple((ack["name"], b64decode(ack["note"], validate=True)) for ack in said["acks"]),
        )
    except (ValueError, KeyError, TypeError) as error:  # another release's
        _log.warning("what the leader says of the witnesses cannot be read: %s", type(error).__name__)
        return _Said()

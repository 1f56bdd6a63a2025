"""The transparency log as the gateway uses it: open, append, receipt, close.

Wires the sequencer (indices), what publishes (tiles, checkpoints), the keys and the signing of entries together.
One process has a log open (``state``: SQLite and files), or several share one (``shared``: a database, common tiles).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.attest import dsse
from sovereign_ext.attest.anchors import Anchor, AnchorRecord
from sovereign_ext.attest.documents import referenced
from sovereign_ext.attest.entry import EntrySealer
from sovereign_ext.attest.facts import Digests
from sovereign_ext.attest.keyevents import created, event_id
from sovereign_ext.attest.keys import key_hint
from sovereign_ext.attest.promise import Promise
from sovereign_ext.attest.receipt import ReceiptParts, build_receipt
from sovereign_ext.attest.rekor import Artefact
from sovereign_ext.attest.statement import key_event_statement, opening
from sovereign_ext.errors import EntryNotFound, EntryPending, LogConflict, LogCorrupt, LogUnavailable
from sovereign_ext.storage.audit import AuditStore
from sovereign_ext.storage.documents import Document
from sovereign_ext.storage.entries import Row, StoredRow
from sovereign_ext.storage.findings import FindingRow, FindingStore
from sovereign_ext.storage.resources import ResourceStore, Write
from sovereign_ext.storage.usage import UsageRow, UsageStore
from sovereign_ext.storage.webhooks import WebhookStore
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.cosignature import MirrorAck
from sovereign_ext.tlog.files import read_file, write_files
from sovereign_ext.tlog.integrator import Integrator, Published
from sovereign_ext.tlog.note import valid_name
from sovereign_ext.tlog.proof import NodeReader, consistency_proof, inclusion_proof
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.replica import LEADER, Replica
from sovereign_ext.tlog.sequencer import Sequencer
from sovereign_ext.tlog.shared import OpenedShared, SharedLog, open_shared
from sovereign_ext.tlog.sharedwitnessing import SharedWitnessing
from sovereign_ext.tlog.state import LogPaths, OpenedState, open_state
from sovereign_ext.tlog.witnesses import POLICY_FILE, WitnessSet, WitnessStatus
from sovereign_ext.tlog.witnessing import CosignedFile, Witnessing

__all__ = [
    "EntryDraft",
    "LogPaths",
    "LogStatus",
    "MirrorAck",
    "Published",
    "Sequenced",
    "SharedLog",
    "TransparencyLog",
    "WitnessSet",
    "WitnessStatus",
]

PUBLISH_INTERVAL_S = 0.5
KEY_EVENT_KIND = "key-event"
SOLE = "sole"


class EntryDraft(msgspec.Struct, frozen=True):
    """An entry to be. ``statement`` is in-toto JSON, ``opening`` the JSON that opens its commitments. A
    ``decision_id`` is used once per ``kind``; ``tenant`` owns the receipt. ``usage`` and ``findings`` are written down
    together with the entry."""

    kind: str
    tenant: str
    decision_id: str
    statement: bytes
    opening: bytes
    usage: UsageRow | None = None
    findings: tuple[FindingRow, ...] = ()


class Sequenced(msgspec.Struct, frozen=True):
    """A durable entry. ``time_ms`` is Unix milliseconds, ``promise`` a 64-byte signature
    (``attest.promise``)."""

    index: int
    leaf_hash: bytes
    time_ms: int
    promise: bytes


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How the log is. ``size`` entries are durable, ``published_size`` of them covered by the published
    checkpoint. Unhealthy means that the last commit or the last publication failed; ``last_error`` says
    how. ``role`` is ``sole`` where one process has the log, else ``leader`` or ``follower``, and ``leader`` names the
    process that integrates."""

    size: int
    published_size: int
    healthy: bool
    last_error: str | None
    role: str = SOLE
    leader: str = ""


class TransparencyLog:
    """An open log. Made by ``open``; belongs to one event loop."""

    def __init__(
        self,
        opened: OpenedState | OpenedShared,
        origin: str,
        clock: Callable[[], int],
        publish_interval_s: float,
    ) -> None:
        self._opened = opened
        self._clock = clock
        self._keys = opened.keys
        self._store = opened.store
        self._documents = opened.documents
        self._sealer = EntrySealer(
            opened.keys.envelope, opened.public.envelope, key_hint(opened.public.envelope)
        )
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Future[Published], int] = {}
        self._corrupt: str | None = None
        self._over: str | None = None  # why no further checkpoint will come
        self._size = opened.size
        self._witnessing: Witnessing | SharedWitnessing | None = None
        self._observers: list[Callable[[Published], None]] = []
        self._followers: list[Callable[[], None]] = []
        self._anchored: Callable[[int], Sequence[AnchorRecord]] = lambda _: ()
        self.origin = origin
        self.log_id = opened.public.log.log_id
        self.public_keys = opened.public
        self.reader = LogReader(opened.tiles)
        self.resources = ResourceStore(opened.store.engine)
        self.usage = UsageStore(opened.store.engine)
        self.audit = AuditStore(opened.store.engine)
        self.findings = FindingStore(opened.store.engine)
        self.webhooks = WebhookStore(opened.store.engine)
        self._integrator: Integrator | Replica = opened.integrate(
            publish_interval_s, clock, self._published, lambda reason: self._post(self._stop, reason)
        )
        if isinstance(self._integrator, Replica):
            self._witnessing = self._integrator.witnessing
        self._sequencer = Sequencer(opened.store, on_commit=self._committed, says_same=_says_same)

    @classmethod
    async def open(
        cls,
        state_dir: Path,
        origin: str,
        *,
        clock: Callable[[], int],
        checkpoint_dir: Path | None = None,
        publish_interval_s: float = PUBLISH_INTERVAL_S,
        witnesses: WitnessSet | None = None,
        shared: SharedLog | None = None,
    ) -> TransparencyLog:
        """Open the log in ``state_dir``, made if it is new. ``clock`` gives Unix milliseconds.

        ``checkpoint_dir`` is where the last signed checkpoint is kept; on storage that is not restored
        together with ``state_dir`` it lets the log notice every restored backup. ``witnesses`` are asked to
        cosign, see ``follow``. ``shared`` is what a log of several processes has in common; each of them has a
        ``state_dir`` of its own. Raises ``LogCorrupt`` when going on would fork the log, ``LogUnavailable`` when
        the state cannot be used or another process has it open.
        """
        if not valid_name(origin):
            raise LogCorrupt(f"{origin!r} cannot be the origin of a log")
        paths = LogPaths.of(state_dir, checkpoint_dir)
        opened: OpenedState | OpenedShared
        if shared is None:
            opened = await asyncio.to_thread(open_state, paths, origin)
        else:
            opened = await asyncio.to_thread(open_shared, paths, origin, shared)
        log = cls(opened, origin, clock, publish_interval_s)
        try:
            await asyncio.to_thread(log._integrator.start, opened.size)
            await log.follow(witnesses)
        except BaseException as error:
            await log.close()
            if isinstance(error, OSError | SQLAlchemyError):
                raise LogUnavailable(f"cannot open the log: {error}") from error
            raise
        return log

    async def follow(self, witnesses: WitnessSet | None) -> None:
        """Have checkpoints cosigned by ``witnesses`` from now on, instead of those before; ``None`` is nobody.

        Publishes the policy as ``public/tlog-policy``. Raises ``LogCorrupt`` when a cosigned checkpoint shows that
        this log was rolled back, ``LogUnavailable`` when files cannot be written.
        """
        before = self._witnessing
        if before is not None and before.witnesses == witnesses:
            return
        await asyncio.to_thread(self._follow, before, witnesses)

    async def append(self, draft: EntryDraft) -> Sequenced:
        """Sign ``draft`` and make it durable.

        Raises ``LogUnavailable`` when it is not known to be durable (repeating the same draft is then safe),
        ``LogConflict`` when its decision id was used for another statement.
        """
        return await self._sequence(draft, None)

    async def change(self, draft: EntryDraft, write: Write) -> Sequenced:
        """As ``append``, and ``write`` happens in the same transaction: both are durable or neither is.

        ``write`` runs on another thread. Raises also ``ResourceError`` as it does.
        """
        sequenced = await self._sequence(draft, write)
        for noticed in self._followers:
            noticed()
        return sequenced

    def on_change(self, noticed: Callable[[], None]) -> None:
        """Call ``noticed`` after every ``change`` made through this object, on its event loop."""
        self._followers.append(noticed)

    async def _sequence(self, draft: EntryDraft, write: Write | None) -> Sequenced:
        sealed = self._sealer.seal(draft.statement)
        row = Row(
            draft.kind,
            draft.tenant,
            draft.decision_id,
            self._clock(),
            sealed.body,
            sealed.leaf_hash,
            sealed.envelope,
            draft.opening,
            usage=draft.usage,
            findings=draft.findings,
        )
        placed = await self._sequencer.append(row, write)
        promise = self._promise(placed.index, placed.leaf_hash, placed.time_ms)
        return Sequenced(placed.index, placed.leaf_hash, placed.time_ms, promise)

    async def record_keys(self) -> None:
        """Write down the log's keys, each once: the first entries of a new log. Raises ``LogUnavailable``."""
        events = {
            (event_id(event), KEY_EVENT_KIND): event for event in created(self.public_keys, self._clock())
        }
        try:
            there = await asyncio.to_thread(self._store.find, tuple(events))
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot look for key events: {error.__class__.__name__}") from None
        for key, event in events.items():
            if key not in there:
                statement = key_event_statement(event)
                draft = EntryDraft(key[1], "", key[0], statement, opening(None, Digests()))
                # Another process of this log may write it down at this moment, by its own clock.
                with contextlib.suppress(LogConflict):
                    await self.append(draft)

    async def find(self, decision_id: str, kind: str) -> StoredRow | None:
        """The entry of that kind about a call, if there is one. Raises ``LogUnavailable``."""
        try:
            return (await asyncio.to_thread(self._store.find, ((decision_id, kind),))).get(
                (decision_id, kind)
            )
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot look for an entry: {error.__class__.__name__}") from None

    async def keep(self, documents: Iterable[Document]) -> None:
        """Make documents durable, so that entries may refer to them; those that are there already stay.

        To be awaited before the first entry that names one of them. Raises ``LogUnavailable``.
        """
        try:
            await asyncio.to_thread(self._documents.put_all, tuple(documents))
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot keep documents: {error.__class__.__name__}") from None

    async def receipt(self, index: int, tenant: str | None, timeout_s: float) -> dict[str, Any]:
        """The receipt of entry ``index``, once a checkpoint covers it.

        ``tenant`` must own the entry; ``None`` is an admin. Raises ``EntryNotFound`` (absent and foreign
        alike), ``EntryPending`` after ``timeout_s`` seconds without a checkpoint, and ``LogUnavailable`` when
        none will come any more. A cosigned checkpoint is preferred, but not waited for.
        """
        try:
            row = await asyncio.to_thread(self._store.get, index) if 0 <= index < 1 << 63 else None
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot read entry {index}: {error.__class__.__name__}") from None
        if row is None or (tenant is not None and row.tenant != tenant):
            raise EntryNotFound(f"there is no entry {index}")
        published = await self._covered(index, timeout_s)
        try:
            return await asyncio.to_thread(self._receipt, row, published)
        except SQLAlchemyError as error:
            reason = f"cannot read the documents of entry {index}: {error.__class__.__name__}"
            raise LogUnavailable(reason) from None
        except OSError as error:
            raise LogUnavailable(f"cannot read the tiles of entry {index}: {error}") from None

    def status(self) -> LogStatus:
        """Sizes and health, without touching disk or database."""
        error = self._corrupt or self._sequencer.last_error or self._integrator.last_error
        published = self._integrator.published.checkpoint.size
        size = max(self._size, published, self._integrator.head)
        if isinstance(self._integrator, Replica):
            role, leader = self._integrator.role, self._integrator.leader
            return LogStatus(size, published, error is None, error, role, leader)
        return LogStatus(size, published, error is None, error)

    @property
    def leads(self) -> bool:
        """Whether this process integrates the log, so that what is done once for all of them is done here."""
        return not isinstance(self._integrator, Replica) or self._integrator.role == LEADER

    def cosigned(self) -> tuple[Checkpoint, bytes] | None:
        """The newest checkpoint that reached the quorum of the witnesses, and its note with the cosignatures."""
        found = None if self._witnessing is None else self._witnessing.cosigned
        return None if found is None else (found.checkpoint, found.note)

    def acks(self) -> tuple[MirrorAck, ...]:
        """What each mirror last said, under its signature, that it holds. Cheap: no IO."""
        return () if self._witnessing is None else self._witnessing.acks()

    def witnesses(self) -> tuple[WitnessStatus, ...]:
        """How it goes with each witness. Cheap: no IO."""
        return () if self._witnessing is None else self._witnessing.statuses()

    def published(self) -> Published:
        """The published checkpoint as the log signed it. Cheap: no IO."""
        return self._integrator.published

    def observe(self, observer: Callable[[Published], None]) -> None:
        """Call ``observer`` with every checkpoint published from now on, on the integrator's thread: it must not
        wait, nor raise."""
        self._observers.append(observer)

    def artefact(self, data: bytes) -> Artefact:
        """``data``, signed with the envelope key as it is submitted to an external log."""
        signature = dsse.sign(self._keys.envelope, data)
        return Artefact(data, signature, self.public_keys.envelope)

    def anchored_by(self, covering: Callable[[int], Sequence[AnchorRecord]]) -> None:
        """Receipts show the anchors that ``covering(index)`` gives; it may read the database, and is called on any
        thread."""
        self._anchored = covering

    async def close(self) -> None:
        """Commit what is queued, publish it, let go of everything. Later appends raise ``LogUnavailable``."""
        await self._sequencer.close()
        await asyncio.to_thread(self._integrator.close)
        if self._witnessing is not None:
            await asyncio.to_thread(self._witnessing.close)
        await asyncio.to_thread(self._opened.close)
        self._abandon("the log is shut down")

    def _receipt(self, row: StoredRow, published: Published) -> dict[str, Any]:
        cosigned = None if self._witnessing is None else self._witnessing.cosigned
        covered = cosigned is not None and row.index < cosigned.checkpoint.size
        shown = cosigned if covered and cosigned is not None else published
        records = self._anchored(row.index)
        # Nodes of the newest tree: it has them all, and an older tree's partial tiles may be gone.
        size = max(self.published().checkpoint.size, shown.checkpoint.size)
        nodes = self.reader.nodes(size)
        path = inclusion_proof(row.index, shown.checkpoint.size, nodes)
        promise = self._promise(row.index, row.leaf_hash, row.time_ms)
        parts = ReceiptParts(row.index, row.time_ms, row.envelope, row.body, row.opening, promise)
        mirrors = [ack for ack in self.acks() if row.index < ack.size]
        return build_receipt(
            parts,
            shown.checkpoint,
            shown.note,
            path,
            self.public_keys,
            state="anchored" if records else "mirrored" if mirrors else "cosigned" if covered else "included",
            mirrors=mirrors,
            anchors=[_anchor(record, shown.checkpoint.size, nodes) for record in records],
            enclosed=self._documents.get_many(referenced(_predicate(row))),
        )

    def _follow(self, before: Witnessing | SharedWitnessing | None, witnesses: WitnessSet | None) -> None:
        if isinstance(before, Witnessing):
            before.close()
        paths = self._opened.paths
        try:
            policy = None if witnesses is None else witnesses.public_policy(self.public_keys.log)
            if policy is None:
                (paths.public / POLICY_FILE).unlink(missing_ok=True)
            elif read_file(paths.public / POLICY_FILE) != policy:
                write_files(paths.public, [(POLICY_FILE, policy)])
            if isinstance(before, SharedWitnessing):
                before.follow(witnesses)
            else:
                self._witnessing = None if witnesses is None else self._ask(witnesses)
        except OSError as error:
            raise LogUnavailable(f"cannot keep what witnesses say: {error}") from error

    def _ask(self, witnesses: WitnessSet) -> Witnessing:
        assert isinstance(self._opened, OpenedState)
        witnessing = Witnessing(
            witnesses,
            self.public_keys.log,
            self.reader,
            CosignedFile(self._opened.paths.signed),
            now_s=lambda: self._clock() // 1000,
            on_cosigned=self._opened.publisher.attach,
        )
        witnessing.start(self._integrator.published)
        self._witnessing = witnessing
        witnessing.notice(self._integrator.published)  # what came between start and here
        return witnessing

    def _published(self, published: Published) -> None:
        if isinstance(witnessing := self._witnessing, Witnessing):  # a replica tells its own
            witnessing.notice(published)
        for observer in self._observers:
            observer(published)
        self._post(self._wake, published)

    def _promise(self, index: int, leaf_hash: bytes, time_ms: int) -> bytes:
        return self._keys.promise.sign(Promise(self.origin, index, leaf_hash, time_ms).encode())

    async def _covered(self, index: int, timeout_s: float) -> Published:
        published = self._integrator.published
        if index < published.checkpoint.size:
            return published
        if self._over is not None:
            raise LogUnavailable(self._over)
        future: asyncio.Future[Published] = self._loop.create_future()
        self._waiting[future] = index
        self._integrator.hurry(index + 1)
        # The integrator may have published between the first look and the entry in the list.
        self._wake(self._integrator.published)
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise EntryPending(f"no checkpoint covers entry {index} yet") from None
        finally:
            self._waiting.pop(future, None)

    def _wake(self, published: Published) -> None:
        for future, index in self._waiting.items():
            if index < published.checkpoint.size and not future.done():
                future.set_result(published)

    def _stop(self, reason: str) -> None:
        self._corrupt = reason
        self._sequencer.refuse(f"the log is corrupt: {reason}")
        self._abandon("nothing more is published")

    def _abandon(self, reason: str) -> None:
        self._over = reason
        for future in self._waiting:
            if not future.done():
                future.set_exception(LogUnavailable(reason))

    def _committed(self, size: int) -> None:
        self._size = max(self._size, size)
        self._integrator.notify(size)

    def _post(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return  # the loop is closed, nobody waits any more


def _predicate(row: StoredRow) -> dict[str, Any]:
    statement = msgspec.json.decode(dsse.parse(row.envelope).payload)
    predicate = statement.get("predicate") if isinstance(statement, dict) else None
    return predicate if isinstance(predicate, dict) else {}


def _anchor(record: AnchorRecord, size: int, nodes: NodeReader) -> Anchor:
    """An anchor with the proof that connects its tree with the receipt's, of ``size`` leaves."""
    old, new = sorted((record.size, size))
    proof = consistency_proof(old, new, nodes)
    return Anchor(record.anchor, record.artefact, record.entry, tuple(proof))


def _says_same(row: Row, stored: StoredRow) -> bool:
    payload, stored_payload = dsse.parse(row.envelope).payload, dsse.parse(stored.envelope).payload
    return row.tenant == stored.tenant and payload == stored_payload

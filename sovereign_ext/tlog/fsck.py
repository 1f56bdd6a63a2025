"""Checks a whole log against itself: rows, signatures, tiles and checkpoints must all tell one tree.

Every fault is reported with the index, tile or file it is in; checking goes on so that one run shows them all
(at most ``MAX_FAULTS``). Reads only, and may run beside a live log: it judges the rows that the checkpoint
covers and the rows after it, and takes later growth for what it is. It cannot see that a log was replaced as
a whole together with its keys; for that, compare the printed root with one that somebody else has kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sovereign_ext.errors import LogCorrupt, VerificationError
from sovereign_ext.storage.entries import EntryStore, StoredRow
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint
from sovereign_ext.tlog.edge import Edge
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.note import Verifier
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.tiles import TILE_WIDTH, Tile, encode_bundle

MAX_FAULTS: Final = 50


class _TooManyFaultsError(Exception):
    pass


@dataclass(slots=True)
class FsckReport:
    """What was found. ``rows`` were read; ``size`` and ``root`` are of the tree that the checkpoint names,
    recomputed from the rows; ``root`` is ``None`` when they do not reach that far."""

    size: int = 0
    rows: int = 0
    root: bytes | None = None
    tiles: int = 0
    signatures: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Note a fault; ends the run when there are too many."""
        self.faults.append(text)
        if len(self.faults) >= MAX_FAULTS:
            raise _TooManyFaultsError


class Fsck:
    """One run over one log.

    ``signed`` reads the checkpoint that was signed last. ``verify_row`` raises ``VerificationError`` for a bad
    envelope; ``None`` skips that.
    """

    def __init__(
        self,
        store: EntryStore,
        reader: LogReader,
        signed: Callable[[], bytes | None],
        verifier: Verifier,
        verify_row: Callable[[StoredRow], None] | None,
    ) -> None:
        self._store = store
        self._reader = reader
        self._signed = signed
        self._verifier = verifier
        self._verify_row = verify_row
        self._edge = Edge()
        self._bundle: list[bytes] = []
        self._report = FsckReport()

    def run(self) -> FsckReport:
        """Check everything. Raises the database's errors only."""
        try:
            # The checkpoint first: whatever it covers must be there already, later rows do not matter.
            published, signed = self._checkpoints()
            covering = published or signed
            self._report.size = covering.size if covering else 0
            self._rows(published, signed)
        except _TooManyFaultsError:
            self._report.faults.append("too many faults, stopped here")
        return self._report

    def _checkpoints(self) -> tuple[Checkpoint | None, Checkpoint | None]:
        # In this order: a live log signs before it publishes, so what is read second cannot be the older one.
        published = self._open(self._reader.checkpoint(), "published")
        signed = self._open(self._signed(), "signed")
        if published and signed and published.size > signed.size:
            self._report.fault(f"size {published.size} was published, only size {signed.size} was signed")
        return published, signed

    def _open(self, note: bytes | None, which: str) -> Checkpoint | None:
        if note is None:
            self._report.fault(f"the {which} checkpoint is missing")
            return None
        try:
            return open_checkpoint(note, self._verifier.name, [self._verifier])[0]
        except VerificationError as error:
            self._report.fault(f"the {which} checkpoint: {error}")
            return None

    def _rows(self, published: Checkpoint | None, signed: Checkpoint | None) -> None:
        heads = [checkpoint for checkpoint in (published, signed) if checkpoint is not None]
        head = self._store.size()
        self._compare(heads)
        expected = 0
        for row in self._stored(head):
            if row.index != expected:
                self._report.fault(f"entry {expected} is missing")
                # The tree cannot be continued over a gap: the remaining rows are checked one by one only.
                self._remaining(row.index, head)
                return
            self._row(row)
            self._grow(row, self._report.size)
            self._compare(heads)
            expected += 1
        if expected < head:
            self._report.fault(f"entry {expected} is missing, the head says {head} entries")
        now, last = self._store.extent()
        if last is not None and last >= now:
            self._report.fault(f"entry {last} lies beyond the head, which says {now} entries")
        covered = max((checkpoint.size for checkpoint in heads), default=0)
        if covered > expected:
            self._report.fault(f"entry {expected} is missing, size {covered} was signed")

    def _stored(self, head: int, start: int = 0) -> Iterator[StoredRow]:
        for at in range(start, head, TILE_WIDTH):
            yield from self._store.rows(at, min(head, at + TILE_WIDTH))

    def _remaining(self, start: int, head: int) -> None:
        for row in self._stored(head, start):
            self._row(row)

    def _row(self, row: StoredRow) -> None:
        self._report.rows += 1
        if leaf_hash(row.body) != row.leaf_hash:
            self._report.fault(f"entry {row.index}: the leaf does not have the stored leaf hash")
        if self._verify_row is not None:
            self._report.signatures += 1
            try:
                self._verify_row(row)
            except VerificationError as error:
                self._report.fault(f"entry {row.index}: {error}")

    def _grow(self, row: StoredRow, covered: int) -> None:
        """Add the row to the tree; compare the tiles it completes, and the partial ones at the checkpoint."""
        inside = row.index < covered
        self._bundle.append(row.body)
        if len(self._bundle) == TILE_WIDTH:
            self._tile(Tile(None, row.index // TILE_WIDTH), encode_bundle(self._bundle), inside)
            self._bundle = []
        for tile, data in self._edge.append(leaf_hash(row.body)):
            self._tile(tile, data, inside)
        if self._edge.size == covered:
            for tile, data in self._edge.partial_tiles():
                self._tile(tile, data, inside)
            if self._bundle:
                tile = Tile(None, row.index // TILE_WIDTH, len(self._bundle))
                self._tile(tile, encode_bundle(self._bundle), inside)

    def _tile(self, tile: Tile, expected: bytes, inside: bool) -> None:
        if not inside:
            return
        self._report.tiles += 1
        start = tile.index * TILE_WIDTH << 8 * (tile.level or 0)
        try:
            if self._reader.tile(tile) != expected:
                self._report.fault(f"{tile.path} does not hold the entries from {start} on")
        except LogCorrupt as error:
            self._report.fault(f"{error} (entries from {start} on)")

    def _compare(self, heads: list[Checkpoint]) -> None:
        """Compare the tree as far as it has grown with the checkpoints of that size."""
        for checkpoint in heads:
            if checkpoint.size != self._edge.size:
                continue
            root = self._edge.root()
            if checkpoint.size == self._report.size:
                self._report.root = root
            if root != checkpoint.root:
                self._report.fault(
                    f"the first {checkpoint.size} entries have root {root.hex()}, "
                    f"the checkpoint of that size says {checkpoint.root.hex()}"
                )

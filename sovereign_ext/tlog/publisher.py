"""Turns committed rows into tiles and signed checkpoints, one step at a time, and takes up where it left off.

Order of one ``publish`` step, each durable before the next begins:

1. tiles and entry bundles of the new rows,
2. the signed checkpoint, kept apart from the data, replaced only if it is still the one we signed last,
3. the published ``checkpoint`` beside the tiles.

Order of ``recover``, before anything is signed:

1. Read the last signed checkpoint. A log that has rows or tiles but none was robbed of it: refuse.
2. It must be ours: this origin, this key.
3. The rows must reach at least that far: fewer mean an old backup.
4. The right edge of the tiles must have its root; otherwise the tiles are rebuilt from the rows, and must
   then.
5. The last rows it covers must be the leaves of the tiles: rows written over a restored backup differ here.
6. What is published, and what else is remembered, must be it or a prefix of it.

No threads and no waiting here (``integrator`` has those). The caller holds the lease; ``SignedNotes`` makes sure that
it still does before anything is signed. Only ``attach`` may be called from another thread.
"""

from __future__ import annotations

import threading
from typing import Final, Protocol

from sovereign_ext.errors import LogCorrupt, VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from sovereign_ext.tlog.edge import Edge, TileBuilder
from sovereign_ext.tlog.hashing import EMPTY_ROOT, leaf_hash
from sovereign_ext.tlog.note import Signer
from sovereign_ext.tlog.proof import tree_root
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.tiles import TILE_WIDTH, Tile, split_hashes, tile_width
from sovereign_ext.tlog.tilestore import TileStore

CHUNK_ROWS: Final = 4 * TILE_WIDTH
"""Rows in memory at a time."""

STEP_ROWS: Final = 64 * TILE_WIDTH
"""Rows between two checkpoints while catching up."""

Leaf = tuple[int, bytes, bytes]
"""Index, body, leaf hash."""


class LeafSource(Protocol):
    """The committed rows; ``EntryStore`` is one."""

    def size(self) -> int: ...
    def extent(self) -> tuple[int, int | None]: ...
    def leaves(self, start: int, end: int) -> list[Leaf]: ...


class SignedNotes(Protocol):
    """Keeps the checkpoint that was signed last, and is why no two of one size ever get out.

    ``SignedFile`` and ``SharedNotes`` are some. They raise ``LogCorrupt`` when somebody else signed, and ``LeaseLost``
    when this process may not write any more.
    """

    def load(self) -> bytes | None:
        """The note; ``None`` in a log that never signed."""

    def replace(self, before: bytes, checkpoint: Checkpoint, note: bytes) -> None:
        """Keep ``note`` (``checkpoint``, signed) instead of ``before``, which must still be the one kept. Durable on
        return. In a new log ``before`` is empty."""

    def attach(self, checkpoint: Checkpoint, note: bytes) -> None:
        """``note`` is ``checkpoint`` with further signatures, about to be shown."""

    def check(self) -> None:
        """Raise when this process may not write any more."""

    def seen(self) -> bytes | None:
        """A note that was signed here earlier, from another memory than ``load`` reads: the tree must extend it."""


class Publisher:
    """Writes one log: its ``tiles``, and the ``signed`` checkpoint."""

    def __init__(self, source: LeafSource, tiles: TileStore, signed: SignedNotes, signer: Signer) -> None:
        self._source = source
        self._tiles = tiles
        self._signed = signed
        self._signer = signer
        self._origin = signer.verifier.name
        self._reader = LogReader(tiles)
        self._tree = TileBuilder()
        self._full: list[Tile] = []
        self._publishing = threading.Lock()
        self.note = b""
        self.checkpoint = Checkpoint(self._origin, 0, EMPTY_ROOT)

    def recover(self) -> None:
        """Take the log up again. Raises ``LogCorrupt`` as told above, ``OSError``, or the database's
        errors."""
        size, last = self._source.extent()
        if size != (0 if last is None else last + 1):
            raise LogCorrupt(f"the head says {size} entries, the last row is {last}")
        published = self._reader.checkpoint()
        note = self._signed.load()
        if note is None:
            self._begin(size, published)  # step 1
        else:
            self._resume(self._open(note, "signed"), size)  # steps 2 to 5
            self.note = note
            self._compare(self._signed.seen(), "remembered")
            self._republish(published)  # step 6

    def publish(self) -> None:
        """Cover further committed rows, at most ``STEP_ROWS``; does nothing when there are none.

        Raises ``LogCorrupt`` when rows contradict themselves or somebody else signed. After any error call
        ``recover`` before the next step.
        """
        size = self._tree.edge.size
        end = min(self._source.size(), size + STEP_ROWS)
        if end > size:
            self._write_tiles(end)
            self._sign()
            self._tiles.drop_partial(self._full)
            self._full.clear()

    def attach(self, checkpoint: Checkpoint, note: bytes) -> None:
        """Publish ``note``, which is ``checkpoint`` with further signatures, unless a newer one was published.

        May be called from any thread. Raises ``OSError``, and what ``SignedNotes`` does.
        """
        with self._publishing:
            if checkpoint == self.checkpoint:
                self._signed.attach(checkpoint, note)
                self._tiles.show(note, checkpoint.size, self._signed.check)

    def keep_shown(self, note: bytes, size: int) -> None:
        """See to it that ``note``, of the last checkpoint if that covers ``size`` entries, is shown.

        Only does something where a writer that lost its right could have shown an older one. May be called from any
        thread; raises as ``attach``.
        """
        if self._tiles.conditional:
            return
        with self._publishing:
            if size == self.checkpoint.size and self._reader.checkpoint() != note:
                self._tiles.show(note, size, self._signed.check)

    def _begin(self, size: int, published: bytes | None) -> None:
        if size or published is not None:
            raise LogCorrupt(
                f"no signed checkpoint was found, but the log has {size} entries or was published"
            )
        self._write_signed(self.checkpoint)

    def _resume(self, signed: Checkpoint, size: int) -> None:
        if size < signed.size:
            raise LogCorrupt(
                f"checkpoint of size {signed.size} was signed, the database holds {size} entries"
            )
        try:
            self._tree = TileBuilder(Edge.load(signed.size, self._reader.tile))
            matches = self._tree.edge.root() == signed.root
        except LogCorrupt:
            matches = False
        if not matches:
            self._tree = TileBuilder()
            self._write_tiles(signed.size)
            if self._tree.edge.root() != signed.root:
                raise LogCorrupt(f"the entries do not have the root that was signed for size {signed.size}")
        self._compare_last_rows(signed.size)
        self._full.clear()
        self.checkpoint = signed

    def _compare_last_rows(self, size: int) -> None:
        if size == 0:
            return
        index = (size - 1) // TILE_WIDTH
        tile = Tile(0, index, tile_width(0, index, size))
        hashes = split_hashes(self._reader.tile(tile))
        bodies = self._read(index * TILE_WIDTH, size)
        for at, (number, body, _) in enumerate(bodies):
            if leaf_hash(body) != hashes[at]:
                raise LogCorrupt(
                    f"entry {number} is not the leaf that was signed: was the database restored?"
                )
        self._tree.bundle = [body for _, body, _ in bodies] if tile.width < TILE_WIDTH else []

    def _republish(self, published: bytes | None) -> None:
        if published != self.note:
            self._compare(published, "published")
            self._tiles.show(self.note, self.checkpoint.size, self._signed.check)

    def _compare(self, note: bytes | None, which: str) -> None:
        if note is None or note == self.note:
            return
        seen = self._open(note, which)
        if seen.size > self.checkpoint.size:
            raise LogCorrupt(f"size {seen.size} was {which}, only size {self.checkpoint.size} was signed")
        if tree_root(seen.size, self._reader.nodes(self.checkpoint.size)) != seen.root:
            raise LogCorrupt(f"the {which} checkpoint of size {seen.size} has another root than the log")

    def _write_tiles(self, end: int) -> None:
        while (size := self._tree.edge.size) < end:
            tiles: list[tuple[Tile, bytes]] = []
            for _, body, hash_ in self._read(size, min(end, size + CHUNK_ROWS)):
                tiles += self._tree.append(body, hash_)
            self._full += [tile for tile, _ in tiles]
            if self._tree.edge.size == end:
                tiles += self._tree.partial_tiles()
            self._tiles.write([(tile.path, data) for tile, data in tiles])

    def _read(self, start: int, end: int) -> list[Leaf]:
        """Rows of ``[start, end)``, each checked for its place and hash."""
        rows = self._source.leaves(start, end)
        for expected, (index, body, hash_) in enumerate(rows, start):
            if index != expected:
                raise LogCorrupt(f"entry {expected} is missing")
            if leaf_hash(body) != hash_:
                raise LogCorrupt(f"entry {index} does not have the leaf hash it was sequenced with")
        if len(rows) != end - start:
            raise LogCorrupt(f"entry {start + len(rows)} is missing")
        return rows

    def _sign(self) -> None:
        self._write_signed(Checkpoint(self._origin, self._tree.edge.size, self._tree.edge.root()))

    def _write_signed(self, checkpoint: Checkpoint) -> None:
        note = sign_checkpoint(checkpoint, [self._signer])
        self._signed.replace(self.note, checkpoint, note)
        with self._publishing:
            self._tiles.show(note, checkpoint.size, self._signed.check)
            self.checkpoint = checkpoint
        self.note = note

    def _open(self, note: bytes, which: str) -> Checkpoint:
        try:
            checkpoint, _ = open_checkpoint(note, self._origin, [self._signer.verifier])
        except VerificationError as error:
            raise LogCorrupt(f"the {which} checkpoint does not belong to this log and key: {error}") from None
        return checkpoint

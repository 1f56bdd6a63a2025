"""The copy of one log: entries, tiles and the mirror checkpoint over them (C2SP tlog-mirror, tlog-tiles).

Entries come in as bundles and are hashed here; a tree that does not have the root of an accepted checkpoint is not
signed and not shown. Tiles are durable before the checkpoint over them. Files beyond that checkpoint are scratch:
they are never served, and written anew by the next attempt. Deliberately not here: which checkpoint is accepted
(``witness``), and where bundles come from (``follow``). One thread extends, any may read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from sovereign_ext.errors import LogCorrupt, LogUnavailable, VerificationError
from sovereign_ext.mirror.witness import Head
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.cosignature import Cosigner, cosign, verify_ack
from sovereign_ext.tlog.edge import Edge, TileBuilder
from sovereign_ext.tlog.files import drop_partial_tiles, write_files
from sovereign_ext.tlog.hashing import EMPTY_ROOT, leaf_hash
from sovereign_ext.tlog.note import Note, Verifier, parse_note
from sovereign_ext.tlog.proof import tree_root
from sovereign_ext.tlog.reader import CHECKPOINT, LogReader
from sovereign_ext.tlog.tiles import TILE_WIDTH, Tile, TileReader, decode_bundle, parse_tile_path, tile_width

CHUNK_BUNDLES: Final = 8
"""Bundles in memory at a time; 16 MiB each at most."""


class LogCopy:
    """The copy of ``log`` in ``directory``, signed by ``cosigner``."""

    def __init__(
        self, log: Verifier, cosigner: Cosigner, directory: Path, *, now_s: Callable[[], int]
    ) -> None:
        self._log = log
        self._cosigner = cosigner
        self._directory = directory
        self._now_s = now_s
        self._reader = LogReader(directory)
        self.checkpoint = self._load()

    def get(self, path: str) -> bytes | None:
        """The content at a C2SP path, as far as the mirror checkpoint reaches; ``None`` for anything else."""
        if path == CHECKPOINT:
            return self._reader.checkpoint()
        tile = parse_tile_path(path)
        if tile is None or tile.width > tile_width(tile.level, tile.index, self.checkpoint.size):
            return None
        return self._reader.get(path)

    def root_at(self, size: int) -> bytes | None:
        """Root of the first ``size`` entries; ``None`` when we do not hold that many."""
        held = self.checkpoint.size
        return tree_root(size, self._reader.nodes(held)) if size <= held else None

    def extend(self, head: Head, fetch: TileReader) -> None:
        """Take in the entries up to ``head``, sign and show them; does nothing when they are there.

        ``fetch`` gives entry bundles of the log. Raises ``VerificationError`` when they do not have the root of
        ``head``, ``LogCorrupt`` when a bundle is malformed, ``LogUnavailable`` when disk fails, and whatever
        ``fetch`` raises. Nothing is shown then.
        """
        target = head.checkpoint
        if target.size <= self.checkpoint.size and self._reader.checkpoint() is not None:
            return
        try:
            tree, full = self._tree(), list[Tile]()
            while tree.edge.size < target.size:
                self._take(tree, target.size, fetch, full)
            if tree.edge.root() != target.root:
                raise VerificationError(
                    f"the log's entries have root {tree.edge.root().hex()} at size {target.size}, "
                    f"its checkpoint says {target.root.hex()}"
                )
            self._write(tree.partial_tiles())
            note = parse_note(head.note)
            line = cosign(note.text, self._cosigner, self._now_s())
            write_files(self._directory, [(CHECKPOINT, Note(note.text, (*note.signatures, line)).encode())])
            self.checkpoint = target
            drop_partial_tiles(self._directory, full)
        except OSError as error:
            raise LogUnavailable(f"cannot write the copy of {self._log.name}: {error}") from error

    def _tree(self) -> TileBuilder:
        size = self.checkpoint.size
        width = size % TILE_WIDTH
        bundle = self._reader.entries(size // TILE_WIDTH, width) if width else []
        return TileBuilder(Edge.load(size, self._reader.tile), bundle)

    def _take(self, tree: TileBuilder, end: int, fetch: TileReader, full: list[Tile]) -> None:
        """Add the next few bundles, and write what they complete."""
        tiles: list[tuple[Tile, bytes]] = []
        for _ in range(CHUNK_BUNDLES):
            index, known = divmod(tree.edge.size, TILE_WIDTH)
            width = tile_width(None, index, end)
            if width <= known:
                break
            entries = decode_bundle(fetch(Tile(None, index, width)))
            if len(entries) != width:
                raise LogCorrupt(f"bundle {index} has {len(entries)} entries, expected {width}")
            for entry in entries[known:]:
                tiles += tree.append(entry, leaf_hash(entry))
        full += [tile for tile, _ in tiles]
        self._write(tiles)

    def _write(self, tiles: list[tuple[Tile, bytes]]) -> None:
        write_files(self._directory, [(tile.path, data) for tile, data in tiles])

    def _load(self) -> Checkpoint:
        note = self._reader.checkpoint()
        if note is None:
            return Checkpoint(self._log.name, 0, EMPTY_ROOT)
        try:
            checkpoint, _ = verify_ack(note, self._log, self._cosigner.key)
            if tree_root(checkpoint.size, self._reader.nodes(checkpoint.size)) != checkpoint.root:
                raise VerificationError("its tiles have another root")
        except (VerificationError, LogCorrupt) as error:
            raise LogCorrupt(
                f"the copy of {self._log.name} is damaged: {error}; move {self._directory} away to fetch it again"
            ) from None
        return checkpoint

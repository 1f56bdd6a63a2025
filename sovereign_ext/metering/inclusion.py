"""Whether leaves are under a checkpoint, many of them, out of the log's tiles.

An inclusion proof (RFC 6962) of one leaf is made of the hashes of every other leaf in its tile. So a tile is verified
whole with the first of its leaves that is asked for, and the others need only be compared with it.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.proof import NodeReader, inclusion_proof, verify_inclusion
from sovereign_ext.tlog.tiles import TILE_WIDTH, TileReader, node_reader

_KEPT_TILES: Final = 64  # then the cache of nodes begins anew


class Inclusion:
    """Leaves under ``checkpoint``, which the caller has verified. ``read`` need not be trusted."""

    def __init__(self, read: TileReader, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._read_tile = read
        self._tile = -1
        self._hashes: list[bytes] = []
        self._nodes = self._fresh()
        self._read = 0

    def covers(self, index: int) -> bool:
        """Whether the checkpoint is of a tree that has such a leaf."""
        return index < self.checkpoint.size

    def check(self, index: int, leaf_hash: bytes) -> None:
        """Raises ``VerificationError`` unless this is the leaf there, ``LogCorrupt`` where tiles are missing."""
        number, at = divmod(index, TILE_WIDTH)
        if number != self._tile:
            self._take(number, index)
        if self._hashes[at] != leaf_hash:
            raise VerificationError(f"the tree of size {self.checkpoint.size} has another leaf there")

    def _take(self, number: int, index: int) -> None:
        self._read += 1
        if self._read % _KEPT_TILES == 0:
            self._nodes = self._fresh()
        size = self.checkpoint.size
        # Of the reader of nodes, so that what was verified is what is compared with.
        hashes = [
            self._nodes(0, leaf) for leaf in range(number * TILE_WIDTH, min((number + 1) * TILE_WIDTH, size))
        ]
        path = inclusion_proof(index, size, self._nodes)
        verify_inclusion(hashes[index % TILE_WIDTH], index, size, path, self.checkpoint.root)
        self._tile, self._hashes = number, hashes

    def _fresh(self) -> NodeReader:
        return node_reader(self.checkpoint.size, self._read_tile)

"""The right edge of a growing tree: what must be remembered to add leaves and to write tiles and bundles.

At most 255 hashes a level, so memory is flat however long the log grows. Pure: tiles come out as values.
"""

from __future__ import annotations

from collections.abc import Callable

from sovereign_ext.errors import LogCorrupt
from sovereign_ext.tlog.hashing import EMPTY_ROOT, fold_right, perfect_root, perfect_spans
from sovereign_ext.tlog.tiles import TILE_WIDTH, Tile, edge_tiles, encode_bundle, split_hashes


class Edge:
    """Hashes of the unfinished tile of every level, and the size of the tree (leaves)."""

    def __init__(self) -> None:
        self.size = 0
        self._levels: list[list[bytes]] = []

    @classmethod
    def load(cls, size: int, read: Callable[[Tile], bytes]) -> Edge:
        """Take up a tree of ``size`` leaves from its partial tiles; the caller compares ``root()``."""
        edge = cls()
        edge.size = size
        for tile in edge_tiles(size):
            hashes = split_hashes(read(tile))
            if len(hashes) != tile.width or tile.level is None:
                raise LogCorrupt(f"{tile.path} holds {len(hashes)} hashes, expected {tile.width}")
            edge._level(tile.level).extend(hashes)
        return edge

    def append(self, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """Add one leaf hash; gives the hash tiles that this completes, lowest level first."""
        done: list[tuple[Tile, bytes]] = []
        index, level, hash_ = self.size, 0, leaf
        self.size += 1
        while True:
            hashes = self._level(level)
            hashes.append(hash_)
            if len(hashes) < TILE_WIDTH:
                return done
            index //= TILE_WIDTH
            done.append((Tile(level, index), b"".join(hashes)))
            hash_ = perfect_root(hashes)
            hashes.clear()
            level += 1

    def partial_tiles(self) -> list[tuple[Tile, bytes]]:
        """The unfinished tiles as they stand."""
        return [(tile, b"".join(self._level(tile.level or 0))) for tile in edge_tiles(self.size)]

    def root(self) -> bytes:
        """Root of the tree."""
        right_to_left = (
            perfect_root(hashes[index << level : (index + 1) << level])
            for hashes in self._levels
            for level, index in reversed(perfect_spans(0, len(hashes)))
        )
        root = fold_right(right_to_left)
        return EMPTY_ROOT if root is None else root

    def _level(self, level: int) -> list[bytes]:
        while len(self._levels) <= level:
            self._levels.append([])
        return self._levels[level]


class TileBuilder:
    """Makes the tiles of a growing log: hash tiles and entry bundles. ``edge`` is its tree, ``bundle`` the entries of
    the unfinished bundle."""

    def __init__(self, edge: Edge | None = None, bundle: list[bytes] | None = None) -> None:
        self.edge = edge or Edge()
        self.bundle = bundle or []

    def append(self, entry: bytes, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """Add one entry and its leaf hash; gives the tiles that this completes."""
        done: list[tuple[Tile, bytes]] = []
        self.bundle.append(entry)
        if len(self.bundle) == TILE_WIDTH:
            done.append((Tile(None, self.edge.size // TILE_WIDTH), encode_bundle(self.bundle)))
            self.bundle = []
        return done + self.edge.append(leaf)

    def partial_tiles(self) -> list[tuple[Tile, bytes]]:
        """The unfinished tiles as they stand."""
        tiles = self.edge.partial_tiles()
        if self.bundle:
            tile = Tile(None, self.edge.size // TILE_WIDTH, len(self.bundle))
            tiles.append((tile, encode_bundle(self.bundle)))
        return tiles

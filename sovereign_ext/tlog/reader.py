"""Reading a log from its tiles, wherever they are kept: what any client of C2SP tlog-tiles could do over HTTP.

Knows no database and no keys. Whoever needs to trust what is read verifies the checkpoint first.
"""

from __future__ import annotations

from pathlib import Path

from sovereign_ext.errors import LogCorrupt
from sovereign_ext.tlog.hashing import HASH_SIZE
from sovereign_ext.tlog.proof import NodeReader
from sovereign_ext.tlog.tiles import Tile, decode_bundle, encode_bundle, node_reader, parse_tile_path
from sovereign_ext.tlog.tilestore import CHECKPOINT, DirectoryTiles, TileStore

__all__ = ["CHECKPOINT", "LogReader", "cut_tile"]


class LogReader:
    """A published log in ``tiles``, a store or a directory. Safe to use from several threads. Raises ``OSError``."""

    def __init__(self, tiles: TileStore | Path) -> None:
        self._tiles = DirectoryTiles(tiles) if isinstance(tiles, Path) else tiles

    def get(self, path: str) -> bytes | None:
        """The content at a C2SP path (``checkpoint``, ``tile/…``); ``None`` for anything that is not there.

        Only canonical tile paths are looked up, so no path can leave the directory.
        """
        if path == CHECKPOINT:
            return self.checkpoint()
        tile = parse_tile_path(path)
        return None if tile is None else self._find(tile)

    def checkpoint(self) -> bytes | None:
        """The published checkpoint note, unverified."""
        return self._tiles.read(CHECKPOINT)

    def checkpoint_ns(self) -> int | None:
        """When the published checkpoint was written, Unix nanoseconds; ``None`` if there is none."""
        return self._tiles.shown_ns()

    def tile(self, tile: Tile) -> bytes:
        """Content of a tile, exactly ``tile.width`` wide. Raises ``LogCorrupt`` when it is missing or
        short."""
        data = self._find(tile)
        if data is None:
            raise LogCorrupt(f"{tile.path} is missing or too short")
        return data

    def entries(self, index: int, width: int) -> list[bytes]:
        """The entries of bundle ``index``. Raises ``LogCorrupt``."""
        return decode_bundle(self.tile(Tile(None, index, width)))

    def nodes(self, size: int) -> NodeReader:
        """Nodes of the tree of ``size`` leaves, out of the tiles."""
        return node_reader(size, self.tile)

    def _find(self, tile: Tile) -> bytes | None:
        data = self._tiles.read(tile.path)
        if data is None and tile != tile.full:
            # A partial tile goes away once the full one exists, which begins with the same bytes.
            data = self._tiles.read(tile.full.path)
        return None if data is None else cut_tile(tile, data)


def cut_tile(tile: Tile, data: bytes) -> bytes | None:
    """``tile`` out of the content of itself or of the full tile at its place; ``None`` when that is too short.

    Raises ``LogCorrupt`` for a bundle that is cut off.
    """
    if tile.level is not None:
        end = tile.width * HASH_SIZE
        return data[:end] if len(data) >= end else None
    entries = decode_bundle(data)
    if len(entries) < tile.width:
        return None
    return data if len(entries) == tile.width else encode_bundle(entries[: tile.width])

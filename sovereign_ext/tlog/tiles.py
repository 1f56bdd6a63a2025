"""Tiles of a log as C2SP tlog-tiles lays them out: paths, hash tiles, entry bundles, nodes found in tiles.

https://c2sp.org/tlog-tiles. Pure: it says which bytes live under which path; ``files`` and ``reader`` move
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sovereign_ext.errors import LogCorrupt
from sovereign_ext.tlog.hashing import HASH_SIZE, perfect_root
from sovereign_ext.tlog.proof import NodeReader

TILE_HEIGHT: Final = 8
"""Levels of the Merkle tree in one tile."""

TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes or entries in a full tile."""

MAX_ENTRY_BYTES: Final = 0xFFFF
"""Length prefix of an entry in a bundle is an unsigned 16-bit integer."""

MAX_LEVEL: Final = 63
_PATH = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class Tile:
    """Names one tile. ``level`` is ``None`` for an entry bundle, ``index`` counts tiles of that level from 0,
    ``width`` is the number of hashes or entries in it (256 when full)."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def full(self) -> Tile:
        """The full tile at the same place."""
        return Tile(self.level, self.index)

    @property
    def path(self) -> str:
        """Path below the log's prefix: ``tile/0/x001/234.p/5``."""
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"


def parse_tile_path(path: str) -> Tile | None:
    """Read a path back; ``None`` unless it is exactly the one canonical spelling of a tile's name."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    level = None if match[1] == "entries" else int(match[1])
    index = int(match[2].replace("/", "").replace("x", ""))
    tile = Tile(level, index, int(match[3]) if match[3] else TILE_WIDTH)
    in_range = (level is None or level <= MAX_LEVEL) and index < 1 << 63
    # One comparison refuses leading zero groups, non-ASCII digits and the width 256 written as partial.
    return tile if in_range and tile.width <= TILE_WIDTH and tile.path == path else None


def tile_width(level: int | None, index: int, size: int) -> int:
    """How many hashes or entries tile ``index`` of ``level`` has in a tree of ``size`` leaves (0 when
    none)."""
    count = size >> (TILE_HEIGHT * (level or 0))
    return max(0, min(TILE_WIDTH, count - index * TILE_WIDTH))


def edge_tiles(size: int) -> list[Tile]:
    """The hash tiles that hold the right edge of a tree: partial ones only, at most one a level."""
    tiles = []
    for level in range(MAX_LEVEL + 1):
        count = size >> (TILE_HEIGHT * level)
        if count == 0:
            break
        if width := count % TILE_WIDTH:
            tiles.append(Tile(level, count // TILE_WIDTH, width))
    return tiles


def split_hashes(data: bytes) -> list[bytes]:
    """The hashes of a hash tile."""
    if len(data) % HASH_SIZE:
        raise LogCorrupt(f"hash tile has {len(data)} bytes, expected a multiple of {HASH_SIZE}")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Entry bundle: each entry behind its length as big-endian u16. Raises ``ValueError`` for a longer
    entry."""
    parts = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"entry has {len(entry)} bytes, at most {MAX_ENTRY_BYTES} fit in a bundle")
        parts.append(len(entry).to_bytes(2, "big"))
        parts.append(entry)
    return b"".join(parts)


def decode_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle; raises ``LogCorrupt`` when a length points past the end."""
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + 2
        end = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or end > len(data):
            raise LogCorrupt(f"entry bundle is cut off in entry {len(entries)}")
        entries.append(data[start:end])
        at = end
    return entries


TileReader = Callable[[Tile], bytes]
"""Gives the content of a tile, exactly ``width`` hashes or entries long; raises when there is none."""


def node_reader(size: int, read: TileReader) -> NodeReader:
    """Find nodes of the tree of ``size`` leaves in its tiles. Tiles are kept for the life of the reader."""
    kept: dict[Tile, Sequence[bytes]] = {}

    def node(level: int, index: int) -> bytes:
        tile_level, inside = divmod(level, TILE_HEIGHT)
        first = index << inside
        at = first // TILE_WIDTH
        tile = Tile(tile_level, at, tile_width(tile_level, at, size))
        if tile not in kept:
            kept[tile] = split_hashes(read(tile))
        start = first % TILE_WIDTH
        hashes = kept[tile][start : start + (1 << inside)]
        if len(kept[tile]) != tile.width or len(hashes) != 1 << inside:
            raise LogCorrupt(f"{tile.path} does not hold node {index} of level {level}")
        return perfect_root(hashes)

    return node

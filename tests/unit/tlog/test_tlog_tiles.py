"""Tile paths, entry bundles and nodes in tiles, also for names and bytes that somebody else made."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import LogCorrupt
from sovereign_ext.tlog.edge import Edge
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.tiles import (
    Tile,
    decode_bundle,
    edge_tiles,
    encode_bundle,
    node_reader,
    parse_tile_path,
    tile_width,
)

tiles = st.builds(Tile, st.none() | st.integers(0, 63), st.integers(0, 2**60), st.integers(1, 256))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),  # the example of the specification
        (Tile(0, 0), "tile/0/000"),
        (Tile(None, 999, 255), "tile/entries/999.p/255"),
        (Tile(2, 1000, 1), "tile/2/x001/000.p/1"),
    ],
)
def test_paths(tile: Tile, path: str) -> None:
    """Paths are spelled as C2SP tlog-tiles spells them."""
    assert tile.path == path
    assert parse_tile_path(path) == tile


@given(tiles)
def test_paths_are_read_back(tile: Tile) -> None:
    """A path names one tile and a tile has one path."""
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/05",
        "tile/0/x000/001",
        "tile/0/1",
        "tile/0/x001/x002",
        "tile/64/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/data/000",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/0/../../keys/log.pem",
        "../tile/0/000",
        "/tile/0/000",
        "tile/0/x" + "999/x" * 9 + "999/999",
        "",
    ],
)
def test_other_paths_name_nothing(path: str) -> None:
    """Other spellings, and ways out of the directory, are not tiles."""
    assert parse_tile_path(path) is None


@given(st.text(alphabet="tile/enrsx0123456789.p", max_size=40))
def test_what_is_read_is_canonical(path: str) -> None:
    """No two spellings of one tile are accepted."""
    tile = parse_tile_path(path)
    assert tile is None or tile.path == path


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles(entries: list[bytes]) -> None:
    """Entries come out of a bundle as they went in."""
    assert decode_bundle(encode_bundle(entries)) == entries


def test_longest_entry() -> None:
    """65535 bytes fit, one more is refused."""
    longest = b"x" * 65535
    assert decode_bundle(encode_bundle([longest])) == [longest]
    with pytest.raises(ValueError, match="65536 bytes"):
        encode_bundle([longest + b"x"])


@given(st.binary(max_size=200))
def test_arbitrary_bundles(data: bytes) -> None:
    """Damaged bundles raise LogCorrupt, or are bundles."""
    with suppress(LogCorrupt):
        assert encode_bundle(decode_bundle(data)) == data


@given(st.integers(0, 2**40))
def test_edge_tiles_hold_the_rest_of_every_level(size: int) -> None:
    """Partial tiles of a size are exactly those whose width is neither 0 nor 256, and they cover the size."""
    found = edge_tiles(size)
    assert all(
        0 < tile.width < 256 and tile_width(tile.level, tile.index, size) == tile.width for tile in found
    )
    assert sum(tile.width << (8 * (tile.level or 0)) for tile in found) == size


@given(st.integers(0, 700))
def test_an_edge_is_loaded_from_its_tiles(size: int) -> None:
    """Taking a tree up from its partial tiles gives the same root, and the same growth."""
    edge, stored = Edge(), {}
    for index in range(size):
        stored.update(edge.append(leaf_hash(b"%d" % index)))
    stored.update(edge.partial_tiles())
    loaded = Edge.load(size, lambda tile: stored[tile])
    assert loaded.root() == edge.root()
    assert loaded.append(b"x" * 32) == edge.append(b"x" * 32)
    assert loaded.root() == edge.root()


def test_a_short_tile_is_corrupt() -> None:
    """A tile that lacks a hash is noticed where it is read."""
    with pytest.raises(LogCorrupt, match="does not hold node"):
        node_reader(3, lambda _tile: b"h" * 64)(0, 2)
    with pytest.raises(LogCorrupt, match="holds 2 hashes, expected 3"):
        Edge.load(3, lambda _tile: b"h" * 64)
    with pytest.raises(LogCorrupt, match="multiple of 32"):
        Edge.load(3, lambda _tile: b"h" * 65)

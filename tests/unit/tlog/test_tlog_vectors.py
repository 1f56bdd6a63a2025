"""Our trees, tiles, proofs and notes against vectors computed by Go's golang.org/x/mod/sumdb."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.edge import Edge
from sovereign_ext.tlog.hashing import EMPTY_ROOT, leaf_hash
from sovereign_ext.tlog.note import Signer, Verifier, open_note, parse_verifier, sign_note
from sovereign_ext.tlog.proof import (
    NodeReader,
    consistency_proof,
    inclusion_proof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from sovereign_ext.tlog.tiles import Tile, node_reader, parse_tile_path

VECTORS = Path(__file__).parents[2] / "vectors" / "tlog"
SIZES = (0, 1, 2, 255, 256, 257, 65536, 70000)


class Grown:
    """One tree of 70000 leaves, grown once; its tiles at every size of the vectors."""

    def __init__(self) -> None:
        self.tiles: dict[str, bytes] = {}
        self.roots: dict[int, bytes] = {}
        self.leaves: list[bytes] = []
        edge = Edge()
        for size in SIZES:
            while edge.size < size:
                self.leaves.append(leaf_hash(b"leaf %d" % edge.size))
                self.tiles.update((tile.path, data) for tile, data in edge.append(self.leaves[-1]))
            self.tiles.update((tile.path, data) for tile, data in edge.partial_tiles())
            self.roots[size] = edge.root()

    def read(self, tile: Tile) -> bytes:
        return self.tiles[tile.path]

    def nodes(self, size: int) -> NodeReader:
        return node_reader(size, self.read)


@pytest.fixture(scope="module")
def grown() -> Grown:
    return Grown()


def test_vectors_are_what_go_computes(go_judge: Any) -> None:
    """The committed vectors come from the judge and from nowhere else."""
    for command, name in (("vectors", "trees.json"), ("notes", "notes.json")):
        result = go_judge(command)
        assert result.returncode == 0, result.stderr
        assert result.stdout == (VECTORS / name).read_text()


def test_sizes_are_covered(tree_vectors: list[dict[str, Any]]) -> None:
    """The vectors hold the sizes at which tiles change their number or height."""
    assert tuple(vector["size"] for vector in tree_vectors) == SIZES


def test_roots(tree_vectors: list[dict[str, Any]], grown: Grown) -> None:
    """Roots agree, computed from the edge and from the tiles."""
    for vector in tree_vectors:
        size, root = vector["size"], b64decode(vector["root"])
        assert grown.roots[size] == root
        assert tree_root(size, grown.nodes(size)) == root
    assert grown.roots[0] == EMPTY_ROOT


def test_tiles(tree_vectors: list[dict[str, Any]], grown: Grown) -> None:
    """Every tile that Go wants at a size exists under its path with its bytes, and no other full one does."""
    wanted: set[str] = set()
    for vector in tree_vectors:
        for path, digest in vector["tiles"].items():
            assert sha256(grown.tiles[path]).hexdigest() == digest, path
            wanted.add(path)
            assert parse_tile_path(path) is not None
    assert {path for path in grown.tiles if ".p/" not in path} <= wanted


def test_inclusion_proofs(tree_vectors: list[dict[str, Any]], grown: Grown) -> None:
    """Our audit paths are Go's, and verify."""
    count = 0
    for vector in tree_vectors:
        size, root = vector["size"], b64decode(vector["root"])
        for item in vector["inclusion"]:
            path = [b64decode(hash_) for hash_ in item["path"]]
            assert inclusion_proof(item["index"], size, grown.nodes(size)) == path
            verify_inclusion(grown.leaves[item["index"]], item["index"], size, path, root)
            count += 1
    assert count > 30


def test_consistency_proofs(tree_vectors: list[dict[str, Any]], grown: Grown) -> None:
    """Our consistency proofs are Go's, and verify."""
    count = 0
    for vector in tree_vectors:
        size, root = vector["size"], b64decode(vector["root"])
        for item in vector["consistency"]:
            old, path = item["old"], [b64decode(hash_) for hash_ in item["path"]]
            assert consistency_proof(old, size, grown.nodes(size)) == path
            old_root = tree_root(old, grown.nodes(size))
            verify_consistency(old, old_root, size, root, path)
            count += 1
    assert count > 30


def test_notes_are_signed_byte_for_byte_like_go(note_vectors: dict[str, Any]) -> None:
    """The same seed, name and text give the same verifier key and the same note."""
    for vector in note_vectors["notes"]:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"]))
        verifier = Verifier(vector["name"], key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        assert verifier.encode() == vector["verifier"]
        assert parse_verifier(vector["verifier"]) == verifier
        assert sign_note(vector["text"], [Signer(verifier, key.sign)]).encode() == vector["note"].encode()
        assert open_note(vector["note"].encode(), [verifier]).text == vector["text"]


def test_damaged_notes_are_judged_like_go(note_vectors: dict[str, Any]) -> None:
    """What Go opens we open, what Go refuses we refuse."""
    verifier = parse_verifier(note_vectors["notes"][0]["verifier"])
    for case in note_vectors["judged"]:
        try:
            open_note(case["note"].encode(), [verifier])
            opened = True
        except VerificationError:
            opened = False
        assert opened == case["opens"], case["note"]

"""Proofs of random trees verify; anything else does not."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.hashing import EMPTY_ROOT, leaf_hash, node_hash
from sovereign_ext.tlog.proof import (
    consistency_proof,
    inclusion_proof,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

LIMIT = 600
LEAVES = [leaf_hash(b"%d" % i) for i in range(LIMIT)]


@cache
def node(level: int, index: int) -> bytes:
    """The naive definition: hash both halves."""
    if level == 0:
        return LEAVES[index]
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 2.1, word by word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else EMPTY_ROOT
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


@st.composite
def places(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(st.integers(1, LIMIT))
    return draw(st.integers(0, size - 1)), size


@st.composite
def pairs(draw: st.DrawFn) -> tuple[int, int]:
    new = draw(st.integers(0, LIMIT))
    return draw(st.integers(0, new)), new


@given(st.integers(0, LIMIT))
def test_root_is_the_recursive_definition(size: int) -> None:
    """Joining perfect subtrees gives the root that RFC 6962 defines."""
    assert tree_root(size, node) == naive_root(LEAVES[:size])


@given(places())
def test_inclusion_verifies(place: tuple[int, int]) -> None:
    """Every leaf of every tree has a proof."""
    index, size = place
    verify_inclusion(LEAVES[index], index, size, inclusion_proof(index, size, node), tree_root(size, node))


@given(places(), st.data())
def test_tampered_inclusion_is_refused(place: tuple[int, int], data: st.DataObject) -> None:
    """Another leaf, index, size, root, or a changed, missing or additional node: refused."""
    index, size = place
    path, root = inclusion_proof(index, size, node), tree_root(size, node)
    good = (LEAVES[index], index, size, path, root)
    kind = data.draw(st.sampled_from(["leaf", "index", "root", "node", "less", "more", "swap"]))
    leaf, at, of, nodes, top = good
    position = data.draw(st.integers(0, max(0, len(path) - 1)))
    if kind == "leaf":
        leaf = leaf_hash(b"another")
    elif kind == "index":
        at = data.draw(st.integers(-1, size + 1).filter(lambda i: i != index))
    elif kind == "root":
        top = bytes([root[0] ^ 1]) + root[1:]
    elif kind == "more":
        nodes = [*path[:position], leaf_hash(b"more"), *path[position:]]
    elif not path:
        return
    elif kind == "less":
        nodes = path[:position] + path[position + 1 :]
    elif kind == "node":
        nodes = [*path[:position], leaf_hash(b"changed"), *path[position + 1 :]]
    elif len(path) > 1:
        nodes = path[1:] + path[:1]
    if (leaf, at, of, nodes, top) == good:
        return
    with pytest.raises(VerificationError):
        verify_inclusion(leaf, at, of, nodes, top)


@given(places(), st.integers(1, LIMIT))
def test_a_proof_does_not_verify_under_another_size(place: tuple[int, int], other: int) -> None:
    """A proof is bound to the tree it was made for, also where the other tree holds the leaf too."""
    index, size = place
    if other == size:
        return
    path = inclusion_proof(index, size, node)
    with pytest.raises(VerificationError):
        verify_inclusion(LEAVES[index], index, other, path, tree_root(other, node))


@given(pairs())
def test_consistency_verifies(pair: tuple[int, int]) -> None:
    """Every tree is a prefix of every later one."""
    old, new = pair
    path = consistency_proof(old, new, node)
    verify_consistency(old, tree_root(old, node), new, tree_root(new, node), path)


@given(pairs(), st.data())
def test_tampered_consistency_is_refused(pair: tuple[int, int], data: st.DataObject) -> None:
    """A changed root, or a changed, missing or additional node: refused."""
    old, new = pair
    path = consistency_proof(old, new, node)
    roots = [tree_root(old, node), tree_root(new, node)]
    kind = data.draw(st.sampled_from(["old root", "new root", "node", "less", "more", "shrunk"]))
    position = data.draw(st.integers(0, max(0, len(path) - 1)))
    if kind == "old root":
        roots[0] = leaf_hash(b"another")
    elif kind == "new root":
        if old == 0:
            return  # the empty tree is a prefix of everything
        roots[1] = leaf_hash(b"another")
    elif kind == "more":
        path = [*path[:position], leaf_hash(b"more"), *path[position:]]
    elif kind == "shrunk":
        old, new = new + 1, old
    elif not path:
        return
    elif kind == "less":
        path = path[:position] + path[position + 1 :]
    else:
        path = [*path[:position], leaf_hash(b"changed"), *path[position + 1 :]]
    with pytest.raises(VerificationError):
        verify_consistency(old, roots[0], new, roots[1], path)


@given(st.integers(-3, 40), st.integers(-3, 40), st.lists(st.binary(min_size=32, max_size=32), max_size=12))
def test_arbitrary_proofs_end_in_a_verdict(old: int, new: int, path: list[bytes]) -> None:
    """Hostile numbers and nodes give VerificationError, never another exception or an endless loop."""
    with pytest.raises(VerificationError):
        verify_inclusion(LEAVES[0], old, new, path, LEAVES[1])
    with pytest.raises(VerificationError):
        verify_consistency(old, LEAVES[0], new, LEAVES[1], path)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 3)])
def test_no_proof_outside_the_tree(index: int, size: int) -> None:
    """Asking for a leaf that is not there is the caller's mistake."""
    with pytest.raises(ValueError, match="expected an index"):
        inclusion_proof(index, size, node)

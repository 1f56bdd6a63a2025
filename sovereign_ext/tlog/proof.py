"""Inclusion and consistency proofs of RFC 6962 section 2.1: making them from stored nodes, and verifying
them.

Making follows the recursive definitions of RFC 6962; verifying follows the iterative algorithms of RFC 9162
sections 2.1.3.2 and 2.1.4.2, so that the two directions do not share a mistake. Nothing here reads files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sovereign_ext.errors import VerificationError
from sovereign_ext.tlog.hashing import EMPTY_ROOT, fold_right, node_hash, perfect_spans

NodeReader = Callable[[int, int], bytes]
"""``read(level, index)`` gives the hash of the perfect subtree over leaves ``[index << level, (index+1) <<
level)``."""


def range_root(start: int, end: int, read: NodeReader) -> bytes:
    """Hash of the subtree over leaves ``[start, end)``; ``start`` must be 0 or a split point of the tree."""
    root = fold_right(read(level, index) for level, index in reversed(perfect_spans(start, end)))
    return EMPTY_ROOT if root is None else root


def tree_root(size: int, read: NodeReader) -> bytes:
    """Root of the tree over the first ``size`` leaves."""
    return range_root(0, size, read)


def inclusion_proof(index: int, size: int, read: NodeReader) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree of ``size`` leaves, leaf end first (RFC 6962 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"expected an index in [0, {size}), got {index}")
    path = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            path.append(range_root(split, end, read))
            end = split
        else:
            path.append(range_root(start, split, read))
            start = split
    return path[::-1]


def consistency_proof(old: int, new: int, read: NodeReader) -> list[bytes]:
    """Nodes that show the tree of ``old`` leaves to be a prefix of the tree of ``new`` (RFC 6962 2.1.2).

    Empty when ``old`` is 0 or equal to ``new``: there is nothing to show.
    """
    if not 0 <= old <= new:
        raise ValueError(f"expected 0 <= old <= new, got {old} and {new}")
    if old in (0, new):
        return []
    path = []
    start, end, complete = 0, new, True
    while start + (size := end - start) != old:
        split = start + _split(size)
        if old <= split:
            path.append(range_root(split, end, read))
            end = split
        else:
            path.append(range_root(start, split, read))
            start, complete = split, False
    if not complete:
        path.append(range_root(start, end, read))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash ``leaf`` stands at ``index`` in the tree ``(size, root)`` (RFC 9162 2.1.3.2).

    Raises ``VerificationError`` when it does not.
    """
    if not 0 <= index < size:
        raise VerificationError(f"leaf index {index} lies outside the tree of size {size}")
    fn, sn, computed = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise VerificationError("inclusion proof is longer than the tree is high")
        if fn & 1 or fn == sn:
            computed = node_hash(sibling, computed)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            computed = node_hash(computed, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise VerificationError("inclusion proof is shorter than the tree is high")
    if computed != root:
        raise VerificationError(f"inclusion proof gives root {computed.hex()}, expected {root.hex()}")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the tree ``(old, old_root)`` is a prefix of ``(new, new_root)`` (RFC 9162 2.1.4.2).

    Raises ``VerificationError`` when it is not.
    """
    if not 0 <= old <= new:
        raise VerificationError(f"tree shrank from {old} to {new}")
    if old in (0, new):
        _verify_trivial(old, old_root, new_root, path)
        return
    nodes = list(path) if old & (old - 1) else [old_root, *path]
    if not nodes:
        raise VerificationError("consistency proof is empty")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    from_old = from_new = nodes[0]
    for node in nodes[1:]:
        if sn == 0:
            raise VerificationError("consistency proof is longer than the tree is high")
        if fn & 1 or fn == sn:
            from_old, from_new = node_hash(node, from_old), node_hash(node, from_new)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            from_new = node_hash(from_new, node)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise VerificationError("consistency proof is shorter than the tree is high")
    if from_old != old_root or from_new != new_root:
        raise VerificationError(f"trees of size {old} and {new} are not consistent")


def _verify_trivial(old: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    if path:
        raise VerificationError("consistency proof has nodes where none are needed")
    if old == 0 and old_root != EMPTY_ROOT:
        raise VerificationError("tree of size 0 has a root that is not the empty root")
    if old != 0 and old_root != new_root:
        raise VerificationError("trees of the same size have different roots")


def _split(size: int) -> int:
    """The largest power of two smaller than ``size`` (RFC 6962's k)."""
    return 1 << ((size - 1).bit_length() - 1)

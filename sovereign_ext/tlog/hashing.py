"""Merkle tree hashing of RFC 6962 section 2.1: SHA-256, leaves prefixed with 0x00, inner nodes with 0x01.

Pure functions on bytes. Where hashes are stored is decided in ``tiles``; what they prove in ``proof``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

HASH_SIZE: Final = 32
"""Bytes in one SHA-256 hash."""

EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 section 2.1)."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf: SHA-256(0x00 ‖ leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Root of a perfect subtree over ``hashes``, whose number is a power of two (1 gives the hash itself)."""
    count = len(hashes)
    if count == 0 or count & (count - 1):
        raise ValueError(f"expected a power of two of hashes, got {count}")
    layer = list(hashes)
    while len(layer) > 1:
        layer = [node_hash(layer[i], layer[i + 1]) for i in range(0, len(layer), 2)]
    return layer[0]


def fold_right(subtrees: Iterable[bytes]) -> bytes | None:
    """Join subtree roots, given from right to left, as RFC 6962 joins a ragged tree; ``None`` for no
    subtree."""
    root: bytes | None = None
    for subtree in subtrees:
        root = subtree if root is None else node_hash(subtree, root)
    return root


def perfect_spans(start: int, end: int) -> list[tuple[int, int]]:
    """Cut leaves ``[start, end)`` into perfect subtrees, left to right, as ``(level, index)`` pairs.

    ``start`` must be the left end of a subtree of the RFC 6962 tree (0, or a split point of it). A node
    ``(level, index)`` covers leaves ``[index << level, (index + 1) << level)``.
    """
    spans = []
    while start < end:
        level = (end - start).bit_length() - 1
        spans.append((level, start >> level))
        start += 1 << level
    return spans

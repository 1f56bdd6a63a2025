"""Watches a log that shows only what is public: does every new checkpoint extend the one seen before?

Not by a consistency proof of the log's making: all new entry bundles are read and hashed, so that the new root follows
from the old tree and these leaves, and every leaf is looked at. Entries say who signed something and nothing of what,
so policies cannot be judged from here. Pure but for ``fetch``: where bytes come from and where the last checkpoint is
kept is the caller's matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sovereign_ext.attest.entry import parse_body
from sovereign_ext.errors import LogCorrupt, LogUnavailable, VerificationError
from sovereign_ext.tlog.checkpoint import Checkpoint, open_checkpoint
from sovereign_ext.tlog.edge import Edge
from sovereign_ext.tlog.hashing import EMPTY_ROOT, leaf_hash
from sovereign_ext.tlog.note import MAX_NOTE_BYTES, Verifier
from sovereign_ext.tlog.reader import CHECKPOINT, cut_tile
from sovereign_ext.tlog.tiles import MAX_ENTRY_BYTES, TILE_WIDTH, Tile, decode_bundle, tile_width

MAX_TILE_BYTES: Final = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)

Fetch = Callable[[str, int], bytes | None]
"""What the log shows at a path, at most so many bytes; ``None`` for nothing. Raises ``LogUnavailable``."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the log came to. ``note`` is to be kept as what was seen last. ``read`` entries are new;
    ``signers`` are SHA-256 of the keys (DER) that signed them."""

    before: Checkpoint
    now: Checkpoint
    note: bytes
    read: int
    signers: frozenset[bytes]


def follow(fetch: Fetch, log: Verifier, kept: bytes | None) -> Seen:
    """Look at the log once. ``kept`` is the note seen last, ``None`` the first time: then everything is read.

    Raises ``VerificationError`` when the log does not extend what it showed before, ``LogUnavailable`` when it
    cannot be read.
    """
    before = Checkpoint(log.name, 0, EMPTY_ROOT)
    if kept is not None:
        before = open_checkpoint(kept, log.name, [log])[0]
    note = fetch(CHECKPOINT, MAX_NOTE_BYTES)
    if note is None:
        raise LogUnavailable("the log has no checkpoint")
    now = open_checkpoint(note, log.name, [log])[0]
    if now.size < before.size:
        raise VerificationError(f"the log shows size {now.size}, it had signed size {before.size} before")
    edge = _edge(before, now.size, fetch)
    signers: set[bytes] = set()
    while edge.size < now.size:
        bundle = edge.size // TILE_WIDTH
        entries = decode_bundle(
            read_tile(fetch, Tile(None, bundle, tile_width(None, bundle, now.size)), now.size)
        )
        for body in entries[edge.size - bundle * TILE_WIDTH :]:
            try:
                signers.add(sha256(parse_body(body).spki).digest())
            except VerificationError as error:
                raise VerificationError(f"entry {edge.size}: {error}") from None
            edge.append(leaf_hash(body))
    if edge.root() != now.root:
        raise VerificationError(
            f"the entries up to size {now.size} have root {edge.root().hex()}, the log signed {now.root.hex()}: "
            f"it does not extend the tree of size {before.size} that it signed before"
        )
    return Seen(before, now, note, now.size - before.size, frozenset(signers))


def _edge(before: Checkpoint, size: int, fetch: Fetch) -> Edge:
    """The right edge of the tree seen before, as the log of ``size`` entries shows it now."""
    edge = Edge.load(before.size, lambda tile: read_tile(fetch, tile, size))
    if edge.root() != before.root:
        raise VerificationError(
            f"the log's tiles are no longer those of the tree of size {before.size} it signed"
        )
    return edge


def read_tile(fetch: Fetch, tile: Tile, size: int) -> bytes:
    """A tile of the log of ``size`` entries, exactly as wide as asked for.

    Raises ``LogUnavailable`` when there is none, ``VerificationError`` when it is malformed.
    """
    # A log may drop a partial tile for a wider one, which begins with the same bytes.
    wider = Tile(tile.level, tile.index, tile_width(tile.level, tile.index, size))
    for name in dict.fromkeys((tile, wider, tile.full)):
        data = fetch(name.path, MAX_TILE_BYTES)
        if data is None:
            continue
        try:
            if (cut := cut_tile(tile, data)) is not None:
                return cut
        except LogCorrupt as error:
            raise VerificationError(f"{name.path}: {error}") from None
    raise LogUnavailable(f"the log has no {tile.path}")

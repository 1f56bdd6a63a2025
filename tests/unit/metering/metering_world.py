"""Entries as the gateway writes them, without a gateway: predicates, signed rows, a log full of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext.attest.entry import EntrySealer, SealedEntry, parse_body
from sovereign_ext.attest.keys import key_hint
from sovereign_ext.attest.statement import OUTCOME, STATEMENT_TYPE
from sovereign_ext.metering.inclusion import Inclusion
from sovereign_ext.metering.rows import usage_row
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.edge import Edge
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.tiles import Tile

NOVEMBER_MS = 1_793_491_200_000
"""1 November 2026, 00:00 UTC."""

PRICE = {
    "input": 3_000_000_000,
    "output": 15_000_000_000,
    "cached_input": 300_000_000,
    "cache_write": 3_750_000_000,
}
_serial = count()


def predicate(**changes: Any) -> dict[str, Any]:
    """An outcome's predicate: an answered call of acme's that cost 0.0018 dollars, billed with 10 per cent on top."""
    number = next(_serial)
    said = {
        "decision_id": f"dec-{number:032x}",
        "tenant": "acme",
        "endpoint": "chat.completions",
        "stream": 0,
        "result": "answered",
        "status": 200,
        "started_ms": NOVEMBER_MS + number,
        "finished_ms": NOVEMBER_MS + number + 500,
        "policy": "any",
        "model": "org/small",
        "deployment": "alpha-small",
        "provider": "alpha",
        "prompt_tokens": 100,
        "completion_tokens": 100,
        "cost_nano_usd": 1_800_000,
        "price_source": "configured",
        "price": PRICE,
        "key": "ci",
        "billed_nano_usd": 1_980_000,
        "margin_percent": "10",
        "estimated": 0,
        "findings": 0,
    }
    said.update(changes)
    return {name: value for name, value in said.items() if value is not None}


def statement(said: dict[str, Any], kind: str = OUTCOME) -> bytes:
    """A statement about nothing but its predicate."""
    return json.dumps(
        {"_type": STATEMENT_TYPE, "subject": [], "predicateType": kind, "predicate": said}
    ).encode()


@cache
def _sealer() -> EntrySealer:
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return EntrySealer(key, spki, key_hint(spki))


def envelope_key() -> bytes:
    """Who signs (SPKI, DER)."""
    return parse_body(_sealer().seal(b"{}").body).spki


def sealed(statement: bytes) -> SealedEntry:
    """A signed entry."""
    return _sealer().seal(statement)


def inclusion(store: EntryStore, directory: Path) -> Inclusion:
    """The tiles of everything in ``store``, and the checkpoint over them."""
    edge = Edge()
    for _, _, leaf in store.leaves(0, store.size()):
        write(directory, edge.append(leaf))
    write(directory, edge.partial_tiles())
    return Inclusion(LogReader(directory).tile, Checkpoint("log.test", edge.size, edge.root()))


def write(directory: Path, tiles: Iterable[tuple[Tile, bytes]]) -> None:
    for tile, data in tiles:
        path = directory / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def row(
    said: dict[str, Any], *, kind: str = "outcome", metered: bool = True, time_ms: int | None = None
) -> Row:
    """A signed row, as the sequencer is given it."""
    sealed = _sealer().seal(statement(said))
    time_ms = said["finished_ms"] if time_ms is None else time_ms
    used = usage_row(said) if metered else None
    return Row(
        kind, said["tenant"], said["decision_id"], time_ms, sealed.body, sealed.leaf_hash, sealed.envelope,
        b'{"secret":"never shown"}', usage=used,
    )  # fmt: skip


def fill(store: EntryStore, rows: Iterable[Row], at_once: int = 500) -> None:
    """Append rows in batches."""
    batch: list[Row] = []
    for each in rows:
        batch.append(each)
        if len(batch) == at_once:
            store.append(batch)
            batch = []
    if batch:
        store.append(batch)

"""``sovereign log anchors``: which checkpoints external logs hold, and which they shall hold.

Reads the log's database only; nothing is contacted, and proofs are not verified again (``verify`` does that).
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sovereign_ext.storage.anchors import AnchorRow


def run_anchors(args: argparse.Namespace) -> int:
    """Print the newest checkpoints of every anchor; 1 when one has failed so far."""
    from sqlalchemy.exc import SQLAlchemyError

    from sovereign_ext.cli.logparts import connected
    from sovereign_ext.errors import LogUnavailable
    from sovereign_ext.storage.anchors import AnchorStore

    with connected(args.state_dir, args.config) as (engine, _):
        store = AnchorStore(engine)
        try:
            rows = [row for name in store.names() for row in store.recent(name, args.last)]
        except SQLAlchemyError as error:
            raise LogUnavailable(f"the database cannot be read: {type(error).__name__}") from None
    if args.json:
        print(json.dumps([_as_json(row) for row in rows], indent=2))
    else:
        print("\n".join(map(_line, rows)) or "nothing is anchored")
    return 1 if any(row.last_error for row in rows) else 0


def _as_json(row: AnchorRow) -> dict[str, Any]:
    return {
        "anchor": row.anchor,
        "kind": row.kind,
        "size": row.size,
        "state": "pending" if row.entry is None else "anchored",
        "index": _index(row),
        "queued_ms": row.queued_ms,
        "anchored_ms": row.anchored_ms,
        "attempts": row.attempts,
        "last_error": row.last_error,
    }


def _line(row: AnchorRow) -> str:
    if row.anchored_ms is not None:
        return f"{row.anchor}: size {row.size} is entry {_index(row)} since {_time(row.anchored_ms)}"
    tried = f", {row.attempts} attempts, last: {row.last_error}" if row.last_error else ""
    return f"{row.anchor}: size {row.size} is pending since {_time(row.queued_ms)}{tried}"


def _index(row: AnchorRow) -> int | None:
    from sovereign_ext.attest.rekor_json import parse_entry

    return None if row.entry is None else parse_entry(row.kind, row.entry).index


def _time(ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""``sovereign log``: looks after the transparency log of a state directory. So far: ``fsck``.

Reads only. The checks are ``tlog.fsck``'s.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sovereign_ext.storage.entries import StoredRow
    from sovereign_ext.tlog.fsck import FsckReport
    from sovereign_ext.tlog.service import LogPaths


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("log", help="look after the transparency log")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fsck = actions.add_parser(
        "fsck",
        help="check all rows, signatures, tiles and checkpoints",
        description="Recomputes the log's tree from its rows and compares every tile and checkpoint with it. "
        "Exit code 1 when there is a fault. May run beside a live log.",
    )
    fsck.add_argument("--state-dir", type=Path, metavar="DIR", default=Path(".sovereign"))
    fsck.add_argument(
        "--checkpoint-dir", type=Path, metavar="DIR", help="where the signed checkpoint is, if apart"
    )
    fsck.add_argument("--quick", action="store_true", help="do not verify the envelopes' signatures")


def run(args: argparse.Namespace) -> int:
    from sovereign_ext.errors import LogUnavailable
    from sovereign_ext.tlog.service import LogPaths

    candidates = (args.state_dir, args.state_dir / "log")
    state = next((path for path in candidates if (path / "log.db").is_file()), None)
    if state is None:
        raise LogUnavailable(f"there is no log in {args.state_dir}")
    report = _fsck(LogPaths.of(state, args.checkpoint_dir), quick=args.quick)
    print(_render(report))
    return 1 if report.faults else 0


def _fsck(paths: LogPaths, *, quick: bool) -> FsckReport:
    from sqlalchemy.exc import SQLAlchemyError

    from sovereign_ext.attest.trusted_root import LOG_KEYS, read_log_keys
    from sovereign_ext.errors import LogUnavailable
    from sovereign_ext.storage.engine import open_sqlite
    from sovereign_ext.storage.entries import EntryStore
    from sovereign_ext.tlog.files import read_file
    from sovereign_ext.tlog.fsck import Fsck
    from sovereign_ext.tlog.reader import CHECKPOINT, LogReader

    keys = read_log_keys((paths.public / LOG_KEYS).read_bytes())
    store = EntryStore(open_sqlite(paths.database, read_only=True))
    signed = read_file(paths.signed / CHECKPOINT)
    try:
        verify = None if quick else _row_verifier(keys.envelope)
        return Fsck(store, LogReader(paths.tiles), signed, keys.log, verify).run()
    except SQLAlchemyError as error:
        raise LogUnavailable(f"the database cannot be read: {error}") from None
    finally:
        store.close()


def _row_verifier(envelope_key: bytes) -> Callable[[StoredRow], None]:
    from sovereign_ext.attest import dsse
    from sovereign_ext.attest.entry import parse_body, verify_entry
    from sovereign_ext.errors import VerificationError

    def verify(row: StoredRow) -> None:
        body = parse_body(row.body)
        verify_entry(dsse.parse(row.envelope), body)
        if body.spki != envelope_key:
            raise VerificationError("signed by another key than the log's envelope key")

    return verify


def _render(report: FsckReport) -> str:
    lines = [f"fault: {fault}" for fault in report.faults]
    root = "unknown" if report.root is None else report.root.hex()
    lines.append(f"size {report.size}, root {root}")
    signatures = f"{report.signatures} signatures" if report.signatures else "signatures not checked"
    lines.append(f"read {report.rows} entries, {report.tiles} tiles, {signatures}")
    lines.append(f"{len(report.faults)} fault(s)" if report.faults else "no faults")
    return "\n".join(lines)

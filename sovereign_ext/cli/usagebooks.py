"""``sovereign usage reconcile`` and ``rebuild``: usage against the log's entries, and usage made anew of them.

Reconciling reads only, and may run beside a live gateway, anywhere with an export and the log's public keys; what is
compared is ``metering.reconcile``'s matter. Deliberately not here: mending what ``reconcile`` found by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sovereign_ext.attest.keys import PublicKeys
    from sovereign_ext.metering.inclusion import Inclusion
    from sovereign_ext.metering.reconcile import Report


def register_books(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The two actions."""
    reconcile = actions.add_parser(
        "reconcile",
        help="compare a month's invoices with the log, entry by entry",
        description="Verifies every outcome entry of the month (leaf, signature, inclusion under the published "
        "checkpoint), computes cost and bill anew from its tokens, price and margin, and compares it with its usage "
        "row and all of them with the invoice. With --export and --invoice it does so anywhere, from "
        "`sovereign audit export --full` and `sovereign usage invoice --json`. Exit code 1 when something differs.",
    )
    reconcile.add_argument("--tenant", metavar="ID", help="only this tenant (default: all)")
    reconcile.add_argument("--month", metavar="YYYY-MM", help="default: the month under way")
    reconcile.add_argument("--invoice", type=Path, metavar="FILE", help="the invoice as it was sent, JSON")
    reconcile.add_argument(
        "--export", type=Path, metavar="FILE", help="entries, as JSON Lines; takes --invoice"
    )
    reconcile.add_argument("--keys", type=Path, metavar="FILE", help="the log's log-keys.json")
    tiles = reconcile.add_mutually_exclusive_group()
    tiles.add_argument("--tiles", type=Path, metavar="DIR", help="where the log's tiles are")
    tiles.add_argument("--url", metavar="URL", help="the log's public prefix, to read tiles from")
    reconcile.add_argument("--quick", action="store_true", help="do not verify the envelopes' signatures")
    reconcile.add_argument("--json", action="store_true", help="print one JSON list of reports")
    rebuild = actions.add_parser(
        "rebuild",
        help="make usage anew of the log's entries",
        description="For a log that is older than usage is kept, and for tables that were damaged. May run beside a "
        "live gateway, be interrupted and repeated. Exit code 1 when an entry could not be read.",
    )
    for action in (reconcile, rebuild):
        action.add_argument("--state-dir", type=Path, metavar="DIR", default=Path(".sovereign"))
        action.add_argument(
            "--config", type=Path, metavar="FILE", help="names the database, if it is PostgreSQL"
        )


def run_books(args: argparse.Namespace) -> int:
    """Run one of them; the exit code."""
    from sqlalchemy.exc import SQLAlchemyError

    from sovereign_ext.errors import LogUnavailable

    try:
        return _rebuild(args) if args.action == "rebuild" else _reconcile(args)
    except SQLAlchemyError as error:
        raise LogUnavailable(
            f"the database cannot be used: {getattr(error, 'orig', None) or error}"
        ) from None


def _rebuild(args: argparse.Namespace) -> int:
    from sovereign_ext.metering.books import rebuild

    def told(done: int, size: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {size} entries", end="\n" if done == size else "", file=sys.stderr)

    engine = _engine(args, writing=True)
    try:
        found = rebuild(engine, told)
    finally:
        engine.dispose()
    for fault in found.faults:
        print(f"not read: {fault}")
    print(f"{found.entries} outcome entries, {found.rows} usage rows and {found.hours} hours put right")
    return 1 if found.faults else 0


def _reconcile(args: argparse.Namespace) -> int:
    reports = _offline(args) if args.export is not None else _online(args)
    if args.json:
        print(json.dumps([_as_json(report) for report in reports], indent=2))
    else:
        for report in reports:
            _print(report)
        if not reports:
            print("nobody used anything")
    return 1 if any(report.differences for report in reports) else 0


def _online(args: argparse.Namespace) -> Sequence[Report]:
    from datetime import UTC, datetime

    from sovereign_ext.errors import StartError
    from sovereign_ext.metering.books import reconcile, tenants_in
    from sovereign_ext.metering.periods import parse_month

    given = None if args.invoice is None else _read_invoice(args.invoice)
    month = parse_month(args.month or f"{datetime.now(UTC):%Y-%m}")
    tenants = [args.tenant] if args.tenant else None
    if given is not None:
        tenant, month = _named(given)
        if args.tenant not in (None, tenant) or args.month not in (None, str(month)):
            raise StartError(f"{args.invoice} is of {tenant} and {month}")
        tenants = [tenant]
    keys = _keys(args)
    engine = _engine(args)
    try:
        names = tenants if tenants is not None else tenants_in(engine, month)
        key, under = None if args.quick else keys.envelope, _inclusion(args, keys)
        return [reconcile(engine, name, month, key, under, given) for name in names]
    finally:
        engine.dispose()


def _offline(args: argparse.Namespace) -> Sequence[Report]:
    from sovereign_ext.errors import StartError
    from sovereign_ext.metering.books import reconcile_export

    if args.invoice is None or args.keys is None:
        raise StartError("--export takes --invoice and --keys")
    given = _read_invoice(args.invoice)
    tenant, month = _named(given)
    keys = _keys(args)
    under = None
    if args.tiles is not None or args.url is not None:
        under = _inclusion(args, keys, given)
    with args.export.open("rb") as lines:
        key = None if args.quick else keys.envelope
        return [reconcile_export(lines, tenant, month, given, key, under)]


def _engine(args: argparse.Namespace, *, writing: bool = False) -> Engine:
    from sovereign_ext.cli.log import find_log
    from sovereign_ext.config.load import base_of, load
    from sovereign_ext.errors import LogUnavailable
    from sovereign_ext.storage.engine import open_sqlite
    from sovereign_ext.storage.migrate import current_revision
    from sovereign_ext.storage.schema import REVISION
    from sovereign_ext.storing import READING_S, open_engine

    storage = None if args.config is None else load(args.config).config.storage
    if storage is not None and storage.database is not None:
        log_dir = args.state_dir / "log"
        engine = open_engine(storage, base_of(args.config), log_dir, os.environ, patience_s=READING_S)
    else:
        engine = open_sqlite(find_log(args.state_dir, None).database, read_only=not writing)
    with engine.connect() as connection:
        if (found := current_revision(connection)) != REVISION:
            raise LogUnavailable(f"the database is of revision {found}, this release needs {REVISION}")
    return engine


def _keys(args: argparse.Namespace) -> PublicKeys:
    from sovereign_ext.attest.trusted_root import LOG_KEYS, read_log_keys
    from sovereign_ext.tlog.state import LogPaths

    file = args.keys or LogPaths.of(_log_dir(args)).public / LOG_KEYS
    return read_log_keys(file.read_bytes())


def _log_dir(args: argparse.Namespace) -> Path:
    inner: Path = args.state_dir / "log"
    return inner if inner.is_dir() else args.state_dir


def _inclusion(args: argparse.Namespace, keys: PublicKeys, given: dict[str, Any] | None = None) -> Inclusion:
    """Under the published checkpoint, or under that of the invoice ``given``."""
    import httpx

    from sovereign_ext.cli.logmonitor import http_fetch
    from sovereign_ext.errors import LogUnavailable, VerificationError
    from sovereign_ext.metering.inclusion import Inclusion
    from sovereign_ext.tlog.checkpoint import open_checkpoint
    from sovereign_ext.tlog.follow import read_tile
    from sovereign_ext.tlog.note import MAX_NOTE_BYTES
    from sovereign_ext.tlog.reader import CHECKPOINT, LogReader

    client = httpx.Client(timeout=30, trust_env=False)
    fetch = None if args.url is None else http_fetch(client, args.url)
    reader = LogReader(_tiles(args))
    if given is not None:
        note: bytes | None = str(given.get("checkpoint", {}).get("note", "")).encode()
    else:
        note = reader.checkpoint() if fetch is None else fetch(CHECKPOINT, MAX_NOTE_BYTES)
    if not note:
        raise LogUnavailable("there is no checkpoint to prove inclusion under")
    try:
        checkpoint, _ = open_checkpoint(note, keys.log.name, [keys.log])
    except VerificationError as error:
        raise VerificationError(f"the checkpoint: {error}") from None
    if fetch is None:
        return Inclusion(reader.tile, checkpoint)
    return Inclusion(lambda tile: read_tile(fetch, tile, checkpoint.size), checkpoint)


def _tiles(args: argparse.Namespace) -> Path:
    from sovereign_ext.config.load import base_of, load
    from sovereign_ext.tlog.state import LogPaths

    if args.tiles is not None:
        return Path(args.tiles)
    if args.config is not None:
        shared = load(args.config).config.storage.tiles
        if shared is not None and shared.directory is not None:
            return base_of(args.config) / Path(shared.directory).expanduser()
    return LogPaths.of(_log_dir(args)).tiles


def _read_invoice(file: Path) -> dict[str, Any]:
    from sovereign_ext.errors import StartError

    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        found = None
    shape = {"name": str, "lines": list, "total": dict, "rows": dict}
    if not isinstance(found, dict) or any(
        not isinstance(found.get(name), kind) for name, kind in shape.items()
    ):
        raise StartError(f"{file} is not an invoice of `sovereign usage invoice --json`")
    return found


def _named(given: dict[str, Any]) -> tuple[str, Any]:
    from sovereign_ext.errors import StartError
    from sovereign_ext.metering.periods import parse_month

    parts = given["name"].split("/")
    if len(parts) != 4:
        raise StartError(f"{given['name']} is not the name of an invoice")
    return parts[1], parse_month(parts[3])


def _as_json(report: Report) -> dict[str, Any]:
    from sovereign_ext.metering.invoice import amounts

    return {
        "tenant": report.tenant,
        "month": str(report.month),
        "entries": report.entries,
        "verified": report.verified,
        "included": report.included,
        "pending": report.pending,
        "taken": report.taken,
        "total": amounts(report.totals),
        "differences": report.differences,
        "unshown": report.unshown,
    }


def _print(report: Report) -> None:
    from sovereign_ext.policy.cost import usd_text

    for difference in report.differences:
        print(f"differs: {difference}")
    if report.unshown:
        print(f"and {report.unshown} more")
    said = f"{report.verified} signatures, {report.included} included, {report.pending} pending"
    print(
        f"{report.tenant} {report.month}: {report.entries} entries, {said}, {report.taken} taken as recorded"
    )
    print(f"billed ${usd_text(report.totals.billed_nano)}, cost ${usd_text(report.totals.cost_nano)}")
    count = len(report.differences) + report.unshown
    print(f"{count} difference(s)" if count else "log, usage and invoice agree")
    if count:
        print("if usage is wrong and the log is not: `sovereign usage rebuild` makes it anew")

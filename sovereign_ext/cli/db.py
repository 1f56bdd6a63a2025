"""``sovereign db``: the schema of the database that the configuration names; ``upgrade`` is run once per release.

SQLite is upgraded by the gateway's own start; ``upgrade`` does the same without starting it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("db", help="look after the database's schema")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser(
        "status",
        help="say whether the database fits this release",
        description="Prints the schema's revision and the one that this release needs. Exit code 1 if they differ.",
    )
    upgrade = actions.add_parser(
        "upgrade",
        help="bring the database to this release's schema",
        description="Migrates in one transaction: it is done, or nothing has changed. Several at once wait for each "
        "other. Stop routers of older releases before, and make a backup.",
    )
    for action in (status, upgrade):
        action.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="default: sovereign.yaml, else .sovereign/sovereign.yaml",
        )
        action.add_argument(
            "--state-dir",
            type=Path,
            metavar="DIR",
            default=Path(".sovereign"),
            help="where SQLite's file is, if there is no PostgreSQL",
        )


def run(args: argparse.Namespace) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    from sovereign_ext.errors import LogUnavailable

    engine = _engine(args)
    try:
        return _status(engine) if args.action == "status" else _upgrade(engine)
    except SQLAlchemyError as error:
        # The driver's words without SQLAlchemy's: neither holds the URL, but the latter are many.
        raise LogUnavailable(
            f"the database cannot be used: {getattr(error, 'orig', None) or error}"
        ) from None
    finally:
        engine.dispose()


def _engine(args: argparse.Namespace) -> Engine:
    from sovereign_ext.cli.check import default_file
    from sovereign_ext.config.load import base_of, load
    from sovereign_ext.errors import LogUnavailable
    from sovereign_ext.storing import open_engine

    file = args.config or default_file()
    storage = load(file).config.storage
    if storage.database is None and not (args.state_dir / "log" / "log.db").exists():
        raise LogUnavailable(f"there is no database in {args.state_dir}, and {file} names no PostgreSQL")
    return open_engine(storage, base_of(file), args.state_dir / "log", os.environ)


def _status(engine: Engine) -> int:
    from sovereign_ext.storage.migrate import current_revision
    from sovereign_ext.storage.schema import REVISION

    with engine.connect() as connection:
        found = current_revision(connection)
    print(f"database   {engine.dialect.name}")
    print(f"revision   {found or 'none, it is empty'}")
    print(f"needed     {REVISION}")
    return 0 if found == REVISION else 1


def _upgrade(engine: Engine) -> int:
    from sovereign_ext.storage.migrate import upgrade
    from sovereign_ext.storage.schema import REVISION

    before = upgrade(engine)
    if before == REVISION:
        print(f"already at revision {REVISION}")
    else:
        print(
            f"upgraded from {'an empty database' if before is None else f'revision {before}'} to {REVISION}"
        )
    return 0

"""The parts of a log that the commands read: rows, tiles, the checkpoint signed last, public keys.

Of a log that one process has, all of it is in its state directory. Of one that several routers share, the configuration
says where it is; the public keys are in the state directory of any of them.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from sovereign_ext.attest.keys import PublicKeys
    from sovereign_ext.tlog.reader import LogReader
    from sovereign_ext.tlog.service import LogPaths, SharedLog


@dataclass(frozen=True, slots=True)
class LogParts:
    """What is there of a log. ``signed`` reads the checkpoint signed last, a note."""

    engine: Engine
    reader: LogReader
    signed: Callable[[], bytes | None]
    keys: PublicKeys


def add_place(parser: argparse.ArgumentParser) -> None:
    """The options that say which log."""
    parser.add_argument("--state-dir", type=Path, metavar="DIR", default=Path(".sovereign"))
    add_config(parser)


def add_config(parser: argparse.ArgumentParser) -> None:
    """The option that names the configuration of routers that share a log."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration, where routers share database and tiles",
    )


def find_log(state_dir: Path, checkpoint_dir: Path | None) -> LogPaths:
    """The log below a state directory, of ``sovereign up`` or of the log itself. Raises ``LogUnavailable``."""
    return _paths(state_dir, checkpoint_dir, "log.db")


@contextmanager
def opened(
    state_dir: Path, checkpoint_dir: Path | None = None, config: Path | None = None
) -> Iterator[LogParts]:
    """All parts, for reading. Raises ``LogUnavailable``, ``ConfigError``, ``OSError``."""
    from sqlalchemy.exc import SQLAlchemyError

    from sovereign_ext.errors import LogUnavailable

    with connected(state_dir, config) as (engine, shared):
        try:
            yield _parts(engine, shared, state_dir, checkpoint_dir)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"the database cannot be read: {type(error).__name__}") from None


@contextmanager
def connected(state_dir: Path, config: Path | None) -> Iterator[tuple[Engine, SharedLog | None]]:
    """The database, and what else routers share, if they do. Raises ``LogUnavailable``, ``ConfigError``."""
    import os

    from sovereign_ext.config.load import base_of, load
    from sovereign_ext.storage.engine import open_sqlite
    from sovereign_ext.storing import READING_S, shared_log

    shared = None
    if config is not None:
        storage = load(config).config.storage
        shared = shared_log(storage, base_of(config), os.environ, patience_s=READING_S)
    engine = (
        open_sqlite(find_log(state_dir, None).database, read_only=True) if shared is None else shared.engine
    )
    try:
        yield engine, shared
    finally:
        engine.dispose()
        if shared is not None:
            shared.tiles.close()


def _parts(
    engine: Engine, shared: SharedLog | None, state_dir: Path, checkpoint_dir: Path | None
) -> LogParts:
    from sovereign_ext.attest.trusted_root import LOG_KEYS, read_log_keys
    from sovereign_ext.storage.published import PublishedStore
    from sovereign_ext.tlog.files import read_file
    from sovereign_ext.tlog.reader import CHECKPOINT, LogReader

    if shared is None:
        paths = find_log(state_dir, checkpoint_dir)
        keys = read_log_keys((paths.public / LOG_KEYS).read_bytes())
        return LogParts(engine, LogReader(paths.tiles), partial(read_file, paths.signed / CHECKPOINT), keys)
    paths = _paths(state_dir, checkpoint_dir, f"public/{LOG_KEYS}")
    keys = read_log_keys((paths.public / LOG_KEYS).read_bytes())
    return LogParts(engine, LogReader(shared.tiles), PublishedStore(engine).note, keys)


def _paths(state_dir: Path, checkpoint_dir: Path | None, needed: str) -> LogPaths:
    from sovereign_ext.errors import LogUnavailable
    from sovereign_ext.tlog.service import LogPaths

    candidates = (state_dir, state_dir / "log")
    state = next((path for path in candidates if (path / needed).is_file()), None)
    if state is None:
        raise LogUnavailable(f"there is no log in {state_dir}")
    return LogPaths.of(state, checkpoint_dir)

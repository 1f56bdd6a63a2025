"""What ``storage`` in ``sovereign.yaml`` points at: database, Valkey, the log's tiles, the key hash secret.

Read once, at the start. Messages name the variable or the file, never what it holds.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Engine

from sovereign_ext.config.storage import S3, SecretSource, Storage, Tiles
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.errors import ConfigError
from sovereign_ext.roots import read_roots, tls_context
from sovereign_ext.secret import Secret
from sovereign_ext.storage.engine import PATIENCE_S, open_database, open_postgres
from sovereign_ext.tlog.s3keys import FixedKeys, KeySource
from sovereign_ext.tlog.shared import SharedLog, shared_directory
from sovereign_ext.tlog.state import LogPaths
from sovereign_ext.tlog.tilestore import TileStore

KEY_HASH_FILE: Final = "key-hash.secret"
"""Its name in the state directory."""

READING_S: Final = 300.0
"""The patience of a command that reads a whole log, or a month of it."""

MIN_KEY_HASH_BYTES: Final = 32
MAX_BYTES: Final = 65_536

_NEW_KEY_HASH_BYTES: Final = 32


def read_secret(source: SecretSource, base: Path, environ: Mapping[str, str], field: str) -> Secret:
    """The secret's text without white space around it. ``base`` is what file names are relative to.

    Raises ``ConfigError`` for ``field`` if there is none.
    """
    if source.env is not None:
        text = environ.get(source.env, "").strip()
        if not text:
            raise ConfigError(f"environment variable {source.env} is not set", field=f"{field}.env")
        return Secret(text)
    assert source.file is not None
    try:
        with (base / Path(source.file).expanduser()).open("rb") as stream:
            text = stream.read(MAX_BYTES).decode("utf-8").strip()
    except (OSError, ValueError):
        text = ""
    if not text:
        raise ConfigError(f"file {source.file} cannot be read or is empty", field=f"{field}.file")
    return Secret(text)


def open_engine(
    storage: Storage,
    base: Path,
    log_dir: Path,
    environ: Mapping[str, str],
    *,
    patience_s: float = PATIENCE_S,
) -> Engine:
    """The database that is configured: PostgreSQL, or the SQLite file in ``log_dir``. Nothing is connected yet.

    ``patience_s`` is how long PostgreSQL may take for an answer; a command that reads a whole log needs more than a
    router. Raises ``ConfigError``.
    """
    url = database_url(storage, base, environ)
    return open_database(url, LogPaths.of(log_dir).database, patience_s=patience_s)


def shared_log(
    storage: Storage, base: Path, environ: Mapping[str, str], *, patience_s: float = PATIENCE_S
) -> SharedLog | None:
    """What the routers of one log have in common; ``None`` where one router has it all to itself.

    Nothing is connected yet. Whoever opens the log with it disposes of its engine afterwards. ``patience_s`` as of
    ``open_engine``. Raises ``ConfigError``.
    """
    url = database_url(storage, base, environ)
    if url is None:
        return None
    assert storage.tiles is not None, "config.storage takes no database without them"
    assert storage.log_keys_dir is not None
    tiles = _tiles(storage.tiles, base, environ)
    return SharedLog(
        open_postgres(url, patience_s=patience_s), tiles, base / Path(storage.log_keys_dir).expanduser()
    )


def _tiles(tiles: Tiles, base: Path, environ: Mapping[str, str]) -> TileStore:
    if tiles.directory is not None:
        return shared_directory(base / Path(tiles.directory).expanduser())
    assert tiles.s3 is not None
    # The HTTP client costs a start that does not need it.
    from sovereign_ext.tlog.s3tiles import Bucket, S3Tiles  # noqa: PLC0415

    given, field = tiles.s3, "storage.tiles.s3"
    keys = _tile_keys(given, base, environ, field)
    tls = None
    if given.ca_file is not None:
        tls = tls_context(
            read_roots(given.ca_file, lambda name: (base / name).read_bytes(), f"{field}.ca_file")
        )
    bucket = Bucket(
        given.endpoint, given.bucket, given.region, keys, given.prefix or "", given.path_style, tls
    )
    return S3Tiles(bucket)


def _tile_keys(given: S3, base: Path, environ: Mapping[str, str], field: str) -> KeySource:
    """The pair that is named, or the gateway's own keys: those of its role, as a rule."""
    if given.access_key_id is None or given.secret_access_key is None:
        from sovereign_ext.keystore.exchange.aws_threads import ThreadKeys  # noqa: PLC0415
        from sovereign_ext.keystore.http import Surroundings  # noqa: PLC0415

        return ThreadKeys(Surroundings(environ), given.region)
    return FixedKeys(
        AwsKeys(
            read_secret(given.access_key_id, base, environ, f"{field}.access_key_id").reveal(),
            read_secret(given.secret_access_key, base, environ, f"{field}.secret_access_key"),
        )
    )


def database_url(storage: Storage, base: Path, environ: Mapping[str, str]) -> Secret | None:
    """The URL of the PostgreSQL database; ``None`` where SQLite is used. Raises ``ConfigError``."""
    if storage.database is None:
        return None
    field = "storage.database"
    url = read_secret(storage.database.source, base, environ, field)
    if url.reveal().partition("://")[0] not in ("postgresql", "postgres"):
        raise ConfigError("is no URL such as postgresql://user:password@host/name (not shown)", field=field)
    return url


def shared_url(storage: Storage, base: Path, environ: Mapping[str, str]) -> Secret | None:
    """The URL of the Valkey or Redis; ``None`` where nothing is shared. Raises ``ConfigError``."""
    if storage.shared is None:
        return None
    field = "storage.shared"
    url = read_secret(storage.shared.source, base, environ, field)
    if not _is_redis_url(url.reveal()):
        raise ConfigError("is no URL such as rediss://:password@host:6379/0 (not shown)", field=field)
    if storage.shared.ca_file is not None and not url.reveal().startswith("rediss:"):
        raise ConfigError("ca_file takes a URL with TLS (rediss://)", field=field)
    return url


def _is_redis_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def key_hash_secret(
    storage: Storage, base: Path, state_dir: Path, environ: Mapping[str, str], random: Callable[[int], bytes]
) -> Secret:
    """The secret behind the keyed hashes of tenants' keys: at least 32 bytes of text.

    Where none is named, it is ``key-hash.secret`` in the state directory, made when it is not there. Raises
    ``ConfigError``; keys that the database knows by their hash open nothing without their secret, so it is never
    replaced.
    """
    field = "storage.key_hash"
    if storage.key_hash is not None:
        secret = read_secret(storage.key_hash, base, environ, field)
    else:
        path = state_dir / KEY_HASH_FILE
        try:
            _make(path, random(_NEW_KEY_HASH_BYTES).hex())
        except OSError as error:
            raise ConfigError(f"cannot make {KEY_HASH_FILE}: {error.strerror}", field=field) from None
        secret = read_secret(SecretSource(file=str(path.absolute())), base, environ, field)
    if len(re.sub(r"\s", "", secret.reveal()).encode()) < MIN_KEY_HASH_BYTES:
        raise ConfigError(f"has fewer than {MIN_KEY_HASH_BYTES} bytes", field=field)
    return secret


def _make(path: Path, text: str) -> None:
    """Under its name only when it is complete and durable; whoever comes second keeps the first one's."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

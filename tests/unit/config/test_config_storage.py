"""Where state is kept: what the file may say, and that it never holds, or shows, a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sovereign_ext.config.load import parse
from sovereign_ext.config.storage import SecretSource, Storage
from sovereign_ext.errors import ConfigError
from sovereign_ext.secret import Secret
from sovereign_ext.storing import (
    KEY_HASH_FILE,
    database_url,
    key_hash_secret,
    read_secret,
    shared_url,
)

CANARY = "canary-5d1e"
SHARED = """
version: 1
storage:
  database: {url_env: DB}
  shared: {url_file: valkey, ca_file: ca.pem}
  tiles:
    s3:
      endpoint: https://s3.example
      bucket: acme-log
      access_key_id: {env: A}
      secret_access_key: {file: b}
  log_keys_dir: /mnt/keys
  key_hash: {env: KH}
"""


def test_everything_is_optional() -> None:
    """Without the section there is one process with its state directory."""
    assert parse("version: 1\n").storage == Storage()


def test_all_of_it_is_read() -> None:
    """The shape that several routers share."""
    storage = parse(SHARED).storage
    assert storage.database is not None
    assert storage.database.source == SecretSource(env="DB")
    assert storage.shared is not None
    assert (storage.shared.source, storage.shared.ca_file) == (SecretSource(file="valkey"), "ca.pem")
    assert storage.tiles is not None
    assert storage.tiles.s3 is not None
    assert storage.tiles.s3.secret_access_key.file == "b"


@pytest.mark.parametrize(
    ("section", "field", "reason"),
    [
        ("{database: {url_env: DB}}", "storage", "shared, tiles, log_keys_dir, key_hash too: name them"),
        (
            "{database: {url_env: DB}, shared: {url_env: V}, tiles: {directory: t}, key_hash: {env: K}}",
            "storage",
            "log_keys_dir too: name it",
        ),
        ("{shared: {url_env: V}, tiles: {directory: t}}", "storage", "shared, tiles without database"),
        ("{database: {}}", "storage.database", "exactly one of url_env, url_file"),
        ("{database: {url: 'postgresql://u:p@h/d'}}", "storage.database.url", "unknown field"),
        ("{database: {url_env: A, url_file: b}}", "storage.database", "exactly one"),
        ("{shared: {url_env: '2x'}}", "storage.shared.url_env", ""),
        ("{tiles: {}}", "storage.tiles", "exactly one of directory, s3"),
        ("{key_hash: {env: A, file: b}}", "storage.key_hash", "exactly one of env, file"),
    ],
)
def test_faults_have_their_place(section: str, field: str, reason: str) -> None:
    """One clear line each."""
    with pytest.raises(ConfigError) as caught:
        parse(f"version: 1\nstorage: {section}\n")
    assert any(fault.field == field and reason in fault.reason for fault in caught.value.faults), str(
        caught.value
    )


def test_a_bucket_is_asked_safely() -> None:
    """Requests are signed, but what they read and write is not hidden."""
    with pytest.raises(ConfigError, match="https"):
        parse(SHARED.replace("https://s3.example", "http://s3.example"))
    parse(SHARED.replace("https://s3.example", "http://127.0.0.1:9000"))


def test_a_bucket_has_a_pair_of_keys_or_none() -> None:
    """None: requests are signed with the gateway's own."""
    key_id, secret = "      access_key_id: {env: A}\n", "      secret_access_key: {file: b}\n"
    tiles = parse(SHARED.replace(key_id, "").replace(secret, "")).storage.tiles
    assert tiles is not None
    assert tiles.s3 is not None
    assert tiles.s3.access_key_id is tiles.s3.secret_access_key is None
    for half in (key_id, secret):
        with pytest.raises(ConfigError, match="give both access_key_id and secret_access_key, or neither"):
            parse(SHARED.replace(half, ""))


def test_a_secret_is_read_from_where_it_is_said_to_be(tmp_path: Path) -> None:
    """White space around it is not part of it; relative to the configuration file."""
    (tmp_path / "s").write_text(f"  {CANARY}\n")
    assert read_secret(SecretSource(file="s"), tmp_path, {}, "f") == Secret(CANARY)
    assert read_secret(SecretSource(env="S"), tmp_path, {"S": f"{CANARY}\n"}, "f") == Secret(CANARY)


@pytest.mark.parametrize("source", [SecretSource(env="S"), SecretSource(file="s"), SecretSource(file="none")])
def test_a_secret_that_is_missing_is_named(source: SecretSource, tmp_path: Path) -> None:
    """An empty one is none."""
    (tmp_path / "s").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=source.env or source.file):
        read_secret(source, tmp_path, {"S": " "}, "f")


@pytest.mark.parametrize(
    "url", [f"mysql://u:{CANARY}@h/d", CANARY, f"host=h password={CANARY}", f"http://[{CANARY}"]
)
def test_a_url_of_another_kind_is_refused_and_not_shown(url: str) -> None:
    """Neither in the message nor in what caused it."""
    storage = parse(SHARED.replace("url_file: valkey, ca_file: ca.pem", "url_env: V")).storage
    for read, environ in ((database_url, {"DB": url}), (shared_url, {"V": url})):
        with pytest.raises(ConfigError) as caught:
            read(storage, Path(), environ)
        assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r}"
        assert caught.value.__cause__ is None


def test_urls_are_secrets(tmp_path: Path) -> None:
    """Their ``repr`` hides them; nothing is read where nothing is named."""
    storage = parse(SHARED).storage
    url = database_url(storage, tmp_path, {"DB": f"postgresql://u:{CANARY}@h/d"})
    assert url is not None
    assert CANARY not in repr(url)
    (tmp_path / "valkey").write_text("redis://h")
    with pytest.raises(ConfigError, match="ca_file takes a URL with TLS"):
        shared_url(storage, tmp_path, {})
    (tmp_path / "valkey").write_text("rediss://h:7000/0")
    assert shared_url(storage, tmp_path, {}) == Secret("rediss://h:7000/0")
    assert (database_url(Storage(), tmp_path, {}), shared_url(Storage(), tmp_path, {})) == (None, None)


def test_the_key_hash_secret_is_made_once(tmp_path: Path) -> None:
    """Private, whole, and never replaced: keys would open nothing any more."""
    state = tmp_path / "state"
    first = key_hash_secret(Storage(), tmp_path, state, {}, os.urandom)
    assert key_hash_secret(Storage(), tmp_path, state, {}, os.urandom) == first
    assert len(first.reveal()) == 64
    assert [path.name for path in state.iterdir()] == [KEY_HASH_FILE]
    assert (state / KEY_HASH_FILE).stat().st_mode & 0o777 == 0o600
    (state / KEY_HASH_FILE).write_text("")
    with pytest.raises(ConfigError, match="empty"):
        key_hash_secret(Storage(), tmp_path, state, {}, os.urandom)


def test_a_key_hash_secret_has_a_least_length(tmp_path: Path) -> None:
    """A password would be guessed from a stolen table."""
    storage = Storage(key_hash=SecretSource(env="KH"))
    with pytest.raises(ConfigError, match="fewer than 32 bytes"):
        key_hash_secret(storage, tmp_path, tmp_path, {"KH": "short"}, os.urandom)
    assert key_hash_secret(storage, tmp_path, tmp_path, {"KH": "x" * 32}, os.urandom) == Secret("x" * 32)

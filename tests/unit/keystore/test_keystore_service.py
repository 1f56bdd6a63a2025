"""The keystore of a process: built from the configuration, exchanged by a reload, followed, let go."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from sovereign_ext.config.load import parse
from sovereign_ext.config.model import Config
from sovereign_ext.errors import ConfigError
from sovereign_ext.keystore.base import CredentialUnavailableError, Found
from sovereign_ext.keystore.service import Keys, Place
from sovereign_ext.secret import Secret

ENVIRON = {
    "TEST_MASTER": base64.b64encode(os.urandom(32)).decode(),
    "SOVEREIGN_KEY__ACME__P": "sk-env",
    "DECLARED": "sk-declared",
}


def config(**keystore: Any) -> Config:
    document = {
        "version": 1,
        "keystore": keystore,
        "providers": [
            {"id": "p", "kind": "openai", "endpoint": "http://p.example", "credential": {"env": "DECLARED"}}
        ],
    }
    return parse(json.dumps(document))


def keys(tmp_path: Path, used: Config) -> Keys:
    return Keys(used, Place(tmp_path, tmp_path), ENVIRON, patience_s=10.0)


async def shown(store: Keys, used: Config, tenant: str = "acme") -> tuple[str | None, str | None]:
    found: Found = await store.chain.fetch(tenant, used.providers[0])
    assert found.credential is None or isinstance(found.credential, Secret)
    return (None if found.credential is None else found.credential.reveal()), found.source


def test_the_links_are_those_of_the_configuration(tmp_path: Path) -> None:
    """The environment by default, the declared one behind it; without the environment the declared one alone."""

    async def run() -> None:
        for used, wanted in ((config(), ("sk-env", "env")), (config(env=False), ("sk-declared", "declared"))):
            store = keys(tmp_path, used)
            assert await shown(store, used) == wanted
            assert await shown(store, used, "mayo") == ("sk-declared", "declared")
            await store.stop()

    asyncio.run(run())


def test_a_reload_exchanges_the_links(tmp_path: Path) -> None:
    """Nothing changes before `use`; an equal section keeps what was found; what is unusable changes nothing."""

    async def run() -> None:
        before, after = config(), config(env=False)
        store = keys(tmp_path, before)
        store.start()
        assert await shown(store, before) == ("sk-env", "env")
        store.use(store.prepare(config()))
        assert store.chain.ready("acme", before.providers[0]) is not None
        prepared = store.prepare(after)
        assert store.chain.ready("acme", before.providers[0]) is not None
        store.use(prepared)
        assert store.chain.ready("acme", before.providers[0]) is None
        assert await shown(store, after) == ("sk-declared", "declared")
        vault = {
            "kind": "vault-kv",
            "endpoint": "https://vault.example",
            "ca_file": str(tmp_path / "absent.pem"),
        }
        with pytest.raises(ConfigError):
            store.prepare(config(kms=[vault]))
        assert await shown(store, after) == ("sk-declared", "declared")
        await store.stop()

    asyncio.run(run())


def test_a_damaged_local_file_hides_everything_behind_it(tmp_path: Path) -> None:
    """The environment and the declaration would have a key, but perhaps of another account."""

    async def run() -> None:
        used = config(local={"master_key": {"env": "TEST_MASTER"}})
        (tmp_path / "provider-keys.json").write_text("{")
        store = keys(tmp_path, used)
        with pytest.raises(CredentialUnavailableError) as caught:
            await shown(store, used)
        assert caught.value.reason == "damaged"
        (tmp_path / "provider-keys.json").unlink()
        await store.stop()
        store = keys(tmp_path, used)
        assert await shown(store, used) == ("sk-env", "env")
        await store.stop()

    asyncio.run(run())


def test_paths_are_relative_to_the_configuration(tmp_path: Path) -> None:
    """The key file by default to the state directory."""
    place = Place(tmp_path / "etc", tmp_path / "state")
    local = {"master_key": {"file": "m"}}
    assert place.key_file(config(local=local).keystore) == tmp_path / "state/provider-keys.json"
    assert place.key_file(config(local={**local, "file": "k"}).keystore) == tmp_path / "etc/k"
    assert place.key_file(config(local={**local, "file": "/k"}).keystore) == Path("/k")


@pytest.mark.parametrize("master", [{}, {"env": "A", "file": "b"}, {"env": "not a name"}])
def test_a_master_key_has_one_source(master: dict[str, str]) -> None:
    """Anything else is a fault of the file."""
    with pytest.raises(ConfigError, match=r"keystore\.local\.master_key"):
        config(local={"master_key": master})

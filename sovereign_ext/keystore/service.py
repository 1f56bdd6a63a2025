"""The keystore of a running process: the chain, what follows its files, and the services it is connected to.

``prepare`` says whether a configuration can be used and connects to nothing; ``use`` goes over to it without losing a
search under way; what the old one held is let go afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sovereign_ext.config.keystore import KeystoreConfig, MasterKeySource
from sovereign_ext.config.model import Config
from sovereign_ext.keystore.base import Found, Source
from sovereign_ext.keystore.chain import Chain
from sovereign_ext.keystore.database import DatabaseKeys, StoredKeys
from sovereign_ext.keystore.declared import Declared
from sovereign_ext.keystore.environment import EnvironmentKeys, strays
from sovereign_ext.keystore.exchange.registry import ExchangeMinter, build_minter
from sovereign_ext.keystore.http import Surroundings
from sovereign_ext.keystore.kms.registry import build_source, build_wrap
from sovereign_ext.keystore.links import Followed, Links
from sovereign_ext.keystore.local import FILE_NAME, LocalFile
from sovereign_ext.keystore.masterkey import KeyFromEnvironment, KeyFromFile, MasterSource, WrappedKey

_log = logging.getLogger(__name__)

_PATIENCE_SHARE: Final = 0.8
"""Of the time that Envoy waits for us, so much may go into finding a key."""

Close = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are: paths in the configuration are relative to ``base``, the key file's default is in ``state``."""

    base: Path
    state: Path

    def of(self, path: str) -> Path:
        """A path of the configuration."""
        return self.base / Path(path).expanduser()

    def key_file(self, config: KeystoreConfig) -> Path:
        """Where the local key file is."""
        named = None if config.local is None else config.local.file
        return self.state / FILE_NAME if named is None else self.of(named)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Links that can be used, and how to let go of them."""

    config: KeystoreConfig
    links: Links
    closing: tuple[Close, ...]
    database: DatabaseKeys


class Keys:
    """Owns the chain. ``patience_s``: how long Envoy waits for one message of ours."""

    def __init__(self, config: Config, place: Place, environ: Mapping[str, str], patience_s: float) -> None:
        """Raises ``ConfigError`` as ``prepare``."""
        self._place = place
        self._environ = environ
        self._patience_s = patience_s
        self._minters: dict[str, ExchangeMinter] = {}
        self.stored = StoredKeys()
        self._add_minters(config)
        self._used = self._made(config.keystore)
        self.chain = Chain(self._used.links, time.monotonic, time.time)
        self._following: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        stray = strays(environ)
        if config.keystore.env and stray:
            _log.warning("not names of provider keys, so not used: %s", ", ".join(stray))

    def start(self) -> None:
        """Follow the files from now on."""
        self._following = asyncio.create_task(self.chain.follow())
        self._following.add_done_callback(_report_end)

    async def stop(self) -> None:
        """End what runs and let go of connections."""
        if self._following is not None:
            self._following.cancel()
        await self.chain.stop()
        await asyncio.gather(*self._leaving, _let_go(self._used))
        for minter in self._minters.values():
            await minter.aclose()

    @property
    def database(self) -> DatabaseKeys:
        """Seals keys for the database, and opens them."""
        return self._used.database

    def prepare(self, config: Config) -> Prepared:
        """What ``use`` wants; from any thread. Raises ``ConfigError`` if the configuration cannot be used.

        Where the section is the same the links are, too, and what they found is kept.
        """
        self._add_minters(config)
        return self._used if config.keystore == self._used.config else self._made(config.keystore)

    def use(self, prepared: Prepared) -> None:
        """Go over to it; what it replaces is closed when nothing asks it any more."""
        old, self._used = self._used, prepared
        if prepared is not old:
            under_way = self.chain.use(prepared.links)
            leaving = asyncio.get_running_loop().create_task(_let_go(old, under_way))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    def _add_minters(self, config: Config) -> None:
        for kind in {provider.kind for provider in config.providers} - self._minters.keys():
            minter = build_minter(kind, Surroundings(self._environ))
            if minter is not None:
                self._minters[kind] = minter

    def _made(self, config: KeystoreConfig) -> Prepared:
        around = Surroundings(self._environ)
        sources: list[Source] = []
        followed: list[Followed] = []
        closing: list[Close] = []
        masters: list[MasterSource] = []
        if config.local is not None:
            masters, closing = masters_of(config, self._place, self._environ)
            local = LocalFile(self._place.key_file(config), masters, time.monotonic)
            sources.append(local)
            followed.append(local)
        database = DatabaseKeys(self.stored, masters)
        sources.append(database)
        if config.env:
            sources.append(EnvironmentKeys(self._environ))
        for service in config.kms:
            source = build_source(service, around)
            sources.append(source)
            closing.append(source.aclose)
        declared = Declared(self._environ)
        links = Links(
            tuple(sources),
            declared,
            self._minters,
            (*followed, declared),
            float(config.ttl_s),
            float(config.negative_ttl_s),
            min(config.fetch_limit_ms / 1000, _PATIENCE_SHARE * self._patience_s),
        )
        return Prepared(config, links, tuple(closing), database)


def _report_end(task: asyncio.Task[None]) -> None:
    """A follower that ended by itself means that rotations of files go unnoticed until ``ttl_s`` is over: say so."""
    if not task.cancelled() and task.exception() is not None:
        _log.critical("files with provider keys are not followed any more", exc_info=task.exception())


async def _let_go(prepared: Prepared, under_way: tuple[asyncio.Task[Found], ...] = ()) -> None:
    await asyncio.gather(*under_way, return_exceptions=True)
    for close in prepared.closing:
        await close()


def masters_of(
    config: KeystoreConfig, place: Place, environ: Mapping[str, str]
) -> tuple[list[MasterSource], list[Close]]:
    """The master key's sources, the one in use first, and how to let go of them. There must be a ``local`` section.

    Raises ``ConfigError`` for roots that are none.
    """
    assert config.local is not None
    masters: list[MasterSource] = []
    closing: list[Close] = []
    for source in (config.local.master_key, *config.local.previous):
        masters.append(_master(source, place, environ, closing))
    return masters, closing


def _master(
    source: MasterKeySource, place: Place, environ: Mapping[str, str], closing: list[Close]
) -> MasterSource:
    if source.env is not None:
        return KeyFromEnvironment(source.env, environ)
    if source.file is not None:
        return KeyFromFile(place.of(source.file))
    assert source.wrapped is not None
    wrap = build_wrap(source.wrapped, Surroundings(environ))
    closing.append(wrap.aclose)
    return WrappedKey(wrap, os.urandom)

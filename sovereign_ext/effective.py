"""The effective configuration of a running process: the file and the database's resources, change after change.

However a change comes, from the file (``live.watch``), from the database (the feed: another replica's, or our own) or
as a proposal of the management API, it goes the same way:

1. The file as last good and all resources are merged and checked as one, on another thread.
2. What can be used becomes the target; targets that nobody took up yet are passed over for newer ones.
3. The target is taken up (``succession``: Envoy first, then calls). From then on it is **in use**.

A proposal is checked by step 1 before it is committed, and its transaction is refused if any configuration resource has
changed since (``unmoved``): two changes that are good by themselves and not together cannot both get in.

Not here: what taking up means, and who may change what.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine, func, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.config.load import Loaded, again, decode, foundation, read_bytes
from sovereign_ext.config.merge import KINDS, NEVER, NOTHING, Change, Stored
from sovereign_ext.config.model import Config
from sovereign_ext.errors import ConfigError, LogUnavailable, ResourceChanged
from sovereign_ext.storage.resources import Resource, ResourceStore, Write
from sovereign_ext.storage.schema import resources

_log = logging.getLogger(__name__)

ReadyT = TypeVar("ReadyT")

_TRY_AGAIN_S: Final = 0.5


class Resources(Protocol):
    """Reads of the database (``storage.resources.ResourceStore``); any thread may call it."""

    def since(self, revision: int, kinds: Sequence[str] = ()) -> Iterable[Resource]: ...


class ConfigurationMoved(ResourceChanged):
    """Another change of the configuration was committed first: check again."""


@dataclass(frozen=True, slots=True)
class InUse:
    """``loaded`` is what new calls use; ``committed`` the newest revision of the configuration that is known here.

    They are equal but for the moments it takes to take a change up, and while the database holds what cannot be used
    with this file: then ``faults`` say why.
    """

    loaded: Loaded
    committed: int
    faults: tuple[ConfigError, ...]

    @property
    def revision(self) -> int:
        """The newest resource revision that is in use; -1 without any."""
        return self.loaded.stored.revision


class Effective(Generic[ReadyT]):
    """Belongs to one event loop.

    ``prepare`` makes of a configuration what ``take_up`` wants; it runs on any thread, and raises ``ConfigError`` for
    one that cannot be used. ``take_up`` is never called twice at a time.
    """

    def __init__(
        self,
        loaded: Loaded,
        store: Resources,
        prepare: Callable[[Loaded], ReadyT],
        take_up: Callable[[ReadyT], Awaitable[bool]],
    ) -> None:
        """``loaded`` is in use already. ``take_up`` says whether what it was given is in use now."""
        self._store = store
        self._prepare = prepare
        self._take_up = take_up
        self._good = loaded  # the newest that can be used
        self._stored = loaded.stored  # the newest there is
        self._in_use = loaded
        self._prepared: tuple[str, ReadyT] | None = None  # of the last proposal
        self._turn = asyncio.Lock()
        self._target: tuple[Loaded, ReadyT] | None = None
        self._wanted = asyncio.Event()
        self._noticed = asyncio.Event()
        self._settled = asyncio.Condition()
        self._faults: tuple[ConfigError, ...] = ()

    @property
    def in_use(self) -> InUse:
        """What new calls use now."""
        return InUse(self._in_use, self._stored.revision, self._faults)

    @property
    def stored(self) -> Stored:
        """The newest resources, as far as known here."""
        return self._stored

    @property
    def good(self) -> Loaded:
        """The newest configuration that can be used: in use, or about to be."""
        return self._good

    async def file_changed(self, loaded: Loaded) -> None:
        """The file is another. Raises ``ConfigError`` if it cannot be used; nothing has changed then."""
        async with self._turn:
            if loaded.stored is not self._stored:
                loaded = await asyncio.to_thread(again, loaded, self._stored)
            self._aim(loaded, await self._ready(loaded))

    async def database_changed(self) -> None:
        """Resources may be others. What cannot be used with this file is kept in mind, and reported."""
        async with self._turn:
            await self._catch_up()

    async def check(self, *changes: Change) -> None:
        """Raises ``ConfigError`` if the whole could not be used after ``changes``. Nothing changes."""
        async with self._turn:
            await self._catch_up()
            await self._checked(changes)

    @asynccontextmanager
    async def proposed(self, *changes: Change) -> AsyncIterator[Write]:
        """Check what ``changes`` make of the whole; the body is to commit them, together with the ``Write`` given.

        Raises ``ConfigError`` if the whole could not be used: nothing is to be committed then. What the body commits is
        aimed at when it ends. Raises ``ConfigurationMoved`` through the body when another replica was first.
        """
        async with self._turn:
            await self._catch_up()
            await self._checked(changes)
            yield unmoved(self._stored.revision)
            try:
                await self._catch_up()
            except (
                SQLAlchemyError
            ) as error:  # what is committed is made; that it is not used yet is no failure
                _log.warning("a change cannot be read yet: %s", type(error).__name__)
                self.notice()

    async def used(self, revision: int, timeout_s: float) -> bool:
        """Wait until ``revision`` is in use, or what came after it; ``False`` if that is not so in time."""
        try:
            async with asyncio.timeout(timeout_s), self._settled:
                await self._settled.wait_for(lambda: self.in_use.revision >= revision)
        except TimeoutError:
            return False
        return True

    def notice(self) -> None:
        """Resources may have changed: look soon. On the event loop; calls in quick succession are one look."""
        self._noticed.set()

    async def run(self) -> None:
        """Take up one target after the other, and look at the database when that is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            group.create_task(self._work())

    async def _look(self) -> None:
        while True:
            await self._noticed.wait()
            self._noticed.clear()
            try:
                await self.database_changed()
            except SQLAlchemyError as error:
                _log.warning("resources cannot be read: %s; the last good go on", type(error).__name__)
                await asyncio.sleep(_TRY_AGAIN_S)
                self._noticed.set()

    async def _work(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            assert self._target is not None
            loaded, ready = self._target
            if await self._take_up(ready):
                await self._use(loaded)

    async def _use(self, loaded: Loaded) -> None:
        async with self._settled:
            self._in_use = loaded
            self._settled.notify_all()

    async def _catch_up(self) -> None:
        changed = await asyncio.to_thread(_read, self._store, self._stored)
        if changed is self._stored:
            return
        self._stored = changed
        try:
            loaded = await asyncio.to_thread(again, self._good, changed)
            ready = await self._ready(loaded)
        except ConfigError as error:
            self._faults = error.faults
            for line in str(error).splitlines():
                _log.error("resources not used with this file: %s", line)
            return
        self._aim(loaded, ready)

    async def _checked(self, changes: tuple[Change, ...]) -> None:
        loaded = await asyncio.to_thread(again, self._good, self._stored.changed(changes))
        self._prepared = (loaded.digest, await self._ready(loaded))

    async def _ready(self, loaded: Loaded) -> ReadyT:
        if self._prepared is not None and self._prepared[0] == loaded.digest:
            return self._prepared[1]
        try:
            return await asyncio.to_thread(self._prepare, loaded)
        except ConfigError as error:
            raise loaded.named(error) from None

    def _aim(self, loaded: Loaded, ready: ReadyT) -> None:
        self._good, self._faults = loaded, ()
        self._target, self._prepared = (loaded, ready), None
        self._wanted.set()


def load_with_resources(path: Path, open_database: Callable[[Config], Engine | None]) -> Loaded:
    """The configuration at a start. ``open_database`` gives the engine, ``None`` where there is no database yet.

    Blocks. Raises ``ConfigError``, and ``LogUnavailable`` if the database cannot be read.
    """
    raw = read_bytes(path)
    engine = open_database(foundation(raw, str(path)))
    stored = NOTHING
    if engine is not None:
        try:
            if inspect(engine).has_table(resources.name):  # else it is older than resources
                stored = _read(ResourceStore(engine), NOTHING)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot read the resources: {type(error).__name__}") from None
        finally:
            engine.dispose()
    return decode(raw, str(path), stored)


def unmoved(revision: int) -> Write:
    """Refuses with ``ConfigurationMoved`` if configuration resources have changed since ``revision``."""

    def write(connection: Connection, index: int) -> None:
        newest = connection.execute(
            select(func.max(resources.c.revision)).where(resources.c.kind.in_(KINDS))
        ).scalar()
        if (NEVER if newest is None else newest) > revision:
            raise ConfigurationMoved("the configuration")

    return write


def _read(store: Resources, stored: Stored) -> Stored:
    found = store.since(stored.revision, KINDS)
    return stored.changed(
        Change(each.name, each.kind, None if each.deleted else json.loads(each.document), each.revision)
        for each in found
    )

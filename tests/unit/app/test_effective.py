"""One configuration of file and database: proposals are checked against what is committed, targets come in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from sovereign_ext.config.load import Loaded, decode
from sovereign_ext.config.merge import Change
from sovereign_ext.effective import ConfigurationMoved, Effective, load_with_resources
from sovereign_ext.errors import ConfigError
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.storage.migrate import ensure_schema
from sovereign_ext.storage.resources import ResourceStore, create, delete, together

FILE = b"version: 1\npolicies: [{id: base}]\n"


class World:
    """A database, and routers that share it. ``used`` is what the first took up."""

    def __init__(self, directory: Path) -> None:
        self.engine: Engine = open_sqlite(directory / "log.db")
        ensure_schema(self.engine)
        self.store = ResourceStore(self.engine)
        self.used: list[Loaded] = []
        self.next = 0

    def router(self, raw: bytes = FILE) -> Effective[Loaded]:
        async def take_up(loaded: Loaded) -> bool:
            self.used.append(loaded)
            return True

        return Effective(decode(raw, "sovereign.yaml"), self.store, lambda loaded: loaded, take_up)

    def commit(self, *writes: Any) -> None:
        """As the sequencer would: each under the next index, in a transaction of its own."""
        with self.engine.begin() as connection:
            together(*writes)(connection, self.next)
        self.next += 1

    async def make(self, router: Effective[Loaded], kind: str, name: str, document: dict[str, Any]) -> None:
        async with router.proposed(Change(name, kind, document)) as unmoved:
            self.commit(unmoved, create(name, kind, "", json.dumps(document), 1))


def run(directory: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        await asyncio.wait_for(scenario(World(directory)), 20)

    asyncio.run(all_of_it())


def test_what_is_committed_is_aimed_at(tmp_path: Path) -> None:
    """And in use when it was taken up, not before."""

    async def scenario(world: World) -> None:
        router = world.router()
        await world.make(router, "policy", "policies/p", {"id": "p"})
        assert (router.in_use.revision, router.in_use.committed) == (-1, 0)
        task = asyncio.create_task(router.run())
        assert await router.used(0, 5)
        assert [policy.id for policy in router.in_use.loaded.config.policies] == ["base", "p"]
        assert not await router.used(1, 0.01)
        task.cancel()

    run(tmp_path, scenario)


def test_another_router_was_first(tmp_path: Path) -> None:
    """What was checked against an older state is not committed; checked anew it is refused for what it is."""

    async def scenario(world: World) -> None:
        here, there = world.router(), world.router()
        await world.make(here, "provider", "providers/a", {"id": "a", "kind": "mock", "endpoint": "http://a"})

        async def overtaken() -> None:
            async with there.proposed(Change("providers/a", "provider", None)) as unmoved:
                await world.make(here, "policy", "policies/p", {"id": "p", "providers": ["a"]})
                world.commit(unmoved, delete("providers/a", 2))

        with pytest.raises(ConfigurationMoved):
            await overtaken()
        assert world.store.get("providers/a") is not None
        with pytest.raises(ConfigError, match=r"policies/p: providers\[0\]"):
            await there.check(Change("providers/a", "provider", None))

    run(tmp_path, scenario)


def test_a_proposal_that_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    """Whatever came in between."""

    async def scenario(world: World) -> None:
        router = world.router()
        with pytest.raises(RuntimeError):
            async with router.proposed(Change("policies/p", "policy", {"id": "p"})):
                raise RuntimeError("the log is gone")
        assert "policies/p" not in router.stored.documents
        await router.check(Change("policies/q", "policy", {"id": "q"}))

    run(tmp_path, scenario)


def test_what_is_committed_was_made_though_the_database_is_gone_then(tmp_path: Path) -> None:
    """The answer to a change says that it was made; that it is used comes when the database can be read again."""

    async def scenario(world: World) -> None:
        router = world.router()
        read = world.store.since

        def broken(revision: int, kinds: Any = ()) -> Any:
            raise OperationalError("select", {}, Exception("gone"))

        async with router.proposed(Change("policies/p", "policy", {"id": "p"})) as unmoved:
            world.commit(unmoved, create("policies/p", "policy", "", '{"id": "p"}', 1))
            world.store.since = broken  # type: ignore[method-assign]
        world.store.since = read  # type: ignore[method-assign]
        task = asyncio.create_task(router.run())
        assert await router.used(0, 5)
        task.cancel()

    run(tmp_path, scenario)


def test_what_does_not_go_with_the_file_is_kept_in_mind(tmp_path: Path) -> None:
    """The last good goes on; it is used as soon as it can be."""

    async def scenario(world: World) -> None:
        router = world.router()
        policy = {"id": "p", "shadows": ["other"]}
        world.commit(create("policies/p", "policy", "", json.dumps(policy), 1))
        await router.database_changed()
        assert [str(fault) for fault in router.in_use.faults] == [
            "policies/p: shadows[0]: there is no policy 'other'"
        ]
        assert router.in_use.committed == 0
        await router.file_changed(decode(FILE.replace(b"{id: base}", b"{id: other}"), "sovereign.yaml"))
        assert router.in_use.faults == ()
        assert {policy.id for policy in router.good.config.policies} == {"other", "p"}

    run(tmp_path, scenario)


def test_targets_that_nobody_took_up_are_passed_over(tmp_path: Path) -> None:
    """Many changes in a moment are one configuration."""

    async def scenario(world: World) -> None:
        router = world.router()
        for number in range(5):
            await world.make(router, "policy", f"policies/p{number}", {"id": f"p{number}"})
        task = asyncio.create_task(router.run())
        assert await router.used(4, 5)
        assert len(world.used) == 1
        task.cancel()

    run(tmp_path, scenario)


def test_a_start_reads_both(tmp_path: Path) -> None:
    """A file that needs the database starts with it, and is refused without."""
    world = World(tmp_path)
    world.commit(create("policies/p", "policy", "", '{"id": "p"}', 1))
    file = tmp_path / "sovereign.yaml"
    file.write_text("version: 1\ntenants: [{id: t, policies: [p], default_policy: p}]\n")
    loaded = load_with_resources(file, lambda _: world.engine)
    assert (loaded.stored.revision, loaded.owners) == (0, {("policies", 0): "policies/p"})
    with pytest.raises(ConfigError, match="there is no policy 'p'"):
        load_with_resources(file, lambda _: None)

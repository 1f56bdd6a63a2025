"""A changed ``sovereign.yaml`` while the processor runs: checking it takes a while, calls do not wait for it.

The processor is the real one, without Envoy in front of it; only the registry's making is slowed down, by gates.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from sovereign_ext import app, vouching
from sovereign_ext._gen.sovereign.management.v1 import config_pb2
from sovereign_ext.app import Processor
from sovereign_ext.config.live import watch
from sovereign_ext.errors import ConfigError
from sovereign_ext.registry.build import build
from sovereign_ext.registry.registry import Registry
from sovereign_ext.settings import Settings
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint

pytestmark = pytest.mark.services

PATIENCE_S = 20.0
ADMIN = mint(KeyKind.ADMIN, bytes(32)).reveal()


def text(*models: str) -> str:
    listed = "".join(f"  - id: {name}\n" for name in models)
    key = hash_key(ADMIN)
    return (
        "version: 1\norigin: sovereign.test/reload\n"
        f"admins:\n  - id: root\n    keys: [{{id: one, hash: '{key}'}}]\nmodels:\n{listed}"
    )


class Gates:
    """Stands in the way of every registry's making after the first: it begins, and ends when its gate opens.

    Should nobody open it in time, the building goes on by itself and says so: the loop was blocked by it.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.stuck = False
        self.faulty: set[str] = set()
        self._opened: dict[str, threading.Event] = {}
        self._started: dict[str, threading.Event] = {}

    def build(self, config: Any, *args: Any, **kwargs: Any) -> Registry:
        name = config.models[-1].id
        self.begun.append(name)
        self.started(name).set()
        if name != "first" and not self.gate(name).wait(PATIENCE_S):
            self.stuck = True
        if name in self.faulty:
            raise ConfigError("a signature is broken", field=name)
        return build(config, *args, **kwargs)

    def gate(self, name: str) -> threading.Event:
        return self._opened.setdefault(name, threading.Event())

    def started(self, name: str) -> threading.Event:
        return self._started.setdefault(name, threading.Event())

    async def reached(self, name: str) -> None:
        assert await asyncio.to_thread(self.started(name).wait, PATIENCE_S), f"{name} is not built"


class World:
    """A running processor, its file, and how to ask it as an admin."""

    def __init__(self, file: Path, processor: Processor, gates: Gates) -> None:
        self.file = file
        self.gates = gates
        self._processor = processor

    def edit(self, *models: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text(*models))
        new.replace(self.file)

    async def shown(self) -> config_pb2.Config:
        """What the management API says: an answer means that the loop goes on."""
        socket = self._processor._settings.management_socket
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            ask = channel.unary_unary(
                "/sovereign.management.v1.ConfigService/GetConfig",
                request_serializer=config_pb2.GetConfigRequest.SerializeToString,
                response_deserializer=config_pb2.Config.FromString,
            )
            metadata = (("authorization", f"Bearer {ADMIN}"),)
            found = await ask(config_pb2.GetConfigRequest(), metadata=metadata, timeout=PATIENCE_S)
        assert isinstance(found, config_pb2.Config)
        return found

    async def until(self, wanted: Callable[[config_pb2.Config], bool]) -> config_pb2.Config:
        async with asyncio.timeout(PATIENCE_S):
            while not wanted(found := await self.shown()):
                await asyncio.sleep(0.01)
        return found

    def models(self) -> list[str]:
        return [model.id for model in self._processor._live.snapshot.config.models]


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    made = Gates()
    monkeypatch.setattr(vouching, "build", made.build)
    monkeypatch.setattr(app, "watch", partial(watch, interval_s=0.01))
    return made


def run(tmp_path: Path, gates: Gates, scene: Callable[[World], Awaitable[None]]) -> None:
    """Start a processor on a file with one model, play the scene, stop it."""
    file = tmp_path / "sovereign.yaml"
    file.write_text(text("first"))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    settings = Settings(file, tmp_path / "state", run_dir, "127.0.0.1", 8080)

    async def play() -> None:
        processor = Processor(settings, {})
        await processor.start()
        try:
            await scene(World(file, processor, gates))
        finally:
            for name in gates.begun:
                gates.gate(name).set()
            await processor.stop()

    asyncio.run(play())
    assert not gates.stuck, "the loop stood still while a registry was built"


def test_calls_go_on_while_a_registry_is_built(tmp_path: Path, gates: Gates) -> None:
    """The processor answers by the old configuration until the new one is ready."""

    async def scene(world: World) -> None:
        before = await world.shown()
        world.edit("first", "second")
        await gates.reached("second")
        during = await world.shown()
        assert (during.version, during.digest) == (1, before.digest)
        assert world.models() == ["first"]
        gates.gate("second").set()
        after = await world.until(lambda shown: shown.version == 2)
        assert after.digest != before.digest
        assert world.models() == ["first", "second"]

    run(tmp_path, gates, scene)


def test_of_two_edits_in_a_row_the_newest_stays(tmp_path: Path, gates: Gates) -> None:
    """The second is made while the first is still being checked, and would itself be ready at once."""

    async def scene(world: World) -> None:
        world.edit("second")
        await gates.reached("second")
        gates.gate("third").set()
        world.edit("third")
        gates.gate("second").set()
        await gates.reached("third")
        await world.until(lambda _: world.models() == ["third"])
        assert gates.begun == ["first", "second", "third"]
        world.edit("fourth")
        await gates.reached("fourth")
        assert world.models() == ["third"]

    run(tmp_path, gates, scene)


def test_a_fault_found_while_building_keeps_the_last_good_configuration(tmp_path: Path, gates: Gates) -> None:
    """It is told where faults are told, and the next good edit counts."""

    async def scene(world: World) -> None:
        gates.faulty.add("broken")
        gates.gate("broken").set()
        world.edit("broken")
        shown = await world.until(lambda shown: bool(shown.faults))
        assert [(fault.field, fault.reason) for fault in shown.faults] == [
            ("broken", "a signature is broken")
        ]
        assert (shown.version, world.models()) == (1, ["first"])
        gates.gate("mended").set()
        world.edit("mended")
        shown = await world.until(lambda shown: shown.version == 2)
        assert (list(shown.faults), world.models()) == ([], ["mended"])

    run(tmp_path, gates, scene)


def test_the_fault_of_a_later_edit_is_not_hidden_by_an_earlier_one(
    tmp_path: Path, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The good one comes into use, being the last good one, while what is wrong with the file stays told."""

    async def scene(world: World) -> None:
        held = asyncio.Event()
        keep = world._processor._vouching.keep

        async def slow_keep(snapshot: Any) -> None:
            await held.wait()
            await keep(snapshot)

        monkeypatch.setattr(world._processor._vouching, "keep", slow_keep)
        gates.faulty.add("broken")
        gates.gate("good").set()
        gates.gate("broken").set()
        world.edit("good")
        await gates.reached("good")
        world.edit("broken")
        await world.until(lambda shown: bool(shown.faults))
        held.set()
        shown = await world.until(lambda shown: shown.version == 2)
        assert world.models() == ["good"]
        assert [fault.field for fault in shown.faults] == ["broken"]

    run(tmp_path, gates, scene)


def test_stopping_does_not_wait_for_a_change_to_be_used(tmp_path: Path, gates: Gates) -> None:
    """A registry that is still being built at the end is dropped."""

    async def scene(world: World) -> None:
        world.edit("second")
        await gates.reached("second")

    run(tmp_path, gates, scene)

"""Several processors share an Envoy: no call is split between them; one that goes takes only its own with it."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psutil
import pytest
import wire
from replicas_world import Replicas, storm
from services import PostgresDatabase, Valkey
from stack import Stack, eventually, sovereign

from sovereign_ext.envoyconf.names import worker_cluster
from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.services

WORKERS = 3
PACED = Fault(pace_ms=200)
"""Streams of more than a second."""


@dataclass
class World:
    """One Envoy, its workers, a provider that always fails and one that answers; model ``m`` walks over both."""

    replicas: Replicas
    bad: RunningMock
    good: RunningMock

    @property
    def stack(self) -> Stack:
        return self.replicas.stacks[0]

    @property
    def workers(self) -> dict[int, psutil.Process]:
        """The processes by number."""
        found = {}
        for each in psutil.Process(self.stack.processor.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess, ValueError):
                argv = each.cmdline()
                found[int(argv[argv.index("--worker") + 1])] = each
        return found

    def envoy(self, cluster: str, name: str) -> dict[int, str]:
        """What Envoy says of this cluster's endpoints, by number of the worker."""
        transport = httpx.HTTPTransport(uds=str(self.stack.run_dir / "envoy-admin.sock"))
        with httpx.Client(transport=transport, base_url="http://envoy") as client:
            text = client.get("/clusters").text
        line = re.compile(rf"^{re.escape(cluster)}::.*/extproc-(\d+)\.sock::{name}::(.*)$", re.MULTILINE)
        return {int(number): value for number, value in line.findall(text)}

    def shown(self) -> dict[int, tuple[int, int]]:
        """How many requests and attempts each worker was shown."""
        requests = self.envoy("processor", "rq_total")
        return {
            number: (int(requests[number]), int(self.envoy(worker_cluster(number), "rq_total")[number]))
            for number in range(1, WORKERS + 1)
        }

    def all_serve(self) -> bool:
        return list(self.envoy("processor", "health_flags").values()) == ["healthy"] * WORKERS

    def open_streams(self, pool: ThreadPoolExecutor, count: int) -> list[wire.Running]:
        """Streams whose first words have come."""
        running = list(pool.map(lambda _: self.stack.open_chat("m"), range(count)))
        for each in running:
            each.read_until(b'"content":"')
        return running

    def healthy(self, service: str) -> bool:
        return sovereign("health", "--run-dir", str(self.stack.run_dir), "--service", service).returncode == 0


@pytest.fixture
def world(postgres: PostgresDatabase, valkey: Valkey) -> Iterator[World]:
    replicas = Replicas(1, postgres, valkey, processor_options=("--workers", str(WORKERS), "--drain-s", "20"))
    with RunningMock("openai") as bad, RunningMock("openai") as good:
        bad.fault(Fault(status=500))
        replicas.config.provider("bad", "openai", bad.url)
        replicas.config.provider("good", "openai", good.url)
        replicas.config.policy("default", [["bad"], ["good"]])
        replicas.config.model("m", ["bad", "good"])
        with replicas:
            made = World(replicas, bad, good)
            eventually(made.all_serve, "every worker serves")
            yield made


def test_no_call_is_split(world: World) -> None:
    """Each worker is shown the attempts of the calls that it was shown: it would not know what to do with others."""
    stack = world.stack
    before = world.shown()
    load = storm([stack], stack.config.key, calls=120, clients=12, model="m")
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: stack.chat("m", stream=True), range(30)))
    assert load.statuses == {200: 120}, load.errors[:3]
    assert all(reply.complete for reply in replies)
    after = world.shown()
    shown = {
        number: tuple(now - then for now, then in zip(after[number], before[number], strict=True))
        for number in after
    }
    assert sum(requests for requests, _ in shown.values()) == 150
    assert sum(attempts for _, attempts in shown.values()) == 150 + len(world.bad.requests())
    for requests, attempts in shown.values():
        assert 0 < requests <= attempts <= 2 * requests
    indices = [answer["_sf_attestation"]["rekor_index"] for answer in load.answers]
    assert len(set(indices)) == 120


def test_a_worker_goes_and_comes_back(world: World) -> None:
    """Told to stop, it ends its streams, and others take the new calls. Killed, only what it had is lost."""
    stack, pool = world.stack, ThreadPoolExecutor(16)
    world.good.fault(PACED)
    with pool:
        streams = world.open_streams(pool, 9)
        told = world.workers[2]
        told.send_signal(signal.SIGTERM)
        world.good.clear()
        load = storm([stack], stack.config.key, calls=60, clients=6, model="m")
        replies = list(pool.map(wire.Running.finish, streams))
        assert load.statuses == {200: 60}, load.errors[:3]
        assert [reply.complete for reply in replies] == [True] * 9
        eventually(lambda: not told.is_running(), "the worker has ended")
        eventually(lambda: world.workers.keys() == {1, 2, 3} and world.all_serve(), "it is back", 30)

        world.good.fault(PACED)
        streams = world.open_streams(pool, 9)
        busy = {number: int(open_) for number, open_ in world.envoy("processor", "rq_active").items()}
        assert sum(busy.values()) == 9
        world.workers[3].kill()
        replies = list(pool.map(wire.Running.finish, streams))
        assert sum(not reply.complete for reply in replies) == busy[3] > 0
        world.good.clear()
        eventually(lambda: world.envoy("processor", "cx_active")[3] == "0", "Envoy has seen that it is gone")
        load = storm([stack], stack.config.key, calls=60, clients=6, model="m")
        assert load.statuses == {200: 60}, load.errors[:3]
        eventually(lambda: world.workers.keys() == {1, 2, 3} and world.all_serve(), "it is back", 30)
    assert all(requests > 0 for requests, _ in world.shown().values())


def test_one_that_hangs_is_asked_no_more(world: World) -> None:
    """Probes hear of it: whoever keeps the whole alive starts it again."""
    stack = world.stack
    assert world.healthy("liveness")
    assert world.healthy("readiness")
    hung = world.workers[1]
    hung.suspend()
    try:
        eventually(lambda: world.envoy("processor", "health_flags")[1] != "healthy", "Envoy notices")
        load = storm([stack], stack.config.key, calls=60, clients=6, model="m")
        assert load.statuses == {200: 60}, load.errors[:3]
        assert not world.healthy("liveness")
        assert world.healthy("readiness")
    finally:
        hung.resume()
    eventually(lambda: world.all_serve() and world.healthy("liveness"), "it goes on")


def test_a_new_provider_is_in_use_when_every_worker_has_it(world: World) -> None:
    """And until then, as afterwards, the calls of before go on."""
    stack, config = world.stack, world.replicas.config
    clusters = stack.state_dir / "envoy" / "clusters.yaml"
    with ThreadPoolExecutor(1) as pool, RunningMock("openai") as late:
        running = pool.submit(storm, [stack], config.key, calls=300, clients=4, model="m")
        config.provider("late", "openai", late.url, secret=None)
        config.policies[0]["providers"].append(["late"])
        config.model("n", ["late"])
        config.write(stack.config_file)
        eventually(lambda: "provider.late." in clusters.read_text(), "Envoy is given it")

        def served() -> bool:
            load = storm([stack], config.key, calls=30, clients=6, model="n")
            assert set(load.statuses) <= {200, 404}, (load.statuses, load.errors[:3])
            return load.statuses == {200: 30}

        eventually(served, "every worker plans it")
        load = running.result()
        assert load.statuses == {200: 300}, load.errors[:3]
        del (
            config.providers[-1],
            config.policies[0]["providers"][-1],
            config.models[-1],
            config.deployments[-1],
        )
        config.write(stack.config_file)
        eventually(lambda: "provider.late." not in clusters.read_text(), "no worker needs it any more")
        assert storm([stack], config.key, calls=30, clients=6, model="m").statuses == {200: 30}

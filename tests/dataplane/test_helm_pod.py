"""The pods of the chart, run as processes in Kubernetes' order: one on its volumes, two on PostgreSQL and Valkey."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from helm_world import Values, container, manifests, merged, one
from pod_world import Pod
from services import PostgresDatabase, Valkey
from stack import ConfigFile, chat_body

from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

SECRET = {"secret": "storage"}
SHARED: Values = {
    "replicas": 2,
    "storage": {
        "mode": "shared",
        "shared": {"database": SECRET, "valkey": SECRET, "keyHash": SECRET, "claim": "log-keys"},
    },
}


@dataclass
class World:
    """A configuration with one provider, and a directory for pods."""

    config: ConfigFile
    mock: RunningMock
    root: Path

    def pod(self, name: str, more: Values, **options: object) -> Pod:
        values = {
            "image": {"repository": "registry.example/sovereign-router"},
            "config": self.config.document(),
            "tls": {"secret": "gateway-tls"},
            "metrics": {"enabled": True},
            "drain": {"acceptSeconds": 1, "longestStreamSeconds": 30},
            "envoy": {"concurrency": 1},
            "test": {"secret": "tenant-key", "model": "chat"},
        }
        (self.root / name).mkdir()
        return Pod(manifests(merged(values, more)), self.config, self.root / name, **options)  # type: ignore[arg-type]


@pytest.fixture
def world() -> Iterator[World]:
    config = ConfigFile()
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        config.provider("alpha", "openai", mock.url)
        config.policy("chain", ["alpha"])
        config.model("chat", ["alpha"])
        root = Path(tempfile.mkdtemp(prefix="sf-"))  # sockets need a path of at most 104 bytes
        running.callback(shutil.rmtree, root, ignore_errors=True)
        yield World(config, mock, root)


def test_one_pod_starts_serves_and_stops_as_kubernetes_would(world: World) -> None:
    """Start in order, probes, the three calls of `helm test`, an end in the middle of a stream that loses nothing."""
    pod = world.pod("a", {})
    with pod.running() as (processor, envoy):
        calls(pod)
        metrics = httpx.get(f"http://127.0.0.1:{pod.ports['9464']}/metrics", timeout=10).text
        assert "sovereign_calls_in_flight" in metrics
        drain_in_a_stream(world, pod)
        assert envoy.end() == 0
        assert processor.end() == 0
    fsck = ["sovereign", "log", "fsck", "--state-dir", "/var/lib/sovereign"]
    memory = ["--checkpoint-dir", "/var/lib/sovereign-memory/signed"]
    assert pod.run([*fsck, *memory]).returncode == 0
    assert [*pod.directory("/var/lib/sovereign-memory/signed").iterdir()]


def test_two_pods_share_a_log_that_the_job_finds_fit(
    world: World, postgres: PostgresDatabase, valkey: Valkey
) -> None:
    """The variables of the rendering are those that its sovereign.yaml names; the Job's exit code is the hook's."""
    environ = {
        "SOVEREIGN_DATABASE_URL": postgres.url,
        "SOVEREIGN_VALKEY_URL": valkey.url,
        "SOVEREIGN_KEY_HASH": "0123456789abcdef" * 4,
    }
    shared = world.root / "shared"
    shared.mkdir()
    one_, two = (world.pod(name, SHARED, shared=shared, environ=environ) for name in "ab")
    (job,) = one(one_.found, "Job", "database")["spec"]["template"]["spec"]["containers"]
    assert {each["name"] for each in job["env"]} == set(environ)
    look = [*job["command"], *job["args"]]
    assert one_.run(look).returncode == 1  # an empty database: nothing to serve from yet
    with one_.running() as first, two.running() as second:
        for pod in (one_, two):
            calls(pod)
        done = one_.run(look)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {"log-keys", "tiles"} <= {each.name for each in shared.iterdir()}
        assert [each.end() for each in (*reversed(first), *reversed(second))] == [0] * 4


def calls(pod: Pod) -> None:
    """`helm test`: one line for each call, the key in none of them; and it fails with another key."""
    done = pod.test(pod.config.key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["json", "200,"],
        ["stream", "200,"],
        ["denied", "401"],
    ]
    assert pod.config.key not in done.stdout + done.stderr
    wrong = pod.test("sk-router-mistyped")
    assert wrong.returncode == 1
    assert wrong.stdout.startswith("json    FAILED: HTTP Error 401")


def drain_in_a_stream(world: World, pod: Pod) -> None:
    """preStop of Envoy while an answer is on its way: it returns when that is out."""
    world.mock.fault(Fault(pace_ms=700))
    headers = {"authorization": f"Bearer {pod.config.key}"}
    with (
        httpx.Client(base_url=pod.url, verify=pod.roots(), timeout=30) as client,
        client.stream(
            "POST", "/v1/chat/completions", json=chat_body("chat", True, None, {}), headers=headers
        ) as answer,
    ):
        lines = answer.iter_lines()
        assert next(line for line in lines if '"content":"' in line)
        command = container(pod.found, "envoy")["lifecycle"]["preStop"]["exec"]["command"]
        drain = subprocess.Popen(pod.argv(command))
        rest = [*lines]
        assert drain.wait(30) == 0
    assert "data: [DONE]" in rest

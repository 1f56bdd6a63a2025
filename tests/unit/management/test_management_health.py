"""The gRPC health protocol as load balancers and probes speak it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import grpc
import pytest
from management_world import World, run

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.errors import StartError
from sovereign_ext.management.health import Health
from sovereign_ext.management.rpc import Call
from sovereign_ext.management.server import health_server

pytestmark = pytest.mark.services

Status = health_pb2.HealthCheckResponse.ServingStatus


async def check(world: World, service: str) -> int:
    answer = await world.call("Health.Check", service=service)
    assert answer.code is grpc.StatusCode.OK
    return int(answer.message.status)


def test_ready_while_the_log_takes_entries(tmp_path: Path) -> None:
    """Needs no key. A corrupt log ends readiness, not liveness."""

    async def scenario(world: World) -> None:
        for service in ("", "readiness", "liveness"):
            assert await check(world, service) == Status.SERVING
        world.log._stop("rows and tiles differ")
        assert await check(world, "") == Status.NOT_SERVING
        assert await check(world, "readiness") == Status.NOT_SERVING
        assert await check(world, "liveness") == Status.SERVING

    run(tmp_path, scenario)


def test_draining_ends_readiness(tmp_path: Path) -> None:
    """New calls go elsewhere while those in flight are finished."""

    async def scenario(world: World) -> None:
        world.draining = True
        answer = await world.call("Health.List")
        assert {name: each.status for name, each in answer.message.statuses.items()} == {
            "": Status.NOT_SERVING,
            "readiness": Status.NOT_SERVING,
            "limits": Status.SERVING,
            "liveness": Status.SERVING,
        }

    run(tmp_path, scenario)


def test_unknown_names_are_not_found(tmp_path: Path) -> None:
    """As the protocol says for Check."""

    async def scenario(world: World) -> None:
        answer = await world.call("Health.Check", service="sovereign.log.v1.Nothing")
        assert answer.code is grpc.StatusCode.NOT_FOUND

    run(tmp_path, scenario)


def test_probes_on_a_tcp_port_reach_health_and_nothing_else(tmp_path: Path) -> None:
    """What a kubelet asks has neither TLS nor keys, so the management API is not there."""

    async def scenario(world: World) -> None:
        (port,) = free_ports(1)
        server = health_server(world.deps, "127.0.0.1", port)
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as world.channel:
                assert await check(world, "readiness") == Status.SERVING
                world.draining = True
                assert await check(world, "readiness") == Status.NOT_SERVING
                assert await check(world, "liveness") == Status.SERVING
                other = await world.call("LogService.GetLog", key="ops")
                assert other.code is grpc.StatusCode.UNIMPLEMENTED
        finally:
            await server.stop(None)

    run(tmp_path, scenario)


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """The option that named it is in the message."""

    async def scenario(world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(StartError, match=f"--health-listen: cannot listen on 127.0.0.1:{port}"):
                health_server(world.deps, "127.0.0.1", port)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("service", "seen"),
    [
        ("", [Status.SERVING, Status.NOT_SERVING, Status.SERVING]),
        ("liveness", [Status.SERVING]),
        ("nothing", [Status.SERVICE_UNKNOWN]),
    ],
)
def test_watch_tells_changes_only(service: str, seen: list[int]) -> None:
    """The state at once, then each change; an unknown name is a status here, not an error."""
    readiness = iter([True, True, False, False, True])

    class OverError(Exception):
        pass

    rounds = iter(range(5))

    async def sleep(seconds: float) -> None:
        if next(rounds) == 4:
            raise OverError

    async def watch() -> list[int]:
        health = Health(ready=lambda: next(readiness), sleep=sleep)
        told: list[int] = []
        try:
            async for reply in health.watch(health_pb2.HealthCheckRequest(service=service), Call(None, None)):
                told.append(reply.status)
        except OverError:
            return told
        raise AssertionError("a watch does not end by itself")

    assert asyncio.run(watch()) == seen


def test_watch_over_grpc(tmp_path: Path) -> None:
    """A watcher that stays connected hears of the drain."""

    async def scenario(world: World) -> None:
        assert world.channel is not None
        call = world.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert health_pb2.HealthCheckResponse.FromString(await call.read()).status == Status.SERVING
        world.draining = True
        assert health_pb2.HealthCheckResponse.FromString(await call.read()).status == Status.NOT_SERVING
        call.cancel()

    run(tmp_path, scenario)

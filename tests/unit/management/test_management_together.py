"""The health of several workers as one: all must live, one must be ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.errors import StartError
from sovereign_ext.management.probe import check
from sovereign_ext.management.together import health_server

pytestmark = pytest.mark.services

Run = Callable[[str, dict[str, str]], Path]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, for the sake of sockets."""
    with TemporaryDirectory(prefix="sf-") as made:
        yield Path(made)


@pytest.fixture
def run(directory: Path) -> Iterator[Run]:
    """Starts a worker that says the given statuses, by service; its socket."""
    with ExitStack() as opened:

        def start(name: str, statuses: dict[str, str]) -> Path:
            server = grpc.server(ThreadPoolExecutor(1))
            method = grpc.unary_unary_rpc_method_handler(
                lambda request, _: health_pb2.HealthCheckResponse(status=statuses[request.service]),
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            )
            handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
            server.add_generic_rpc_handlers((handler,))
            socket = directory / name
            server.add_insecure_port(f"unix:{socket}")
            server.start()
            opened.callback(lambda: server.stop(None).wait())
            return socket

        yield start


GOOD = {"liveness": "SERVING", "readiness": "SERVING", "": "SERVING"}
BUSY = {"liveness": "SERVING", "readiness": "NOT_SERVING", "": "NOT_SERVING"}


@pytest.mark.parametrize(
    ("others", "liveness", "readiness"),
    [
        ([GOOD, GOOD], "SERVING", "SERVING"),
        ([GOOD, BUSY], "SERVING", "SERVING"),
        ([BUSY, BUSY], "SERVING", "NOT_SERVING"),
        ([GOOD, None], "NOT_SERVING", "SERVING"),
        ([None, None], "NOT_SERVING", "NOT_SERVING"),
    ],
)
def test_what_is_said(
    directory: Path, run: Run, others: list[dict[str, str] | None], liveness: str, readiness: str
) -> None:
    """``None`` is a worker that is not there."""
    sockets = [
        directory / f"gone-{at}" if statuses is None else run(f"worker-{at}", statuses)
        for at, statuses in enumerate(others)
    ]
    (port,) = free_ports(1)
    server = health_server(sockets, directory / "all", ("127.0.0.1", port))
    server.start()
    try:
        assert check(directory / "all", "liveness", 5) == liveness
        assert check(directory / "all", "readiness", 5) == readiness
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary("/grpc.health.v1.Health/Check")
            assert ask(b"", timeout=5) == health_pb2.HealthCheckResponse(status=readiness).SerializeToString()
        with pytest.raises(ConnectionError, match="NOT_FOUND"):
            check(directory / "all", "billing", 5)
    finally:
        server.stop(None).wait()


def test_a_port_that_is_taken(directory: Path) -> None:
    (port,) = free_ports(1)
    first = health_server([], directory / "one", ("127.0.0.1", port))
    first.start()
    try:
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}"):
            health_server([], directory / "two", ("127.0.0.1", port))
    finally:
        first.stop(None).wait()

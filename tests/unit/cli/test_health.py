"""``sovereign health``: well or not by the exit code, and why in one line."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.cli.main import main

pytestmark = pytest.mark.services

Status = health_pb2.HealthCheckResponse.ServingStatus


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.rpartition("/")[2]))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Of a server that answers with the status in the path."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (204, 0), (302, 1), (401, 1), (503, 1)])
def test_a_url_is_well_when_it_answers_2xx(url: str, status: int, code: int, capsys: Any) -> None:
    assert main(["health", "--url", f"{url}/{status}"]) == code
    said = capsys.readouterr()
    assert (said.err if code else said.out) == f"{url}/{status}: {status}\n"


def test_where_nobody_answers_it_is_not_well(url: str, capsys: Any) -> None:
    """And what is no URL is told as such."""
    assert main(["health", "--url", "http://127.0.0.1:1/"]) == 1
    assert capsys.readouterr().err == "http://127.0.0.1:1/: no answer (Connection refused)\n"
    assert main(["health", "--url", "ftp://127.0.0.1/"]) == 1
    assert "expected http://HOST:PORT/PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("service", "code", "said"),
    [("readiness", 1, "readiness: NOT_SERVING\n"), ("liveness", 0, "liveness: SERVING\n")],
)
def test_a_processor_is_asked_by_grpc(
    tmp_path: Path, service: str, code: int, said: str, capsys: Any
) -> None:
    """It is one that is alive, and not ready."""

    def check(request: health_pb2.HealthCheckRequest, _: Any) -> health_pb2.HealthCheckResponse:
        alive = request.service == "liveness"
        return health_pb2.HealthCheckResponse(status=Status.SERVING if alive else Status.NOT_SERVING)

    method = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})]
    )
    server.add_insecure_port(f"unix:{tmp_path}/management.sock")
    server.start()
    try:
        assert main(["health", "--run-dir", str(tmp_path), "--service", service]) == code
    finally:
        server.stop(None).wait()
    found = capsys.readouterr()
    assert found.out + found.err == said


def test_no_processor_is_no_answer(tmp_path: Path, capsys: Any) -> None:
    assert main(["health", "--run-dir", str(tmp_path), "--timeout-s", "2"]) == 1
    assert f"readiness: no answer at {tmp_path}/management.sock" in capsys.readouterr().err

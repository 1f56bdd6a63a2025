"""Ports and answers, as seen before and after a start."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest

from sovereign_ext.cli.supervise import probe
from sovereign_ext.errors import StartError
from sovereign_ext.mock.thread import RunningMock


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def gateway():
    """An HTTP server that answers every GET with ``reply`` and remembers the credentials."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.seen.append((self.path, self.headers["authorization"]))
            status, body = self.server.reply
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.seen, server.reply = [], (200, b"{}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_taken_port_is_one_clear_line(taken):
    """It names the port and the way out."""
    with pytest.raises(StartError, match=rf"^port {taken} is taken: choose another one with --port$"):
        probe.require_free(taken)
    assert not probe.is_free(taken)


def test_a_port_on_all_addresses_is_taken_too():
    """BSD would let us bind beside it."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert not probe.is_free(server.getsockname()[1])


def test_free_ports_are_different_and_free():
    """So that five mocks never get the same one, and none is taken by a client meanwhile."""
    ports = probe.free_ports(20)
    assert len(set(ports)) == 20
    assert all(probe.is_free(port) for port in ports)
    assert all(20_000 <= port < 32_000 for port in ports)


def test_listens(taken):
    """A port in use listens, a free one does not."""
    assert probe.listens(taken)
    assert not probe.listens(probe.free_ports(1)[0])


@pytest.mark.parametrize(
    ("status", "ready"), [(200, True), (401, True), (500, False), (503, False), (404, False)]
)
def test_answers(gateway, status, ready):
    """Ready is a real answer of the gateway with the tenant's key; a refused key is the user's own doing."""
    gateway.reply = (status, b"{}")
    what = probe.answers(gateway.server_port, "the-key")
    assert (what is None) is ready
    assert ready or f"answers {status}" in what
    asked = [("/v1/models", "Bearer the-key"), ("/sf/v1/log", "Bearer the-key")]
    assert gateway.seen == (asked if ready else asked[:1])


def test_a_server_of_models_is_not_yet_a_gateway():
    """Somebody took the port before Envoy did: a mock has models, and any key opens it, but it has no log."""
    with RunningMock("openai") as mock:
        port = int(mock.url.rpartition(":")[2])
        assert probe.answers(port, "k") == f"GET /sf/v1/log on port {port} answers 404"


def test_no_answer_is_described():
    """Nobody listens: the port is named."""
    port = probe.free_ports(1)[0]
    assert f"no answer on port {port}" in probe.answers(port, "k")


def test_a_server_that_is_not_http_is_described():
    """Bytes that are no HTTP are no answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble():
            with server.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"220 mail ready\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        assert "no answer" in probe.answers(server.getsockname()[1], "k")
        thread.join()


def test_a_body_that_is_not_json_is_none(gateway):
    """The status still counts."""
    gateway.reply = (200, b"<html>")
    assert probe.get_json(gateway.server_port, "/x", "k") == (200, None)

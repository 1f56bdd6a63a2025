"""A receiver of webhooks for the tests: a real HTTP server in a thread that remembers what it was sent.

It verifies nothing: ``judging.standard_webhooks`` and ``signature`` do, by code that shares nothing with ours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PATIENCE_S = 20.0

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""

TAKEN: Answer = (204, {}, b"")


def new_secret() -> str:
    """As the specification writes them."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, id_: str, time_s: str, body: bytes) -> str:
    """What Standard Webhooks 1.0 says a receiver has to compare with."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.new(key, f"{id_}.{time_s}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(made.digest()).decode()


@dataclass(frozen=True)
class Got:
    """One request as it came. Names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def index(self) -> int:
        """Of the log's entry."""
        index = self.event["data"]["index"]
        assert isinstance(index, int)
        return index

    def signed_by(self, secret: str) -> bool:
        """Whether one of the signatures is by ``secret``."""
        expected = signature(secret, self.id, self.headers["webhook-timestamp"], self.body)
        return expected in self.headers["webhook-signature"].split(" ")


class Receiver:
    """``with Receiver() as receiver``. ``answer`` is asked, with the number of the request from 0 and the request, for
    each answer; it may wait."""

    def __init__(
        self, answer: Callable[[int, Got], Answer] = lambda *_: TAKEN, tls: ssl.SSLContext | None = None
    ) -> None:
        self.answer = answer
        self.got: list[Got] = []
        self._changed = threading.Condition()
        receiver = self

        class Serve(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                got = Got(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                status, headers, said = receiver.answer(receiver._remember(got), got)
                try:
                    self.send_response(status)
                    if status != 204:
                        self.send_header("content-length", str(len(said)))
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(said)
                except OSError:
                    self.close_connection = True  # whoever asked has gone

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that does not like the certificate, or has gone

        self._server = Server(("127.0.0.1", 0), Serve)
        self.port = self._server.server_address[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}/hooks/leaks"
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self, count: int, within_s: float = PATIENCE_S) -> list[Got]:
        """The first ``count`` requests, once they have come."""
        with self._changed:
            enough = self._changed.wait_for(lambda: len(self.got) >= count, within_s)
            assert enough, f"{len(self.got)} of {count} requests within {within_s:g} s"
            return self.got[:count]

    def stays(self, count: int, for_s: float) -> None:
        """Fails when another request comes than the first ``count``."""
        with self._changed:
            more = self._changed.wait_for(lambda: len(self.got) > count, for_s)
            assert not more, self.got[count]

    def _remember(self, got: Got) -> int:
        with self._changed:
            self.got.append(got)
            self._changed.notify_all()
            return len(self.got) - 1

"""Posting to a real HTTP server: what counts as taken, what is never followed, read or waited for."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from evidence_world import identity
from webhook_receiver import TAKEN as NO_CONTENT
from webhook_receiver import Receiver

from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.errors import ConfigError
from sovereign_ext.webhook.client import Answer, Result, WebhookClient, _retry_after_s

NOW_S = 1_795_000_000.0
BODY = b'{"type":"webhook.test"}'
HEADERS = {"webhook-id": "evt_1"}


def post(url: str, times: int = 1, *, roots: bytes | None = None, timeout_s: float = 10.0) -> Answer:
    """The last answer of one client."""

    async def play() -> Answer:
        client = WebhookClient(url, roots, lambda: NOW_S, timeout_s=timeout_s)
        try:
            for _ in range(times - 1):
                await client.post(HEADERS, BODY)
            return await client.post(HEADERS, BODY)
        finally:
            await client.close()

    return asyncio.run(play())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("soon", None),
        ("-5", None),
        ("0", 0.0),
        ("120", 120.0),
        ("99999999999999999999", 3600.0),
        ("Wed, 18 Nov 2026 11:08:40 GMT", 120.0),
        ("Wed, 18 Nov 2026 11:08:40 -0000", 120.0),
        ("Wed, 18 Nov 2020 11:08:40 GMT", 0.0),
        ("Fri, 18 Nov 2033 11:08:40 GMT", 3600.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    """An hour at most, never negative; anything else is as if it were not there."""
    assert _retry_after_s(text, NOW_S) == seconds


def test_a_url_that_cannot_be_one_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="is no URL"):
        WebhookClient("https://host:port/hook", None, lambda: NOW_S)


@pytest.mark.services
@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (204, {}, b"", Answer(Result.TAKEN)),
        (200, {}, b"thanks", Answer(Result.TAKEN)),
        (299, {}, b"", Answer(Result.TAKEN)),
        (410, {}, b"never again", Answer(Result.GONE, "answered 410: it wants nothing more")),
        (400, {}, b"secret text", Answer(Result.FAILED, "answered 400")),
        (401, {}, b"", Answer(Result.FAILED, "answered 401")),
        (429, {"retry-after": "30"}, b"", Answer(Result.FAILED, "answered 429", 30.0)),
        (500, {}, b"secret text", Answer(Result.FAILED, "answered 500")),
        (503, {"retry-after": "never"}, b"", Answer(Result.FAILED, "answered 503")),
    ],
)
def test_the_status_decides(status: int, headers: dict[str, str], body: bytes, expected: Answer) -> None:
    """Nothing of a body is in what is said of the answer."""
    with Receiver(lambda *_: (status, headers, body)) as receiver:
        assert post(receiver.url) == expected
        (got,) = receiver.got
    assert (got.path, got.body, got.id) == ("/hooks/leaks", BODY, "evt_1")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == "sovereign-router"


@pytest.mark.services
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """The configuration says who is told; nobody else does."""
    with Receiver() as other, Receiver(lambda *_: (status, {"location": other.url}, b"")) as receiver:
        answer = post(receiver.url)
        assert answer == Answer(Result.FAILED, f"answered {status}, and redirects are not followed")
        assert other.got == []


@pytest.mark.services
def test_an_empty_answer_keeps_the_connection() -> None:
    """A burst of findings does not pay for TLS each time."""
    with Receiver(lambda number, _: NO_CONTENT if number % 2 else (200, {}, b"")) as receiver:
        connections = _connections(receiver)
        assert post(receiver.url, 4) == Answer(Result.TAKEN)
        assert (len(receiver.got), len(connections)) == (4, 1)


@pytest.mark.services
def test_an_endless_answer_is_not_read() -> None:
    """The status is enough; what follows it never ends, and nobody waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                try:
                    while True:
                        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                except OSError:
                    ended.set()

        thread = threading.Thread(target=answer)
        thread.start()
        assert post(f"http://127.0.0.1:{server.getsockname()[1]}/") == Answer(Result.TAKEN)
        assert ended.wait(20)
        thread.join()


@pytest.mark.services
def test_a_receiver_that_does_not_answer_is_given_up_in_time() -> None:
    """Whether it says nothing at all or a header now and then."""
    done = threading.Event()

    def wait(*_: Any) -> Any:
        done.wait(20)
        return NO_CONTENT

    with Receiver(wait) as receiver:
        assert post(receiver.url, timeout_s=0.2) == Answer(Result.FAILED, "no answer within 0.2 s")
        done.set()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                    while not ended.wait(0.05):
                        connection.sendall(b"x-more: 1\r\n")
                except OSError:
                    pass

        ended = threading.Event()
        thread = threading.Thread(target=drip)
        thread.start()
        answer = post(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=0.4)
        ended.set()
        thread.join()
        assert answer == Answer(Result.FAILED, "no answer within 0.4 s")


@pytest.mark.services
def test_who_cannot_be_reached_is_said_without_the_url() -> None:
    """A URL may hold a token in its path."""
    answer = post(f"http://127.0.0.1:{free_ports(1)[0]}/hooks/T0KEN?key=T0KEN")
    assert answer.result is Result.FAILED
    assert answer.error.startswith("cannot be asked: ")
    assert "T0KEN" not in answer.error


@pytest.mark.services
def test_over_tls_only_the_roots_of_the_configuration_count(tmp_path: Path) -> None:
    """The system's do not know this one; another root refuses it too."""
    mine = identity()
    with Receiver(tls=mine.server(tmp_path)) as receiver:
        assert post(receiver.url, 2, roots=mine.certificate) == Answer(Result.TAKEN)
        for roots in (None, identity().certificate):
            answer = post(receiver.url, roots=roots)
            assert answer.result is Result.FAILED
            assert "certificate is refused" in answer.error
        assert len(receiver.got) == 2


def _connections(receiver: Receiver) -> list[Any]:
    """Every connection from now on."""
    found: list[Any] = []
    process = receiver._server.process_request
    receiver._server.process_request = lambda *each: (found.append(each), process(*each))[1]  # type: ignore[method-assign]
    return found

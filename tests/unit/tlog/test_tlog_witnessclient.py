"""The connection to a witness: kept open between requests, made anew when it has gone, and never a reason to fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mirror_world import LOG, cosigner, note_signer

from sovereign_ext.errors import WitnessRefused
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.hashing import EMPTY_ROOT
from sovereign_ext.tlog.witnessclient import WitnessClient
from sovereign_ext.tlog.witnesses import WitnessPeer

pytestmark = pytest.mark.services

HEAD = Checkpoint(LOG, 0, EMPTY_ROOT)
NOTHING = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


@contextmanager
def witness(*connections: list[bytes]) -> Iterator[tuple[str, list[bytes], threading.Semaphore]]:
    """Gives each connection its answers, one for each request, then closes it without a word.

    Also what was asked, and a semaphore that is released for each connection that was closed.
    """
    asked: list[bytes] = []
    closed = threading.Semaphore(0)

    def serve() -> None:
        for answers in connections:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                for answer in answers:
                    asked.append(stream.readline())
                    while stream.readline().strip():
                        pass
                    connection.sendall(answer)
            closed.release()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/prefix", asked, closed
        thread.join(30)
        assert not thread.is_alive(), "fewer connections were made"


def client(url: str) -> WitnessClient:
    peer = WitnessPeer(url, cosigner().key, cosigner().key)
    return WitnessClient(peer, note_signer(LOG, 1).verifier, lambda _: pytest.fail("reads"), lambda: 0)


def test_one_connection_for_many_requests() -> None:
    """Below the prefix of the URL."""
    with witness([NOTHING] * 3) as (url, asked, _):
        ours = client(url)
        assert [ours.mirrored(HEAD) for _ in range(3)] == [None] * 3
        ours.close()
    assert {line.split(b"/")[1] for line in asked} == {b"prefix"}


def test_a_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    """Servers close what is idle; that is no failure of the witness."""
    with witness([NOTHING], [NOTHING]) as (url, asked, closed):
        ours = client(url)
        assert ours.mirrored(HEAD) is None
        assert closed.acquire(timeout=30)
        assert ours.mirrored(HEAD) is None
        ours.close()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (b"", "cannot be asked: RemoteDisconnected"),
        (b"nonsense\r\n\r\n", "cannot be asked: BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\n", "malformed note"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nw.example", "malformed note"),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_the_next_request_goes_on(cut: bytes, reason: str) -> None:
    """With a connection of its own."""
    with witness([cut], [NOTHING]) as (url, _, _):
        ours = client(url)
        with pytest.raises(WitnessRefused, match=reason):
            ours.mirrored(HEAD)
        assert ours.mirrored(HEAD) is None
        ours.close()


def test_an_answer_that_is_too_long_is_not_read_to_its_end() -> None:
    """What is left of it is not taken for the next answer."""
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 70_000
    with witness([endless], [NOTHING]) as (url, _, _):
        ours = client(url)
        with pytest.raises(WitnessRefused, match="longer than 65536 bytes"):
            ours.mirrored(HEAD)
        assert ours.mirrored(HEAD) is None
        ours.close()


@pytest.mark.parametrize("url", ["http://[", "http://w.example:port", "https://w.example/ä"])
def test_a_url_that_is_none_is_an_error_like_any_other(url: str) -> None:
    """A C2SP policy file may hold anything; whoever asks must live on."""
    with pytest.raises(WitnessRefused, match="cannot be asked"):
        client(url).mirrored(HEAD)

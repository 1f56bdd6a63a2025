"""The mirror on hostile input: arbitrary bodies, any sequence of requests, disks that fail, HTTP that is none."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirror_world import LOG, NAME, Branch, cosigner

from sovereign_ext.errors import LogUnavailable
from sovereign_ext.mirror import http as mirror_http
from sovereign_ext.mirror import witness as mirror_witness
from sovereign_ext.mirror.http import HttpServer, Request, Response
from sovereign_ext.mirror.service import Mirror
from sovereign_ext.mirror.witness import WitnessedLog
from sovereign_ext.tlog.addcheckpoint import AddCheckpoint, parse_size
from sovereign_ext.tlog.policyfile import PolicyLog

pytestmark = pytest.mark.services

HONEST = Branch(60)
RIVAL = HONEST.fork(20)
KEY = HONEST.signer.verifier


@contextmanager
def opened_mirror() -> Iterator[Mirror]:
    with tempfile.TemporaryDirectory() as directory:
        mirror = Mirror.open(Path(directory), NAME, [PolicyLog(KEY)], now_s=lambda: 1)
        try:
            yield mirror
        finally:
            mirror._lease.release()


def mutations() -> st.SearchStrategy[bytes]:
    """A good request, cut, with bytes changed or put in, or followed by something."""
    good = HONEST.request(10, 30).encode()
    places = st.integers(0, len(good))
    return st.one_of(
        places.map(lambda at: good[:at]),
        st.tuples(places, st.binary(max_size=4)).map(lambda p: good[: p[0]] + p[1] + good[p[0] :]),
        st.tuples(places, st.binary(min_size=1, max_size=4)).map(
            lambda p: good[: p[0]] + p[1] + good[p[0] + len(p[1]) :]
        ),
        st.binary(max_size=300),
    )


@settings(max_examples=300)
@given(st.lists(mutations(), min_size=1, max_size=20))
def test_hostile_bodies(bodies: list[bytes]) -> None:
    """Whatever comes, the answer is one of the specification's, and only the log's own checkpoint is accepted."""
    with opened_mirror() as mirror:
        assert mirror._add(HONEST.request(0, 10).encode()).status == 200
        size = 10
        for body in bodies:
            answer = mirror._add(body)
            assert answer.status in (200, 400, 403, 404, 409, 422)
            head = mirror._logs[LOG].witnessed.head
            if answer.status == 200:
                size = head.checkpoint.size
            assert head.checkpoint.size == size
            assert head.note == HONEST.note(size)


moves = st.tuples(st.sampled_from([HONEST, RIVAL]), st.integers(0, 60), st.integers(0, 60)).filter(
    lambda move: move[1] <= move[2]
)


@settings(max_examples=200)
@given(st.lists(moves, max_size=40), st.booleans())
def test_any_sequence_of_requests_keeps_one_branch(
    sequence: list[tuple[Branch, int, int]], adopt: bool
) -> None:
    """Two branches are submitted in any order, with any old sizes: what is cosigned is one growing tree, the state
    is exactly the largest, and a restart changes nothing."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)

        def witness() -> WitnessedLog:
            return WitnessedLog(KEY, cosigner(), directory, now_s=lambda: 1, root_at=lambda _: None)

        log, held = witness(), 0
        branches = {HONEST, RIVAL}
        for branch, old, new in sequence:
            start = held if adopt and held <= new else old
            verdict = log.add(branch.request(start, new))
            if verdict.status == 200:
                assert start == held
                assert new >= held
                held = new
                branches = {one for one in branches if one.checkpoint(held) == branch.checkpoint(held)}
                assert branch in branches
            elif verdict.status == 409:
                assert parse_size(verdict.body) == held
                assert start != held or (new == held and branch not in branches)
            else:
                assert verdict.status == 422
                assert branch not in branches
            log = witness()
            assert log.head.checkpoint.size == held


def test_a_disk_that_fails_before_or_after_the_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not written: nothing is cosigned and the old head stands. Written, but the answer was lost: the next life says
    so, and the same checkpoint is cosigned when it is asked for again."""

    def witness() -> WitnessedLog:
        return WitnessedLog(KEY, cosigner(), tmp_path, now_s=lambda: 1, root_at=lambda _: None)

    log = witness()
    assert log.add(HONEST.request(0, 10)).status == 200
    real = mirror_witness.write_files

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mirror_witness, "write_files", full)
    with pytest.raises(LogUnavailable, match="No space left"):
        log.add(HONEST.request(10, 20))
    assert log.head.checkpoint.size == witness().head.checkpoint.size == 10

    def lost(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(mirror_witness, "write_files", lost)
    with pytest.raises(LogUnavailable):
        log.add(HONEST.request(10, 25))
    monkeypatch.setattr(mirror_witness, "write_files", real)
    restarted = witness()
    assert restarted.head.checkpoint.size == 25
    assert restarted.add(RIVAL.request(10, 30)).status == 409
    assert restarted.add(RIVAL.request(25, 30)).status == 422
    assert restarted.add(HONEST.request(10, 25)).status == 409
    assert restarted.add(HONEST.request(25, 25)).status == 200
    # The life that saw the error cosigned nothing beyond 10, and takes up from there.
    assert log.add(HONEST.request(25, 30)).status == 409
    assert log.add(HONEST.request(10, 30)).status == 200
    assert witness().head.checkpoint.size == 30


def test_evidence_is_bounded(tmp_path: Path) -> None:
    """Whoever has the log's key can make notes without end; they do not fill the disk."""
    log = WitnessedLog(KEY, cosigner(), tmp_path, now_s=lambda: 1, root_at=lambda _: None)
    assert log.add(HONEST.request(0, 10)).status == 200
    for number in range(130):
        branch = Branch(11, say=lambda i, n=number: b"%d of %d" % (i, n))
        assert log.add(branch.request(10, 11)).status == 422
    assert log.evidence.count("suspect") == 100


@asynccontextmanager
async def server(**options: float) -> AsyncIterator[int]:
    """A server that says what it was asked."""

    async def answer(request: Request) -> Response:
        return Response(200, f"{request.method} {request.path} {len(request.body)}\n".encode())

    running = HttpServer(answer, max_body=1000, **options)
    try:
        yield await running.start("127.0.0.1", 0)
    finally:
        await running.close()


async def talk(port: int, *pieces: bytes, reply_to: int = 0) -> bytes:
    """Send the pieces, and read until the server closes. With ``reply_to``, after so many bytes of answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    try:
        while data := await asyncio.wait_for(reader.read(65536), 20):
            answer += data
            if reply_to and len(answer) >= reply_to:
                break
    except ConnectionError:
        pass
    writer.close()
    return answer


HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"
BAD_HTTP = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400"),
    "length and chunked": (HEAD + b"Content-Length: x\r\n\r\n", b"400"),
    "unknown coding": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", b"501"),
    "endless head": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10_000, b"431"),
    "declared too long": (HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000, b"413"),
    "chunks too long": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"fff\r\n" + b"x" * 0xFFF + b"\r\n",
        b"413",
    ),
    "bad chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
}


@pytest.mark.parametrize("name", BAD_HTTP)
def test_http_that_is_none(name: str) -> None:
    """One refusal, then the connection is closed; the server lives on."""
    sent, status = BAD_HTTP[name]

    async def scenario() -> None:
        async with server() as port:
            answer = await talk(port, sent)
            assert answer.startswith(b"HTTP/1.1 " + status), answer[:100]
            assert answer.count(b"HTTP/1.1") == 1
            fine = await talk(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert fine.endswith(b"GET / 0\n")

    asyncio.run(scenario())


def test_connections_are_kept_and_bodies_come_in_any_framing() -> None:
    """Two requests on one connection, pipelined; chunks; 100-continue; HEAD without a body; HTTP/1.0."""

    async def scenario() -> None:
        async with server() as port:
            chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            last = b"HEAD /y?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            answer = await talk(
                port, chunked[:40], chunked[40:] + HEAD + b"Content-Length: 3\r\n\r\nab", b"c" + last
            )
            assert answer.count(b"200 OK") == 3
            assert answer.count(b"POST /x 5\n") == answer.count(b"POST /x 3\n") == 1
            assert answer.endswith(b"\r\n\r\n"), "HEAD has the length of the body, and no body"
            waiting = await talk(
                port, HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", reply_to=1
            )
            assert waiting.startswith(b"HTTP/1.1 100")
            old = await talk(port, b"GET /z HTTP/1.0\r\n\r\n")
            assert old.endswith(b"GET /z 0\n")

    asyncio.run(scenario())


def test_slow_and_many_clients_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that does not come to its end in time is dropped; so is one connection too many."""
    monkeypatch.setattr(mirror_http, "MAX_CONNECTIONS", 2)

    async def scenario() -> None:
        async with server(request_s=0.2) as port:
            assert await talk(port, b"GET / HT") == b""
            sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
            await asyncio.sleep(0.05)
            assert await talk(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == b""
            for one in sockets:
                one.close()
            assert (await talk(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).endswith(
                b"GET / 0\n"
            )

    asyncio.run(scenario())


def test_methods_and_paths() -> None:
    """What is not offered is refused in HTTP's own words."""

    async def ask(mirror: Mirror, method: str, path: str, body: bytes = b"") -> int:
        return (await mirror._answer(Request(method, path, body))).status

    async def scenario() -> None:
        with opened_mirror() as mirror:
            assert await ask(mirror, "GET", "/add-checkpoint") == 405
            assert await ask(mirror, "POST", "/") == 405
            assert await ask(mirror, "DELETE", "/x") == 405
            for path in ("/x", "/" + "0" * 64 + "/checkpoint", "//", "/..", "/%2e%2e/keys/mirror.pem"):
                assert await ask(mirror, "GET", path) == 404, path
            good = AddCheckpoint(0, (), HONEST.note(3)).encode()
            assert await ask(mirror, "POST", "/add-checkpoint", good) == 200
            assert await ask(mirror, "GET", "/") == 200

    asyncio.run(scenario())

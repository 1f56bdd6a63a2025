"""The request reader against RFC 9112: whole, cut anywhere, pipelined, malformed, hostile."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.errors import CallerError
from sovereign_ext.mock.http1 import ContinueExpected, Request, RequestReader

SIZED = (
    b"POST /v1/x?y=%20 HTTP/1.1\r\nHost: a\r\nX-Odd-Case:  two words \r\nx-odd-case: again\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)
CHUNKED = (
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: t\r\n\r\n"
)
BARE = b"GET /models HTTP/1.1\r\nHost: a\r\n\r\n"


def everything(reader: RequestReader) -> list[Request | ContinueExpected]:
    found = []
    while (one := reader.next()) is not None:
        found.append(one)
    return found


def test_a_request_keeps_its_headers_as_they_came() -> None:
    """Order, case and repeats survive; only blanks around values go."""
    reader = RequestReader()
    reader.feed(SIZED)
    request = reader.next()
    assert isinstance(request, Request)
    assert request.headers == (
        ("Host", "a"),
        ("X-Odd-Case", "two words"),
        ("x-odd-case", "again"),
        ("Content-Length", "5"),
    )
    assert (request.path, request.query, request.body) == ("/v1/x", "y=%20", b"hello")
    assert request.keep_alive
    assert not request.chunked
    assert reader.idle


def test_chunked_bodies_are_joined() -> None:
    """Chunk extensions and trailers are read past."""
    reader = RequestReader()
    reader.feed(CHUNKED)
    request = reader.next()
    assert isinstance(request, Request)
    assert (request.body, request.chunked) == (b"hello", True)


@given(st.lists(st.integers(min_value=1, max_value=200), min_size=1, max_size=40))
def test_cuts_do_not_matter(sizes: list[int]) -> None:
    """However pipelined requests are cut into reads, the same requests come out."""
    whole = SIZED + CHUNKED + b"\r\n" + BARE + SIZED
    reader, found, place = RequestReader(), [], 0
    for size in [*sizes, len(whole)]:
        reader.feed(whole[place : place + size])
        place += size
        found += everything(reader)
    assert [request.body for request in found if isinstance(request, Request)] == [
        b"hello",
        b"hello",
        b"",
        b"hello",
    ]
    assert reader.idle


def test_continue_is_announced_before_the_body() -> None:
    """Expect: 100-continue is told once, and not at all when the body is there already."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    reader = RequestReader()
    reader.feed(head)
    assert isinstance(reader.next(), ContinueExpected)
    assert reader.next() is None
    reader.feed(b"hi")
    assert isinstance(reader.next(), Request)
    reader.feed(head + b"hi")
    assert isinstance(reader.next(), Request)


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [("1.1", "", True), ("1.1", "Close", False), ("1.0", "", False), ("1.0", "Keep-Alive", True)],
)
def test_keep_alive_follows_the_version(version: str, connection: str, kept: bool) -> None:
    """HTTP/1.1 stays open unless told otherwise, HTTP/1.0 the other way round."""
    reader = RequestReader()
    reader.feed(f"GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n".encode())
    request = reader.next()
    assert isinstance(request, Request)
    assert request.keep_alive is kept


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\nEvil: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
        (b"X: " + b"a" * 300_000, 431),
    ],
)
def test_malformed_requests_are_refused(raw: bytes, status: int) -> None:
    """Each is refused with the status RFC 9110 has for it."""
    reader = RequestReader()
    reader.feed(raw)
    with pytest.raises(CallerError) as caught:
        everything(reader)
    assert caught.value.status == status


@given(st.binary(max_size=400), st.sampled_from([b"", SIZED[:60], CHUNKED[:60], b"GET / HTTP/1.1\r\n"]))
def test_noise_never_crashes(noise: bytes, start: bytes) -> None:
    """Any bytes give requests, a wish for more, or a ``CallerError``: nothing else."""
    reader = RequestReader()
    reader.feed(start + noise)
    with contextlib.suppress(CallerError):
        everything(reader)

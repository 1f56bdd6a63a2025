"""Faults of body framing and of the connection, and when rules strike, as a socket sees them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mock_world import Client, ask, chat, contents, ended, text_of

from sovereign_ext.mock.faults import Cut, Fault
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.mock.wires import WIRES

KINDS = sorted(WIRES)
MockOf = Callable[[str], RunningMock]


@pytest.mark.parametrize("kind", KINDS)
def test_gzip(mock_of: MockOf, kind: str) -> None:
    """Unasked for, on answers, streams and errors; a stream can be read piece by piece."""
    mock = mock_of(kind)
    for fault, stream in (
        (Fault(gzip=True), False),
        (Fault(gzip=True, status=500), False),
        (Fault(gzip=True), True),
    ):
        got = ask(mock, fault, stream=stream)
        assert got.headers["content-encoding"] == "gzip"
        assert gzip.decompress(got.body)
    assert "".join(contents(kind, gzip.decompress(got.body))) == "You said: hello there world"
    decoder = zlib.decompressobj(wbits=31)
    pieces = [decoder.decompress(chunk) for chunk in got.chunks]
    assert len([piece for piece in pieces if piece]) >= 5


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_framing(mock_of: MockOf, stream: bool, framing: Any) -> None:
    """The same body however its end is told."""
    got = ask(mock_of("openai"), Fault(framing=framing), stream=stream)
    assert ("transfer-encoding" in got.headers) == (framing == "chunked")
    assert ("content-length" in got.headers) == (framing == "length")
    assert got.end == ("fin" if framing == "close" else "whole")
    assert b"hello there world" in got.body or text_of(got) == "You said: hello there world"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("delta", [-5, 5])
def test_wrong_content_length(mock_of: MockOf, stream: bool, delta: int) -> None:
    """Too short and too long, then the connection closes."""
    got = ask(mock_of("openai"), Fault(content_length_delta=delta), stream=stream)
    assert int(got.headers["content-length"]) == len(got.body) + delta
    assert (got.headers["connection"], got.end) == ("close", "fin")


def test_write_size(mock_of: MockOf) -> None:
    """Pieces of so many bytes, through the middle of characters and events."""
    mock = mock_of("openai")
    for size in (1, 7):
        got = ask(mock, Fault(write_size=size), text="北🌍 é")
        assert {len(chunk) for chunk in got.chunks[:-1]} == {size}
        assert text_of(got) == "You said: 北🌍 é"


def test_write_seed(mock_of: MockOf) -> None:
    """Random sizes, the same for the same seed, another for another; the bytes are what they were."""
    mock = mock_of("openai")
    first, again, other = (ask(mock, Fault(write_seed=seed)) for seed in (1, 1, 2))
    sizes = [[len(chunk) for chunk in got.chunks] for got in (first, again, other)]
    assert sizes[0] == sizes[1] != sizes[2]
    assert len(set(sizes[0])) > 10
    assert text_of(first) == "You said: hello there world"


def test_events_per_write(mock_of: MockOf) -> None:
    """Several events arrive together."""
    got = ask(mock_of("openai"), Fault(events_per_write=3, tokens=9))
    assert [chunk.count(b"data: ") for chunk in got.chunks] == [3, 3, 3, 3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("count", [0, 2])
def test_cut_after_events(mock_of: MockOf, kind: str, how: Any, count: int) -> None:
    """Everything up to the event arrives, then the connection is gone."""
    mock = mock_of(kind)
    got = ask(mock, Fault(cut=Cut(after_events=count, how=how)))
    assert (got.status, got.end) == (200, how)
    assert len(contents(kind, got.body)) == count
    assert ended(mock) == "cut"


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("stream", [False, True])
def test_cut_after_bytes(mock_of: MockOf, how: Any, framing: Any, stream: bool) -> None:
    """At a byte of the body, under every framing; a promised length is that of the whole body."""
    mock = mock_of("openai")
    for size in (0, 1, 77):
        got = ask(mock, Fault(cut=Cut(after_bytes=size, how=how), framing=framing), stream=stream)
        assert (len(got.body), got.end) == (size, how)
        if framing == "length":
            assert int(got.headers["content-length"]) > 200
        if framing == "chunked":
            assert b"0\r\n\r\n" not in got.body


def test_a_reset_does_not_overtake_what_was_written(mock_of: MockOf) -> None:
    """Megabytes before a reset all arrive, though the kernel would drop what it had not sent."""
    fault = Fault(tokens=1, chunk_text=6 << 20, cut=Cut(after_bytes=5 << 20), framing="close")
    got = ask(mock_of("openai"), fault)
    assert (len(got.body), got.end) == (5 << 20, "rst")


def test_cut_of_a_json_answer_by_events(mock_of: MockOf) -> None:
    """Its halves count as two."""
    mock = mock_of("openai")
    half = ask(mock, Fault(cut=Cut(after_events=1, how="fin")), stream=False)
    length = int(half.headers["content-length"])
    assert (len(half.body), half.end) == (length // 2, "fin")


# Connection


@pytest.mark.parametrize(("accept", "end"), [("close", "fin"), ("reset", "rst")])
def test_accept(mock_of: MockOf, accept: Any, end: str) -> None:
    """So many new connections are thrown out before anything is read; open ones are not touched."""
    mock = mock_of("openai")
    with Client(mock.port) as old:
        old.send(chat("openai"))
        assert old.read().status == 200
        mock.fault(Fault(accept=accept), times=2)
        for _ in range(2):
            assert thrown_out(mock.port) == end
        old.send(chat("openai"))
        assert old.read().status == 200
        with Client(mock.port) as client:
            client.send(chat("openai"))
            assert client.read().status == 200


def thrown_out(port: int) -> str:
    """How a new connection ends; a reset may come before connect() has returned."""
    try:
        with Client(port) as client:
            got = client.read()
    except ConnectionResetError:
        return "rst"
    assert got.body == b""
    return got.end


def test_refused_connections(mock_of: MockOf) -> None:
    """Nobody listens, then somebody does again on the same port."""
    mock = mock_of("openai")
    mock.refuse()
    with pytest.raises(ConnectionRefusedError):
        Client(mock.port)
    mock.listen()
    assert ask(mock, Fault()).status == 200


# When


def test_scope_and_times(mock_of: MockOf) -> None:
    """The narrow rule wins over the wide one, the newer over the older; a used-up rule is gone."""
    mock = mock_of("openai")

    def status(model: str, path: str = "/v1/chat/completions") -> int:
        asked = chat("openai")
        with Client(mock.port) as client:
            client.send(replace(asked, path=path, body=asked.body | {"model": model, "input": "x"}))
            return client.read().status

    mock.fault(Fault(status=500))
    mock.fault(Fault(status=429), model="a", times=1)
    mock.fault(Fault(status=503), path="/v1/embeddings")
    assert [status("a"), status("a"), status("b")] == [429, 500, 500]
    assert [status("b", "/v1/embeddings"), status("b", "/v1/absent")] == [503, 404]
    mock.fault(Fault(status=418))
    assert status("b") == 418
    mock.fault(Fault(status=429), model="b")
    mock.fault(Fault(status=500))
    assert [status("b"), status("a")] == [429, 500]
    mock.clear()
    assert status("a") == 200


def test_lists_and_tokens_are_not_model_calls(mock_of: MockOf) -> None:
    """A rule for all strikes model calls only; a path reaches the rest."""
    mock = mock_of("vertex")
    mock.fault(Fault(status=500))
    token = replace(chat("vertex"), path="/token")
    for fault, expected in ((None, 400), (Fault(status=503), 503)):
        if fault is not None:
            mock.fault(fault, path="/token")
        with Client(mock.port) as client:
            client.send(token)
            assert client.read().status == expected


def test_every_fault_has_a_test() -> None:
    """A new field cannot come without a test that names it."""
    source = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_mock_faults*.py"))
    missing = [name for name in Fault.__struct_fields__ if f"{name}=" not in source]
    assert missing == []

"""A client that hides nothing: HTTP/1.1 over a socket, the answer as it came, cut answers told apart.

Deliberately not an SDK: tests must see framing, headers and bytes that SDKs smooth over.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import hpack

CALL_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Event:
    """One server-sent event: its type (empty if it named none) and its data."""

    type: str
    data: str


@dataclass
class Reply:
    """An answer. ``complete`` is false when the connection broke before the body's framing said its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool = True
    seconds: float = 0.0
    all_headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """OpenAI's error object."""
        document = self.json
        assert set(document) <= {"error", "_sf_attestation"}, document
        return checked_error(document["error"])

    @property
    def attestation(self) -> dict[str, Any]:
        """``_sf_attestation`` of a JSON answer."""
        return self.json["_sf_attestation"]

    @property
    def events(self) -> list[Event]:
        return list(parse_events(self.body))

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The stream's JSON events, without ``[DONE]`` and the closing attestation event."""
        return [json.loads(e.data) for e in self.events if not e.type and e.data != "[DONE]"]

    @property
    def done(self) -> bool:
        return any(event.data == "[DONE]" for event in self.events)

    @property
    def finish_reasons(self) -> list[str]:
        found = [c.get("finish_reason") for chunk in self.chunks for c in chunk.get("choices", [])]
        return [reason for reason in found if reason]

    @property
    def text(self) -> str:
        """What a reader of a stream or of a JSON answer is shown (choice 0)."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return str(self.json["choices"][0]["message"]["content"])
        deltas = [c["delta"] for chunk in self.chunks for c in chunk.get("choices", []) if c["index"] == 0]
        return "".join(delta.get("content") or "" for delta in deltas)

    @property
    def stream_error(self) -> dict[str, Any] | None:
        """The error object of a stream's error event, checked like ``error``."""
        found = [chunk["error"] for chunk in self.chunks if chunk.get("error")]
        return checked_error(found[0]) if found else None

    @property
    def stream_attestation(self) -> dict[str, Any]:
        """The attestation of a stream: both places must hold the same one."""
        closing = [json.loads(event.data) for event in self.events if event.type == "sf_attestation"]
        spliced = [chunk["_sf_attestation"] for chunk in self.chunks if "_sf_attestation" in chunk]
        assert len(closing) == 1, self.body[-2000:]
        assert closing[0]["choices"] == []
        assert all(found == closing[0]["_sf_attestation"] for found in spliced)
        assert len(spliced) <= 1
        return closing[0]["_sf_attestation"]


def checked_error(error: dict[str, Any]) -> dict[str, Any]:
    """The error object, if it has the members and types that OpenAI's SDKs read."""
    assert set(error) == {"message", "type", "param", "code"}, error
    assert all(isinstance(error[name], str) and error[name] for name in ("message", "type")), error
    assert error["code"] is None or isinstance(error["code"], str), error
    assert error["param"] is None or isinstance(error["param"], str), error
    return error


def parse_events(body: bytes) -> Iterator[Event]:
    """Complete events of a stream that uses LF only; a last event without its blank line is not one."""
    for block in body.decode().split("\n\n")[:-1]:
        kind, data = "", []
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                kind = value
            elif name == "data":
                data.append(value)
        yield Event(kind, "\n".join(data))


def call(
    port: int,
    path: str = "/v1/chat/completions",
    *,
    key: str | None = None,
    body: Any = None,
    headers: dict[str, str] | None = None,
    method: str = "POST",
    chunks: Iterable[bytes] | None = None,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Reply:
    """One request on a connection of its own. ``body`` is JSON unless it is bytes; ``chunks`` go chunked."""
    with open_call(
        port, path, key=key, body=body, headers=headers, method=method, chunks=chunks, timeout_s=timeout_s
    ) as running:
        return running.finish()


def open_call(
    port: int,
    path: str = "/v1/chat/completions",
    *,
    key: str | None = None,
    body: Any = None,
    headers: dict[str, str] | None = None,
    method: str = "POST",
    chunks: Iterable[bytes] | None = None,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Running:
    """The same, returning once the response's headers are there."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    sent = {"content-type": "application/json"} if body is not None or chunks is not None else {}
    if key is not None:
        sent["authorization"] = f"Bearer {key}"
    sent |= headers or {}
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    try:
        if chunks is not None:
            connection.request(method, path, body=iter(chunks), headers=sent, encode_chunked=True)
        else:
            connection.request(method, path, body=body, headers=sent)
        return Running(connection, connection.getresponse(), began)
    except BaseException:
        connection.close()
        raise


class Running:
    """A response whose body is still coming."""

    def __init__(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, began: float
    ) -> None:
        self._connection = connection
        self._response = response
        self._began = began
        self._read: list[bytes] = []
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection, whatever has come."""
        self._response.close()
        self._connection.close()

    def read_until(self, text: bytes) -> bytes:
        """Read until ``text`` has come; everything so far."""
        while text not in b"".join(self._read):
            piece = self._response.read1(65536)
            if not piece:
                raise AssertionError(f"the body ended without {text!r}: {b''.join(self._read)!r}")
            self._read.append(piece)
        return b"".join(self._read)

    def finish(self) -> Reply:
        """Read to the end, or to where it was cut."""
        complete = True
        try:
            while piece := self._response.read1(1 << 20):
                self._read.append(piece)
            # read1 gives b"" for a content-length body that ends early, too
            complete = not self._response.length
        except http.client.IncompleteRead as error:
            self._read.append(error.partial)
            complete = False
        except ConnectionError:
            complete = False
        self._connection.close()
        return Reply(
            self.status,
            self.headers,
            b"".join(self._read),
            complete,
            time.monotonic() - self._began,
            self._response.getheaders(),
        )


def raw(port: int, data: bytes, *, timeout_s: float = CALL_TIMEOUT_S) -> Reply:
    """Send bytes as they are and read one response."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as sock:
        sock.sendall(data)
        response = http.client.HTTPResponse(sock)
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, body, True, time.monotonic() - began, response.getheaders())


def with_trailers(port: int, key: str, body: bytes, *, timeout_s: float = CALL_TIMEOUT_S) -> Reply:
    """A chat completion in cleartext HTTP/2 that ends in trailers; without a body where ``body`` is empty."""
    began, encoder, decoder = time.monotonic(), hpack.Encoder(), hpack.Decoder()
    head = [(":method", "POST"), (":scheme", "http"), (":path", "/v1/chat/completions"), (":authority", "x")]
    head += [("content-type", "application/json"), ("authorization", f"Bearer {key}")]
    sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"")
    sent += _frame(_HEADERS, _END_HEADERS, 1, encoder.encode(head))
    sent += _frame(_DATA, 0, 1, body) if body else b""
    sent += _frame(_HEADERS, _END_HEADERS | _END_STREAM, 1, encoder.encode([("x-checksum", "1")]))
    headers: list[tuple[str, str]] = []
    received, over = b"", False
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as sock,
        sock.makefile("rb") as file,
    ):
        sock.sendall(sent)
        while not over:
            long, short, kind, flags, stream = struct.unpack(">HBBBL", file.read(9))
            payload = file.read(long << 8 | short)
            if kind == _HEADERS:
                headers += [(str(name), str(value)) for name, value in decoder.decode(payload)]
            elif kind == _DATA:
                received += payload
            over = stream == 1 and (kind == _RESET or bool(flags & _END_STREAM))
    found = dict(headers)
    return Reply(int(found[":status"]), found, received, kind != _RESET, time.monotonic() - began, headers)


_DATA, _HEADERS, _RESET, _SETTINGS = 0, 1, 3, 4
_END_STREAM, _END_HEADERS = 0x1, 0x4


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return struct.pack(">HBBBL", size >> 8, size & 0xFF, kind, flags, stream) + payload

"""Read HTTP/1.1 requests from bytes (RFC 9112, the server's half). Writing answers is ``transmit``'s job.

Bytes in, values out: no sockets here. The header list is kept exactly as it came (order, case, repeats)
because tests ask what really went over the wire. Where RFC 9112 lets a server be lenient this one refuses, so
that a gateway that sends odd framing is noticed. HTTP/2 is not spoken.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from sovereign_ext.errors import CallerError

MAX_HEAD_BYTES = 256 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request.

    ``headers`` is in arrival order with the case received; values have outer blanks cut.
    """

    method: str
    target: str  # origin form as received: raw path and query, still percent-encoded
    headers: tuple[tuple[str, str], ...]
    body: bytes
    keep_alive: bool  # the client allows another request on this connection
    chunked: bool  # the body came with Transfer-Encoding: chunked
    http10: bool

    @property
    def path(self) -> str:
        """The raw path without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query, without ``?``."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The first value of a header; ``name`` in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True)
class ContinueExpected:
    """The client waits for ``100 Continue`` before it sends the body (RFC 9110, section 10.1.1)."""


class _At(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    TRAILERS = auto()


class RequestReader:
    """Bytes of one connection in, requests out.

    Call ``feed`` with what arrived, then ``next`` until it returns ``None``. ``next`` raises ``CallerError``
    (400, 411, 413, 431, 501, 505) on anything malformed; the connection cannot be used after that.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = _At.HEAD
        self._head: _Head | None = None
        self._body = bytearray()
        self._need = 0  # bytes still missing of the body or of the current chunk

    @property
    def idle(self) -> bool:
        """No request has begun to arrive."""
        return self._at is _At.HEAD and not self._buffer

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the socket."""
        self._buffer += data

    def next(self) -> Request | ContinueExpected | None:
        """The next whole request, a wish for ``100 Continue``, or ``None`` when more bytes are needed."""
        if self._at is _At.HEAD:
            begun = self._read_head()
            if begun is not None:
                return begun
            if self._at is _At.HEAD:
                return None
        if self._at is _At.BODY:
            return self._read_sized()
        return self._read_chunked()

    def _read_head(self) -> Request | ContinueExpected | None:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112, 2.2: ignore an empty line before the request line
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise CallerError(431, f"request head is longer than {MAX_HEAD_BYTES} bytes")
            return None
        head = _parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        if head.length == 0 and not head.chunked:
            return head.request(b"")
        self._head, self._need = head, head.length
        self._at = _At.CHUNK_SIZE if head.chunked else _At.BODY
        if head.expect_continue and not self._buffer:
            return ContinueExpected()
        return None

    def _read_sized(self) -> Request | None:
        if len(self._buffer) < self._need:
            return None
        body = bytes(self._buffer[: self._need])
        del self._buffer[: self._need]
        return self._done(body)

    def _read_chunked(self) -> Request | None:
        while True:
            if self._at is _At.CHUNK_DATA:
                if not self._take_chunk():
                    return None
                continue
            line = self._line()
            if line is None:
                return None
            if self._at is _At.CHUNK_END:
                if line:
                    raise CallerError(400, "chunk is longer than its size says")
                self._at = _At.CHUNK_SIZE
            elif self._at is _At.CHUNK_SIZE:
                self._need = _chunk_size(line)
                if len(self._body) + self._need > MAX_BODY_BYTES:
                    raise CallerError(413, f"request body is longer than {MAX_BODY_BYTES} bytes")
                self._at = _At.CHUNK_DATA if self._need else _At.TRAILERS
            elif not line:
                body = bytes(self._body)
                self._body.clear()
                return self._done(body)

    def _take_chunk(self) -> bool:
        part = self._buffer[: self._need]
        self._body += part
        del self._buffer[: len(part)]
        self._need -= len(part)
        if self._need:
            return False
        self._at = _At.CHUNK_END
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise CallerError(431, f"chunk line or trailer is longer than {MAX_HEAD_BYTES} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _done(self, body: bytes) -> Request:
        assert self._head is not None
        request = self._head.request(body)
        self._head, self._at = None, _At.HEAD
        return request


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    http10: bool
    length: int
    chunked: bool
    keep_alive: bool
    expect_continue: bool

    def request(self, body: bytes) -> Request:
        return Request(
            self.method, self.target, self.headers, body, self.keep_alive, self.chunked, self.http10
        )


def _parse_head(raw: bytes) -> _Head:
    text = raw.decode("latin-1")
    start, *lines = text.split("\r\n")
    parts = start.split(" ")
    if len(parts) != 3 or not parts[1] or not _TOKEN.issuperset(parts[0]):
        raise CallerError(400, "request line is not 'METHOD target HTTP/1.1'")
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise CallerError(
            505 if version.startswith("HTTP/") else 400, "only HTTP/1.1 and HTTP/1.0 are spoken here"
        )
    if "\n" in text.replace("\r\n", "") or "\r" in text.replace("\r\n", ""):
        raise CallerError(400, "bare CR or LF in the request head")
    headers = tuple(_header(line) for line in lines)
    known = _framing(headers)
    http10 = version == "HTTP/1.0"
    if not http10 and known.hosts != 1:
        raise CallerError(400, f"expected one Host header, got {known.hosts}")
    keep_alive = "keep-alive" in known.connection if http10 else "close" not in known.connection
    return _Head(
        method, target, headers, http10, known.length, known.chunked, keep_alive, known.expect and not http10
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name or not _TOKEN.issuperset(name):
        raise CallerError(400, "malformed header line")
    return name, value.strip(" \t")


@dataclass(slots=True)
class _Framing:
    length: int = 0
    chunked: bool = False
    hosts: int = 0
    connection: str = ""
    expect: bool = False


def _framing(headers: tuple[tuple[str, str], ...]) -> _Framing:
    found = _Framing()
    lengths: set[str] = set()
    for name, value in headers:
        match name.lower():
            case "content-length":
                lengths.add(value)
            case "transfer-encoding":
                if value.lower() != "chunked":
                    raise CallerError(501, "the only transfer coding read here is chunked")
                found.chunked = True
            case "host":
                found.hosts += 1
            case "connection":
                found.connection += "," + value.lower()
            case "expect":
                found.expect = value.lower() == "100-continue"
    if lengths:
        if found.chunked:
            raise CallerError(400, "both Content-Length and Transfer-Encoding")
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit()):
            raise CallerError(400, "Content-Length is not one number")
        found.length = int(length[:20])
        if found.length > MAX_BODY_BYTES:
            raise CallerError(413, f"request body is longer than {MAX_BODY_BYTES} bytes")
    return found


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip(b" \t")
    if not digits or len(digits) > 16 or not set(digits) <= set(b"0123456789abcdefABCDEF"):
        raise CallerError(400, "malformed chunk size")
    return int(digits, 16)

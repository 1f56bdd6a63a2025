"""Turn an answer and a fault into what happens on the socket, step by step (RFC 9112, the answering half).

A script is a lazy sequence of steps: bytes to write, pauses, a way to end the connection. It passes through
small stages, in this order: content of the body → content coding → cut by bytes → size of writes → transfer
coding. Each stage maps steps to steps. Nothing here touches a socket or a clock; ``server`` plays the script.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Literal

from sovereign_ext.mock import damage
from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.reply import Reply
from sovereign_ext.mock.steps import FLUSH, End, Step, Wait, Write

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
_NO_BODY = frozenset({204, 304})
_GZIP = 16 + zlib.MAX_WBITS
_RANDOM_WRITE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Terms:
    """What the request allows its answer to be. ``date`` is an IMF-fixdate (RFC 9110, section 5.6.7)."""

    date: str
    keep_alive: bool = True
    http10: bool = False
    head_only: bool = False


def whole(reply: Reply, body: bytes, terms: Terms) -> bytes:
    """A complete answer without faults, as one write.

    A stream comes with one chunk per event already applied.
    """
    if reply.events is not None and not terms.http10:
        headers = [("transfer-encoding", "chunked")]
    elif reply.events is not None or reply.status in _NO_BODY:
        headers = []
    else:
        headers = [("content-length", str(len(body)))]
    head = _head(reply, terms, headers, close=closes(reply, terms))
    return head if terms.head_only else head + body


def closes(reply: Reply, terms: Terms) -> bool:
    """Whether the connection ends with this answer when nothing goes wrong."""
    return not terms.keep_alive or (reply.events is not None and terms.http10)


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def script(reply: Reply, fault: Fault, terms: Terms) -> Iterator[Step]:
    """Everything that happens after the request was read.

    The connection stays open unless an ``End`` says so.
    """
    if fault.delay_ms:
        yield Wait(fault.delay_ms / 1000)
    if fault.stall is not None and fault.stall.at == "headers":
        yield Wait(fault.stall.seconds)
    steps: Iterable[Step] = damage.content(reply, fault)
    headers: list[tuple[str, str]] = []
    if fault.gzip:
        headers.append(("content-encoding", "gzip"))
        steps = _gzipped(steps)
    if fault.cut is not None and fault.cut.after_bytes is not None:
        steps = _cut(steps, fault.cut.after_bytes, End(fault.cut.how, cut=True))
    framing = _framing_of(reply, fault, terms)
    bodiless = reply.status in _NO_BODY  # RFC 9112, 6.3: neither length nor coding belongs there
    close = closes(reply, terms) or framing == "close" or bool(fault.content_length_delta)
    if bodiless:
        steps = ()
    elif framing == "length":
        steps, length = _measured(steps)
        headers.append(("content-length", str(max(0, length + (fault.content_length_delta or 0)))))
    elif framing == "chunked":
        headers.append(("transfer-encoding", "chunked"))
    yield from _paced_head(_head(damage.headed(reply, fault), terms, headers, close=close), fault)
    if not terms.head_only and not bodiless:
        if fault.write_size is not None or fault.write_seed is not None:
            steps = _resized(steps, fault)
        yield from _chunked(steps) if framing == "chunked" else steps
    if close:
        yield End(cut=bool(fault.content_length_delta))


def _framing_of(reply: Reply, fault: Fault, terms: Terms) -> Literal["chunked", "length", "close"]:
    if fault.content_length_delta is not None:
        return "length"
    if fault.framing is not None and not (terms.http10 and fault.framing == "chunked"):
        return fault.framing
    if reply.events is None and fault.endless_line_mib is None:
        return "length"
    return "close" if terms.http10 else "chunked"


def _head(reply: Reply, terms: Terms, framing: list[tuple[str, str]], *, close: bool) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}", f"date: {terms.date}"]
    if reply.content_type:
        lines.append(f"content-type: {reply.content_type}")
    lines += [f"{name}: {value}" for name, value in reply.headers]
    lines += [f"{name}: {value}" for name, value in framing]
    if close:
        lines.append("connection: close")
    elif terms.http10:
        lines.append("connection: keep-alive")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _paced_head(head: bytes, fault: Fault) -> Iterator[Step]:
    if fault.slow_headers_ms is None:
        yield Write(head)
        return
    for place in range(len(head)):
        yield Write(head[place : place + 1])
        yield Wait(fault.slow_headers_ms / 1000)


def _gzipped(steps: Iterable[Step]) -> Iterator[Step]:
    """Compress, with every piece decodable as soon as it is there."""
    coder = zlib.compressobj(wbits=_GZIP)
    for step in steps:
        if isinstance(step, Write):
            yield Write(coder.compress(step.data) + coder.flush(zlib.Z_SYNC_FLUSH))
        else:
            yield step
    yield Write(coder.flush())


def _cut(steps: Iterable[Step], left: int, end: End) -> Iterator[Step]:
    """Put ``end`` after so many bytes.

    What follows it is not played but still counts for the announced length.
    """
    passed = False
    for step in steps:
        if passed or not isinstance(step, Write) or len(step.data) <= left:
            left -= len(step.data) if isinstance(step, Write) else 0
            yield step
            continue
        if left:
            yield Write(step.data[:left])
        yield end
        yield Write(step.data[left:])
        passed = True


def _measured(steps: Iterable[Step]) -> tuple[list[Step], int]:
    """Read the script ahead to learn the length of the body, including what a cut will hold back."""
    known = list(steps)
    return known, sum(len(step.data) for step in known if isinstance(step, Write))


def _resized(steps: Iterable[Step], fault: Fault) -> Iterator[Step]:
    """Cut the byte stream anew, across event boundaries, every piece in a packet of its own."""
    random = None if fault.write_seed is None else Random(fault.write_seed)  # noqa: S311 - repeatable, not secret
    most = fault.write_size or _RANDOM_WRITE_BYTES
    size = random.randint(1, most) if random else most
    held = bytearray()
    for step in steps:
        if isinstance(step, Write):
            held += step.data
            while len(held) >= size:
                yield Write(bytes(held[:size]))
                yield FLUSH
                del held[:size]
                size = random.randint(1, most) if random else most
            continue
        if held:
            yield Write(bytes(held))
            held.clear()
        yield step
    if held:
        yield Write(bytes(held))


def _chunked(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, Write):
            if step.data:  # an empty chunk would end the body
                yield Write(chunk(step.data))
            continue
        yield step
    yield Write(LAST_CHUNK)

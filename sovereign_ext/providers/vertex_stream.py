"""``streamGenerateContent?alt=sse``: Google's events in, OpenAI's chunks out.

Google marks no end of a stream: it is complete if every candidate had its finish reason when the bytes end. Only then
are the ends told, since token counts and calls may still come after a finish reason. An error in the middle is no event
but a pretty-printed JSON document on lines of its own, sometimes in an array.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from sovereign_ext.openai.request import Request
from sovereign_ext.openai.sse import Event, EventTooLarge, SseDecoder
from sovereign_ext.providers import _shared
from sovereign_ext.providers._reply import ReplyStream
from sovereign_ext.providers.base import Item, StreamFault, Usage
from sovereign_ext.providers.vertex_reply import Telling, error_fault, response_id

_ANY: Final = msgspec.json.Decoder()
_DOCUMENT: Final = re.compile(rb"[\r\n]([{\[])")
"""A line that begins with a bracket is none of an event."""
_STRUCTURE: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]]')
"""A string or a bracket; possessive, and an unfinished string is one too, so that each byte is looked at once."""


class VertexStream:
    """A ``StreamTranslator``. ``limit`` bounds one event, and an error document, in bytes."""

    def __init__(
        self,
        request: Request,
        call_id: str,
        now_s: int,
        limit: int,
        *,
        expected: int,
        logprobs: bool,
        legacy: bool,
    ) -> None:
        self._request = request
        self._call_id = call_id
        self._now_s = now_s
        self._limit = limit
        self._legacy = legacy
        self._decoder = SseDecoder(limit)
        self._telling = Telling(self._reply, call_id, expected, logprobs=logprobs)
        self._id = ""
        self._at_line_start = True
        self._document: bytearray | None = None  # an error document, as far as it has come
        self._depth = 0  # of its brackets
        self._line = 0  # where its unfinished line begins
        self.usage = Usage()
        self.terminal = False

    def feed(self, piece: bytes) -> Iterator[Item]:
        if not piece:
            return
        if self._document is None:
            start = self._document_start(piece)
            self._at_line_start = piece[-1:] in (b"\r", b"\n")
            try:
                for event in self._decoder.feed(piece if start < 0 else piece[:start]):
                    yield from self._event(event)
            except EventTooLarge:
                raise StreamFault(_shared.unusable("event_too_large")) from None
            if start < 0:
                return
            self._document = bytearray()
            piece = piece[start:]
        self._take_document(self._document, piece)

    def flush(self) -> Iterator[Item]:
        if self._document is not None:
            self._end_document(bytes(self._document), whole=False)
        for event in self._decoder.flush():
            if _parse(event.data) is not None:  # else it broke off there
                yield from self._event(event)
        if self._telling.finished and not self.terminal:
            self.terminal = True
            for _, reply, reason in self._telling.ends():
                yield from reply.end(reason)
            yield from reply.complete(self.usage)

    def _event(self, event: Event) -> Iterator[Item]:
        parsed = _parse(event.data)
        if isinstance(parsed, list) and parsed:
            parsed = parsed[0]
        if not isinstance(parsed, dict):
            raise StreamFault(_shared.unusable("invalid_json"))
        if "error" in parsed:
            raise StreamFault(error_fault(parsed["error"]))
        if not self._id:
            self._id = response_id(parsed, self._call_id)
        self._telling.count(parsed)
        self.usage = self._telling.usage
        yield from self._telling.take(parsed)

    def _reply(self, index: int) -> ReplyStream:
        return ReplyStream(self._request, self._id, self._now_s, legacy=self._legacy, choice=index)

    def _document_start(self, piece: bytes) -> int:
        """Where in ``piece`` a bare JSON document begins; -1 if none does."""
        if self._at_line_start and piece[:1] in (b"{", b"["):
            return 0
        found = _DOCUMENT.search(piece)
        return found.start(1) if found else -1

    def _take_document(self, document: bytearray, piece: bytes) -> None:
        """More of the error document. Its end is found by counting brackets line by line, each byte once: a JSON
        string holds no line break."""
        document += piece
        if len(document) > self._limit:
            raise StreamFault(_shared.unusable("event_too_large"))
        while (end := document.find(b"\n", self._line)) >= 0:
            for token in _STRUCTURE.findall(document, self._line, end):
                self._depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
            self._line = end + 1
            if self._depth <= 0:
                self._end_document(bytes(document[:end]), whole=True)

    def _end_document(self, document: bytes, *, whole: bool) -> None:
        """Raises what the document says; nothing if it broke off before its end."""
        parsed: Any = _parse(document)
        if isinstance(parsed, list) and parsed:
            parsed = parsed[0]
        if isinstance(parsed, dict) and "error" in parsed:
            raise StreamFault(error_fault(parsed["error"]))
        if whole or parsed is not None:
            raise StreamFault(_shared.unusable("invalid_json"))


def _parse(data: bytes) -> Any:
    """The JSON value; ``None`` if it is none."""
    try:
        return _ANY.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None

"""The delivered side of a stream: what may go out at once, and what is held back until the entry is durable.

Before first content everything is held, so that another provider can still answer. From the finish chunk on
everything is held again: finish chunk, usage chunk and ``[DONE]`` leave only with the attestation. With
several choices (n > 1) only the last finish chunk is held; an earlier one goes when another goes on.
"""

from __future__ import annotations

from sovereign_ext.exchange.billing import event_tokens
from sovereign_ext.openai import sse
from sovereign_ext.openai.splice import closing_chunk, closing_event, splice
from sovereign_ext.providers import _shared
from sovereign_ext.providers.base import Item, Part, StreamFault, StreamTranslator, Usage


class StreamHold:
    """Provider bytes in through ``translator``, framed OpenAI events out through ``take``.

    ``released`` turns true at first content; ``limit`` bounds what is held back, in bytes. With ``several``
    choices one finish chunk does not say that all are finished: only the provider's end marker does.
    ``content_tokens`` is our own count of what has come.
    """

    __slots__ = (
        "_finish",
        "_last",
        "_limit",
        "_out",
        "_several",
        "_size",
        "_tail",
        "_translator",
        "content_tokens",
        "released",
    )

    def __init__(self, translator: StreamTranslator, limit: int, *, several: bool = False) -> None:
        self._translator = translator
        self._several = several
        self._limit = limit
        self._out: list[bytes] = []
        self._size = 0
        self._finish = b""
        self._tail: list[bytes] = []
        self._last = b""
        self.released = False
        self.content_tokens = 0

    @property
    def usage(self) -> Usage:
        return self._translator.usage

    @property
    def finished(self) -> bool:
        """Whether the stream may end here: its end marker or a finish chunk has come."""
        return self._translator.terminal or (bool(self._finish) and not self._several)

    @property
    def terminal(self) -> bool:
        """Whether the provider said that the stream is complete."""
        return self._translator.terminal

    def feed(self, piece: bytes) -> None:
        """More of the provider's body. Raises ``StreamFault``; what came before the fault can be taken."""
        for item in self._translator.feed(piece):
            self._item(item)

    def flush(self) -> None:
        """The provider's body has ended. Raises ``StreamFault`` if it broke off."""
        for item in self._translator.flush():
            self._item(item)
        if not self.finished:
            raise StreamFault(_shared.unusable("cut", "The provider broke off its answer."))

    def take(self) -> bytes:
        """What may go out now; nothing before first content."""
        if not self.released or not self._out:
            return b""
        body = b"".join(self._out)
        self._out.clear()
        return body

    def withheld(self) -> bytes:
        """What ``closing`` adds to the stream, without the attestation: the bytes that the digest covers."""
        framed = [sse.frame(self._finish)] if self._finish else []
        return b"".join((*framed, *map(sse.frame, self._tail), sse.DONE))

    def closing(self, attestation: bytes, *, fallback: dict[str, object]) -> bytes:
        """The end of a complete stream. ``fallback`` shapes the last event if no chunk ever came."""
        parts = [sse.frame(splice(self._finish, attestation))] if self._finish else []
        parts.extend(map(sse.frame, self._tail))
        parts.append(sse.DONE)
        parts.append(closing_event(closing_chunk(self._last, fallback), attestation))
        return b"".join(parts)

    def _item(self, item: Item) -> None:
        if item.part is Part.DONE:
            self.released = True  # complete, if empty: there is nothing left to wait for
            return
        self._last = item.data
        if item.part is Part.CONTENT:
            self.content_tokens += event_tokens(len(item.data))
        visible = item.part in (Part.CONTENT, Part.FINISH)
        if visible:
            self.released = True
        if self._finish:
            if not (visible and self._several):
                self._tail.append(item.data)
                self._count(item)
                return
            self._let_go()
        if item.part is Part.FINISH:
            self._finish = item.data
            return
        self._out.append(sse.frame(item.data))
        if not self.released:
            self._count(item)

    def _let_go(self) -> None:
        """Another choice goes on: what was held as the end is none."""
        self._out.append(sse.frame(self._finish))
        self._out.extend(map(sse.frame, self._tail))
        self._tail.clear()
        self._finish = b""
        self._size = 0

    def _count(self, item: Item) -> None:
        """Held back, so it takes memory: lifecycle chunks without end are no answer."""
        self._size += len(item.data)
        if self._size > self._limit:
            raise StreamFault(_shared.unusable("no_content"))

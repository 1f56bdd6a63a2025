"""A stretch of a body whose anchors are judged, as canonical text, with as much around it as its detectors may look at.

A region has a *core*, in which anchors may begin, and context on both sides. Both are made of pieces that begin and end
where no hidden form can be cut, so that pieces can be undone one by one. Context grows on demand; where it had to grow
because of bytes that say nothing (backslashes, characters without width), the core grows after it, so that no byte is
read for more than a few regions and the work is linear in the body.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.canonical import Canonical, Trace

CONTEXT: Final = 64
"""Bytes of context a region has on its left, and more than its detectors ask for on its right."""

_WIDE: Final = 8  # times as many bytes as there is text: such a context is mostly hidden forms

# What can be no part of a hidden form, nor of one within another: not a backslash, percent sign, letter of an escape,
# hexadecimal digit, or byte of a character that takes no room.
_SAFE: Final = re.compile(rb'[^\\%"/u0-9a-fA-FnrtU\x80-\xff]')
_NO_WIDTH: Final = re.compile(rb"\\u|[%\x80-\xff]")  # one of these is in all that takes no room


class Region:
    """Judged are anchors that begin in ``body[start:end]``, widened to where it may be cut, not before ``floor``."""

    __slots__ = ("_body", "_canonical", "_core", "_left", "_right", "text")

    def __init__(
        self, body: bytes, canonical: Canonical, start: int, end: int, *, floor: int = 0, reach: int = 0
    ) -> None:
        self._body = body
        self._canonical = canonical
        start = max(floor, self._cut_before(start))
        low, end = self._cut_before(start - CONTEXT), self._cut_after(end)
        high = self._cut_after(end + reach + reach // 4 + CONTEXT)
        self._left = [self._piece(low, start)]
        self._core = [self._piece(start, end)]
        self._right = [self._piece(end, high)]
        self.text = self._left[0].text + self._core[0].text + self._right[0].text

    @property
    def end(self) -> int:
        """Where in the body the core ends."""
        return self._core[-1].end

    @property
    def core(self) -> tuple[int, int]:
        """Where in ``text`` the core begins and ends."""
        start = _length(self._left)
        return start, start + _length(self._core)

    def grow(self, before: int, after: int, reach: int) -> bool:
        """Read on for ``before`` and ``after`` more bytes of text; false where the body has no more.

        ``reach`` is what anchors at the end of the core need; the core takes over what is read beyond it.
        """
        low, high = self._left[0].start, self._right[-1].end
        more_before, more_after = before > 0 and low > 0, after > 0 and high < len(self._body)
        if more_before:
            start = self._cut_before(low - max(before + CONTEXT, self._core[0].start - low))
            self._left.insert(0, self._piece(start, low))
        if more_after:
            end = self._cut_after(high + max(after + CONTEXT, 2 * (high - self.end)))
            self._right.append(self._piece(high, end))
            if len(self._right[-1].text) >= reach:
                self._core += self._right[:-1]
                self._right = self._right[-1:]
        elif after > 0 and self.is_lopsided(reach):  # nothing follows that anchors in the context could need
            self._core += self._right
            self._right = [self._piece(high, high)]
            return True
        if more_before or more_after:
            self.text = b"".join(piece.text for piece in (*self._left, *self._core, *self._right))
        return more_before or more_after

    def is_lopsided(self, reach: int) -> bool:
        """Whether so much was read after the core that the core should take some of it before it is judged."""
        context = self._right[-1].end - self.end
        return context > _WIDE * (reach + CONTEXT) and context > 2 * (self.end - self._core[0].start)

    def raw(self, start: int, end: int) -> tuple[int, int]:
        """Where in the body ``text[start:end]`` stands, whole hidden forms at both ends."""
        first, before = self._at(start)
        last, before_last = self._at(end - 1)
        return first.source_start(start - before), last.source_end(end - before_last)

    @property
    def may_be_parted(self) -> bool:
        """Whether ``is_parted`` need be asked at all."""
        return any(piece.may_be_parted for piece in (*self._left, *self._core, *self._right))

    def is_parted(self, at: int) -> bool:
        """Whether something that takes no room stands before ``text[at]``."""
        if at == 0:
            return False
        (here, begin), (before, begin_before) = self._at(at), self._at(at - 1)
        return here.source_start(at - begin) > before.source_end(at - begin_before)

    def _at(self, at: int) -> tuple[_Piece, int]:
        before = 0
        for piece in (*self._left, *self._core, *self._right):
            if at < before + len(piece.text):
                return piece, before
            before += len(piece.text)
        raise IndexError(f"the text has {before} bytes, asked for the one at {at}")

    def _cut_before(self, at: int) -> int:
        """The last place up to ``at`` where a cut goes through no hidden form, nor through what decides of one."""
        at = _safe_before(self._body, at)
        while (across := self._canonical.across(self._body, at)) is not None:
            at = _safe_before(self._body, across[0])
        return at

    def _cut_after(self, at: int) -> int:
        """The first such place from ``at`` on."""
        at = _safe_after(self._body, at)
        while (across := self._canonical.across(self._body, at)) is not None:
            at = _safe_after(self._body, across[1])
        return at

    def _piece(self, start: int, end: int) -> _Piece:
        return _Piece(self._body, self._canonical, start, end)


class _Piece:
    """``body[start:end]`` as text. The way back is found when it is asked for, which is seldom."""

    __slots__ = ("_canonical", "_raw", "_traces", "end", "may_be_parted", "start", "text")

    def __init__(self, body: bytes, canonical: Canonical, start: int, end: int) -> None:
        self.start, self.end = start, end
        self._raw = body[start:end]
        self._canonical = canonical
        self._traces: list[Trace] | None = None
        self.text = canonical.text(self._raw) if start < end else b""
        self.may_be_parted = len(self.text) < len(self._raw) and _NO_WIDTH.search(self._raw) is not None

    def source_start(self, at: int) -> int:
        for trace in reversed(self._traced()):
            at = trace.start(at)
        return self.start + at

    def source_end(self, at: int) -> int:
        for trace in reversed(self._traced()):
            at = trace.end(at)
        return self.start + at

    def _traced(self) -> list[Trace]:
        if self._traces is None:
            self._traces = [] if self.text == self._raw else self._canonical.trace(self._raw)
        return self._traces


def _length(pieces: list[_Piece]) -> int:
    return sum(len(piece.text) for piece in pieces)


def _safe_before(body: bytes, at: int) -> int:
    width = 32
    while at > 0:
        begin = max(0, at - width)
        last = _SAFE.search(body[begin : at + 1][::-1])
        if last is not None:
            return min(at, len(body) - 1) - last.start()
        if begin == 0:
            break
        width *= 2
    return 0


def _safe_after(body: bytes, at: int) -> int:
    safe = _SAFE.search(body, at)
    return safe.start() if safe is not None else len(body)

r"""Canonical text: bytes of a body as their last reader will see them, and the way back to the raw bytes.

Undone are escapes of JSON (RFC 8259) behind any number of backslashes (a string within a string within a string),
percent-encoding (RFC 3986) however often applied, and one within the other to ``DEPTH`` levels; characters that take no
room are left out. Structure is left as it is: a detector sees a member's name, quote, colon, quote and value as it
would see them in a JSON text within a string.

Two things are ambiguous. ``n`` after two backslashes is a line break to a second reader, but may begin a file's name
(``C:\\npm_…``): it is a line break unless an anchor begins there, behind an ``r`` of the same spelling always. And a
line break within a key is only a possibility: ``Joined`` is the text without line breaks, beside the other.

Deliberately not undone: base64 (``documents``), HTML entities, other Unicode forms of letters, ciphers.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from itertools import pairwise
from typing import Final

from sovereign_ext.scanner.base import Detector, Lines
from sovereign_ext.scanner.patterns import NO_WIDTH, NO_WIDTH_UTF8

DEPTH: Final = 4
"""How often text is undone again where undoing it brought forth escapes."""

_LETTERS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b'"': b'"', b"/": b"/"}
_LINE_BREAK: Final = re.compile(rb"(?:\r\n?|\n)[ \t>|]*+")
_BEGINS: Final = (rb"[^0-9A-Za-z]", rb"\\[bfnrt]", rb"u[0-9A-Fa-f]{4}")  # what a word may stand behind
_BEFORE_BREAK: Final = b" \t\\"
_KNOWN: Final = 1 << 12

Replace = Callable[[re.Match[bytes]], bytes]


class Canonical:
    """Undoes hidden forms; made for the anchors that it must not destroy."""

    def __init__(self, detectors: Iterable[Detector]) -> None:
        anchors = {(literal, detector.fold) for detector in detectors for literal in detector.anchors}
        after_backslash = _ahead(anchors, rb"[bfnrt]")
        after_percent = _ahead(anchors, rb"[0-9A-Fa-f]{2}")
        self._first = _units(_literal(rb"\\(?:\\\\)*+", anchors), after_percent)
        self._deeper = _units(_literal(rb"\\*+", anchors), after_percent)
        self._kept = re.compile(after_backslash + b"|" + after_percent)
        self._longest = 1 + max((len(literal) for literal, _ in anchors), default=0)
        self._known: dict[bytes, bytes] = {}

    def across(self, raw: bytes, at: int) -> tuple[int, int] | None:
        """Where an anchor stands that may keep what is before it from being an escape, if ``at`` is within."""
        low = max(0, at - self._longest)
        before = raw[low:at]
        if b"\\" in before or b"%" in before:
            for match in self._kept.finditer(raw, low, at + self._longest):
                if match.start() < at < match.end():
                    return match.span()
        return None

    def text(self, raw: bytes) -> bytes:
        """``raw`` with its hidden forms undone. The same object where there are none."""
        text = self._first.sub(self._unit, raw)
        for _ in range(DEPTH - 1 if text != raw else 0):
            before, text = text, self._deeper.sub(self._unit, text)
            if text == before:
                break
        return text

    def trace(self, raw: bytes) -> list[Trace]:
        """For each level of ``text(raw)`` where its bytes come from, the outermost first."""
        traces = [Trace(self._first, self._unit, raw)]
        while len(traces) < DEPTH and traces[-1].text != raw:
            raw = traces[-1].text
            traces.append(Trace(self._deeper, self._unit, raw))
        return traces

    def _unit(self, match: re.Match[bytes]) -> bytes:
        spelling = match[0]
        known = self._known.get(spelling)
        if known is None:
            known = _undone(spelling)
            if len(self._known) < _KNOWN and len(spelling) < 32:
                self._known[spelling] = known
        return known


class Trace:
    """A substitution that can be walked back: the result, and for each place in it the place it comes from."""

    __slots__ = ("_ends", "_places", "_starts", "text")

    def __init__(self, pattern: re.Pattern[bytes], replace: Replace, source: bytes) -> None:
        places, starts, ends = array("I"), array("I"), array("I")
        pieces: list[bytes] = []
        place = last = 0
        for match in pattern.finditer(source):
            start, end = match.span()
            if start > last:
                places.append(place)
                starts.append(last)
                ends.append(start)
                pieces.append(source[last:start])
                place += start - last
            text = replace(match)
            if text:
                places.append(place)
                starts.append(start)
                ends.append(end)
                pieces.append(text)
                place += len(text)
            last = end
        places.append(place)
        starts.append(last)
        ends.append(len(source))
        pieces.append(source[last:])
        self.text = b"".join(pieces)
        self._places, self._starts, self._ends = places, starts, ends

    def start(self, at: int) -> int:
        """Where in the source begins what stands at ``text[at]``."""
        piece = bisect_right(self._places, at) - 1
        start = self._starts[piece]
        return start + at - self._places[piece] if self._is_literal(piece) else start

    def end(self, at: int) -> int:
        """Where in the source ends what stands before ``text[at]``; ``at`` is over 0."""
        piece = bisect_right(self._places, at - 1) - 1
        return (
            self._starts[piece] + at - self._places[piece] if self._is_literal(piece) else self._ends[piece]
        )

    def _is_literal(self, piece: int) -> bool:
        """What is replaced becomes shorter, always."""
        until = self._places[piece + 1] if piece + 1 < len(self._places) else len(self.text)
        return until - self._places[piece] == self._ends[piece] - self._starts[piece]


class Joined:
    """Canonical text without its line breaks, nor the indentation, marks of quoting and backslashes around them.

    The way back is found when it is first asked for, which is seldom.
    """

    __slots__ = ("_places", "_source", "_starts", "text")

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._places: array[int] | None = None
        self._starts = array("I")
        self.text = b"".join([line.rstrip(_BEFORE_BREAK) for line in _LINE_BREAK.split(source)])

    def source(self, start: int, end: int) -> tuple[int, int] | None:
        """What ``text[start:end]`` was before lines were joined; ``None`` where it lies within one line."""
        places, starts = self._lines()
        first, last = bisect_right(places, start) - 1, bisect_right(places, end - 1) - 1
        if first == last:
            return None
        return starts[first] + start - places[first], starts[last] + end - places[last]

    def lines(self, credentials: Iterable[int]) -> Lines:
        """The text as detectors get it, where in the source ``credentials`` begin."""
        places, _ = self._lines()
        text = Lines(self.text)
        text.breaks = places[1:]
        begun = frozenset(map(self.place, credentials))
        text.stops = frozenset(
            place for before, place in pairwise(places) if place == before or place in begun
        )
        return text

    def place(self, at: int) -> int:
        """Where in ``text`` stands what was at ``at``; what was left out is where the next line begins."""
        places, starts = self._lines()
        line = bisect_right(starts, at) - 1
        until = places[line + 1] if line + 1 < len(places) else len(self.text)
        return min(places[line] + at - starts[line], until)

    def _lines(self) -> tuple[array[int], array[int]]:
        """Where lines begin in ``text``, and in the source."""
        if self._places is None:
            places, starts = array("I", [0]), array("I", [0])
            source = self._source
            place = start = 0
            for match in _LINE_BREAK.finditer(source):
                before, after = match.span()
                place += len(source[start:before].rstrip(_BEFORE_BREAK))
                start = after
                places.append(place)
                starts.append(start)
            self._places, self._starts = places, starts
        return self._places, self._starts


def _units(literal_run: bytes, after_percent: bytes) -> re.Pattern[bytes]:
    """One hidden form. A run of backslashes is always taken as a whole, so that time is linear in it.

    Alternatives are on one level and begin with a byte of their own: so Python's ``re`` skips what is none of these.
    """
    hexadecimal = rb"[0-9A-Fa-f]"
    pair = rb"[dD][89abAB]" + hexadecimal + rb"{2}\\++u[dD][c-fC-F]" + hexadecimal + rb"{2}"
    escape = rb"\\*+(?:u(?:" + pair + rb"|" + hexadecimal + rb'{4})|["/bfnrt])?'
    percent = rb"%(?!" + after_percent + rb")(?:25)*" + hexadecimal + rb"{2}"
    more = rb"(?:" + NO_WIDTH_UTF8 + rb")*+"
    no_width = b"|".join(first + more for first in NO_WIDTH_UTF8.split(b"|"))
    return re.compile(rb"\\(?:" + literal_run + rb"|" + escape + rb")|" + percent + rb"|" + no_width)


def _literal(more: bytes, anchors: Collection[tuple[bytes, bool]]) -> bytes:
    """After a backslash: ``more`` of them, with which an anchor's first letter is no escape."""
    patterns = []
    for letter in (b"n", b"r", b"[bft]"):
        # An anchor's letter that stands before them, alone, makes them a line break within the anchor.
        breaks = b"" if len(letter) > 1 else b"".join(b"(?<!%s%s\\\\)" % (begin, letter) for begin in _BEGINS)
        patterns.append(breaks + more + rb"(?=" + _ahead(anchors, letter) + rb")")
    return rb"(?<!\\r\\)(?:" + b"|".join(patterns) + rb")"


def _ahead(anchors: Iterable[tuple[bytes, bool]], beginning: bytes) -> bytes:
    """Anchors that begin like the rest of an escape, as an alternative that never matches if there are none."""
    found = [(literal, fold) for literal, fold in sorted(anchors) if re.match(beginning, literal)]
    return (
        b"|".join((b"(?i:%s)" if fold else b"%s") % re.escape(literal) for literal, fold in found) or rb"(?!)"
    )


def _undone(spelling: bytes) -> bytes:
    first = spelling[:1]
    if first == b"%":
        return bytes((int(spelling[-2:], 16),))
    if first != b"\\":
        return b""  # takes no room
    rest = spelling.lstrip(b"\\")
    if not rest:
        return b"\\"
    if rest[:1] != b"u":
        return _LETTERS[rest]
    code = int(rest[1:5], 16)
    if len(rest) > 5:
        code = 0x10000 + ((code - 0xD800) << 10) + int(rest[-4:], 16) - 0xDC00
    if any(low <= code <= high for low, high in NO_WIDTH):
        return b""
    return chr(code).encode("utf-8", "replace")  # half a character becomes a question mark

"""Where in a body a credential may begin: every detector's anchors, and what may hide one, in one pass over raw bytes.

Vectorscan (``hyperscan``) runs all patterns at once, in time linear in the input and without backtracking. It is asked
for two things: *intervals* of raw bytes in which an anchor may begin, plain or hidden, and the anchors of a canonical
text. An interval may hold nothing; an anchor outside all intervals is no credential's.

Deliberately not here: what a hidden form says (``canonical``), and whether a secret stands at an anchor
(``detectors``). A scan lets go of Python's global lock and takes it for each match. One engine serves any number of
threads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import hyperscan

from sovereign_ext.scanner.base import Detector

LONGEST_INTERVAL: Final = 1 << 16
"""Bytes after which an interval ends although the next one overlaps it, so that no text made from one is too large."""

WRAP_WIDTH: Final = 160
"""Bytes that the first half of an anchor, a line break and the indentation and quoting after it may take."""

HIDDEN_WIDTH: Final = 96
"""Bytes on each side of a hidden character that are looked at for the anchor it may belong to."""

_ALNUM: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_ESCAPE: Final = re.compile(rb"(?:\\[bfnrt]|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2})\Z")
_SHORT: Final = (
    3  # bytes: such an anchor is a part of words (``task-``), so what stands before is in its expressions
)
_HEX: Final = rb"[0-9A-Fa-f]"
_BOUNDARIES: Final = (rb"[^A-Za-z0-9]", rb"^", rb"\\[bfnrt]", rb"\\u" + 4 * _HEX, rb"%" + 2 * _HEX)
_LINE_END: Final = rb"[\\\r\n]"
_LINE_START: Final = (rb"\\[nrt]", rb"[ \t>|\r\n]")
_KEY: Final = rb"[A-Za-z0-9_\-./+=:]"

_ESCAPED: Final = 6  # bytes of a character as an escape of JSON

NO_WIDTH: Final = (
    (0x00AD, 0x00AD),  # soft hyphen
    (0x034F, 0x034F),  # combining grapheme joiner
    (0x061C, 0x061C),  # Arabic letter mark
    (0x180E, 0x180E),  # Mongolian vowel separator
    (0x200B, 0x200F),  # zero-width space, joiners, directional marks
    (0x202A, 0x202E),  # directional embeddings
    (0x2060, 0x206F),  # word joiner, invisible operators, isolates
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFEFF, 0xFEFF),  # byte order mark
    (0xE0000, 0xE007F),  # tags
)
"""First and last code point of each range of characters that take no room, so that they can stand unseen in a key."""

NO_WIDTH_UTF8: Final = (
    rb"\xc2\xad|\xcd\x8f|\xd8\x9c|\xe1\xa0\x8e|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xaf]"
    rb"|\xef\xb8[\x80-\x8f]|\xef\xbb\xbf|\xf3\xa0[\x80\x81][\x80-\xbf]"
)
"""The same as a pattern over UTF-8."""

_NO_WIDTH_ESCAPED: Final = (
    rb"\\+u(?:00[aA][dD]|034[fF]|061[cC]|180[eE]|200[bBcCdDeEfF]|202[aAbBcCdDeE]|206[0-9a-fA-F]|[fF][eE]0[0-9a-fA-F]"
    rb"|[fF][eE][fF][fF]|[dD][bB]40)"
)
_HIDDEN: Final = (
    rb"(?:"
    + NO_WIDTH_UTF8
    + rb"|"
    + _NO_WIDTH_ESCAPED
    + rb"|\\+u000[aAdD9]|%(?:25)*(?:0[aAdD9]|[eE]2|[cC]2|[eE][fF]))"
)


class Interval(NamedTuple):
    """Raw bytes ``body[start:end]`` in which anchors may begin; ``reach``: bytes after it worth reading at once."""

    start: int
    end: int
    reach: int


Anchor = tuple[int, tuple[int, ...]]
"""An anchor found in canonical text: where it begins, and the ranks of the detectors that have it."""


class Engine:
    """The compiled patterns of a sequence of detectors; a detector's *rank* is its place in it.

    ``notice`` are expressions; whether one is anywhere in a body is told besides. Compiling takes some tenths of a
    second: make one and keep it.
    """

    def __init__(self, detectors: Sequence[Detector], notice: Iterable[bytes] = ()) -> None:
        wanted: dict[tuple[bytes, bool], list[int]] = {}
        for rank, detector in enumerate(detectors):
            for literal in detector.anchors:
                wanted.setdefault((literal, detector.fold), []).append(rank)
        patterns: list[_Pattern] = []
        for (literal, fold), ranks in wanted.items():
            having = [detectors[rank] for rank in ranks]
            patterns += _plain(literal, fold, having)
            wrapped = [detector.boundary for detector in having if detector.wraps]
            if wrapped and not fold:
                patterns += _wrapped(literal, bounded=all(wrapped))
        patterns += _hints(wanted)
        patterns = _distinct(patterns)
        self._first_noticed = len(patterns)
        noticed = [(expression, hyperscan.HS_FLAG_SINGLEMATCH) for expression in notice]
        self._raw = _Database([(p.expression, _flag(p.fold)) for p in patterns] + noticed)
        self._patterns = [(p.before, p.after, p.reach, p.length, p.must_begin) for p in patterns]
        self._literals = [(len(literal), tuple(ranks)) for (literal, _), ranks in wanted.items()]
        self._canonical = _Database([(_exactly(literal), _flag(fold)) for literal, fold in wanted])

    def intervals(self, body: bytes) -> tuple[list[Interval], bool]:
        """Where anchors may begin in raw ``body``, in order, and whether one of ``notice`` is there.

        An interval is at most about ``LONGEST_INTERVAL`` bytes long. Matches are merged while they come, so that a
        body full of them takes no memory for each.
        """
        patterns, first_noticed, size = self._patterns, self._first_noticed, len(body)
        starts: list[int] = []
        ends: list[int] = []
        reaches: list[int] = []
        end = -1
        noticed = False

        def note(which: int, _from: int, to: int, _flags: int, _context: object) -> None:
            nonlocal end, noticed
            if which >= first_noticed:
                noticed = True
                return
            before, after, reach, length, must_begin = patterns[which]
            if must_begin is not None and to > length and not must_begin(body, to - length):
                return
            start = to - before if to > before else 0
            to = to + after if to + after < size else size
            # What the last interval's detectors will read anyway is not worth a region of its own.
            if starts and start <= end + reaches[-1] and to - starts[-1] < LONGEST_INTERVAL:
                starts[-1] = min(start, starts[-1])
                if to > end:
                    ends[-1] = end = to
                reaches[-1] = max(reaches[-1], reach)
            else:
                starts.append(start)
                ends.append(to)
                reaches.append(reach)
                end = to

        self._raw.scan(body, note)
        found = list(map(Interval, starts, ends, reaches))
        if len(found) > 1:
            found.sort()
        return found, noticed

    def anchors(self, text: bytes) -> list[Anchor]:
        """Every anchor in canonical ``text``, whatever stands before it, in order of place."""
        found: list[Anchor] = []
        literals = self._literals

        def note(which: int, _from: int, to: int, _flags: int, _context: object) -> None:
            length, ranks = literals[which]
            found.append((to - length, ranks))

        self._canonical.scan(text, note)
        if len(found) > 1:
            found.sort()
        return found


class _Pattern(NamedTuple):
    """An expression over raw bytes, and how far from the end of its match the anchor may begin and end.

    What must stand before a match is asked of the few there are: with it in the expressions Vectorscan would take
    twenty times as long to compile them.
    """

    expression: bytes
    fold: bool
    before: int  # bytes
    after: int  # bytes
    reach: int = 0  # bytes after the interval that a detector will want to see, if it is no false alarm
    length: int = 0  # bytes of a match
    must_begin: Callable[[bytes, int], bool] | None = None


class _Database:
    """Expressions in block mode, with a scratch space for each scan that runs at the same time."""

    __slots__ = ("_database", "_idle")

    def __init__(self, expressions: Sequence[tuple[bytes, int]]) -> None:
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=[expression for expression, _ in expressions],
            ids=list(range(len(expressions))),
            elements=len(expressions),
            flags=[hyperscan.HS_FLAG_DOTALL | flag for _, flag in expressions],
        )
        self._idle: list[hyperscan.Scratch] = []

    def scan(self, data: bytes, note: Callable[[int, int, int, int, object], None]) -> None:
        """Call ``note(which, 0, end, 0, None)`` for each match, nearly in the order of the ends.

        A scratch space must not be used by two scans at once, and a scan lets other threads run: so each takes one
        out of the list (which is atomic) and brings it back.
        """
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = self._database.scratch.clone()
        self._database.scan(data, match_event_handler=note, scratch=scratch)
        self._idle.append(scratch)


def _plain(literal: bytes, fold: bool, having: Sequence[Detector]) -> list[_Pattern]:
    """An anchor as it stands in JSON, whole."""
    reach = max(detector.reach for detector in having)
    spelt = b"".join(map(_in_json, literal))
    is_fixed = b"*" not in spelt
    bounded = is_fixed and all(detector.boundary for detector in having)
    before = 2 * len(literal) + 8
    then = {detector.then for detector in having}
    if b"" not in then:
        return [_Pattern(spelt + each, fold, before + _ESCAPED * reach, 0, reach) for each in then]
    if bounded and len(literal) <= _SHORT:
        return [_Pattern(each + spelt, fold, before, 0, reach) for each in _BOUNDARIES]
    return [_Pattern(spelt, fold, before, 0, reach, len(literal), _after_boundary if bounded else None)]


def _wrapped(literal: bytes, *, bounded: bool) -> Iterator[_Pattern]:
    """An anchor broken over two lines, at each place: the longer half, where a line ends or begins.

    Words that stand beside a secret (``fold``) are not looked for like this.
    """
    for at in range(1, len(literal)):
        first, second = literal[:at], literal[at:]
        if len(first) >= len(second):
            begins = _after_boundary if bounded else None
            expression = _exactly(first) + _LINE_END
            yield _Pattern(expression, False, WRAP_WIDTH, WRAP_WIDTH, length=at + 1, must_begin=begins)
        elif len(second) > _SHORT:
            yield _Pattern(
                _exactly(second), False, WRAP_WIDTH, WRAP_WIDTH, length=len(second), must_begin=_in_new_line
            )
        else:  # too common
            for before in _LINE_START:
                yield _Pattern(before + _exactly(second), False, WRAP_WIDTH, WRAP_WIDTH)


def _after_boundary(body: bytes, at: int) -> bool:
    """Whether canonical text may have no letter or digit before ``at``."""
    if body[at - 1] not in _ALNUM:
        return True
    before = body[max(0, at - 6) : at]
    return (b"\\" in before or b"%" in before) and _ESCAPE.search(before) is not None


def _in_new_line(body: bytes, at: int) -> bool:
    """Whether only a line break, indentation or marks of quoting may stand before ``at``."""
    before = body[at - 1]
    return before in b" \t>|\r\n" or (before in b"nrt" and body[at - 2] == 0x5C)


def _distinct(patterns: Iterable[_Pattern]) -> list[_Pattern]:
    """Each expression once; the one that may begin anywhere, where there are both."""
    found: dict[tuple[bytes, bool], _Pattern] = {}
    for pattern in patterns:
        known = found.get((pattern.expression, pattern.fold))
        if known is None or known.must_begin is not None:
            found[pattern.expression, pattern.fold] = pattern
    return list(found.values())


def _hints(wanted: Iterable[tuple[bytes, bool]]) -> list[_Pattern]:
    """Characters of anchors in other spellings, and what takes no room in the midst of a key."""
    used: set[int] = set()
    for literal, fold in wanted:
        used.update(literal.lower() + literal.upper() if fold else literal)
    codes = b"|".join(sorted(b"%02x" % code for code in used))
    expressions = (
        (rb"\\+u00(?:" + codes + b")", True),
        (rb"%(?:25)*(?:" + codes + b")", True),
        (rb"\\+u00(?:25|5c)", True),  # what makes an escape of what follows
        (rb"%(?:25)*5c", True),
        (_KEY + _HIDDEN, False),
    )
    return [_Pattern(expression, fold, HIDDEN_WIDTH, HIDDEN_WIDTH) for expression, fold in expressions]


def _in_json(character: int) -> bytes:
    return (rb"\\*" if character in b'/"' else b"") + _exactly(bytes((character,)))


def _flag(fold: bool) -> int:
    return hyperscan.HS_FLAG_CASELESS if fold else 0


def _exactly(literal: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in literal)

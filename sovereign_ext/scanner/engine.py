"""Where in a body a credential may begin: every detector's anchors, and what may hide one, in one pass over raw bytes.

Vectorscan (``hyperscan``) runs all patterns at once, in time linear in the input and without backtracking. It is asked
for two things: *intervals* of raw bytes in which an anchor may begin, plain or hidden, and the anchors of a canonical
text. An interval may hold nothing; an anchor outside all intervals is no credential's.

Deliberately not here: what a hidden form says (``canonical``), and whether a secret stands at an anchor
(``detectors``). A scan lets go of Python's global lock and takes it for each match. One engine serves any number of
threads.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import hyperscan

from sovereign_ext.scanner.base import Detector
from sovereign_ext.scanner.hints import Hints
from sovereign_ext.scanner.patterns import exactly, raw_patterns

LONGEST_INTERVAL: Final = 1 << 16
"""Bytes after which an interval ends although the next one overlaps it, so that no text made from one is too large."""


class Interval(NamedTuple):
    """Raw bytes ``body[start:end]`` in which anchors may begin; ``reach``: bytes after it worth reading at once."""

    start: int
    end: int
    reach: int


Anchor = tuple[int, tuple[int, ...]]
"""An anchor found in canonical text: where it begins, and the ranks of the detectors that have it."""


class Engine:
    """The compiled patterns of a sequence of detectors; a detector's *rank* is its place in it.

    ``notice`` are expressions; where they end in a body is told besides. Compiling takes some tenths of a second: make
    one and keep it.
    """

    def __init__(self, detectors: Sequence[Detector], notice: Iterable[bytes] = ()) -> None:
        wanted: dict[tuple[bytes, bool], list[int]] = {}
        for rank, detector in enumerate(detectors):
            for literal in detector.anchors:
                wanted.setdefault((literal, detector.fold), []).append(rank)
        patterns = raw_patterns(wanted, detectors)
        self._first_noticed = len(patterns)
        raw = [(p.expression, _flag(p.fold)) for p in patterns]
        self._raw = _Database(raw + [(expression, 0) for expression in notice])
        self._patterns = [(p.before, p.after, p.reach, p.length, p.must_begin, p.follows) for p in patterns]
        whole: dict[tuple[bytes, bool, tuple[bytes, int]], list[int]] = {}
        for (literal, fold), ranks in wanted.items():
            for rank in ranks:
                whole.setdefault((literal, fold, detectors[rank].tail), []).append(rank)
        self._literals = [
            (len(literal) + tail[1], tuple(ranks)) for (literal, _, tail), ranks in whole.items()
        ]
        self._canonical = _Database(
            [(exactly(literal) + _exactly_many(*tail), _flag(fold)) for literal, fold, tail in whole]
        )
        self.longest = max(length for length, _ in self._literals)
        """Bytes of canonical text by which an anchor with its tail is known."""

    def intervals(self, body: bytes) -> tuple[list[Interval], Hints]:
        """Where anchors may begin in raw ``body``, in order, and where those of ``notice`` that are there end.

        An interval is at most about ``LONGEST_INTERVAL`` bytes long. Matches are merged while they come, so that a
        body full of them takes no memory for each.
        """
        patterns, first_noticed, size = self._patterns, self._first_noticed, len(body)
        starts: list[int] = []
        ends: list[int] = []
        reaches: list[int] = []
        end = -1
        noticed: dict[int, array[int]] = {}

        def note(which: int, _from: int, to: int, _flags: int, _context: object) -> None:
            nonlocal end
            if which >= first_noticed:
                noticed.setdefault(which - first_noticed, array("I")).append(to)
                return
            before, after, reach, length, must_begin, follows = patterns[which]
            if must_begin is not None and to > length and not must_begin(body, to - length):
                return
            start = to - before if to > before else 0
            if follows is not None and not (starts and start <= end) and not follows(body, to):
                return
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
        """Every anchor in canonical ``text`` that has its tail, whatever stands before it, in order of place."""
        found: list[Anchor] = []
        literals = self._literals

        def note(which: int, _from: int, to: int, _flags: int, _context: object) -> None:
            length, ranks = literals[which]
            found.append((to - length, ranks))

        self._canonical.scan(text, note)
        if len(found) > 1:
            found.sort()
        return found


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


def _exactly_many(characters: bytes, count: int) -> bytes:
    return characters + b"{%d}" % count if count else b""


def _flag(fold: bool) -> int:
    return hyperscan.HS_FLAG_CASELESS if fold else 0

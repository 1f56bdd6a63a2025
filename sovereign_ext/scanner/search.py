"""The secrets in one text: intervals of the engine, made readable, each anchor in them put before its detectors.

1. The engine names the intervals in which an anchor may begin.
2. Each becomes a region of canonical text, with what its detectors may look at.
3. Detectors are asked at their anchors; then those whose secrets may be wrapped once more, in the text without line
   breaks. What is found there counts only where it spans a break, and then for more than what they found in its lines.
   What another detector found before it, or from the same place on, stands.

Bytes in, places out. Which of the secrets are replaced, and by what, is not decided here.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Final

from sovereign_ext.scanner.base import Detector, Lines, Text
from sovereign_ext.scanner.canonical import Canonical, Joined
from sovereign_ext.scanner.effort import Effort
from sovereign_ext.scanner.engine import Anchor, Engine
from sovereign_ext.scanner.extent import begins_line
from sovereign_ext.scanner.hints import EXPRESSIONS, Hints
from sovereign_ext.scanner.overlap import Found, resolved
from sovereign_ext.scanner.regions import Region

MARKER: Final = re.compile(rb"(?:\[REDACTED:[a-z0-9-]+:[0-9]+\])+")
"""What stands in place of secrets, one or more of them."""

_AT_BREAKS: Final = b" \t\\\r\n>|"
"""All that joining lines takes out."""

_INDENTATION: Final = b" \t>|"
"""What a line may begin with that is no part of its text."""

_ALNUM: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class Search:
    """Finds the secrets of a sequence of detectors, and says where the expressions of ``hints`` end.

    May be used by many threads at once.
    """

    def __init__(self, detectors: Iterable[Detector]) -> None:
        self._detectors = tuple(detectors)
        self._canonical = Canonical(self._detectors)
        self._engine = Engine(self._detectors, EXPRESSIONS) if self._detectors else None

    def found(self, text: bytes, effort: Effort | None = None) -> tuple[list[Found], Hints]:
        """All secrets in ``text``, and its hints. Raises ``NotScannable`` and ``CalledOff`` as ``effort`` says.

        Secrets may overlap. In JSON, one may reach from a string into the next.
        """
        if self._engine is None:
            return [], {}
        effort = effort or Effort()
        effort.search(len(text))
        intervals, noticed = self._engine.intervals(text)
        found: list[Found] = []
        done = 0
        longest = self._engine.longest
        for start, end, reach in intervals:
            if end <= done:
                continue
            effort.go_on()
            wanted = max(reach, longest)
            region = Region(text, self._canonical, max(start, done), end, floor=done, reach=wanted)
            found += self._judge(self._engine, region, effort)
            done = region.end
        return [one for one in found if not _is_marker(one.secret)], noticed

    def _judge(self, engine: Engine, region: Region, effort: Effort) -> list[Found]:
        while True:
            text = region.text
            joined = Joined(text) if b"\n" in text or b"\r" in text else None
            behind = len(text) - region.core[1]
            if joined is not None and len(text[-behind:].translate(None, _AT_BREAKS)) < engine.longest:
                behind = len(joined.text) - joined.place(region.core[1])
            if behind < engine.longest and region.grow(0, engine.longest - behind, engine.longest):
                continue
            anchors = engine.anchors(text)
            asked = _between(anchors, *region.core)
            asked_joined: list[Anchor] = []
            if joined is not None:
                asked_joined = engine.anchors(joined.text)
                if len(asked_joined) == len(anchors):  # the same ones
                    first = bisect_left(anchors, region.core[0], key=_place)
                    asked_joined = asked_joined[first : first + len(asked)]
                else:
                    asked_joined = _between(asked_joined, *map(joined.place, region.core))
            if not asked and not asked_joined:
                return []
            needs = [self._needs(asked, text)]
            if joined is not None:
                needs.append(self._needs(asked_joined, joined.text))
            before, after, reach = map(max, zip(*needs, strict=True))
            if region.is_lopsided(reach):
                after = max(after, 1)
            if (before <= 0 and after <= 0) or not region.grow(before, after, reach):
                break
        found, starts, fruitless = self._strict(region, asked)
        if joined is not None and asked_joined:
            more, again = self._wrapped(region, joined, joined.lines(starts), asked_joined, found)
            found += more
            fruitless = max(fruitless, again)  # the same places for the most part
        effort.fruitless(fruitless)
        return found

    def _needs(self, asked: list[Anchor], text: bytes) -> tuple[int, int, int]:
        """How many bytes of text are missing before and after, and the longest reach of all that are asked."""
        before = after = longest = 0
        detectors = self._detectors
        length = len(text)
        blank = length - len(
            text.lstrip(_INDENTATION)
        )  # does not count: it may be left out with the line break before
        for at, ranks in asked:
            for rank in ranks:
                detector = detectors[rank]
                if detector.back > at - blank and detector.back + blank - at > before:
                    before = detector.back + blank - at
                longest = max(longest, detector.reach)
                if at + detector.reach > length and at + detector.reach - length > after:
                    after = at + detector.reach - length
        return before, after, longest

    def _strict(self, region: Region, asked: list[Anchor]) -> tuple[list[Found], list[int], int]:
        """What stands in one line, where in the region's text it begins, and at how many places judging brought nothing
        new.
        """
        text = Text(region.text)
        spans: list[
            tuple[int, int, int, int]
        ] = []  # the first one's beginning and end, the last one's end, the rank
        ends: set[int] = set()  # right after a secret another may begin
        last: dict[int, int] = {}  # for each detector: the place of its last secret in ``spans``
        fruitless = 0
        for at, ranks in asked:
            is_inside = at > 0 and text[at - 1] in _ALNUM and at not in ends
            is_asked = is_new = False
            if is_inside and region.may_be_parted:
                is_asked, is_inside = True, not region.is_parted(at)
            for rank in ranks:
                detector = self._detectors[rank]
                if is_inside and detector.boundary:
                    continue
                is_asked = True
                span = detector.find(text, at)
                if span is None:
                    continue
                start, end = span
                ends.add(end)
                which = last.get(rank)
                if which is None or start >= spans[which][2]:
                    is_new = True
                    last[rank] = len(spans)
                    spans.append((start, end, end, rank))
                elif end > spans[which][2]:
                    # What one detector reads twice is one secret; a hostile body makes it read thousands.
                    spans[which] = (*spans[which][:2], end, rank)
            fruitless += is_asked and not is_new
        found = [Found(*region.raw(start, until), rank, text[start:end]) for start, end, until, rank in spans]
        return found, [start for start, *_ in spans], fruitless

    def _wrapped(
        self, region: Region, joined: Joined, text: Lines, asked: list[Anchor], strict: list[Found]
    ) -> tuple[list[Found], int]:
        """What stands in several lines, and the places as for ``_strict``."""
        whole = resolved(strict)
        starts = [one.start for one in whole]
        found: list[Found] = []
        placed: list[Found] = []  # behind a name: in another secret it is none
        ends: dict[int, int] = {}  # for each detector: of its last secret
        fruitless = 0
        for at, ranks in asked:
            is_inside = at > 0 and text[at - 1] in _ALNUM and not begins_line(text, at)
            is_asked = is_new = False
            for rank in ranks:
                detector = self._detectors[rank]
                if not detector.wraps or (is_inside and detector.boundary):
                    continue
                is_asked = True
                span = detector.find(text, at)
                if span is None:
                    continue
                is_new = is_new or span.start >= ends.get(rank, 0)
                ends[rank] = max(span.end, ends.get(rank, 0))
                source = joined.source(*span)
                if source is None:
                    continue
                start, end = region.raw(*source)
                before = bisect_right(starts, start) - 1
                if before < 0 or self._gives_way(whole[before], start, rank):
                    (found if span.start <= at else placed).append(
                        Found(start, end, rank, text[span.start : span.end])
                    )
            fruitless += is_asked and not is_new
        if placed:
            known = resolved(found)
            found += (one for one in placed if not _is_within(known, one.start))
        return found, fruitless

    def _gives_way(self, strict: Found, start: int, rank: int) -> bool:
        """Whether what was found in one line, from ``start`` on or before, makes room for a wrapped one."""
        is_own = self._detectors[strict.rank].kind == self._detectors[rank].kind
        return strict.end <= start or (strict.start == start and is_own)


def _place(anchor: Anchor) -> int:
    return anchor[0]


def _between(anchors: list[Anchor], low: int, high: int) -> list[Anchor]:
    """Those that begin in ``[low:high]``; ``anchors`` are in order of place."""
    return anchors[bisect_left(anchors, low, key=_place) : bisect_left(anchors, high, key=_place)]


def _is_within(found: list[Found], at: int) -> bool:
    """Whether ``at`` is in one of ``found``, which are in order of place, and not its beginning."""
    before = bisect_left(found, at, key=lambda one: one.start) - 1
    return before >= 0 and found[before].end > at


def _is_marker(secret: bytes) -> bool:
    """What a detector may take for a password in a text that was redacted before."""
    return secret.startswith(b"[") and MARKER.fullmatch(secret) is not None

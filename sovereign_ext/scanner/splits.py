"""Secrets that stand in several strings which are read as one text: what of them is in which string.

The strings are searched as the lines of one text, for which detectors have rules (``extent``); and once more as the
text they are, for secrets that have line ends of their own or none, and for names of settings that are split. Whether
such a secret ends with its string or goes on in the next is told by what it ends with there.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from sovereign_ext.scanner.base import Detector
from sovereign_ext.scanner.effort import Effort
from sovereign_ext.scanner.extent import is_word
from sovereign_ext.scanner.overlap import Found, resolved
from sovereign_ext.scanner.search import Search

_VALUE_ENDS: Final = re.compile(rb"\\*+[;&@\"'`]| [A-Za-z_]++=")
"""What stands behind a value in a connection string, a URL or a program, in raw JSON; and the next setting."""


class Across(NamedTuple):
    """A secret in several strings."""

    found: Found  # in the text of all
    pieces: list[tuple[int, int, int]]  # a string's number, and where in it a piece begins and ends
    is_sure: bool  # that what is in the later strings belongs to it, even if what is in the first could be all of it


def across(
    search: Search, detectors: Sequence[Detector], texts: list[bytes], effort: Effort
) -> Iterator[Across]:
    """The secrets that begin in one of ``texts`` and end in another, none of which is empty."""
    ends = list(accumulate(map(len, texts)))
    lines = _in_lines(search, texts, ends, effort)
    crossing = [one for one in lines if _crosses(ends, one) and detectors[one.rank].wraps]
    extents = {(one.start, one.end) for one in lines}
    for one in crossing:
        yield Across(one, _pieces(ends, one), True)
    text = b"".join(texts)
    for one in resolved(search.found(text, effort)[0]):
        wraps = detectors[one.rank].wraps
        if _crosses(ends, one) and not _overlaps(lines if wraps else crossing, one):
            rest = ends[bisect_right(ends, one.start)]
            is_sure = (one.start, one.end) in extents or not _may_begin(text, rest, one.end)
            yield Across(one, _pieces(ends, one), not wraps and is_sure)


def _in_lines(search: Search, texts: list[bytes], ends: list[int], effort: Effort) -> list[Found]:
    """What is found where each of ``texts`` is a line, by its place in the text without lines."""
    breaks = [end + before for before, end in enumerate(ends)]
    return resolved(
        one._replace(
            start=one.start - bisect_left(breaks, one.start), end=one.end - bisect_left(breaks, one.end)
        )
        for one in search.found(b"\n".join(texts), effort)[0]
    )


def _crosses(ends: list[int], one: Found) -> bool:
    return bisect_right(ends, one.start) != bisect_right(ends, one.end - 1)


def _pieces(ends: list[int], one: Found) -> list[tuple[int, int, int]]:
    first, last = bisect_right(ends, one.start), bisect_right(ends, one.end - 1)
    begins = [ends[which - 1] if which else 0 for which in range(first, last + 1)]
    return [
        (which, max(one.start, begin) - begin, min(one.end, ends[which]) - begin)
        for which, begin in enumerate(begins, first)
    ]


def _overlaps(found: list[Found], one: Found) -> bool:
    """Whether ``one`` has a byte of ``found``, which are in order and without overlaps."""
    after = bisect_left(found, one.end, key=lambda each: each.start)
    return after > 0 and found[after - 1].end > one.start


def _may_begin(text: bytes, start: int, end: int) -> bool:
    """Whether ``text[start:end]``, with which a string begins, may be its first word instead of a secret's end."""
    is_own = text[end - 1 : end].isalnum() and is_word(text, start, end)
    return is_own and _VALUE_ENDS.match(text, end) is None

"""Where a credential ends, and which of the next lines belong to it.

A detector is asked with the lines as they are, and once more with them joined (:class:`Lines`), and what it finds there
over several lines counts. So with joined lines the end of each may be the end of the credential, and these rules say
which one is:

1. A length that the format has is the end; of several, the longest.
2. Base64 is not over before its padding, or before a multiple of four characters where it has none.
3. What is closed after it, and was opened before it on its line (a quotation mark, a bracket), tells that all between
   belongs to it.
4. Otherwise all lines up to the last one belong to it that begins with more than words and numbers, but none behind an
   empty line or from another credential on.

Rules 1 to 3 know. The fourth takes rather too much; what it may leave are characters that are words or numbers, such as
any next line could begin with.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import Final

from sovereign_ext.scanner.base import Lines, once

_PART: Final = rb"(?:[A-Za-z][a-z]{1,23}|[A-Z]{2,24}|[0-9]{1,24}|[AIa])"
_WORD: Final = re.compile(
    rb"[-_]*" + _PART + rb"(?:[-_]+" + _PART + rb")*[-_]*|[A-Za-z](?=[.:)] )|-(?= )|-{3,}|_{3,}"
)
_SIGNS: Final = re.compile(rb"={1,2}")
_ASSIGNED: Final = re.compile(rb"=(?:[0-9A-Za-z$]|[\"'][^\s,:;)}\]])")
_PAIRS: Final = {
    ord(closing): opening.encode() for opening, closing in ('""', "''", "``", "()", "[]", "{}", "<>", "**")
}
_OPENED: Final = {
    mark: re.compile(rb"(?:^|[\s=:(,[{])%s[^\s%s][^%s]*\Z" % ((re.escape(mark),) * 3))
    for mark in (b'"', b"'", b"`", b"*")
}
_STRING_ENDS: Final = re.compile(rb"[\"'`*]\s*(?:[]},:]|\Z)")  # perhaps the one that the whole text stands in
_VALUE_ENDS: Final = frozenset(b"&<")  # in a URL and in XML, right behind a value and no word
_LETTERS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_./+"  # of credentials
_GROUP: Final = 4  # characters of base64 that are three bytes
_BEFORE: Final = 512  # bytes of a line that are searched for opening marks


def begins_line(text: bytes, at: int) -> bool:
    """Whether lines were joined at ``text[at]``."""
    if not isinstance(text, Lines):
        return False
    place = bisect_left(text.breaks, at)
    return place < len(text.breaks) and text.breaks[place] == at


def lines_in(text: bytes, start: int, end: int) -> list[int]:
    """Where lines begin within ``text[start:end]``, but for the one at its start."""
    if not isinstance(text, Lines):
        return []
    breaks = once(text, _breaks)
    return breaks[bisect_right(breaks, start) : bisect_left(breaks, end)]


def stop_in(text: bytes, start: int, end: int) -> int | None:
    """Where within ``text[start:end]`` the first line begins that is a text of its own."""
    if not isinstance(text, Lines):
        return None
    stops = once(text, _stops)
    first = bisect_right(stops, start)
    return stops[first] if first < len(stops) and stops[first] < end else None


def ends(text: bytes, at: int, further: re.Pattern[bytes]) -> bool:
    """Whether a credential may end before ``text[at]``: there is no ``further`` character of it, or another line."""
    return further.match(text, at) is None or begins_line(text, at)


def sized(
    text: bytes, start: int, characters: re.Pattern[bytes], sizes: tuple[int, ...], least: int = 1
) -> int | None:
    """The end of the run of ``characters`` at ``start``, of which ``sizes`` are the known lengths in bytes.

    Any other length stands as well. ``None`` if the run is shorter than ``least``.
    """
    run = characters.match(text, start)
    if run is None or len(run[0]) < least:
        return None
    possible = _ends(text, start, run.end())
    known = [end for end in possible if end - start in sizes]
    if known:
        stop = stop_in(text, start, known[-1])
        return max((end for end in known if stop is None or end <= stop), default=known[-1])
    return _unsized(text, start, possible, least)


def unsized(text: bytes, start: int, characters: re.Pattern[bytes], least: int = 1) -> int | None:
    """The end of the run of ``characters`` at ``start``, whose length may be any from ``least`` on."""
    return sized(text, start, characters, (), least)


def encoded(text: bytes, start: int, characters: re.Pattern[bytes]) -> int | None:
    """The end of the base64 at ``start``, a run of ``characters`` of any length, with its padding."""
    run = characters.match(text, start)
    if run is None:
        return None
    possible = _ends(text, start, run.end())
    last = possible[-1]
    signs = _SIGNS.match(text, last)
    full = signs.end() if signs is not None else last
    if len(possible) == 1 or _is_enclosed(text, start, full):
        return full
    padding = full - last == -(last - start) % _GROUP > 0 and not _is_assigned(text, last)

    def is_whole(end: int) -> bool:
        return (end - start) % _GROUP == 0 or (padding and end == last)

    stop = stop_in(text, start, last)
    reached = possible if stop is None else possible[: bisect_right(possible, stop)]
    best = next(filter(is_whole, reversed(reached)), None)
    if best is None:
        best = _unsized(text, start, possible, 1)
    elif not (padding and best == last):
        words = _before_words(text, possible, best)
        best = next(filter(is_whole, reached[bisect_left(reached, words) :]))
    return full if best == last else best


def is_word(text: bytes, start: int, end: int) -> bool:
    """Whether ``text[start:end]`` is made of words and numbers, or is a mark: what a line may begin with."""
    return _WORD.fullmatch(text, start, end) is not None


def _unsized(text: bytes, start: int, possible: list[int], least: int) -> int:
    """Of the ``possible`` ends the one after which only words stand, a line each."""
    last = possible[-1]
    if len(possible) == 1 or _is_enclosed(text, start, last):
        return last
    stop = stop_in(text, start, last)
    end = last if stop is None else stop
    words = max(_before_words(text, possible, end), start + least)
    return min(end, possible[bisect_left(possible, words)])


def _before_words(text: bytes, possible: list[int], end: int) -> int:
    """The first of the ``possible`` ends up to ``end`` behind which only words stand before that, a line each."""
    if end == possible[-1]:  # in the midst of a line, perhaps
        if len(possible) == 1 or not is_word(text, possible[-2], end):
            return end
        end = possible[-2]
    return max(once(text, _chains).get(end, end), possible[0])


def _ends(text: bytes, start: int, end: int) -> list[int]:
    """Where lines end in the run ``text[start:end]``, and where it ends itself."""
    return [*lines_in(text, start, end), end]


def _breaks(text: bytes) -> list[int]:
    """Where lines begin, each place once."""
    return list(dict.fromkeys(text.breaks)) if isinstance(text, Lines) else []


def _stops(text: bytes) -> list[int]:
    return sorted(text.stops) if isinstance(text, Lines) else []


def _chains(text: bytes) -> dict[int, int]:
    """For the end of each line that is words, but for the last line: where the first of such lines in a row begins.

    Many beginnings of credentials may ask for what they have behind them in common.
    """
    chains: dict[int, int] = {}
    for line, following in pairwise(once(text, _breaks)):
        if is_word(text, line, following):
            chains[following] = chains.get(line, line)
    return chains


def _is_assigned(text: bytes, at: int) -> bool:
    """Whether the sign at ``at`` is no padding: a value follows it on its line."""
    return _ASSIGNED.match(text, at) is not None and not begins_line(text, at + 1)


def _is_enclosed(text: bytes, start: int, end: int) -> bool:
    """Whether a mark that was opened before ``start``, on its line, is closed at ``end``, or a value must end there."""
    after = text[end : end + 1]
    if not after or stop_in(text, start, end) is not None:
        return False
    opening = _PAIRS.get(after[0])
    if after[0] in _VALUE_ENDS or opening is None:
        return after[0] in _VALUE_ENDS
    before = text[_line_start(text, start) : start]
    if before.rstrip(_LETTERS).endswith(opening):
        return True
    if opening == after:
        return _STRING_ENDS.match(text, end) is None and _OPENED[opening].search(before) is not None
    return before.count(opening) > before.count(after)


def _line_start(text: bytes, at: int) -> int:
    least = max(0, at - _BEFORE)
    if not isinstance(text, Lines):
        return least
    place = bisect_right(text.breaks, at)
    return max(least, text.breaks[place - 1]) if place else least

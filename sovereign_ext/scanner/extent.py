"""Where a credential ends when nothing but its characters says so, and whether the next line belongs to it.

A detector is asked with the lines as they are, and once more with them joined. So it must not take the first line of a
wrapped credential for the whole (then what follows would stay readable), nor the first word of the next line for a part
of it. Lengths decide: those that a format has, and whether what stands behind is a word.
"""

from __future__ import annotations

import re
from typing import Final

_BREAK: Final = re.compile(rb"[ \t\\]*+(?:\r\n?|\n)[ \t>|]*+")
_WORD: Final = re.compile(rb"[-_]*(?:[A-Za-z][a-z]{1,23}|[A-Z]{2,24}|[0-9]{2,24})(?:[-_][0-9A-Za-z_-]*)?")
_PADDING: Final = re.compile(rb"==(?!=)|=(?![0-9A-Za-z=\"'$])")  # and no assignment
_LONGEST_WORD: Final = 24
_GROUP: Final = 4  # characters of base64 that are three bytes
_LINES: Final = 64  # that a wrapped credential is followed over


def sized(
    text: bytes, start: int, characters: re.Pattern[bytes], sizes: tuple[int, ...], least: int = 1
) -> int | None:
    """The end of the run of ``characters`` at ``start``, of which ``sizes`` are the known lengths in bytes.

    ``None`` if the run is shorter than ``least``, or if it has another length that is known once the next lines are
    added: then this is the first line of a wrapped one. A word that follows a known length is left out. Any other
    length stands.
    """
    run = characters.match(text, start)
    if run is None or len(run[0]) < least:
        return None
    size = len(run[0])
    if any(total in sizes for total in _totals(text, run, characters, max(sizes))):
        return None
    if size in sizes:
        return run.end()
    known = max((one for one in sizes if one < size), default=0)
    if known and is_word(text, start + known, run.end()):
        return start + known
    return run.end()


def unsized(
    text: bytes, start: int, characters: re.Pattern[bytes], beginnings: tuple[bytes, ...]
) -> int | None:
    """The end of the run of ``characters`` at ``start``, whose length may be any.

    ``None`` if there is no run, or if the next line goes on with what is no word, nor another such credential (which
    begins with one of ``beginnings``): then this is the first line of a wrapped one.
    """
    run = characters.match(text, start)
    if run is None:
        return None
    line = _BREAK.match(text, run.end())
    more = characters.match(text, line.end()) if line is not None else None
    if more is None or more[0].startswith(beginnings):
        return run.end()
    is_own = len(more[0]) == 1 or is_word(text, *more.span())
    return run.end() if is_own and _PADDING.match(text, more.end()) is None else None


def padded(text: bytes, start: int, end: int) -> int:
    """The end of the base64 text in ``text[start:end]`` with the padding behind it. Where padding is missing, the word
    that makes the length wrong is left out.
    """
    padding = text[end : end + 2]
    signs = len(padding) - len(padding.lstrip(b"="))
    surplus = (end - start) % _GROUP
    if signs or not surplus:
        return end + signs
    words = (end - size for size in range(_LONGEST_WORD - _LONGEST_WORD % _GROUP + surplus, 1, -_GROUP))
    return next((cut for cut in words if cut > start and is_word(text, cut, end)), end)


def is_word(text: bytes, start: int, end: int) -> bool:
    """Whether ``text[start:end]`` is a word or a number of two characters and more, or begins with one: what the
    next line of a text begins with.
    """
    return _WORD.fullmatch(text, start, end) is not None


def _totals(text: bytes, run: re.Match[bytes], characters: re.Pattern[bytes], most: int) -> list[int]:
    """The lengths of ``run`` with the next line's run added, with that of the line after it, and so on."""
    totals: list[int] = []
    total, end = len(run[0]), run.end()
    while total < most and len(totals) < _LINES:
        line = _BREAK.match(text, end)
        more = characters.match(text, line.end()) if line is not None else None
        if more is None:
            break
        total += len(more[0])
        end = more.end()
        totals.append(total)
    return totals

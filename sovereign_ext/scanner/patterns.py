"""What the engine looks for in raw bytes: anchors as they may be spelt, and hints of what cannot be spelt out.

A pattern may be wrong about a place, as canonical text decides; it must not miss one. Vectorscan compiles hundreds of
literals in no time, and takes seconds for as many with alternatives and repetitions: so there are none beyond the
backslashes of an escape, and what must stand before a match is asked in Python.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sovereign_ext.scanner.base import Detector
from sovereign_ext.scanner.following import Follows, either, rest_follows, run_follows

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


class Pattern(NamedTuple):
    """An expression over raw bytes, and how far from the end of its match the anchor may begin and end.

    What must stand before and behind a match is asked of the few there are: with it in the expressions Vectorscan
    would take twenty times as long to compile them.
    """

    expression: bytes
    fold: bool
    before: int  # bytes
    after: int  # bytes
    reach: int = 0  # bytes after the interval that a detector will want to see, if it is no false alarm
    length: int = 0  # bytes of a match
    must_begin: Callable[[bytes, int], bool] | None = None
    follows: Follows | None = None


def raw_patterns(
    anchors: Mapping[tuple[bytes, bool], Sequence[int]], detectors: Sequence[Detector]
) -> list[Pattern]:
    """All there are for ``anchors``: to each literal, with whether its case is ignored, the ranks of its detectors."""
    patterns: list[Pattern] = []
    rests = _rests(literal for literal, fold in anchors if not fold)
    for (literal, fold), ranks in anchors.items():
        having = [detectors[rank] for rank in ranks]
        patterns += _plain(literal, fold, having)
        wrapped = [detector.boundary for detector in having if detector.wraps]
        if wrapped and not fold:
            patterns += _wrapped(literal, rests, bounded=all(wrapped))
    patterns += _hints(anchors)
    return _distinct(patterns)


def _plain(literal: bytes, fold: bool, having: Sequence[Detector]) -> list[Pattern]:
    """An anchor as it stands in JSON, whole."""
    reach = max(detector.reach for detector in having)
    spelt = b"".join(map(_in_json, literal))
    is_fixed = b"*" not in spelt
    bounded = is_fixed and all(detector.boundary for detector in having)
    before = 2 * len(literal) + 8
    then = {detector.then for detector in having}
    if b"" not in then:
        return [Pattern(spelt + each, fold, before + _ESCAPED * reach, 0, reach) for each in then]
    begins = [detector.begins for detector in having]
    follows = run_follows(begins) if all(any(each) for each in begins) else None
    if bounded and len(literal) <= _SHORT:
        return [Pattern(each + spelt, fold, before, 0, reach, follows=follows) for each in _BOUNDARIES]
    must_begin = _after_boundary if bounded else None
    return [Pattern(spelt, fold, before, 0, reach, len(literal), must_begin, follows)]


def _wrapped(literal: bytes, rests: Mapping[bytes, Iterable[bytes]], *, bounded: bool) -> Iterator[Pattern]:
    """An anchor broken over two lines, at each place: the longer half, where a line ends or begins.

    Behind a first half any of its ``rests`` may follow, further away than a second half is looked for.

    Words that stand beside a secret (``fold``) are not looked for like this.
    """
    for at in range(1, len(literal)):
        first, second = literal[:at], literal[at:]
        if len(first) >= len(second):
            begins = _after_boundary if bounded else None
            yield Pattern(
                exactly(first) + _LINE_END,
                False,
                WRAP_WIDTH,
                WRAP_WIDTH,
                length=at + 1,
                must_begin=begins,
                follows=rest_follows(frozenset(rests[first])),
            )
        elif len(second) > _SHORT:
            yield Pattern(
                exactly(second), False, WRAP_WIDTH, WRAP_WIDTH, length=len(second), must_begin=_in_new_line
            )
        else:  # too common
            for before in _LINE_START:
                yield Pattern(before + exactly(second), False, WRAP_WIDTH, WRAP_WIDTH)


def _rests(literals: Iterable[bytes]) -> Mapping[bytes, Iterable[bytes]]:
    """To each beginning of a literal what may follow it; nothing, where it is one itself."""
    rests: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for literal in literals:
        for at in range(1, len(literal) + 1):
            rests[literal[:at]].append(literal[at:])
    return rests


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


def _distinct(patterns: Iterable[Pattern]) -> list[Pattern]:
    """Each expression once; the one that may begin anywhere, where there are both."""
    found: dict[tuple[bytes, bool], Pattern] = {}
    for pattern in patterns:
        known = found.get((pattern.expression, pattern.fold))
        kept = pattern if known is None or known.must_begin is not None else known
        if known is not None:
            kept = kept._replace(follows=either(known.follows, pattern.follows))
        found[pattern.expression, pattern.fold] = kept
    return list(found.values())


def _hints(wanted: Iterable[tuple[bytes, bool]]) -> list[Pattern]:
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
    return [Pattern(expression, fold, HIDDEN_WIDTH, HIDDEN_WIDTH) for expression, fold in expressions]


def _in_json(character: int) -> bytes:
    return (rb"\\*" if character in b'/"' else b"") + exactly(bytes((character,)))


def exactly(literal: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in literal)

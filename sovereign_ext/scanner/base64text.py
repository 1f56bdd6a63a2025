"""Base64 (RFC 4648) as clients write it into JSON: read to bytes, and written again in the same hand.

The hand is: the alphabet, padding or none, the lines (RFC 2045 and PEM) and how their breaks are spelled, and
characters that an encoder of JSON or of URLs spells otherwise (``\\/`` by PHP, ``\\u002B`` by .NET, ``%2B``), also
where the JSON stands in a string itself (``\\\\/``). Text that was read and is written unchanged is not always the same
bytes (a mix of spellings, set bits behind the end): whoever has the bytes keeps them.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

_CODES: Final = (
    rb"(?:2[bBdDfF]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])"  # base64's, but for ``=``
)
_ESCAPED: Final = rb"\\++(?:/|u00" + _CODES + rb")|%" + _CODES
_PAD: Final = rb"(?:=|\\++u003[dD]|%3[dD])"
_BREAK: Final = rb"[ \t]*+(?:\\++[nr]|[\n\r])(?:\\++[nrt]|[\n\r\t ]++){0,1000}"

# A group that is repeated without an end is kept in memory for each time: megabytes for a large document. Repeated
# possessively it is not, but CPython before 3.11.5 is wrong about where that ends. So it is asked for piece by piece.
_RUN: Final = re.compile(rb"(?:[A-Za-z0-9+/_-]++|" + _ESCAPED + rb"){1,1000}")
_RUN_END: Final = re.compile(_PAD + rb"{0,2}")
_LINES: Final = re.compile(rb"(?:[A-Za-z0-9+/_-]++|" + _ESCAPED + rb"|" + _BREAK + rb"){1,1000}")
_LINES_END: Final = re.compile(_PAD + rb"{0,2}(?:" + _BREAK + rb")?")
_SPELLED: Final = re.compile(rb"\\++(?:/|u00[0-9a-fA-F]{2})|%[0-9a-fA-F]{2}")
_OTHERS: Final = re.compile(rb"[\\%\n\r]")  # what takes more than to be decoded
_BREAKS: Final = re.compile(rb"(" + _BREAK + rb")")
_SPECIAL: Final = b"+/=-_"
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class Hand:
    """How base64 is written. ``widths`` are the characters of each line, ``breaks`` what stands between them.

    ``spelled`` maps characters of base64 to the bytes that are written for them.
    """

    url_safe: bool
    padded: bool
    spelled: tuple[tuple[bytes, bytes], ...]
    widths: tuple[int, ...]
    breaks: tuple[bytes, ...]

    @property
    def even(self) -> bool:
        """Whether all lines are as long as the first and the last one no longer, as every encoder writes them."""
        widths = self.widths if self.widths[-1] else self.widths[:-1]
        return all(width == widths[0] for width in widths[:-1]) and widths[-1] <= widths[0]


def run_end(body: bytes, start: int) -> int:
    """Where base64 without line breaks that begins at ``start`` ends; ``start`` where there is none."""
    return _pieces_end(_RUN, _RUN_END, body, start, len(body))


def lines_end(body: bytes, start: int, limit: int | None = None) -> int:
    """Where base64 with line breaks, also one at its end, ends; at ``limit`` at the latest."""
    return _pieces_end(_LINES, _LINES_END, body, start, len(body) if limit is None else limit)


def _pieces_end(piece: re.Pattern[bytes], end: re.Pattern[bytes], body: bytes, at: int, limit: int) -> int:
    while (found := piece.match(body, at, limit)) is not None:
        at = found.end()
    ending = end.match(body, at, limit)
    return ending.end() if ending else at


def plain(raw: bytes, spelled: dict[bytes, bytes] | None = None) -> bytes:
    """``raw`` with its ASCII characters as they are meant. How special ones were spelled is put into ``spelled``."""

    def character_of(found: re.Match[bytes]) -> bytes:
        spelling = found[0]
        character = b"/" if spelling.endswith(b"/") else bytes([int(spelling[-2:], 16)])
        if spelled is not None and character in _SPECIAL:
            spelled.setdefault(character, spelling)
        return character

    return _SPELLED.sub(character_of, raw)


def read(raw: bytes) -> tuple[bytes, Hand] | None:
    """What ``raw``, which ``lines_end`` has found, says, and its hand. ``None`` where it is not base64 after all."""
    spelled: dict[bytes, bytes] = {}
    lines = [raw]
    if _OTHERS.search(raw):
        lines = _BREAKS.split(raw)
        lines[::2] = [plain(line, spelled) for line in lines[::2]]
    characters = b"".join(lines[::2])
    bare = characters.rstrip(b"=")
    data = _bytes(bare)
    if data is None:
        return None
    url_safe = b"-" in bare or b"_" in bare
    padded = len(bare) % 4 == 0 or len(bare) < len(characters)
    hand = Hand(url_safe, padded, tuple(spelled.items()), tuple(map(len, lines[::2])), tuple(lines[1::2]))
    return data, hand


def read_head(raw: bytes) -> bytes:
    """The first bytes of what a longer text says, of which ``raw`` is the beginning. Empty where it is no base64."""
    bare = plain(_BREAKS.sub(b"", raw)).rstrip(b"=")
    return _bytes(bare[: len(bare) // 4 * 4]) or b""


def _bytes(bare: bytes) -> bytes | None:
    pads = -len(bare) % 4
    if pads == 3:
        return None
    try:
        return binascii.a2b_base64(bare.translate(_FROM_URL) + b"=" * pads)
    except binascii.Error:
        return None


def write(data: bytes, hand: Hand) -> bytes:
    """``data`` in base64 by this hand. Where there is more than there was, its lines go on like the first one."""
    characters = base64.urlsafe_b64encode(data) if hand.url_safe else base64.b64encode(data)
    if not hand.padded:
        characters = characters.rstrip(b"=")
    if hand.breaks:
        characters = _wrapped(characters, hand)
    for character, spelling in hand.spelled:
        characters = characters.replace(character, spelling)
    return characters


def _wrapped(characters: bytes, hand: Hand) -> bytes:
    widths, breaks, end = hand.widths, hand.breaks, b""
    if not widths[-1]:  # a break at the end
        widths, breaks, end = widths[:-1], breaks[:-1], breaks[-1]
    if not breaks:
        return characters + end
    longest = max(1, *widths)
    pieces: list[bytes] = []
    at = line = 0
    while at < len(characters):
        width = widths[line] if line < len(breaks) else longest
        if line:
            pieces.append(breaks[line - 1] if line <= len(breaks) else breaks[0])
        pieces.append(characters[at : at + width])
        at += width
        line += 1
    return b"".join(pieces) + end

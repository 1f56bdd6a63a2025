"""What tells a credential from a look-alike: checksums, how the characters are spread, marks of a typed text.

Pure functions on bytes, for the detectors. The bounds of :func:`made_at_random` come from the exact moments of a
uniform draw and are such that a secret made by a random generator fails less than once in a million; they tell random
texts from words, not from each other. Knows no format: that is the detectors' part.
"""

from __future__ import annotations

import math
import re
import zlib
from bisect import bisect_right
from functools import cache
from itertools import pairwise
from operator import sub
from typing import Final

BASE62: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The digits of base62 in the order that GitHub, npm and this gateway use."""

CHECKSUM: Final = 6  # base62 digits of 32 bits: 62^6 > 2^32

# Seven characters and more: shorter ones stand in random texts too often.
_PLACEHOLDERS: Final = re.compile(
    rb"example|placeholder|redacted|change[-_]?me|goes[-_]?here|key[-_]?here|not[-_]?real|(?:fake|dummy)[-_]?(?:key|token)"
    rb"|your[-_]?(?:api|own|key|secret|token|access)"
)  # in small letters
_HEXADECIMAL: Final = re.compile(rb"[0-9a-f]+|[0-9A-F]+")
_REPEATED: Final = re.compile(rb"(.)\1{6}", re.DOTALL)
_STEPS: Final = 6  # of one code point each: seven characters, as in abcdefg

# The sixty most frequent pairs of letters in English, about 55 % of the pairs in its words.
_PAIRS: Final = frozenset(
    (*pair,)
    for pair in b"th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le "
    b"ve co me de hi ri ro ic ne ea ra ce li ch ll be ma si om ur ke ey ec ta el is no ss tr et".split()
)
_DIGITS: Final = 16
_DEVIATIONS: Final = 6.5
_DEVIATIONS_OF_DIGITS: Final = 8.5  # few characters, many of each: the tail is longer
# The number of those pairs that one in ten million random texts of letters and digits has, by its size. The exact law
# (a chain over the last letter) is worked out in the tests. Bounds are kept for these sizes only.
_PAIRS_BY_CHANCE: Final = {
    128: 29, 96: 25, 64: 20, 48: 18, 40: 16, 32: 15, 24: 13, 20: 12, 16: 11, 12: 10, 10: 9, 8: 8,
}  # fmt: skip
_SIZES: Final = (0, *sorted(_PAIRS_BY_CHANCE))


def _gain(count: int) -> float:
    return count * math.log2(count) if count else 0.0


_GAINS: Final = tuple(map(_gain, range(512)))


def base62(number: int, width: int) -> bytes:
    """``number`` in base62, filled up with ``0`` to ``width`` digits."""
    digits = bytearray()
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return bytes(reversed(digits))


def crc32_base62(text: bytes) -> bytes:
    """The CRC-32 of ``text`` (ISO-HDLC, as in zlib) as six digits of base62."""
    return base62(zlib.crc32(text), CHECKSUM)


def sealed(text: bytes) -> bool:
    """Whether the last six characters of ``text`` are the CRC-32 of all before them, in base62."""
    return text[-CHECKSUM:] == crc32_base62(text[:-CHECKSUM])


def entropy(text: bytes) -> float:
    """Shannon's entropy of the frequencies of the bytes, in bits for each byte; 0 for an empty text."""
    size = len(text)
    if not size:
        return 0.0
    gain = _GAINS.__getitem__ if size < len(_GAINS) else _gain
    return math.log2(size) - sum(map(gain, map(text.count, set(text)))) / size


def typed(text: bytes) -> bool:
    """Whether a person wrote this where a secret should be: a word such as ``example`` or ``your_key``, seven times
    the same character, or seven in the order of the alphabet or of the digits.
    """
    if _PLACEHOLDERS.search(text.lower()) is not None or _REPEATED.search(text) is not None:
        return True
    differences = list(map(sub, text[1:], text))
    if differences.count(1) < _STEPS:
        return False
    steps = 0
    for difference in differences:
        steps = steps + 1 if difference == 1 else 0
        if steps == _STEPS:
            return True
    return False


def wordy(text: bytes) -> bool:
    """Whether more pairs of letters in (up to 128 characters of) ``text`` are those of English words than chance puts
    there. Texts of fewer than eight characters do not tell.
    """
    size = _judged(text)
    lower = text[:size].lower()
    return size > 0 and sum(map(_PAIRS.__contains__, pairwise(lower))) >= _PAIRS_BY_CHANCE[size]


def made_at_random(text: bytes, alphabet: int = 0) -> bool:
    """Whether ``text`` may come from a random generator that draws from ``alphabet`` characters; 0: of those that the
    text itself suggests, 16 (hexadecimal), 36 (letters of one case) or 62.

    No for typed texts (:func:`typed`), for words (:func:`wordy`), and where the entropy of (up to 128 characters of)
    ``text`` is lower than chance allows.
    """
    size = _judged(text)
    if size and entropy(text[:size]) < least_entropy(size, alphabet or _alphabet(text)):
        return False
    return not typed(text) and not wordy(text)


@cache
def least_entropy(size: int, alphabet: int) -> float:
    """The least entropy in bits for each byte to be expected of ``size`` uniform draws: the mean less 6.5 deviations,
    of hexadecimal digits 8.5.

    With ``n`` the size and ``c`` the count of a character, the entropy is log2(n) - sum(c log2 c) / n; mean and
    deviation of that sum follow from the binomial law of one count and the joint law of two.
    """
    share = 1 / alphabet
    gain = [_gain(count) for count in range(size + 1)]
    mean = _expected(gain, size, share)
    square = _expected([value * value for value in gain], size, share)
    product = math.fsum(
        _chance(size, count, share) * gain[count] * _expected(gain, size - count, share / (1 - share))
        for count in range(2, size + 1)
    )
    variance = alphabet * (square - mean * mean) + alphabet * (alphabet - 1) * (product - mean * mean)
    deviations = _DEVIATIONS_OF_DIGITS if alphabet <= _DIGITS else _DEVIATIONS
    return math.log2(size) - (alphabet * mean + deviations * math.sqrt(max(0.0, variance))) / size


def _alphabet(text: bytes) -> int:
    if _HEXADECIMAL.fullmatch(text) is not None:
        return 16
    return 36 if text in (text.lower(), text.upper()) else 62


def _judged(text: bytes) -> int:
    """How many characters of ``text`` are judged: the greatest size for which there are bounds, or 0."""
    return _SIZES[bisect_right(_SIZES, len(text)) - 1]


def _chance(size: int, count: int, share: float) -> float:
    return math.comb(size, count) * share**count * (1 - share) ** (size - count)


def _expected(values: list[float], size: int, share: float) -> float:
    """The mean of ``values[count]`` over the binomial law of ``count`` in ``size`` draws."""
    return math.fsum(_chance(size, count, share) * values[count] for count in range(2, size + 1))

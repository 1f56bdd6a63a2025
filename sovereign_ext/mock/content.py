"""Deterministic content.

Words, pieces and vectors computed from the request alone. No randomness, no model.
"""

from __future__ import annotations

import math
import re
import struct
from hashlib import shake_256
from itertools import cycle, islice

_WORD = re.compile(r"\s*\S+")
_MAX_ECHO_WORDS = 64
_CALIBRATED = "abcdefghijklmnopqrstuvwxyz0123456789"


def count_tokens(text: str) -> int:
    """How many tokens the mock bills for a text: its words separated by blanks."""
    return len(text.split())


def words(text: str) -> tuple[str, ...]:
    """A text in word-sized pieces that join back to it; blanks lead the word they precede."""
    pieces = _WORD.findall(text)
    rest = text[sum(map(len, pieces)) :]
    return (*pieces, rest) if rest else tuple(pieces)


def fragments(text: str, size: int) -> tuple[str, ...]:
    """A text in pieces of ``size`` characters; the empty text has no piece."""
    return tuple(text[start : start + size] for start in range(0, len(text), size))


def echo(text: str) -> tuple[str, ...]:
    """The default answer to a user's text, in chunks. Long texts are quoted up to 64 words."""
    quoted = words(text.strip())
    if len(quoted) > _MAX_ECHO_WORDS:
        quoted = (*quoted[:_MAX_ECHO_WORDS], " …")
    if not quoted:
        return ("You", " said", " nothing.")
    return ("You", " said:", " " + quoted[0], *quoted[1:])


def exactly(chunks: tuple[str, ...], count: int | None, size: int | None) -> tuple[str, ...]:
    """The same answer in ``count`` chunks of ``size`` characters, each kept as it is when ``None``."""
    if size is not None:
        text = cycle(_CALIBRATED)
        return tuple("".join(islice(text, size)) for _ in range(len(chunks) if count is None else count))
    if count is None or count <= len(chunks):
        return chunks[:count]
    again = [chunk if chunk.startswith(" ") else " " + chunk for chunk in chunks]  # no words running together
    return (*chunks, *islice(cycle(again), count - len(chunks)))


def unit_vector(text: str, dimensions: int) -> list[float]:
    """A vector of length 1 derived from SHAKE-256 of the text.

    Fewer dimensions give the normalised prefix of the longer vector, as OpenAI documents for ``dimensions``.
    """
    raw = struct.unpack(
        f">{dimensions}h", shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    )
    norm = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [value / norm for value in raw]


def logprob(token: str) -> float:
    """A plausible log probability (natural, ≤ 0), the same for the same token."""
    return -(shake_256(token.encode("utf-8", "surrogatepass")).digest(1)[0] + 1) / 256

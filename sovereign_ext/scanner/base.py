"""What a detector is: the literals by which the engine finds its places, and a function that judges one of them.

A detector sees *canonical text*: the bytes of a string as its reader will see them (JSON escapes undone to any depth,
percent-encoding undone, characters without width left out), in UTF-8. It is asked once for every place of one of its
anchors, and must answer in time linear in ``reach``: no nested repetitions, no search beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeVar, TypeVarTuple

Made = TypeVar("Made")
Of = TypeVarTuple("Of")


class Span(NamedTuple):
    """Where in canonical text exactly the secret stands: ``text[start:end]``."""

    start: int
    end: int


class Text(bytes):
    """Canonical text as a search gives it to detectors. What they work out of it is kept as long as it is judged."""

    kept: dict[tuple[object, ...], object]

    def __new__(cls, text: bytes) -> Self:
        """A copy of ``text``."""
        made = super().__new__(cls, text)
        made.kept = {}
        return made


class Lines(Text):
    """Canonical text whose line breaks were taken out, with the places where they were, in ascending order."""

    breaks: Sequence[int] = ()
    """Where a line begins, but for the first."""
    stops: frozenset[int] = frozenset()
    """Those of them at which a text of its own begins: behind an empty line, or with a credential."""


def once(text: bytes, make: Callable[[bytes, *Of], Made], *of: *Of) -> Made:
    """``make(text, *of)``, for what many places of a text have in common: worked out once for each ``Text``."""
    if not isinstance(text, Text):
        return make(text, *of)
    kept, asked = text.kept, (make, *of)
    if asked not in kept:
        kept[asked] = make(text, *of)
    return kept[asked]  # type: ignore[return-value]


Find = Callable[[bytes, int], Span | None]
"""``find(text, at)``: the secret whose anchor stands at ``text[at:]``, or ``None``.

``text`` is a :class:`Lines` where lines were joined: a secret may end there wherever a line does (``extent``).

``text`` may begin and end anywhere in a longer string. It has at least ``back`` bytes before ``at`` and ``reach`` bytes
after it, or else the string begins or ends there.
"""


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of credential.

    ``kind`` is what findings and replacements name (``aws-access-key``), ``family`` by what policies choose
    (``aws``), ``version`` rises with every change of what is found. ``about`` is one line for the documentation.

    ``anchors`` are literals of at least three bytes, one of which stands in every such secret or beside it, regardless
    of ASCII case where ``fold`` is set. With ``boundary`` an anchor counts only where no ASCII letter or digit stands
    before it. ``tail`` is what stands right behind an anchor wherever ``find`` finds something, as a class of
    characters and how many of them there are at least; without it there, ``find`` is not asked. ``back`` and
    ``reach``: how many bytes of canonical text before and after the beginning of the anchor ``find`` may look at.
    ``wraps`` says that such a secret may be broken over several lines; then ``find`` is also asked with the lines
    joined, and must tell where the secret ends by the rules of ``extent``. ``then`` is for anchors that nearly every
    text has, such as ``https://``: an expression over raw JSON (in Vectorscan's syntax), which a secret's anchor has
    right behind it within ``reach``. ``begins`` is for those that texts have now and then, such as ``sk-``: characters,
    and an expression (Python's) that a run of them behind the anchor, lines joined, matches wherever ``find`` finds
    something; without it, no region is made.
    """

    kind: str
    family: str
    version: int
    about: str
    anchors: tuple[bytes, ...]
    find: Find
    fold: bool = False
    boundary: bool = True
    back: int = 0
    reach: int = 512
    wraps: bool = True
    then: bytes = b""
    tail: tuple[bytes, int] = (b"", 0)
    begins: tuple[bytes, bytes] = (b"", b"")

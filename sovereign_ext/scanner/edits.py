"""The changes to a body without its credentials: what stands instead of which bytes, and what the body then is.

A secret is replaced by its marker, a document in base64 by itself without its secrets, the rest of a split secret by
nothing. Places are raw bytes. What is to be changed is decided elsewhere (``scan``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from sovereign_ext.scanner.base import Detector
from sovereign_ext.scanner.documents import Document
from sovereign_ext.scanner.overlap import Found


class Edit(NamedTuple):
    """Bytes ``[start:end]`` to be replaced: by a secret's marker, by a document without its secrets, or by nothing."""

    start: int
    end: int
    found: Found | None = None
    document: Document | None = None
    inside: tuple[Edit, ...] = ()


class Numbers:
    """Counts the secrets of each kind within one body."""

    def __init__(self, detectors: tuple[Detector, ...]) -> None:
        self._kinds = [detector.kind for detector in detectors]
        self._numbers: dict[str, dict[bytes, int]] = {}

    def of(self, found: Found) -> int:
        """The number of a secret, from 1: the same one has the same number."""
        of_kind = self._numbers.setdefault(self._kinds[found.rank], {})
        return of_kind.setdefault(found.secret, len(of_kind) + 1)

    def marker(self, found: Found) -> bytes:
        """What stands in the secret's place."""
        return b"[REDACTED:%s:%d]" % (self._kinds[found.rank].encode(), self.of(found))


class Rewritten(NamedTuple):
    """A text with its edits made."""

    text: bytes
    markers: list[tuple[int, Found]]  # each secret, and a place that lies in the string where its marker is
    befores: list[int]  # where the edited bytes began
    spans: list[tuple[int, int, int]]  # where they ended; where those instead of them begin and end

    def moved(self, at: int) -> int:
        """Where what was at ``at`` is now."""
        edit = bisect_right(self.befores, at) - 1
        if edit < 0:
            return at
        end, new_start, new_end = self.spans[edit]
        return new_start if at < end else at - end + new_end


def rewrite(body: bytes, edits: Iterable[Edit], numbers: Numbers) -> Rewritten:
    """``body`` with ``edits`` made, which are in order and do not overlap each other."""
    result = Rewritten(b"", [], [], [])
    pieces: list[bytes] = []
    last = length = 0
    for edit in edits:
        pieces.append(body[last : edit.start])
        length += edit.start - last
        if edit.document is not None:
            inside = rewrite(edit.document.text, edit.inside, numbers)
            instead = edit.document.encoded(inside.text)
            result.markers.extend((length, found) for _, found in inside.markers)
        elif edit.found is not None:
            instead = numbers.marker(edit.found)
            result.markers.append((length, edit.found))
        else:
            instead = b""
        pieces.append(instead)
        result.befores.append(edit.start)
        result.spans.append((edit.end, length, length + len(instead)))
        length += len(instead)
        last = edit.end
    pieces.append(body[last:])
    return result._replace(text=b"".join(pieces))


def ordered(edits: Iterable[Edit]) -> list[Edit]:
    """``edits`` in order of place."""
    return sorted(edits, key=_place)


def touching(edits: list[Edit], start: int, end: int) -> list[Edit]:
    """Those of ``edits``, which are in order and do not overlap each other, that overlap ``[start:end]``."""
    first, after = (bisect_right(edits, at, key=_place) for at in (start, end - 1))
    return edits[first - 1 if first and edits[first - 1].end > start else first : after]


def _place(edit: Edit) -> int:
    return edit.start

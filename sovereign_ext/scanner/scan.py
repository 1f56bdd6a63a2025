"""A request's body without the credentials in it, and what they were: the one way into this package.

1. The body's raw bytes are searched. A body without findings, which is nearly every one, comes back as the same object.
2. Neighbouring text parts are searched as the one text they are to a model: what lies in several of them is replaced in
   the first and cut out of the others. What stands in one of them whole has been found in step 1 and counts.
3. Documents in base64 that are text are searched, and encoded again; nothing is searched in other base64.
4. What was found is replaced, and the result searched again, until nothing is found: a replacement may free a
   secret that stood right after another.

Replaced is exactly the secret, so the body stays valid JSON and every other byte as it was. Time is linear in the body,
and a body that is made to be slow is not scanned to its end (``effort``).
Knows no tenant and no policy, keeps nothing of what it has seen, and logs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

from sovereign_ext.scanner.base import Detector
from sovereign_ext.scanner.documents import find_documents
from sovereign_ext.scanner.edits import Edit, Numbers, ordered, rewrite, touching
from sovereign_ext.scanner.effort import Effort
from sovereign_ext.scanner.hints import Hints
from sovereign_ext.scanner.overlap import Found, resolved
from sovereign_ext.scanner.parts import may_have_runs, text_runs
from sovereign_ext.scanner.places import Places, Raw
from sovereign_ext.scanner.registry import DETECTORS
from sovereign_ext.scanner.search import Search
from sovereign_ext.scanner.splits import across
from sovereign_ext.secret import Secret

SEARCHES: Final = 4
"""How often at most a body is searched. Each search after the second needs a secret that the one before has freed."""

DOCUMENTS_WITHIN: Final = 3
"""To which depth documents within documents are read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place of one secret."""

    kind: str
    """What it is (``aws-access-key``); ``family`` is by what policies choose (``aws``)."""
    family: str
    version: int
    """Of the detector."""
    number: int
    """Counts the different secrets of its kind in this body, from 1: the same secret has the same number."""
    pointer: str
    """RFC 6901, of the string it stands in; for the name of a member, that of the member; for a secret that is split
    over several strings, that of the first; for one in a document, that of the document."""
    length: int
    """Bytes of the secret with its hidden forms undone."""
    secret: Secret


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in a body, in order of place, and the body without it: the same object where nothing was."""

    findings: tuple[Finding, ...]
    body: bytes


class Scanner:
    """Finds and replaces the credentials of some detectors; made once, as it compiles their patterns.

    May be used by many threads at once.
    """

    def __init__(self, detectors: Iterable[Detector] = DETECTORS) -> None:
        self._detectors = tuple(detectors)
        self._search = Search(self._detectors)

    def scan(self, body: bytes, effort: Effort | None = None) -> Scan:
        """Search ``body``, which is valid JSON in UTF-8.

        Raises ``NotScannable`` where that takes more work than any honest body does, and ``CalledOff`` once ``effort``
        was called off. Then nothing is known of the body.
        """
        effort = effort or Effort()
        edits = self._edits(body, effort)
        if not edits:
            return Scan((), body)
        numbers = Numbers(self._detectors)
        noted: list[tuple[int, Found]] = []
        for last in range(SEARCHES - 1, -1, -1):
            rewritten = rewrite(body, edits, numbers)
            noted = [(rewritten.moved(at), found) for at, found in noted] + rewritten.markers
            noted.sort(key=lambda each: each[0])
            body = rewritten.text
            edits = self._edits(body, effort) if last else []
            if not edits:
                break
        pointers = _pointers(Places(body), [at for at, _ in noted])
        found = zip(pointers, noted, strict=True)
        return Scan(tuple(self._finding(pointer, one, numbers) for pointer, (_, one) in found), body)

    def _finding(self, pointer: str, found: Found, numbers: Numbers) -> Finding:
        detector = self._detectors[found.rank]
        return Finding(
            kind=detector.kind,
            family=detector.family,
            version=detector.version,
            number=numbers.of(found),
            pointer=pointer,
            length=len(found.secret),
            secret=Secret(found.secret.decode("utf-8", "replace")),
        )

    def _edits(self, body: bytes, effort: Effort) -> list[Edit]:
        """What to change in a JSON body, in order of place and without overlaps."""
        found, hints = self._search.found(body, effort)
        if not (found or hints):
            return []
        may_run = may_have_runs(body, hints)
        places = Places(body) if found or may_run else None
        if found and places is not None:
            found = [one for one in found if _is_in_one(places, one)]
        edits = self._whole(body, found, hints, effort)
        if may_run and places is not None:
            edits = _with_splits(
                edits, (split for run in text_runs(places) for split in self._split(body, run, effort))
            )
        return edits

    def _whole(
        self, text: bytes, found: list[Found], hints: Hints, effort: Effort, within: int = DOCUMENTS_WITHIN
    ) -> list[Edit]:
        """``found`` in ``text``, but for what stands in base64, and what is found in the documents there."""
        edits = [Edit(one.start, one.end, found=one) for one in resolved(found)]
        if not within or not hints:
            return edits
        documents = find_documents(text, hints)
        alone = ordered(
            Edit(*raw) for raw in (*(document.raw for document in documents.texts), *documents.left_alone)
        )
        edits = [edit for edit in edits if not touching(alone, edit.start, edit.end)]
        for document in documents.texts:
            inside = self._whole(
                document.text, *self._search.found(document.text, effort), effort, within - 1
            )
            if inside:
                edits.append(Edit(*document.raw, document=document, inside=tuple(inside)))
        return ordered(edits)

    def _split(self, body: bytes, run: tuple[Raw, ...], effort: Effort) -> Iterator[_Split]:
        """Secrets that stand in more than one of the strings of ``run``."""
        run = tuple(raw for raw in run if raw.start < raw.end)
        texts = [body[raw.start : raw.end] for raw in run]
        for found, pieces, is_sure in across(self._search, self._detectors, texts, effort):
            places = [(run[which].start + start, run[which].start + end) for which, start, end in pieces]
            first, *rest = places
            yield _Split([Edit(*first, found=found), *(Edit(*place) for place in rest)], is_sure)


class _Split(NamedTuple):
    """A secret in several strings."""

    edits: list[Edit]  # in each of them
    is_sure: bool  # that what is in the later strings belongs to it, even if what is in the first could be all of it


def _pointers(places: Places, found: Iterable[int]) -> Iterator[str]:
    """Of the string at each of ``found``, which are in order: a string that is full of secrets is asked for once."""
    for number, within in groupby(found, lambda at: places.at(at) or 0):
        pointer = places.pointer(number)
        yield from (pointer for _ in within)


def _with_splits(edits: list[Edit], splits: Iterable[_Split]) -> list[Edit]:
    """``edits`` with those of ``splits`` that touch none of them. What a sure one covers gives way to it."""
    covered: set[int] = set()
    added: list[Edit] = []
    for parts, is_sure in splits:
        touched = [edit for part in parts for edit in touching(edits, part.start, part.end)]
        gives_way = is_sure and all(
            edit.document is None and any(part.start <= edit.start and edit.end <= part.end for part in parts)
            for edit in touched
        )
        if gives_way or not touched:
            added += parts
            covered.update(edit.start for edit in touched)
    return ordered([*(edit for edit in edits if edit.start not in covered), *added])


def _is_in_one(places: Places, one: Found) -> bool:
    """Whether it lies within one string, not in two nor between them."""
    number = places.at(one.start)
    return number is not None and one.end <= places.raw(number).end

"""The corpus: every kind of credential in every form, hiding and place, and several of them together.

Everything comes from a seed, so that a failure can be repeated; the credentials are made by the detectors' own makers.
The families of cases cross each kind with one dimension and turn the others beneath it; ``drawn`` is for
``tests/fuzz/credentials.py``, which takes any of the full product.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle
from typing import Final

from corpus import STYLES, Case, Leaf, Piece, Planted, case
from corpus_places import DOCUMENTS, PLACES, PLAIN_DATA, Build
from corpus_texts import AFTER, BEFORE, FORMS, HIDINGS, WRAPS, Form, Hide, around, planted

Make = Callable[[random.Random], bytes]
Beside = Callable[[random.Random], tuple[bytes, bytes]]

_WORD: Final = re.compile(rb"[A-Za-z0-9_.-]{1,300}")
PLAIN: Final = HIDINGS["as it is"]
_LINE: Final = re.compile(r"\\?\r?\n[ \t>]*")
_WORDS: Final = re.compile(r"[-_]*(?:(?:[A-Za-z][a-z]*|[A-Z]+|[0-9]+)(?:[-_]+|\Z))+|[-_]+")
_ANY_LENGTH: Final = ("ya29.", "1//0")
_ANY_GROUPS: Final = (
    "xoxd-",
    "ABSK",
    "bedrock-api-key-",
    "FQoG",
    "FwoG",
    "AQoD",
    "IQoJ",
)  # of four characters
SEPARATORS: Final = (
    " ", ",", "\n", "\r\n", ";", "|", "\t", ", ", "\n\n", '","', " and ", "` `", "。", "</a><a>", "\u2028",
)  # fmt: skip


class Corpus:
    """Cases of the given kinds, made from ``seed``.

    ``beside``: what must stand right before and after those that count only there; ``wrapping``: those that may be
    broken over lines.
    """

    def __init__(
        self, makers: Mapping[str, Make], beside: Mapping[str, Beside], wrapping: Iterable[str], seed: int = 6
    ) -> None:
        self._makers = makers
        self._beside = beside
        self._wrapping = frozenset(wrapping)
        self._rng = random.Random(seed)
        self._styles = cycle(STYLES)
        self._places = cycle(PLACES.items())
        self._forms = cycle(FORMS)

    def forms(self) -> Iterator[Case]:
        """Every kind in every form, the places in turn."""
        for kind in self._makers:
            for form in FORMS:
                yield self._one(kind, form, "as it is", PLAIN, next(self._places))

    def places(self) -> Iterator[Case]:
        """Every kind in every place, the forms in turn."""
        for kind in self._makers:
            for place in (*PLACES.items(), *DOCUMENTS.items(), ("plain data URI", PLAIN_DATA)):
                yield self._one(kind, next(self._forms), "as it is", PLAIN, place)

    def hidden(self) -> Iterator[Case]:
        """Every kind in every hiding, the forms and places in turn, documents among them."""
        places = cycle((*PLACES.items(), *DOCUMENTS.items()))
        for kind in self._makers:
            for name, hide in HIDINGS.items():
                yield from self._hidden(kind, name, hide, next(places))

    def wrapped(self, times: int = 1) -> Iterator[Case]:
        """Every kind that may be broken over lines, in every way."""
        for kind in self._makers:
            for name, hide in WRAPS.items():
                for _ in range(times if kind in self._wrapping else 0):
                    yield from self._hidden(kind, name, hide, next(self._places))

    def split(self, times: int = 3) -> Iterator[Case]:
        """Every kind over neighbouring text parts: two, three, and with an empty one between."""
        for kind in self._makers:
            for count in range(times):
                form = next(self._forms)
                secret, beside = self._secret(kind)
                piece = planted(kind, secret, form, PLAIN, self._rng)
                assert piece is not None
                pieces = around(form, kind, beside, piece)
                at = pieces.index(piece)
                before, after = pieces[:at], pieces[at + 1 :]
                parts = self._cut(piece, 2 + count % 2)
                if count % 3 == 2:
                    parts.insert(1, "")
                name = f"{kind}, {form.name}, over {len(parts)} parts"
                yield self._in_parts(name, count % 2 > 0, before, parts, after)

    def _in_parts(
        self,
        name: str,
        input_text: bool,
        before: tuple[Piece, ...],
        parts: list[Piece],
        after: tuple[Piece, ...],
    ) -> Case:
        of = "input_text" if input_text else "text"
        style = next(self._styles)

        def made(parts: list[Piece]) -> Case:
            texts = [(*before, parts[0]), *((part,) for part in parts[1:-1]), (parts[-1], *after)]
            content = [{"type": of, "text": text} for text in ("First.", *map(Leaf, texts))]
            said = {
                "model": "m",
                "input" if input_text else "messages": [{"role": "user", "content": content}],
            }
            return case(name, said, style)

        whole = made(parts)
        left = _left([part if isinstance(part, str) else part.text for part in parts])
        if not left:
            return whole
        kept = parts[: len(parts) - left]
        secret = "".join(part if isinstance(part, str) else part.text for part in kept).encode()
        shorter = [part if isinstance(part, str) else replace(part, secret=secret) for part in kept]
        rest = [part if isinstance(part, str) else part.text for part in parts[len(parts) - left :]]
        return replace(whole, also=made([*shorter, *rest]))

    def neighbours(self) -> Iterator[Case]:
        """Two keys side by side, a key twice, and one at each end of a string."""
        kinds = list(self._makers)
        separators = cycle(SEPARATORS)
        for index, kind in enumerate(kinds):
            for other in (kind, kinds[(index + 1) % len(kinds)], kinds[(index + 7) % len(kinds)]):
                between = next(separators)
                first, second = self._piece(kind), self._piece(other)
                yield self._of(f"{kind}{between!r}{other}", (*first, between, *second))
                yield self._of(
                    f"{kind}{between!r}{other}, three",
                    (*second, between, *first, between, *self._piece(other)),
                )
            yield self._of(f"{kind} twice", (*first, " or again ", *first, next(separators), *first))
            yield self._of(f"{kind} at both ends", (*first, " … " * self._rng.randrange(1, 200), *first))
            yield case(
                f"{kind} in two strings",
                {
                    "model": "m",
                    "messages": [
                        {
                            "role": "user",
                            "content": [{"type": "image", "a": Leaf(first)}, Leaf(second), Leaf(first)],
                        }
                    ],
                },
                next(self._styles),
            )

    def overlaps(self) -> Iterator[Case]:
        """A key as the password of a URL, whole or as a part of it; a token that two detectors know."""
        for kind in self._makers:
            secret, _ = self._secret(kind)
            if kind in self._beside or not _WORD.fullmatch(secret):
                continue
            key = Planted(kind, secret, secret.decode())
            yield self._of(f"{kind} as a password", ("postgres://app:", key, "@db.internal:5432/app"))
            longer = b"A7." + secret + b".x"
            password = Planted("url-password", longer, longer.decode())
            yield self._of(
                f"{kind} in a password", ("git clone https://bot:", password, "@git.example/x.git")
            )
            yield self._of(
                f"{kind} in a password and alone", ("https://bot:", password, "@git.example ", key, " ")
            )
        token = self._makers["npm-token"](self._rng)
        both = Planted("npm-token", token, token.decode())
        yield self._of("a token in its setting", ("//registry.npmjs.org/:_authToken=", both, "\n"))

    def drawn(self, number: int) -> Iterator[Case]:
        """Any kind in any form, hiding and place."""
        kinds, forms = list(self._makers), list(FORMS)
        hidings, places = list((HIDINGS | WRAPS).items()), list((PLACES | DOCUMENTS).items())
        for _ in range(number):
            kind, (name, hide) = self._rng.choice(kinds), self._rng.choice(hidings)
            if name not in WRAPS or kind in self._wrapping:
                yield from self._try(kind, self._rng.choice(forms), name, hide, self._rng.choice(places))

    def _hidden(self, kind: str, hiding: str, hide: Hide, place: tuple[str, Build]) -> Iterator[Case]:
        yield from self._try(kind, next(self._forms), hiding, hide, place)

    def _one(self, kind: str, form: Form, hiding: str, hide: Hide, place: tuple[str, Build]) -> Case:
        (found,) = self._try(kind, form, hiding, hide, place)
        return found

    def _try(
        self, kind: str, form: Form, hiding: str, hide: Hide, place: tuple[str, Build]
    ) -> Iterator[Case]:
        secret, beside = self._secret(kind)
        if hiding != "as it is" and b"\n" in secret:
            form = FORMS[0]
        piece = planted(kind, secret, form, hide, self._rng)
        if piece is not None:
            pieces = around(form, kind, beside, piece)
            where, build = place
            if form.before and "key" not in where and "name" not in where:
                before = BEFORE[:-1] if where in DOCUMENTS else BEFORE  # a text has no control characters
                pieces = (self._rng.choice(before), *pieces, self._rng.choice(AFTER))
            name, style = f"{kind}, {form.name}, {hiding}, {where}", next(self._styles)
            made = case(name, build(pieces), style)
            shorter = _shorter(piece) if hiding in WRAPS else None
            if shorter is not None:
                at = pieces.index(piece)
                made = replace(
                    made, also=case(name, build((*pieces[:at], *shorter, *pieces[at + 1 :])), style)
                )
            yield made

    def _piece(self, kind: str) -> tuple[Piece, ...]:
        secret, beside = self._secret(kind)
        return around(FORMS[0], kind, beside, Planted(kind, secret, secret.decode()))

    def _secret(self, kind: str) -> tuple[bytes, tuple[bytes, bytes]]:
        secret = self._makers[kind](self._rng)
        return secret, self._beside[kind](self._rng) if kind in self._beside else (b"", b"")

    def _of(self, name: str, pieces: tuple[Piece, ...]) -> Case:
        where, build = next(self._places)
        return case(f"{name}, {where}", build(pieces), next(self._styles))

    def _cut(self, piece: Piece, count: int) -> list[Piece]:
        assert isinstance(piece, Planted)
        ends = sorted(self._rng.sample(range(1, len(piece.text)), count - 1))
        bounds = zip((0, *ends), (*ends, len(piece.text)), strict=True)
        return [Planted(piece.kind, piece.secret, piece.text[a:b], first=a == 0) for a, b in bounds]


def _left(lines: list[str]) -> int:
    """How many lines at the end of a secret could as well be what follows it, because nothing says where it ends.

    Those are lines of words, behind a text that may have any length: of base64, any number of groups of four.
    """
    is_base64 = lines[0].startswith(_ANY_GROUPS)
    if not is_base64 and not lines[0].startswith(_ANY_LENGTH):
        return 0
    left = 0
    while left < len(lines) - 1 and (lines[-1 - left] == "" or _WORDS.fullmatch(lines[-1 - left])):
        left += 1
    rest = "".join(lines[len(lines) - left :])
    return left if rest and not (is_base64 and len(rest) % 4) else 0


def _shorter(piece: Planted) -> tuple[Piece, ...] | None:
    """``piece``, which is wrapped, without such lines, and they as text."""
    lines = _LINE.split(piece.text)
    left = _left(lines)
    if not left:
        return None
    end = [found.start() for found in _LINE.finditer(piece.text)][-left]
    secret = "".join(lines[:-left]).encode()
    return replace(piece, secret=secret, text=piece.text[:end]), piece.text[end:]

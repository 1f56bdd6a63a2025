"""Base64 within a request: documents that are text are decoded to be scanned; pictures and sound are left alone.

Looked at: data URLs (RFC 2397) in any string, also in the midst of text or of JSON in a string, and bare base64
(RFC 4648) in members that carry it (``file_data``, ``data``). Works on raw bytes at the places that ``hints`` names,
without the body's structure; all work is linear in the body.

What a document is, its first bytes say, and for text that is hard to tell also its type. Not looked into: PDF, archives
and other binary formats, UTF-32 without a mark or ``charset``, base64 in members of other names.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple

from sovereign_ext.scanner.base64text import Hand, lines_end, plain, read, read_head, run_end, write
from sovereign_ext.scanner.hints import ENCODED, ESCAPED, MEMBER, Hints
from sovereign_ext.scanner.places import Raw

SHORTEST_LEFT_ALONE: Final = 256
"""Bytes of base64. Less than that may be a key that stands where a picture should; it is scanned as it is."""

SHORTEST: Final = 16
"""Bytes of base64. Less than that holds no credential."""

_HEAD: Final = 1024  # bytes of base64 by which a document is known
_LONGEST_TYPE: Final = 200  # bytes

_TYPE: Final = re.compile(rb'data:([^",]*+)\Z', re.IGNORECASE)
_MEMBER: Final = re.compile(rb'"((?:[a-z_]|\\++u00[567][0-9a-fA-F])++)\\*+"\s*+:\s*+\\*+"')
_SOUND: Final = re.compile(rb'"input_audio\\*+"\s*+:\s*+\{[^{}]*+\Z')
_END: Final = re.compile(rb'\\*+"')

_TEXT_TYPES: Final = re.compile(
    r"text/.*|.*\+(?:json|xml|yaml)|application/(?:x-)?"
    r"(?:json|ndjson|jsonl|xml|yaml|toml|javascript|ecmascript|typescript|sh|csv|sql|www-form-urlencoded)"
)
_BINARY: Final = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF|II\*\0|MM\0\*|\0\0\x01\0|....ftyp|\x1aE\xdf\xa3|OggS|ID3|fLaC|wOF"
    rb"|PK\x03\x04|\x1f\x8b\x08|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|\x7fELF|\0asm|\xd0\xcf\x11\xe0|SQLite",
    re.DOTALL,
)
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # but for white space and ESC
_NOT_ASCII: Final = bytes(range(0x80, 0x100))
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE: Final = {
    "utf-16": "utf-16-be",
    "utf-32": "utf-32-be",
    **{codec: codec for _, codec in _MARKS},
    **{codec[:6] + codec[7:]: codec for _, codec in _MARKS},  # utf-16le
}
"""Python's names of the encodings that ASCII is no part of. Without a mark, big-endian is meant (RFC 2781)."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text in base64: ``raw`` is where its base64 stands (without ``data:…;base64,``), ``text`` what it says.

    ``text`` is in UTF-8 (or whatever ASCII-compatible bytes it is in), brought there from UTF-16 and UTF-32. It is text
    as such, not the content of a JSON string.
    """

    raw: Raw
    text: bytes = field(repr=False)
    _written: bytes = field(repr=False)
    _hand: Hand = field(repr=False)
    _mark: bytes
    _codec: str  # empty: ``text`` is the very bytes

    def encoded(self, text: bytes) -> bytes:
        """The bytes to stand at ``raw`` so that the document says ``text``.

        The alphabet, padding, lines and spelling (``\\/``, ``\\u002B``, ``%2B``) are those that were there; with
        ``text`` unchanged, the very bytes that were there.
        """
        if text == self.text:
            return self._written
        if self._codec:
            text = self._mark + text.decode("utf-8", "replace").encode(self._codec)
        return write(text, self._hand)


@dataclass(frozen=True, slots=True)
class Documents:
    """What there is of base64 in a body, in order of place."""

    texts: tuple[Document, ...]
    left_alone: tuple[Raw, ...]
    """Base64 of pictures, sound and other binary data: what looks like a credential in there is none."""


class _Candidate(NamedTuple):
    """Where base64 may begin. ``name`` is the member's of bare base64, empty for a data URL."""

    start: int
    name: bytes
    quoted: bool  # it begins with its string, so that it may have lines if it also ends with it
    media_type: str
    charset: str


class _Kind(Enum):
    TEXT = auto()
    BINARY = auto()
    UNKNOWN = auto()


def find_documents(body: bytes, hints: Hints) -> Documents:
    """All base64 of ``body``, whose hints these are: a JSON body, or the text of a document, which may hold some."""
    texts: list[Document] = []
    left_alone: list[Raw] = []
    done = 0
    for candidate in sorted((*_urls(body, hints), *_members(body, hints))):
        end = _end(body, candidate)
        if candidate.start < done or end - candidate.start < SHORTEST:
            continue
        raw = Raw(candidate.start, end)
        kind = _kind(body, raw, candidate)
        if kind is _Kind.TEXT:
            document = _document(body, raw, candidate.charset)
            if document is not None:
                texts.append(document)
                done = end
        elif kind is _Kind.BINARY and end - raw.start >= SHORTEST_LEFT_ALONE and _is_even(body, raw):
            left_alone.append(raw)
            done = end
    return Documents(tuple(texts), tuple(left_alone))


def _urls(body: bytes, hints: Hints) -> Iterator[_Candidate]:
    for end in hints.get(ENCODED, ()):
        semicolon = body.rfind(b";", 0, end)
        before = body[max(0, semicolon - _LONGEST_TYPE) : semicolon]
        head = _TYPE.search(before)
        if head is None:
            continue
        media_type, *parameters = plain(head[1]).decode("ascii", "replace").lower().split(";")
        charset = ""
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "charset":
                charset = value.strip(" '")
        quoted = before[: head.start()].endswith(b'"')
        yield _Candidate(end, b"", quoted, media_type.strip(), charset)


def _members(body: bytes, hints: Hints) -> Iterator[_Candidate]:
    for end in (*hints.get(MEMBER, ()), *hints.get(ESCAPED, ())):
        found = _MEMBER.match(body, body.rfind(b'"', 0, end - 1))
        name = plain(found[1]) if found else b""
        if found and name in (b"file_data", b"data"):
            start = found.start()
            sound = name == b"data" and _SOUND.search(body, max(0, start - _LONGEST_TYPE), start)
            yield _Candidate(found.end(), name, True, "audio/" if sound else "", "")


def _end(body: bytes, candidate: _Candidate) -> int:
    """Where its base64 ends; where it begins, if it is none."""
    if candidate.quoted:
        end = lines_end(body, candidate.start)
        if _END.match(body, end):
            return end
        if candidate.name:
            return candidate.start
    return run_end(body, candidate.start)


def _kind(body: bytes, raw: Raw, candidate: _Candidate) -> _Kind:
    """What it is, by its first bytes and by what is said of it."""
    head = read_head(body[raw.start : lines_end(body, raw.start, min(raw.end, raw.start + _HEAD))])
    if not head:
        return _Kind.UNKNOWN
    if candidate.media_type in ("audio/", "application/pdf") or head.startswith(b"%PDF-"):
        return _Kind.BINARY
    if _wide(head, candidate.charset)[1] or _is_text(head):
        return _Kind.TEXT
    binary = _BINARY.match(head)
    if not binary and _TEXT_TYPES.fullmatch(candidate.media_type):
        return _Kind.TEXT
    return _Kind.BINARY if binary or candidate.name != b"data" else _Kind.UNKNOWN


def _is_text(head: bytes) -> bool:
    """UTF-8, or mostly ASCII, without control characters."""
    if _CONTROLS.search(head):
        return False
    try:
        codecs.utf_8_decode(head, "strict", False)  # not final: the last character may be cut
    except UnicodeDecodeError:
        return len(head.translate(None, _NOT_ASCII)) >= 0.85 * len(head)
    return True


def _wide(data: bytes, charset: str) -> tuple[bytes, str]:
    """The mark and the encoding, if it is UTF-16 or UTF-32: by the mark, the charset, or the zeros of ASCII."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return mark, codec
    evens, odds = data[:_HEAD:2], data[1:_HEAD:2]
    if charset in _WIDE:
        return b"", _WIDE[charset]
    if 0 not in evens and odds.count(0) > 0.8 * len(evens):
        return b"", "utf-16-le"
    if 0 not in odds and evens.count(0) > 0.8 * len(odds):
        return b"", "utf-16-be"
    return b"", ""


def _is_even(body: bytes, raw: Raw) -> bool:
    """Whether its lines, if it has several, are as an encoder writes them: prose of letters is not."""
    written = body[raw.start : raw.end]
    if not any(mark in written for mark in (b"\\", b"\n", b"\r")) or run_end(written, 0) == len(written):
        return True
    said = read(written)
    return said is not None and said[1].even


def _document(body: bytes, raw: Raw, charset: str) -> Document | None:
    written = body[raw.start : raw.end]
    said = read(written)
    if said is None:
        return None
    data, hand = said
    mark, codec = _wide(data, charset)
    if not codec:
        return Document(raw, data, written, hand, b"", "")
    try:
        text = data[len(mark) :].decode(codec).encode()
    except UnicodeDecodeError:
        return None
    return Document(raw, text, written, hand, mark, codec)

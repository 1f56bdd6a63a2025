"""Documents in base64 within a request: those that are text are decoded to be scanned; pictures and sound are left alone.

Looked at: data URLs (RFC 2397) in any string, also in the midst of text, and bare base64 (RFC 4648) in members that carry
it (``file_data``, ``data``). Works on raw bytes with regular expressions, without the body's structure.
"""

from __future__ import annotations

from dataclasses import dataclass

from sovereign_ext.scanner.places import Raw

HINTS: tuple[bytes, ...] = (b";base64,", b'"file_data"', b'"data"', b'"input_audio"')
"""Literals (in any case) one of which stands in every body that matters here, for an engine that looks for many."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text in base64: ``raw`` is where its base64 stands (without ``data:…;base64,``), ``text`` what it says.

    ``text`` is in UTF-8 (or whatever ASCII-compatible bytes it is in), brought there from UTF-16 and UTF-32. It is text
    as such, not the content of a JSON string.
    """

    raw: Raw
    text: bytes

    def encoded(self, text: bytes) -> bytes:
        """The bytes to stand at ``raw`` so that the document says ``text``.

        The alphabet, padding, lines and spelling (``\\/``, ``\\u002B``, ``%2B``) are those that were there; with
        ``text`` unchanged, the very bytes that were there.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Documents:
    """What there is of base64 in a body, in order of place."""

    texts: tuple[Document, ...]
    left_alone: tuple[Raw, ...]
    """Base64 of pictures, sound and other binary data: what looks like a credential in there is none."""


def may_have_documents(body: bytes) -> bool:
    """Whether ``find_documents`` could find any: a few searches for literals. Never wrong when it says no."""
    raise NotImplementedError


def find_documents(body: bytes) -> Documents:
    """All base64 of ``body``, which may be a JSON body or the text of a document (then ask for what it holds itself)."""
    raise NotImplementedError

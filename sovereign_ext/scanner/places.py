"""The strings of a JSON body (RFC 8259), each with the bytes it stands in and its JSON pointer (RFC 6901).

A body is not parsed into values here: what is asked is *where* a string is. The bytes must be valid JSON in UTF-8; that
has been checked before (``openai.request``). Nothing here recurses, and all work is linear in the body.
"""

from __future__ import annotations

from typing import NamedTuple


class Raw(NamedTuple):
    """The content of a string as it stands in the body, ``body[start:end]``: escapes untouched, without its quotes."""

    start: int
    end: int


class Places:
    """The strings of one body, values and names of members alike, numbered from 0 in the order of their places.

    Making one finds the quotes only (some ns for a string); the first question about structure (``is_name``,
    ``name_of``, ``pointer``) walks the body once (a third of a µs for a string).

    A redacted body has the same strings in the same order, so number ``n`` is the same place in both. Ask the *redacted*
    body for pointers: names of members are part of them, and a name may hold a credential.
    """

    def __init__(self, body: bytes) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        """How many strings there are."""
        raise NotImplementedError

    def at(self, offset: int) -> int | None:
        """The number of the string whose content, or closing quote, stands at ``body[offset]``. ``log n``."""
        raise NotImplementedError

    def raw(self, number: int) -> Raw:
        """Where the content of string ``number`` stands."""
        raise NotImplementedError

    def is_name(self, number: int) -> bool:
        """Whether it is the name of an object's member, not a value."""
        raise NotImplementedError

    def name_of(self, number: int) -> str | None:
        """The name of the member whose value it is (or that it is itself); ``None`` for an array's element."""
        raise NotImplementedError

    def pointer(self, number: int) -> str:
        """Its JSON pointer; that of the member, where it is a name. Names over 200 characters are cut, with ``…``."""
        raise NotImplementedError

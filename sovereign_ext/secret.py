"""A text that must not be seen: API keys, tokens, private key passwords.

``repr``, ``str`` and ``format`` hide the value, so that a log line, a traceback or an f-string cannot give
it away; the one way to it is ``reveal()``, which is easy to find in a review. It does not wipe memory:
Python copies strings freely, and to promise that would be untrue.
"""

from __future__ import annotations

import hmac
from typing import Final, NoReturn

HIDDEN: Final = "<secret>"


class Secret:
    """Holds one text. Equal to another ``Secret`` with the same text (compared in constant time)."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Call it only where it is written to the wire or to the one place meant for it."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: the copy would show its text")

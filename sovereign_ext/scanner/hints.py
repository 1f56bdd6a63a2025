"""What the engine notices besides credentials' anchors: the few places where structure matters.

Documents in base64 (``documents``) and runs of text parts (``parts``) are rare. To look for them in every body, with
expressions of Python's, would cost several times what the whole search does: the engine tells in its own pass where
each of these expressions ends, and the others look there only. They are never wrong when they say no; what a place
holds is for those to judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

ENCODED, MEMBER, ESCAPED, ARRAY = range(4)
"""A data URL's beginning; a name of members that carry base64; a short name with an escape; an array of parts."""

_UNIT: Final = rb"(?:[a-z_]|\\+u00[567][0-9a-fA-F])"  # of the names, as letters or escapes

EXPRESSIONS: Final = (
    rb";\s*(?:base64|Base64|BASE64)\s*,",
    rb'"(?:file_)?data\\*"',
    rb'"' + _UNIT + rb"{0,8}" + rb"\\+u00[567][0-9a-fA-F]" + _UNIT + rb'{0,8}\\*"',
    rb'"content"\s*:\s*\[',
)
"""In Vectorscan's syntax and Python's; none of the names in question has more than nine letters."""

Hints = Mapping[int, Sequence[int]]
"""Of each expression that is in a body, by its place in ``EXPRESSIONS``: where its matches end."""

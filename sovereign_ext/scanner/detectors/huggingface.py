"""Hugging Face's access tokens: ``hf_`` for users, ``api_org_`` for organisations.

Format: 34 letters after the prefix, as all published tokens have; digits are taken too, because nothing
promises that there will be none. There is no checksum: length and spread decide.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import made_at_random
from sovereign_ext.scanner.extent import ends

_TOKEN: Final = re.compile(rb"(?:hf|api_org)_([A-Za-z0-9]{34})")
_WORD: Final = re.compile(rb"[A-Za-z0-9_]")
_LETTERS: Final = 52


def find(text: bytes, at: int) -> Span | None:
    """The token that begins at ``at``."""
    found = _TOKEN.match(text, at)
    if found is None or not made_at_random(found[1], _LETTERS):
        return None
    return Span(*found.span()) if ends(text, found.end(), _WORD) else None


HUGGINGFACE: Final = (
    Detector(
        kind="huggingface-token",
        family="huggingface",
        version=1,
        about="Hugging Face access tokens of users and organisations",
        anchors=(b"hf_", b"api_org_"),
        find=find,
        reach=64,
        tail=(rb"[0-9A-Za-z]", 32),
    ),
)

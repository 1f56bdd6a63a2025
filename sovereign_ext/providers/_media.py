"""What base64 data is, by its first bytes: a declared media type is often wrong, and providers refuse that.

Sources: the file formats' own signatures (PNG 5.2, JFIF, WebP container, GIF89a, ISO/IEC 23008-12 brands, PDF 7.5.2).
"""

from __future__ import annotations

import base64
import re
from typing import Final

_HEAD: Final = 64  # base64 digits that hold the longest signature below
_SIGNATURES: Final = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
    ("image/webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("image/heic", re.compile(rb".{4}ftyp(heic|heix|hevc)", re.DOTALL)),
    ("image/heif", re.compile(rb".{4}ftyp(mif1|msf1)", re.DOTALL)),
    ("application/pdf", re.compile(rb"%PDF-")),
)
_SPELLINGS: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}


def media_type(data: str, declared: str) -> str:
    """The media type of ``data`` (checked base64): what its first bytes say, else what was declared, spelled right."""
    head = base64.b64decode(data[:_HEAD] + "=" * (-len(data[:_HEAD]) % 4))
    found = next((name for name, signature in _SIGNATURES if signature.match(head)), None)
    return found or _SPELLINGS.get(declared, declared)

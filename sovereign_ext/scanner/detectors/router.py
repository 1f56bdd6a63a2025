"""The keys that this gateway hands out: ``sk-router-`` and ``sk-admin-``, 43 base62 characters and six of a CRC-32.

The format is that of ``sovereign_ext.tenants.keys``, which the tests compare; the checksum covers the prefix too. An
OpenAI admin key begins alike: the checksum tells them apart. A mistyped key opens nothing and is not found.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.evidence import sealed

_KEY: Final = re.compile(rb"sk-(?:router|admin)-[0-9A-Za-z]{49}")


def _find(text: bytes, at: int) -> Span | None:
    match = _KEY.match(text, at)
    return None if match is None or not sealed(match[0]) else Span(*match.span())


ROUTER: Final = (
    Detector(
        kind="router-key",
        family="router",
        version=1,
        about="this gateway's tenant keys: sk-router-, by checksum",
        anchors=(b"sk-router-",),
        find=_find,
        reach=64,
        tail=(rb"[0-9A-Za-z]", 32),
    ),
    Detector(
        kind="router-admin-key",
        family="router",
        version=1,
        about="this gateway's management keys: sk-admin-, by checksum",
        anchors=(b"sk-admin-",),
        find=_find,
        reach=64,
        tail=(rb"[0-9A-Za-z]", 32),
    ),
)

"""The SPIFFE id in ``x-forwarded-client-cert``: the workload that the proxy next to us has verified.

Envoy's documentation of the header is the specification: elements parted by commas, one for each proxy on the way, the
nearest last; in each, ``Key=Value`` parted by semicolons, keys in any case, values in double quotes where they hold one
of ``,;=``, quotes in them as ``\\"``. Only the last element counts, and of it only ``URI``, which a SPIFFE certificate
has exactly once (X509-SVID, section 2). Whatever can be read in two ways is no identity.

Whether the header may be believed is not known here: Envoy takes it away unless the configuration says so.
"""

from __future__ import annotations

import re
from typing import Final

from sovereign_ext.config.trust import SPIFFE_PATTERN

MAX_CHARS: Final = 32_768
"""Chains of proxies and whole certificates fit in; longer than that is nobody's."""

_PAIR: Final = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)(?=[,;]|$)', re.DOTALL)
_PART: Final = re.compile(r"([;,])[ \t]*")
_SPIFFE: Final = re.compile(SPIFFE_PATTERN)
# A name with a backslash before its quote: Envoy writes the quote as \" and leaves the backslash alone, so that the
# quote would end the value for whoever unescapes pairs.
_TWO_WAYS: Final = r"\\" + '"'


def spiffe_id(header: str | None) -> str | None:
    """The identity of the last element, or ``None`` if it shows none that counts."""
    if not header or len(header) > MAX_CHARS or _TWO_WAYS in header:
        return None
    found: list[str] = []
    at, text = 0, header.strip(" \t")
    while True:
        pair = _PAIR.match(text, at)
        if pair is None:
            return None
        if pair[1].lower() == "uri":
            found.append(_plain(pair[2]))
        if pair.end() == len(text):
            break
        part = _PART.match(text, pair.end())
        assert part is not None, "a pair ends before a mark or at the end"
        if part[1] == ",":
            found.clear()
        at = part.end()
    return found[0] if len(found) == 1 and _is_spiffe(found[0]) else None


def _plain(value: str) -> str:
    return value[1:-1].replace('\\"', '"') if value.startswith('"') else value


def _is_spiffe(text: str) -> bool:
    return len(text) <= 2048 and _SPIFFE.fullmatch(text) is not None

"""Looks for secrets where none may be: as they are, and in every dress that bytes wear in logs, rows and dumps."""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import json
import re
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){16,}")
_DEPTH = 4  # base64 in JSON in base64 in JSON


@dataclass(frozen=True)
class Sighting:
    """Which secret was seen where."""

    secret: str
    place: str


def search(places: Iterable[tuple[str, bytes]], secrets: Mapping[str, str]) -> list[Sighting]:
    """Every secret (by name) in every place. Also inside base64, hex, percent-encoding, JSON strings, gzip."""
    found = []
    for place, data in places:
        for layer in _layers(data, _DEPTH):
            found += [Sighting(name, place) for name, secret in secrets.items() if secret.encode() in layer]
    return list(dict.fromkeys(found))


def dresses(secret: str) -> dict[str, bytes]:
    """A secret as it could be lying about, for a search that must be shown to work."""
    raw = secret.encode()
    wrapped = json.dumps({"authorization": f"Bearer {secret}"}).encode()
    return {
        "plain": b"x" + raw + b"y",
        "base64": base64.b64encode(b"ab" + wrapped),
        "base64url": base64.urlsafe_b64encode(b"a" + wrapped),
        "twice": base64.b64encode(json.dumps({"p": base64.b64encode(wrapped).decode()}).encode()),
        "hex": b"key=" + raw.hex().encode(),
        "percent": b"https://x/?k=" + "".join(f"%{byte:02X}" for byte in raw).encode(),
        "gzip": gzip.compress(wrapped),
        "unicode": json.dumps("".join(secret)).encode().replace(b"-", b"\\u002d"),
    }


def _layers(data: bytes, depth: int) -> Iterator[bytes]:
    yield data
    if depth == 0:
        return
    if b"%" in data:
        yield urllib.parse.unquote_to_bytes(data)
    if b"\\u" in data:
        yield re.sub(rb"\\u00([0-9a-fA-F]{2})", lambda found: bytes([int(found[1], 16)]), data)
    if data[:2] == b"\x1f\x8b":
        with contextlib.suppress(OSError, EOFError, zlib.error):
            yield from _layers(gzip.decompress(data), depth - 1)
    for word in _HEX.findall(data):
        yield bytes.fromhex(word[: len(word) // 2 * 2].decode())
    for word in _BASE64.findall(data):
        text = word.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        try:
            inner = base64.b64decode(text + b"=" * (-len(text) % 4))
        except binascii.Error:
            continue
        yield from _layers(inner, depth - 1)

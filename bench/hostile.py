"""Request bodies that ask a credential scanner for as much work as their bytes can: what it costs must stay linear.

Some follow the detectors (each anchor again and again, with what makes it look promising behind it), the others the
ways in which a secret can be hidden. Every body is valid JSON of about the size asked for.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from sovereign_ext.scanner.base import Detector

Fill = Callable[[int], bytes]
"""The body that is about so many bytes long."""

_HEAD: Final = b'{"model":"m","messages":[{"role":"user","content":'
_TAIL: Final = b"}]}"


def repeated(raw: bytes) -> Fill:
    """One string of ``raw`` again and again; ``raw`` is what stands in the body, escapes included."""
    return lambda size: _HEAD + b'"' + raw * (size // len(raw)) + b'"' + _TAIL


def _elements(raw: bytes) -> Fill:
    """An array as the message's content."""
    return lambda size: _HEAD + b"[" + b",".join([raw] * (size // (len(raw) + 1))) + b"]" + _TAIL


def _document(text: bytes, encodings: int = 1) -> Fill:
    def fill(size: int) -> bytes:
        content = text * int(size * 0.75**encodings / len(text))
        for _ in range(encodings):
            content = b"data:text/plain;base64," + base64.b64encode(content)
        return _HEAD + b'[{"type":"file","file":{"filename":"a","file_data":"' + content + b'"}}]' + _TAIL

    return fill


def _members(raw: bytes) -> Fill:
    """An object with many names."""
    return lambda size: (
        b'{"model":"m","metadata":{'
        + b",".join(b'"%s%d":1' % (raw, at) for at in range(size // (len(raw) + 10)))
        + b"}}"
    )


_HIDINGS: Final[dict[str, Fill]] = {
    "letters": repeated(b"aB3dE7gH"),
    "escaped letters": repeated(rb"\u0073"),
    "escaped letters, twice": repeated(rb"\\u0073"),
    "escapes of many depths": repeated(b"\\" * 64 + b"u0073"),
    "backslashes": repeated(b"\\\\"),
    "line ends": repeated(rb"\n"),
    "letters and line ends": repeated(rb"a\n"),
    "keyish lines": repeated(b"aB3dE7gHaB3dE7gHaB3dE7gHaB3dE7gH" + rb"\n"),
    "spaces after line ends": repeated(rb"\n" + b" " * 60),
    "percent-encoded letters": repeated(b"%73"),
    "percent-encoded percent signs": repeated(b"%25"),
    "percent-encoded many times": repeated(b"%" + b"25" * 40 + b"73"),
    "characters without width": repeated("\u200b".encode()),
    "letters and characters without width": repeated("a\u200b".encode()),
    "escaped characters without width": repeated(rb"a\u200b"),
    "underlined words": repeated(b"a_b-c_d-"),
    "markers": repeated(b"[REDACTED:openai-key:1] "),
    "text parts": _elements(b'{"type":"text","text":"aB3"}'),
    "empty text parts": _elements(b'{"type":"text","text":""}'),
    "text parts with beginnings": _elements(b'{"type":"text","text":"sk-"}'),
    "text parts with halves": _elements(b'{"type":"text","text":"sk-proj-aB3dE7gHaB3dE7gH"}'),
    "strings": _elements(b'"aB3"'),
    "strings with beginnings": _elements(b'"sk-proj-aB3dE7gH"'),
    "small documents": _elements(b'"data:text/plain;base64,YUIzZEU3Z0g="'),
    "documents of beginnings": _document(b"sk-proj-aB3dE7gH AKIA ghp_aB3dE7gH eyJ "),
    "documents in documents": _document(b"ghp_aB3dE7gH ", 6),
    "beginnings of documents": repeated(b"data:text/plain;base64,"),
    "names": _members(b"aB3"),
    "names with beginnings": _members(b"sk-proj-aB3dE7gH"),
    "key ids among what may be their secrets": repeated(
        b"AKIAQ3EGRZ5MXLXB7V4J " * 4 + b"aB3dE7gHiK5" * 15 + b" "
    ),
    "settings among settings": repeated(b"uid=a, pwd=aB3d "),
    "tokens of tokens": repeated(b"eyJhbGciOiJIUzI1NiJ9."),
    "tokens that are none": repeated(b"eyJhbGciOiJub25lIn0."),
    "addresses before a password": repeated(b"a://?pwd=aB3d&"),
}


_OF_A_KIND: Final = 3
"""Anchors of one detector that are tried with all separators: they differ in little else than their letters."""

_SEPARATORS: Final[dict[str, bytes]] = {
    "spaces": b" ",
    "line ends": rb"\n",
    "escaped line ends": rb"\\n",
    "percent signs": b"%25",
    "quotes": rb"\"",
    "equals signs": b"=",
    "colons": b":",
    "semicolons": b";",
    "slashes": b"/",
    "hyphens": b"-",
    "dots": b".",
    "nothing of any width": "\u200b".encode(),
}


def _drawn(characters: bytes, count: int) -> bytes:
    """So many of a class of characters, as if they were random."""
    letters = [byte for byte in range(0x21, 0x7F) if re.match(characters, bytes((byte,)))]
    return bytes(random.Random(6).choices([byte for byte in letters if byte not in b'"\\'], k=count))


def _judged(detectors: Iterable[Detector]) -> Iterator[tuple[str, Fill]]:
    """Each anchor with its tail, which gets it judged, and separators of all sorts; names beside what they name."""
    for detector in detectors:
        characters, count = detector.tail
        for anchor in detector.anchors[:_OF_A_KIND]:
            raw = json.dumps(anchor.decode("utf-8"))[1:-1].encode()
            for name, separator in _SEPARATORS.items():
                yield f"{detector.kind}, {anchor.decode()!r} and {name}", repeated(raw + separator)
                if count:
                    tail = _drawn(characters, count)
                    yield (
                        f"{detector.kind}, {anchor.decode()!r}, its tail and {name}",
                        repeated(raw + tail + separator),
                    )
            if not count:
                value = _drawn(rb"[0-9A-Za-z]", 40)
                yield (
                    f"{detector.kind}, {anchor.decode()!r} and values",
                    repeated(raw * 8 + b"=" + value + b" "),
                )


def bodies(detectors: Iterable[Detector]) -> Iterator[tuple[str, Fill]]:
    """Name and maker of each."""
    detectors = tuple(detectors)
    yield from _HIDINGS.items()
    yield from _judged(detectors)
    for detector in detectors:
        for anchor in detector.anchors:
            raw = json.dumps(anchor.decode("utf-8"))[1:-1].encode()
            long = b"aB3dE7gH" * (detector.reach // 8 + 1)
            for name, what in (
                ("", raw),
                (" and letters", raw + b"aB3dE7gH "),
                (" and letters to its reach", raw + long),
                (" and keyish lines", raw + rb"aB3dE7gH\n" * 4),
                (", a character in each line", b"".join(b"%c\\n" % byte for byte in anchor) + b"aB3dE7gH"),
                (" and dots", raw + b"aB3.dE7gH.aB3."),
                (" and signs", raw + b"=aB3dE7gH/+aB3:@"),
                (" and quotes", raw + rb"\": \"aB3dE7gH\", "),
            ):  # fmt: skip
                yield f"{detector.kind}, {anchor.decode()!r}{name}", repeated(what)


def credentials(made: Iterable[bytes]) -> Fill:
    """Well-formed credentials, one after the other: every one is found, judged, numbered and replaced."""
    text = json.dumps("\n".join(each.decode() for each in made) + "\n")[1:-1].encode()
    return repeated(text)

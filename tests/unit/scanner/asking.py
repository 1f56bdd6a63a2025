"""Detectors asked as the engine asks them, without it; and what may stand around a secret."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sovereign_ext.scanner.base import Detector, Lines

# No letter or digit stands before the secret, and nothing behind it that could belong to it.
AROUND = [
    (b"", b""),
    (b"My key is ", b", please help"),
    (b"It was ", b". Then"),
    (b"`", b"`"),
    (b"(", b")"),
    (b"'", b"'"),
    (b'API_KEY="', b'"\n'),
    (b"export KEY=", b"\nexport OTHER=1"),
    (b'{"key":"', b'","n":1}'),
    (b"curl -H 'Authorization: Bearer ", b"' https://localhost/"),
    (b"- ", b"\n- next"),
    ("Schlüssel: «".encode(), "» – ok".encode()),
    (b"?key=", b"&other=1"),
    (b"<k>", b"</k>"),
    (b"\x00", b"\x00"),
]


def found(text: bytes, detectors: Sequence[Detector]) -> list[tuple[str, bytes]]:
    """What is found as the engine asks: at the anchors, and of the text no more than ``back`` and ``reach``. Of spans
    that overlap the first and longest counts, then the order of detectors. Of joined lines they get all.
    """
    spans = set()
    for order, detector in enumerate(detectors):
        for anchor in detector.anchors:
            for hit in re.finditer(
                b"(?=" + re.escape(anchor) + b")", text, re.IGNORECASE if detector.fold else 0
            ):
                at = hit.start()
                if detector.boundary and at and text[at - 1 : at].isalnum():
                    continue
                begin = max(0, at - detector.back)
                given = text[begin : at + detector.reach]
                if isinstance(text, Lines):
                    begin, given = 0, text
                span = detector.find(given, at - begin)
                if span is not None:
                    characters, count = detector.tail
                    assert re.compile(characters + b"{%d}" % count if count else b"").match(
                        text, at + len(anchor)
                    )
                    spans.add((begin + span.start, -(begin + span.end), order))
    kept: list[tuple[str, bytes]] = []
    covered = 0
    for start, minus_end, order in sorted(spans):
        if start >= covered:
            kept.append((detectors[order].kind, text[start:-minus_end]))
            covered = -minus_end
    return kept

"""Hostile bodies: how often a byte is read and a detector is asked does not grow with the body.

What is counted are bytes and calls, not seconds, so that nothing here depends on the machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from scanner_fakes import ALL, SEVEN

from sovereign_ext.scanner import effort, extent
from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.canonical import Canonical
from sovereign_ext.scanner.detectors.aws import AWS
from sovereign_ext.scanner.scan import SEARCHES, Scanner
from sovereign_ext.scanner.search import Search

SIZE = 200_000
"""Bytes: several of the longest intervals."""

READINGS = 8
"""How many regions a byte may be in, over all searches of a body."""

HOSTILE = {
    "anchors": b"seven_",
    "anchors of several": b"seven_npmx_lo-",
    "names": b"secret_name ",
    "wrapped anchors": b"seven\\n  _",
    "lines that begin like one": b"\\n even_",
    "escapes": b"\\u0073",
    "hidden anchors": b"\\u0073even_",
    "escaped backslashes": b"\\u005c",
    "backslashes": b"\\\\",
    "backslashes before letters": b"\\\\n",
    "percent signs": b"%25",
    "percent": b"%73",
    "percent of percent": b"%252573",
    "no width": "s\u200b".encode(),
    "no width, escaped": b"s\\u200b",
    "anchors far apart, nothing between": b"seven_" + "\u200b".encode() * 700,
    "anchors very far apart, nothing between": b"seven_" + "\u200b".encode() * 6000,
    "anchors far apart, backslashes between": b"seven_" + b"\\\\" * 1000,
    "anchors far apart, blanks between": b"seven_" + b" " * 500,
    "hexadecimal digits after an anchor": b"seven_" + b"de" * 5000,
    "keys": SEVEN.encode() + b" ",
    "keys without an end": SEVEN.encode(),
    "line breaks": b"\\n",
    "blanks": b"        ",
    "letters": b"a",
}


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Bytes that were made readable."""
    sizes: list[int] = []
    text = Canonical.text

    def count(self: Canonical, raw: bytes) -> bytes:
        sizes.append(len(raw))
        return text(self, raw)

    with monkeypatch.context() as patch:
        patch.setattr(Canonical, "text", count)
        yield sizes


def asking(detector: Detector, asked: list[int]) -> Detector:
    def find(text: bytes, at: int) -> Span | None:
        asked.append(at)
        return detector.find(text, at)

    return replace(detector, find=find)


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_a_byte_is_read_for_a_few_regions_only(unit: bytes, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(effort, "FREE", SIZE)
    scanner = Scanner([asking(each, asked) for each in ALL])
    body = b'{"a":"' + unit * (SIZE // len(unit)) + b'"}'
    with counted(monkeypatch) as sizes:
        scan = scanner.scan(body)
    json.loads(scan.body)
    assert sum(sizes) <= READINGS * len(body)
    assert max(sizes, default=0) <= len(body)
    assert len(asked) <= READINGS * len(re.findall(rb"[s_-]", Canonical(ALL).text(body)))


@pytest.mark.parametrize("count", [1000, 4000])
def test_many_strings_and_parts_take_as_much_each(count: int, monkeypatch: pytest.MonkeyPatch):
    parts = [{"type": "text", "text": "seven_"}] * count
    monkeypatch.setattr(effort, "FREE", SIZE)
    for value in (["seven_"] * count, {"messages": [{"role": "user", "content": parts}]}):
        body = json.dumps(value).encode()
        with counted(monkeypatch) as sizes:
            assert Scanner(ALL).scan(body).body is body
        assert sum(sizes) <= READINGS * len(body)


def test_a_deep_body_is_scanned():
    depth = 50_000
    body = b'{"a":' * depth + b'"%s"' % SEVEN.encode() + b"}" * depth
    scan = Scanner(ALL).scan(body)
    assert scan.body == body.replace(SEVEN.encode(), b"[REDACTED:fixed:1]")
    assert scan.findings[0].pointer == "/a" * depth


def test_a_clean_body_is_not_made_readable_at_all(monkeypatch: pytest.MonkeyPatch):
    body = json.dumps({"a": "Nothing to see here, in \u00e9vidence.\n" * 1000}).encode()
    search = Search(ALL)
    with counted(monkeypatch) as sizes:
        assert search.found(body) == ([], {})
    assert sizes == []


@pytest.mark.parametrize("line", [b"FwoDYXdz", b"ABSK", b"aB3dE7gH\\nwords", b"FwoDYXdzab"])
def test_a_line_is_read_for_the_end_of_a_credential_a_few_times(line: bytes, monkeypatch: pytest.MonkeyPatch):
    """Not once for each credential that may begin before it: each of these could go on for four thousand characters."""
    asked = 0
    is_word = extent.is_word

    def counting(text: bytes, start: int, end: int) -> bool:
        nonlocal asked
        asked += 1
        return is_word(text, start, end)

    monkeypatch.setattr(extent, "is_word", counting)
    lines = 2_000
    body = b'{"a":"FwoDYXdz' + (line + b"\\n") * lines + b'"}'
    Scanner(AWS).scan(body)
    assert asked <= 4 * SEARCHES * lines

"""Detectors of credentials that nobody issues, for tests of what does not depend on a format."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from sovereign_ext.scanner.base import Detector, Span
from sovereign_ext.scanner.extent import unsized
from sovereign_ext.scanner.hints import EXPRESSIONS, Hints

SEVEN = "seven_A1b2C3d4E5f6G7h8"
"""A secret of ``fixed``: a prefix and sixteen letters and digits."""

OTHER = "seven_Z9y8X7w6V5u4T3s2"
LOOSE = "lo-" + "Ab1-" * 5 + "x"
NPM = "npmx_A1b2C3d4E5f6G7h8"


def detector(kind: str, anchors: tuple[bytes, ...], expression: bytes, **options: Any) -> Detector:
    """Finds ``expression`` at its anchor; the secret is the group, if it has one."""
    compiled = re.compile(expression)

    def find(text: bytes, at: int) -> Span | None:
        match = compiled.match(text, at)
        return Span(*match.span(compiled.groups)) if match else None

    return Detector(
        kind=kind,
        family="fakes",
        version=3,
        about="",
        anchors=anchors,
        find=find,
        **({"reach": 128} | options),
    )


FIXED = detector("fixed", (b"seven_",), rb"seven_[A-Za-z0-9]{16}")
_LOOSE = re.compile(rb"[A-Za-z0-9-]{20,100}+")


def _run(text: bytes, at: int) -> Span | None:
    end = unsized(text, at + len(b"lo-"), _LOOSE)
    return None if end is None else Span(at, end)


RUN = replace(detector("run", (b"lo-",), b""), find=_run)
NAMED = detector(
    "named",
    (b"secret_name",),
    rb"(?i:secret_name)[\"'\s:=\\]{1,12}([A-Za-z0-9+/]{24})(?![A-Za-z0-9+/])",
    fold=True,
    boundary=False,
)
NODE = detector("node", (b"npmx_",), rb"npmx_[A-Za-z0-9]{16}")
URL = detector("url", (b"fake://",), rb"fake://[a-z]{1,20}:([^\s@]{1,80})@", reach=256, wraps=False)
GREEDY = detector("greedy", (b"all_of_it:",), rb"all_of_it:[^ ]{4,200}", wraps=False, reach=256)
ALL = (FIXED, RUN, NAMED, NODE, URL, GREEDY)


def body(content: Any) -> bytes:
    """A JSON body, as clients that keep to ASCII write it."""
    return json.dumps({"a": content}).encode()


_HINTS = tuple(re.compile(b"(?=(" + each + b"))") for each in EXPRESSIONS)  # they may overlap


def hints_of(body: bytes) -> Hints:
    """The hints of a body by Python's expressions, without an engine."""
    found = {which: [match.end(1) for match in each.finditer(body)] for which, each in enumerate(_HINTS)}
    return {which: ends for which, ends in found.items() if ends}

"""RFC 8785 (JSON Canonicalization Scheme) for the documents this project hashes.

Covers strings, integers, booleans, null, lists and dictionaries. It deliberately refuses floats: no document
of ours holds one, and their canonical form is the one part of the RFC that is easy to get wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

_REFUSED: Final = "canonical JSON takes str, int, bool, None, list and dict with str keys, not {}"

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""I-JSON (RFC 7493 §2.2): beyond this a JSON reader that uses doubles would see another number."""


def canonical_json(value: object) -> bytes:
    """``value`` as RFC 8785 canonical JSON in UTF-8.

    Raises ``TypeError`` for a type that is not covered and ``ValueError`` for an integer beyond ±(2^53 - 1)
    or a text with a lone surrogate, which have no canonical form.
    """
    parts: list[str] = []
    _write(value, parts)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError:
        # The error itself would quote the text.
        raise ValueError("text with a lone surrogate has no canonical JSON form") from None


def _write(value: object, parts: list[str]) -> None:
    if isinstance(value, str):
        # json's C encoder escapes exactly what RFC 8785 §3.2.2.2 asks: \b \t \n \f \r \" \\ and \u00xx.
        parts.append(json.dumps(value, ensure_ascii=False))
    elif value is None:
        parts.append("null")
    elif isinstance(value, bool):
        parts.append("true" if value else "false")
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise ValueError("integer beyond ±(2^53 - 1) has no canonical JSON form")
        parts.append(str(int(value)))
    elif isinstance(value, Mapping):
        _write_object(value, parts)
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        parts.append("[")
        for index, item in enumerate(value):
            if index:
                parts.append(",")
            _write(item, parts)
        parts.append("]")
    else:
        raise TypeError(_REFUSED.format(type(value).__name__))


def _write_object(value: Mapping[object, object], parts: list[str]) -> None:
    names: list[str] = []
    for name in value:
        if not isinstance(name, str):
            raise TypeError(_REFUSED.format(f"a {type(name).__name__} key"))
        names.append(name)
    # RFC 8785 §3.2.3: members sort by UTF-16 code units, which differs from code points beyond U+FFFF.
    names.sort(key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    parts.append("{")
    for index, name in enumerate(names):
        if index:
            parts.append(",")
        _write(name, parts)
        parts.append(":")
        _write(value[name], parts)
    parts.append("}")

"""JSON that is given to clients, as bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


def encode(value: Any) -> bytes:
    """Compact JSON. Lone surrogates, which providers leave where they cut an emoji in two and which have no UTF-8, are
    escaped: JSON's grammar allows that (RFC 8259 section 8.2), msgspec does not."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()

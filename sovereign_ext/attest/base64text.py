"""Bytes as text in documents: standard base64 (RFC 4648 §4), read only in its one canonical spelling.

Another spelling of the same bytes would let a document change without its content changing. Lines of signed notes
have the same rule in ``tlog.note``, which knows nothing of the product.
"""

from __future__ import annotations

from base64 import b64decode, b64encode


def base64_text(data: bytes) -> str:
    """``data`` in base64, with padding."""
    return b64encode(data).decode()


def read_base64(text: str) -> bytes:
    """The reverse of ``base64_text``. Raises ``ValueError`` for any other spelling."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one
        data = None
    if data is None or b64encode(data).decode() != text:
        raise ValueError(f"expected base64 in its canonical spelling, got {text[:24]!r}")
    return data

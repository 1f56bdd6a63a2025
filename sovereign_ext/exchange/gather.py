"""A body that is collected whole: JSON answers and error bodies, decompressed and bounded."""

from __future__ import annotations

import zlib
from typing import Final, Protocol

from sovereign_ext.providers import _shared
from sovereign_ext.providers.base import StreamFault


class Inflate(Protocol):
    """Undoes a content coding, piece by piece."""

    def __call__(self, piece: bytes) -> bytes: ...


_MOST_RATIO: Final = 250
"""How many bytes one compressed byte may become; gzip can make a thousand. Chunks of a stream, each much like the one
before, come to 50, and to 230 where a model says the same word for ever."""


def inflate(encoding: str | None, limit: int) -> Inflate:
    """The decoder for a ``content-encoding``. ``limit`` bounds what may come of it beyond ``_MOST_RATIO``, in bytes.

    Providers are asked for ``identity``; gzip that comes anyway is decoded. Raises ``StreamFault`` for
    codings that are not known here, and while decoding if the data are damaged or explode.
    """
    name = (encoding or "identity").strip().lower()
    if name in ("identity", ""):
        return lambda piece: piece
    if name not in ("gzip", "x-gzip", "deflate"):
        raise StreamFault(_shared.unusable("unknown_encoding"))
    decompressor = zlib.decompressobj(47)  # 32 + 15: zlib or gzip, told apart by the data itself

    room = limit

    def decode(piece: bytes) -> bytes:
        nonlocal room
        room += len(piece) * _MOST_RATIO
        try:
            decoded = decompressor.decompress(piece, room)
        except zlib.error:
            raise StreamFault(_shared.unusable("bad_encoding")) from None
        if decompressor.unconsumed_tail:
            raise StreamFault(_shared.unusable("answer_too_large"))
        room -= len(decoded)
        return decoded

    return decode


class Gather:
    """Collects pieces up to ``limit`` bytes. ``cut`` keeps what fits instead of refusing what does not."""

    __slots__ = ("_cut", "_limit", "_pieces", "_size")

    def __init__(self, limit: int, *, cut: bool) -> None:
        self._limit = limit
        self._cut = cut
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> bool:
        """Take a piece; true when no more is wanted. Raises ``StreamFault`` beyond the limit."""
        self._size += len(piece)
        if self._size > self._limit and not self._cut:
            raise StreamFault(_shared.unusable("answer_too_large"))
        if self._size <= self._limit:
            self._pieces.append(piece)
        return self._cut and self._size >= self._limit

    def whole(self) -> bytes:
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

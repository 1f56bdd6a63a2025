"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), which Google's APIs send beside bytes. For a few kilobytes at most."""

from __future__ import annotations

from typing import Final

_REFLECTED: Final = 0x82F63B78


def _entry(index: int) -> int:
    for _ in range(8):
        index = index >> 1 ^ (_REFLECTED if index & 1 else 0)
    return index


_TABLE: Final = tuple(_entry(index) for index in range(256))


def crc32c(data: bytes) -> int:
    """The checksum as an unsigned number of 32 bits."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

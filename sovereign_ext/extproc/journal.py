"""The reservations of calls in flight, in a small file, so that a process that died leaves them to the next.

Lines of JSON, only ever appended: ``{"call": id, "lost": …}`` when money is reserved, ``{"over": id}`` when it is
settled. Written without ``fsync``: what was written survives the death of the process (``kill -9``), but not of the
machine; after a power cut the calls of the last seconds may be missing, and are then not billed. A line that was cut
off is passed over: its call had not been sent anywhere. When the file has grown, it is replaced by one with the
calls in flight alone, so it stays small however many calls there were.

One process has it open at a time: whoever has the log open.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Final

import msgspec

_log = logging.getLogger(__name__)

MOST_BYTES: Final = 4 * 1024 * 1024
"""Above this, and twice what the calls in flight take, the file is written anew."""


class Journal:
    """An open journal. Belongs to one thread."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        """Open the file at ``path``, made with mode 0600. Raises ``OSError``."""
        self._path = path
        self._most = most_bytes
        self._lines = _read(path)
        self._file, self._size = -1, 0
        self._rewrite()

    @property
    def pending(self) -> dict[str, bytes]:
        """What was kept of each call that is not over."""
        return {call: bytes(msgspec.json.decode(line, type=_Line).lost) for call, line in self._lines.items()}

    def reserve(self, call: str, lost: bytes) -> None:
        """Keep ``lost`` (a line of JSON) until the call is over. Raises ``OSError`` if that cannot be done."""
        line = b'{"call":%s,"lost":%s}\n' % (msgspec.json.encode(call), lost)
        self._append(line)
        self._lines[call] = line

    def over(self, call: str) -> None:
        """The call is settled. Does nothing for one that is not kept. Raises ``OSError``: it will be looked up then."""
        if self._lines.pop(call, None) is not None:
            self._append(b'{"over":%s}\n' % msgspec.json.encode(call))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _append(self, line: bytes) -> None:
        if self._size > self._most and self._size > 2 * sum(map(len, self._lines.values())):
            self._rewrite()
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes were written")
        except OSError:
            os.ftruncate(self._file, self._size)  # half a line would spoil the next
            raise
        self._size += len(line)

    def _rewrite(self) -> None:
        """Under its name only when it is complete; until then the old one is."""
        draft = self._path.with_name(self._path.name + ".tmp")
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        file = os.open(draft, flags, 0o600)
        try:
            text = b"".join(self._lines.values())
            if os.write(file, text) != len(text):
                raise OSError("the journal of reservations could not be written anew")
            draft.replace(self._path)
        except OSError:
            os.close(file)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size = file, len(text)


class _Line(msgspec.Struct):
    call: str = ""
    lost: msgspec.Raw = msgspec.Raw(b"")
    over: str = ""


def _read(path: Path) -> dict[str, bytes]:
    lines: dict[str, bytes] = {}
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return lines
    for raw in text.splitlines(keepends=True):
        try:
            line: Any = msgspec.json.decode(raw, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            _log.warning("a line of %s cannot be read and is passed over", path.name)
            continue
        if line.over:
            lines.pop(line.over, None)
        elif line.call:
            lines[line.call] = raw if raw.endswith(b"\n") else raw + b"\n"
    return lines

"""Changes a configuration file in place, for subcommands: one at a time, atomically, durably.

The file keeps its mode and, as far as we may, its owner; a symbolic link stays one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(file: Path) -> Iterator[tuple[str, Callable[[str], None]]]:
    """The file's text and a function that replaces it, safe against other commands doing the same."""
    import fcntl

    from sovereign_ext.config.load import parse_bytes, read_bytes

    real = Path(os.path.realpath(file))  # so that a symbolic link stays one
    if not real.exists():
        read_bytes(file)  # raises, in the words of `check`
    directory = os.open(real.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        raw = read_bytes(file)
        parse_bytes(raw, str(file))
        mark = "\ufeff" if raw.startswith(b"\xef\xbb\xbf") else ""
        yield raw.decode("utf-8-sig"), lambda text: _replace(real, mark + text, directory)
    finally:
        os.close(directory)


def _replace(real: Path, text: str, directory: int) -> None:
    """Replace the file atomically and durably, keeping its mode and, as far as we may, its owner."""
    before = real.stat()
    handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            with contextlib.suppress(PermissionError):
                os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fchmod(stream.fileno(), before.st_mode & 0o7777)
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    os.fsync(directory)

"""The link ``local``: an encrypted key file (``sealed``) on this machine, read by the gateway, written by the CLI.

Readers see the old file or the new one, never a part: it is written beside, made durable and renamed over. Writers
take turns by a lock file. A reader looks at the file when it is asked (mtime, size and inode), so a change counts at
once; ``changed`` lets the chain notice one that nobody asked about.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sovereign_ext.config.documents import FileState, file_state
from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.keystore.masterkey import MasterKey, MasterSource
from sovereign_ext.keystore.sealed import (
    MAX_FILE_BYTES,
    DamagedError,
    KeyFile,
    Record,
    WrongMasterKeyError,
    check,
    parse,
    render,
    unseal,
    with_records,
)
from sovereign_ext.secret import Secret

FILE_NAME: Final = "provider-keys.json"
_TRY_AGAIN_S: Final = 1.0
_UNFINISHED: Final = ".unfinished"

Edit = Callable[[MasterKey, tuple[Record, ...]], tuple[Record, ...]]
"""What is to become of the records; may raise to leave everything as it is."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file as read, found whole, and the master key it is sealed under."""

    state: FileState
    file: KeyFile
    master: MasterKey


class LocalFile:
    """Finds keys in the file at ``path``. ``masters`` are the master key's sources, the one in use first.

    A file that is not there yet holds no keys; one that was there and is gone is a fault.
    """

    name = "local"

    def __init__(self, path: Path, masters: Sequence[MasterSource], clock: Callable[[], float]) -> None:
        """``clock`` gives monotonic seconds."""
        self._path = path
        self._masters = masters
        self._clock = clock
        self._failed: tuple[FileState, float, CredentialUnavailableError] | None = None
        self._opened: _Opened | None = None
        self._opening = asyncio.Lock()
        self._known = file_state(path)  # as ``changed`` saw it last

    async def find(self, tenant: str, provider: str) -> Secret | None:
        """The key of exactly this pair. Raises ``CredentialUnavailableError``."""
        async with self._opening:
            opened = await self._current()
        record = None if opened is None else opened.file.find((tenant, provider))
        if opened is None or record is None:
            return None
        try:
            return unseal(opened.master, record)
        except DamagedError as error:
            raise _unavailable(self._path, "damaged", str(error)) from None

    def changed(self) -> bool:
        """Whether the file is another than at the last call. May block: for a thread."""
        before, self._known = self._known, file_state(self._path)
        return self._known != before

    async def _current(self) -> _Opened | None:
        state = await asyncio.to_thread(file_state, self._path)
        known = self._opened
        if known is not None and state == known.state:
            return known
        if self._failed is not None and self._failed[0] == state and self._clock() < self._failed[1]:
            # Many may ask for different keys: a KMS that has just said no is not asked for each of them.
            raise CredentialUnavailableError(self._failed[2].reason, str(self._failed[2]))
        try:
            self._opened = await self._open(state, known)
        except CredentialUnavailableError as error:
            self._failed = (state, self._clock() + _TRY_AGAIN_S, error)
            raise
        return self._opened

    async def _open(self, state: FileState, known: _Opened | None) -> _Opened | None:
        file = await asyncio.to_thread(read, self._path)
        if file is None:
            if known is not None:
                raise _unavailable(self._path, "damaged", "it was there and is gone")
            return None
        master = known.master if known is not None and known.master.id == file.master_id else None
        if master is None:
            master = await _master_of(self._path, file, self._masters)
        _checked(self._path, file, master)
        return _Opened(state, file, master)


def read(path: Path) -> KeyFile | None:
    """The file as it is, nothing opened; ``None`` if there is none. Raises ``CredentialUnavailableError``."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise _unavailable(path, "damaged", "it is no regular file")
            raw = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unavailable(path, "unreachable", error.strerror or "it cannot be read") from None
    if len(raw) > MAX_FILE_BYTES:
        raise _unavailable(path, "damaged", f"it is larger than {MAX_FILE_BYTES} bytes")
    try:
        return parse(raw)
    except DamagedError as error:
        raise _unavailable(path, "damaged", str(error)) from None


async def change(path: Path, masters: Sequence[MasterSource], edit: Edit) -> None:
    """Replace the records by what ``edit`` makes of them, under the master key the file has; a new file gets the
    first of ``masters``.

    Raises ``CredentialUnavailableError``, ``OSError``, and what ``edit`` raises; then nothing has changed.
    """
    with _locked(path):
        before = read(path)
        if before is None:
            master, wrapped = await masters[0].fresh()
            wrapped_by, records = masters[0].wrapped_by, tuple[Record, ...]()
        else:
            master = await _master_of(path, before, masters)
            _checked(path, before, master)
            wrapped_by, wrapped, records = before.wrapped_by, before.wrapped, before.records
        _write(path, with_records(master, wrapped_by, wrapped, edit(master, records)))


async def reseal(
    path: Path, masters: Sequence[MasterSource], again: Callable[[MasterKey, Record, Secret], Record]
) -> tuple[str, str, int]:
    """Seal everything anew under the first of ``masters``; the old and new master key's ids, and how many records.

    ``again`` seals one secret with a fresh nonce. Raises as ``change``, and ``CredentialUnavailableError``
    (``damaged``) if any record does not open: then nothing has changed.
    """
    with _locked(path):
        before = read(path)
        if before is None:
            raise _unavailable(path, "damaged", "there is no such file")
        old = await _master_of(path, before, masters)
        _checked(path, before, old)
        new, wrapped = await masters[0].fresh()
        try:
            records = tuple(again(new, record, unseal(old, record)) for record in before.records)
        except DamagedError as error:
            raise _unavailable(path, "damaged", str(error)) from None
        _write(path, with_records(new, masters[0].wrapped_by, wrapped, records))
    return old.id, new.id, len(records)


async def _master_of(path: Path, file: KeyFile, masters: Sequence[MasterSource]) -> MasterKey:
    """The master key that the file is sealed under. A source that cannot be asked does not hide the next one."""
    failed: CredentialUnavailableError | None = None
    for source in masters:
        if source.wrapped_by != file.wrapped_by:
            continue  # cannot be the one
        try:
            master = await source.open(file.wrapped)
        except CredentialUnavailableError as error:
            failed = failed or error
            continue
        if master.id == file.master_id:
            return master
    if failed is not None:
        raise failed
    names = ", ".join(source.name for source in masters)
    raise _unavailable(
        path, "wrong_master_key", f"it is sealed under master key {file.master_id}; not that of {names}"
    )


def _checked(path: Path, file: KeyFile, master: MasterKey) -> None:
    try:
        check(master, file)
    except WrongMasterKeyError as error:
        raise _unavailable(path, "wrong_master_key", str(error)) from None
    except DamagedError as error:
        raise _unavailable(path, "damaged", str(error)) from None


def _unavailable(path: Path, reason: str, what: str) -> CredentialUnavailableError:
    return CredentialUnavailableError(reason, f"key file {path}: {what}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among writers. The lock goes with the process that holds it, however that ends."""
    handle = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, file: KeyFile) -> None:
    """Replace the file, durably and for its owner only. The lock must be held. Raises ``OSError``."""
    real = Path(os.path.realpath(path))  # so that a symbolic link stays one
    prefix = f".{real.name}."
    for left in real.parent.iterdir():
        if left.name.startswith(prefix) and left.name.endswith(_UNFINISHED):
            left.unlink()  # of a writer that was killed: nobody else is writing
    handle, name = tempfile.mkstemp(_UNFINISHED, prefix, real.parent)  # mkstemp's mode is 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(render(file))
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(real.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

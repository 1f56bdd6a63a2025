"""The configuration in use, and the task that keeps it in step with the file.

Polls instead of using inotify: a stat every quarter of a second works on every file system and over every
way a file is replaced (editors, atomic renames, the symlink swaps of a Kubernetes ConfigMap). A bad edit
never takes effect: the last good configuration stays in use, the faults are reported, and the next change is
tried again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from sovereign_ext.config.load import Loaded, decode, digest_of, read_bytes
from sovereign_ext.config.snapshot import Routable, Snapshot
from sovereign_ext.errors import ConfigError

POLL_S: Final = 0.25

Signature = tuple[int, int, int] | None
"""(mtime_ns, size, inode) of the file behind all links; ``None`` while there is none."""

OnChange = Callable[[Loaded], object]
OnFaults = Callable[[ConfigError], object]
Sleep = Callable[[float], Awaitable[object]]


class Live:
    """Holds the snapshot in use. ``accept`` and ``refuse`` are the callbacks that ``watch`` wants.

    Belongs to one event loop; a call takes ``snapshot`` once and keeps it.
    """

    def __init__(self, loaded: Loaded, routable: Routable) -> None:
        self._routable = routable
        self._snapshot = Snapshot.from_config(
            loaded.config, version=1, digest=loaded.digest, routable=routable
        )
        self._faults: tuple[ConfigError, ...] = ()

    @property
    def snapshot(self) -> Snapshot:
        """The newest good configuration."""
        return self._snapshot

    @property
    def faults(self) -> tuple[ConfigError, ...]:
        """What is wrong with the file as it is on disk now; empty while the snapshot is that file."""
        return self._faults

    def accept(self, loaded: Loaded) -> Snapshot:
        """Use ``loaded`` from now on. A file that went back to the text in use keeps its snapshot and
        version.
        """
        if loaded.digest != self._snapshot.digest:
            self._snapshot = Snapshot.from_config(
                loaded.config,
                version=self._snapshot.version + 1,
                digest=loaded.digest,
                routable=self._routable,
            )
        self._faults = ()
        return self._snapshot

    def refuse(self, error: ConfigError) -> None:
        """Keep the snapshot and remember why the file is not in use."""
        self._faults = error.faults


async def watch(
    path: str | Path,
    *,
    on_change: OnChange,
    on_faults: OnFaults,
    known: str | None = None,
    sleep: Sleep = asyncio.sleep,
    interval_s: float = POLL_S,
) -> None:
    """Follow the file until cancelled.

    ``known`` is the digest of the text in use (``Loaded.digest``). After each change ``on_change`` gets the
    new configuration or ``on_faults`` what is wrong with it, once per different text. A ``ConfigError``
    raised by ``on_change`` (a credential that cannot be read, say) is reported like a fault of the file. A
    change is taken up once the file has stood still for one interval, so that half-written files are not
    read.
    """
    follower = Follower(path, known)
    while True:
        await sleep(interval_s)
        # In a thread: a file on a hanging network mount must not stop the calls in flight.
        outcome = await asyncio.to_thread(follower.poll)
        if isinstance(outcome, Loaded):
            try:
                on_change(outcome)
            except ConfigError as error:
                on_faults(error)
        elif outcome is not None:
            on_faults(outcome)


class Follower:
    """Detects settled changes of one file; ``poll`` does the blocking work of one round."""

    def __init__(self, path: str | Path, known: str | None) -> None:
        self._path = path
        self._digest = known  # of the text last looked at, good or bad
        self._taken: Signature | str = "never looked"  # the state the digest belongs to
        self._before: Signature | str = "never looked"  # the state at the previous poll

    def poll(self) -> Loaded | ConfigError | None:
        """What is new since the last call: a configuration, its faults, or ``None``."""
        now = _signature(self._path)
        settled, self._before = now == self._before, now
        if now == self._taken or not (settled or self._taken == "never looked"):
            return None
        try:
            raw = read_bytes(self._path)
        except ConfigError as error:
            self._taken, self._digest = now, None
            return error
        if _signature(self._path) != now:
            return None  # replaced while it was read; the next poll sees the new state
        self._taken = now
        digest = digest_of(raw)
        if digest == self._digest:
            return None
        self._digest = digest
        try:
            return decode(raw, str(self._path))
        except ConfigError as error:
            return error


def _signature(path: str | Path) -> Signature:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino

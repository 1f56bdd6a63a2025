"""The configuration in use, and the task that keeps it in step with the file and the documents it refers to.

Polls instead of using inotify: a stat every quarter of a second, on a thread of its own, works on every file
system and over every way a file is replaced (editors, atomic renames, the symlink swaps of a Kubernetes
ConfigMap). A bad edit never takes effect: the last good configuration stays in use, the faults are reported, and
the next change is tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from sovereign_ext.config.documents import FileState, Reference, documents_state, file_state, references
from sovereign_ext.config.load import Loaded, base_of, digest_of, load_documents, parse_bytes, read_bytes
from sovereign_ext.config.merge import NOTHING, Stored
from sovereign_ext.config.model import Config
from sovereign_ext.config.snapshot import Routable, Snapshot
from sovereign_ext.config.standing import Assessor, Unassessed
from sovereign_ext.errors import ConfigError
from sovereign_ext.looking import Until, until

POLL_S: Final = 0.25

State = tuple[FileState, tuple[tuple[str, FileState], ...]]
"""Of the file, and of every document that it refers to."""

OnChange = Callable[[Loaded], Awaitable[object]]
OnFaults = Callable[[ConfigError], object]
Vouching = Callable[[Loaded], Assessor]
"""Makes the registry of a configuration (``registry.build``). Raises ``ConfigError`` where that cannot be."""
Pricing = Callable[[Config], Config]
"""Gives a configuration the prices that its file leaves out (``listprices.with_list_prices``)."""


def unassessed(_: Loaded) -> Assessor:
    """No registry: everything is ``open``."""
    return Unassessed()


def as_configured(config: Config) -> Config:
    """No prices but those of the file."""
    return config


class Live:
    """Holds the snapshot in use, and what is wrong with the file.

    Belongs to one event loop, ``prepare`` apart; a call takes ``snapshot`` once and keeps it.
    """

    def __init__(
        self,
        loaded: Loaded,
        routable: Routable,
        vouching: Vouching = unassessed,
        pricing: Pricing = as_configured,
    ) -> None:
        """Raises ``ConfigError`` as ``vouching`` does."""
        self._routable = routable
        self._vouching = vouching
        self._pricing = pricing
        self._snapshot = self._made(loaded, version=1)
        self._faults: tuple[ConfigError, ...] = ()

    @property
    def snapshot(self) -> Snapshot:
        """The newest good configuration."""
        return self._snapshot

    @property
    def faults(self) -> tuple[ConfigError, ...]:
        """What is wrong with the file as it is on disk now; empty while the snapshot is that file."""
        return self._faults

    def prepare(self, loaded: Loaded) -> Snapshot:
        """The snapshot of ``loaded``; nothing changes yet. Raises ``ConfigError`` if it cannot be used.

        May take seconds with many statements, and may be called from any thread. A file that went back to the
        text in use keeps its snapshot.
        """
        in_use = self._snapshot
        return in_use if loaded.digest == in_use.digest else self._made(loaded, version=in_use.version + 1)

    def use(self, snapshot: Snapshot, faults: tuple[ConfigError, ...] = ()) -> Snapshot:
        """Use what ``prepare`` made, from now on; gives it back with its version.

        Another one may have come into use in the meantime: the version is always the next. ``faults`` are those
        of a file that is newer still.
        """
        in_use = self._snapshot
        if snapshot is not in_use:
            self._snapshot = replace(snapshot, version=in_use.version + 1)
        self._faults = faults
        return self._snapshot

    def refuse(self, error: ConfigError) -> None:
        """Keep the snapshot and remember why the file is not in use."""
        self._faults = error.faults

    def _made(self, loaded: Loaded, version: int) -> Snapshot:
        return Snapshot.from_config(
            self._pricing(loaded.config),
            version=version,
            digest=loaded.digest,
            routable=self._routable,
            trust=self._vouching(loaded),
            stored=frozenset(loaded.stored.documents),
        )


async def watch(
    path: str | Path,
    *,
    on_change: OnChange,
    on_faults: OnFaults,
    known: str | None = None,
    stored: Callable[[], Stored] = lambda: NOTHING,
    until: Until = until,
    interval_s: float = POLL_S,
) -> None:
    """Follow the file and its documents until cancelled.

    ``known`` is the digest of the file in use (``Loaded.file_digest``). ``stored`` gives the resources it is checked
    with, on another thread; when they are others, a file with faults is worth another look.
    After each change ``on_change`` gets the new configuration or ``on_faults`` what is wrong with it, once per
    different text. The next change is not looked for before ``on_change`` has ended, so they come one by one and in
    order. A ``ConfigError`` raised by it (a statement with a broken signature, say) is reported like a fault of the
    file. A change is taken up once the file has stood still for one interval, so that half-written files are not read.
    """
    follower = Follower(path, known, stored)
    while True:
        outcome: Loaded | ConfigError = await until(follower.poll, interval_s)
        if isinstance(outcome, Loaded):
            try:
                await on_change(outcome)
            except ConfigError as error:
                on_faults(error)
        else:
            on_faults(outcome)


class Follower:
    """Detects settled changes of one file and its documents; ``poll`` does the blocking work of one round."""

    def __init__(
        self, path: str | Path, known: str | None, stored: Callable[[], Stored] = lambda: NOTHING
    ) -> None:
        self._path = path
        self._stored = stored
        self._with: Stored | None = None  # what ``stored`` gave at the last poll
        self._base = base_of(path)
        self._seen = known  # the digest of what was last looked at; for faults, a text that names them
        self._references: tuple[Reference, ...] = ()  # of the last text that could be parsed
        self._taken: State | None = None  # the state that belongs to it
        self._before: State | None = None  # the state at the previous poll

    def poll(self) -> Loaded | ConfigError | None:
        """What is new since the last call: a configuration, its faults, or ``None``."""
        stored = self._stored()
        if stored is not self._with:
            self._with = stored
            self._taken = None  # look again: there may have been something wrong with the file
        now = self._state()
        settled, self._before = now == self._before, now
        if now == self._taken or not (settled or self._taken is None):
            return None
        try:
            raw = read_bytes(self._path)
        except ConfigError as error:
            self._taken, self._seen = now, None
            return error
        # What the file refers to is known only now; its state before and after must be the same, too.
        try:
            parsed = parse_bytes(raw, str(self._path), stored)
            self._references = references(parsed[0])
            before = self._state()
            outcome: Loaded | ConfigError = load_documents(raw, parsed, str(self._path), stored)
        except ConfigError as error:
            before, outcome = (now[0], self._state()[1]), error
        after = self._state()
        if after != before or after[0] != now[0]:
            return None  # replaced while it was read; the next poll sees the new state
        self._taken = self._before = after
        seen = outcome.file_digest if isinstance(outcome, Loaded) else f"{digest_of(raw)} {outcome}"
        if seen == self._seen:
            return None
        self._seen = seen
        return outcome

    def _state(self) -> State:
        return file_state(self._path), documents_state(self._references, self._base)

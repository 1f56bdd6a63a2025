"""Runs the publisher on a thread of its own: soon after entries were committed, not for every one of them.

The first entry after a quiet time is published at once, further ones at most once an ``interval``; a
waiting receipt shortens that. An error of disk or database is retried and shows in ``last_error``;
``LogCorrupt`` stops the thread for good, because signing on could fork the log, ``LeaseLost`` because somebody
else does it now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sovereign_ext.errors import LeaseLost, LogCorrupt
from sovereign_ext.tlog.checkpoint import Checkpoint
from sovereign_ext.tlog.publisher import Publisher

HURRY_INTERVAL_S = 0.02
"""Least time between two checkpoints while receipts wait."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published checkpoint and its signed note."""

    checkpoint: Checkpoint
    note: bytes


class Integrator:
    """Keeps the published checkpoint close behind the sequenced entries.

    ``on_published(published)``, ``on_corrupt(reason)`` and ``on_lost()`` are called on the integrator's thread. A
    publisher that has not ``recovered`` does so on that thread first.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        interval_s: float,
        on_published: Callable[[Published], None],
        on_corrupt: Callable[[str], None],
        on_lost: Callable[[], None] = lambda: None,
        recovered: bool = True,
    ) -> None:
        self._publisher = publisher
        self._recovered = recovered
        self._interval_s = interval_s
        self._on_published = on_published
        self._on_corrupt = on_corrupt
        self._on_lost = on_lost
        self._condition = threading.Condition()
        self._wanted = 0  # size that should be published
        self._hurried = 0  # size that somebody waits for
        self._idle = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="log-integrator", daemon=True)
        self.published = Published(publisher.checkpoint, publisher.note)
        self.last_error: str | None = None

    @property
    def recovered(self) -> bool:
        """Whether the publisher has taken up the log."""
        return self._recovered

    @property
    def alive(self) -> bool:
        """Whether anything will still be published."""
        return self._thread.is_alive()

    @property
    def head(self) -> int:
        """Entries that are known to be sequenced."""
        return self._wanted

    def start(self, size: int) -> None:
        """Start the thread; ``size`` entries are sequenced already."""
        self._wanted = size
        self._thread.start()

    def notify(self, size: int) -> None:
        """``size`` entries are sequenced now. May be called from any thread."""
        with self._condition:
            self._wanted = max(self._wanted, size)
            if self._idle:  # otherwise it wakes by itself; waking it for every commit costs 50 µs of CPU each
                self._condition.notify()

    def hurry(self, size: int) -> None:
        """Somebody waits for a checkpoint that covers ``size`` entries. May be called from any thread."""
        with self._condition:
            self._hurried = max(self._hurried, size)
            self._condition.notify()

    def close(self) -> None:
        """Publish what is sequenced, once, and end the thread. Blocks."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def _run(self) -> None:
        last = time.monotonic() - self._interval_s
        while self._wait(last):
            try:
                if not self._recovered:
                    self._publisher.recover()
                    self._recovered = True
                self._publisher.publish()
            except LeaseLost as error:
                self.last_error = str(error)
                self._on_lost()
                return
            except LogCorrupt as error:
                self.last_error = str(error)
                self._on_corrupt(self.last_error)
                return
            except Exception as error:  # disk full, database locked: try again later
                self._recovered = False
                self.last_error = f"{type(error).__name__}: {error}"
                if self._stopping:
                    return
            else:
                self.last_error = None
                if self._stopping and self._publisher.checkpoint.size == self.published.checkpoint.size:
                    return  # there is not as much as was said: a database that went back
                self.published = Published(self._publisher.checkpoint, self._publisher.note)
                self._on_published(self.published)
            last = time.monotonic()

    def _wait(self, last: float) -> bool:
        """Sleep until a step is due; false when there is nothing more to do."""
        with self._condition:
            while not self._stopping:
                size = self.published.checkpoint.size
                if self._wanted <= size and self._recovered:
                    self._idle = True
                    self._condition.wait()
                    self._idle = False
                    continue
                # After an error nobody hurries us: a full disk does not get better by asking fast.
                hurry = self._hurried > size and self.last_error is None
                due = last + (min(HURRY_INTERVAL_S, self._interval_s) if hurry else self._interval_s)
                if (left := due - time.monotonic()) <= 0:
                    return True
                self._condition.wait(left)
            return self._wanted > self.published.checkpoint.size

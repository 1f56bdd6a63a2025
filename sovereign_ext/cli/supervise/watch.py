"""The supervisor: starts the children, waits until the whole answers, keeps it running, stops it in order.

1. All children start at once, each as soon as the file it needs exists.
2. It is ready when every child announced itself and ``probe`` is content, or ``StartError`` after
   ``START_S``. A child that ends before that ends the start: its log says why, and trying again would only
   hide it.
3. Afterwards a child that ends is started again with back-off; too many ends in a row are a ``StartError``.
4. SIGINT, SIGTERM or SIGHUP: children get SIGTERM one after the other in the order given (Envoy first, so
   that no call arrives at a processor that is gone), each after it has settled what it has open, those that go
   together at once; one more signal kills them.

One thread; it sleeps until a signal, a child's end or a due time. What happens if this process is killed is
``guard``'s job.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sovereign_ext.cli.supervise.child import Child, ChildSpec, tail
from sovereign_ext.cli.supervise.leash import Leash
from sovereign_ext.cli.supervise.signals import Signals
from sovereign_ext.errors import StartError

START_S = 20.0
_LOOK_S = 0.02


class Supervisor:
    """Runs ``specs`` (in stopping order) until a signal. ``say`` gets one line per event worth telling.

    ``probe`` says what is still missing although all children announced themselves, ``None`` for nothing.
    ``record`` is called whenever a process or the readiness changed.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        probe: Callable[[], str | None],
        say: Callable[[str], None],
        record: Callable[[Sequence[Child], bool], None],
        start_s: float = START_S,
    ) -> None:
        self._children = [Child(spec) for spec in specs]
        self._probe = probe
        self._say = say
        self._record = record
        self._start_s = start_s
        self._leash = Leash()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Return after an orderly stop. Raises ``StartError`` when it could not start or had to give up."""
        with Signals() as signals:
            served = False
            try:
                self._leash.hold()
                if self._until_ready(signals):
                    self._record(self._children, True)
                    on_ready()
                    self._watch(signals)
                    served = True
            finally:
                self._stop(signals, settle=served)

    def _until_ready(self, signals: Signals) -> bool:
        deadline = time.monotonic() + self._start_s
        while not signals.stops:
            for child in self._children:
                if how := self._tick(child):
                    raise StartError(_with_tail(f"{child.spec.name} did not start ({how})", child.spec.log))
            missing = self._missing()
            if missing is None:
                return True
            if time.monotonic() > deadline:
                name, what = missing
                log = next(child.spec.log for child in self._children if child.spec.name == name)
                raise StartError(_with_tail(f"not ready after {self._start_s:g} s: {what}", log))
            signals.wait(_LOOK_S)
        return False

    def _watch(self, signals: Signals) -> None:
        serving, since = True, 0.0
        while not signals.stops:
            for child in self._children:
                if how := self._tick(child):
                    since, serving = (time.monotonic() if serving else since), False
                    self._again(child, how)
            if not serving and self._missing() is None:
                serving = True
                self._record(self._children, True)
                self._say(f"serving again after {time.monotonic() - since:.1f} s")
            signals.wait(None if serving else _LOOK_S)

    def _again(self, child: Child, how: str) -> None:
        name = child.spec.name
        delay = child.backoff.after(time.monotonic() - child.started_at)
        if delay is None:
            raise StartError(_with_tail(f"{name} ends again and again ({how}); giving up", child.spec.log))
        child.due = time.monotonic() + delay
        where = "" if child.spec.log is None else f", its log is {child.spec.log}"
        self._say(f"{name} ended ({how}); starting it again in {delay:g} s{where}")
        self._record(self._children, False)

    def _tick(self, child: Child) -> str | None:
        """Start the child if it is time to; how it ended, if it did."""
        pid = child.pid
        if pid is not None and (how := child.ended()):
            self._leash.drop(pid)
            return how
        now = time.monotonic()
        if child.may_start(now):
            try:
                self._leash.add(child.start(now))
            except OSError as error:
                raise StartError(f"cannot start {child.spec.argv[0]}: {error.strerror}") from error
            self._record(self._children, False)
        return None

    def _missing(self) -> tuple[str, str] | None:
        """Whose log to read and what is not there yet; ``None`` when everything answers."""
        # A child that waits for another's file is not the one to blame, so it is looked at last.
        for child in sorted(self._children, key=lambda child: child.spec.needs is not None):
            if not child.announced:
                return child.spec.name, f"{child.spec.name} has not started"
        what = self._probe()
        return None if what is None else (self._children[0].spec.name, what)

    def _stop(self, signals: Signals, *, settle: bool) -> None:
        asked = signals.stops
        for child in self._children:
            child.due = None  # nothing is started any more
        ending: list[Child] = []
        for child in self._children:
            if settle and child.spec.settle is not None and child.pid is not None:
                child.spec.settle(lambda: signals.stops > asked, self._say)
            child.signal(signal.SIGTERM)
            ending.append(child)
            if child.spec.with_next:
                continue
            told = time.monotonic()
            while ending := [each for each in ending if each.pid is not None and each.ended() is None]:
                for each in ending:
                    if time.monotonic() > told + each.spec.grace_s or signals.stops > asked:
                        each.signal(signal.SIGKILL)
                signals.wait(_LOOK_S)
        self._leash.release()
        self._record(self._children, False)


def _with_tail(what: str, log: Path | None) -> str:
    """One line that names the log, then the log's last lines, indented."""
    if log is None:
        return what
    lines = tail(log)
    head = f"{what}; {log} ends with:" if lines else f"{what}; {log} is empty"
    return "\n".join([head, *(f"    {line}" for line in lines.splitlines())])

"""One run of the local stack from the command to its end, in the foreground or detached.

1. The state directory, its lock and the port are checked before anything is written or started.
2. Detached, the process forks here: the child leads a session of its own and stays Envoy's parent (Envoy ends
   with its parent), while the command waits for its one line on a pipe: ready, or why not.
3. The record in the state directory says what runs, for ``status``; the lock says whether it is true.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sovereign_ext.cli.supervise import banner, child, demo, layout, probe, stack, watch
from sovereign_ext.cli.supervise.lock import SupervisorLock
from sovereign_ext.errors import StartError

_READY = b"ready\n"
_MIRROR_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Session:
    """What was settled before the first process starts."""

    places: layout.Layout
    trial: demo.Demo
    port: int
    lock: SupervisorLock
    began: float
    """Monotonic seconds when the command began."""

    def supervise(self, on_ready: Callable[[], None], say: Callable[[str], None]) -> None:
        """Run everything until a signal; raises ``StartError`` when that is not possible."""
        specs = stack.specs(self.places, self.trial, self.port)
        for spec in specs:
            if spec.log is not None:
                child.rotate(spec.log)
        # From an earlier run; Envoy would start on it before the processor has written its own.
        self.places.bootstrap.unlink(missing_ok=True)
        try:
            watch.Supervisor(specs, probe=self._missing, say=say, record=self._record).run(on_ready)
        finally:
            layout.remove_foreign_run_dir(self.places)
            self.lock.release()

    def announce(self, *, detached: bool) -> None:
        took = time.monotonic() - self.began
        text = banner.ready_text(self.trial, self.places, took_s=took, detached=detached, stream=sys.stdout)
        print(text, flush=True)

    def _missing(self) -> str | None:
        for name, port in self.trial.ports.items():
            if not probe.listens(port):
                return f"the demo's {name} does not listen on port {port}"
        key = self.trial.tenant_key.reveal()
        missing = probe.answers(self.port, key)
        if missing is not None or demo.MIRROR not in self.trial.ports or probe.is_mirrored(self.port, key):
            return missing
        # Worth a moment, so that the first answer names its mirror; a mirror that stays away stops nobody.
        waited = time.monotonic() - self.began >= _MIRROR_WAIT_S
        return None if waited else "the mirror has not spoken yet"

    def _record(self, children: Sequence[child.Child], serving: bool) -> None:
        now, wall = time.monotonic(), time.time()
        processes = [
            {
                "name": each.spec.name,
                "pid": each.pid,
                "started_at": round(wall - (now - each.started_at), 3) if each.starts else None,
                "starts": each.starts,
                "log": str(each.spec.log),
            }
            for each in children
        ]
        record = {
            "base_url": self.trial.base_url,
            "port": self.port,
            "started_at": round(wall - (now - self.began), 3),
            "serving": serving,
            "processes": processes,
        }
        layout.write_private(self.places.record, json.dumps(record, indent=2) + "\n")


def up(root: Path, port: int, *, detach: bool) -> int:
    """``sovereign up``; returns after the stop, or detached when it is ready. Raises ``StartError``."""
    began = time.monotonic()
    os.umask(0o077)
    layout.prepare_root(root)
    lock = SupervisorLock.take(layout.lock_file(root))
    port = port or probe.free_ports(1)[0]
    probe.require_free(port)
    places = layout.open_layout(root)
    session = Session(places, demo.prepare(places, port), port, lock, began)
    if detach:
        return _detached(session)
    session.supervise(lambda: session.announce(detached=False), _say)
    return 0


def _detached(session: Session) -> int:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_daemon(session, writer)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    if not answer.startswith(_READY):
        os.waitpid(pid, 0)
        raise StartError(answer.decode() or f"the supervisor ended; see {session.places.log('supervisor')}")
    session.announce(detached=True)
    return 0


def _be_daemon(session: Session, writer: int) -> None:
    """The forked process: never returns."""
    code = 1
    try:
        os.setsid()
        session.lock.sign()
        _redirect(session.places.log("supervisor"))

        def ready() -> None:
            os.write(writer, _READY)
            os.close(writer)

        session.supervise(ready, _say)
        code = 0
    except StartError as error:
        _say(str(error))
        _last_words(writer, str(error))
    except BaseException as error:  # there is nobody above us to tell
        _say(f"unexpected {type(error).__name__}")
        _last_words(writer, f"unexpected {type(error).__name__} in the supervisor")
    finally:
        os._exit(code)


def _redirect(log: Path) -> None:
    child.rotate(log)
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, null), (1, out), (2, out)):
        os.dup2(source, target)
    os.close(null)
    os.close(out)


def _last_words(writer: int, text: str) -> None:
    with contextlib.suppress(OSError):  # after a good start nobody is left to read
        os.write(writer, text.encode())


def _say(line: str) -> None:
    print(f"sovereign: {line}", file=sys.stderr, flush=True)

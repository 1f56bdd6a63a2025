"""Several processors that share an Envoy, kept running by this process: ``sovereign processor --workers N``.

Each has sockets of its own and keeps its own calls; what they have in common is in PostgreSQL and Valkey, as it is for
routers on several machines. Probes ask this process, which asks all of them. Deliberately not here: who gets which
call, which is Envoy's to say (``envoyconf``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from sovereign_ext.cli.supervise.child import ChildSpec
from sovereign_ext.cli.supervise.stack import SOVEREIGN
from sovereign_ext.cli.supervise.watch import Supervisor
from sovereign_ext.config.load import load
from sovereign_ext.errors import ConfigError
from sovereign_ext.management.together import health_server
from sovereign_ext.settings import Settings

_START_S: Final = 600.0
"""To open a large log takes a while."""
_SPARE_S: Final = 15.0
"""After the last call: the log's last batch."""


def run_workers(settings: Settings, argv: Sequence[str]) -> None:
    """Run them until a signal. ``argv`` is this command's own.

    Raises ``ConfigError`` if they would have nothing in common, and ``StartError``.
    """
    if load(settings.config_file).config.storage.database is None:
        raise ConfigError(
            "is needed for more than one worker, and what goes with it", field="storage.database"
        )
    shutil.rmtree(settings.parts_dir, ignore_errors=True)  # of earlier workers, who may have been more
    supervisor = Supervisor(
        _specs(settings, argv),
        probe=lambda: None,
        say=_say,
        record=lambda children, serving: None,
        start_s=_START_S,
    )
    ready = settings.all_ready_file
    ready.unlink(missing_ok=True)  # of one that was killed

    def announce() -> None:
        ready.write_text(f"{os.getpid()}\n")

    with _probed(settings):
        try:
            supervisor.run(announce)
        finally:
            ready.unlink(missing_ok=True)


def _specs(settings: Settings, argv: Sequence[str]) -> list[ChildSpec]:
    return [
        ChildSpec(
            name=f"worker {each.worker}",
            argv=(*SOVEREIGN, *argv, "--worker", str(each.worker)),
            log=None,
            keeps_keys=True,
            announces=each.ready_file,
            grace_s=settings.drain_s + _SPARE_S,
            with_next=each.worker < settings.workers,
        )
        for each in settings.each_worker
    ]


@contextlib.contextmanager
def _probed(settings: Settings) -> Iterator[None]:
    """Answers probes where one processor alone would."""
    socket = settings.all_management_socket
    socket.unlink(missing_ok=True)
    server = health_server(
        [each.management_socket for each in settings.each_worker], socket, settings.health_listen
    )
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()
        socket.unlink(missing_ok=True)


def _say(line: str) -> None:
    print(f"sovereign: {line}", file=sys.stderr, flush=True)

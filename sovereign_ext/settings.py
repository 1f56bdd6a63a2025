"""What a processor is told when it is started: where it finds and leaves things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

ADMIN_SOCKET: Final = "envoy-admin.sock"
MANAGEMENT_SOCKET: Final = "management.sock"
READY_FILE: Final = "processor.ready"
"""Names in the directory of sockets."""
HEALTH_SERVICES: Final = ("readiness", "limits", "liveness")
"""What probes may ask a processor for, by the gRPC health protocol; the empty name stands for the first."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the processor finds and leaves things. Sockets must be at most 104 bytes long."""

    config_file: Path
    state_dir: Path
    run_dir: Path
    listen_host: str
    listen_port: int | None  # none: Envoy has listeners of its own, and is not given any
    checkpoint_dir: Path | None = None  # apart from the log's data, so that a restored backup is noticed
    message_timeout: timedelta = timedelta(seconds=10)  # Envoy's patience with one message
    metrics_listen: tuple[str, int] | None = None  # host and port for scrapers that have no key
    drain_s: float = 10.0  # how long a stop waits for calls that are open
    shared_dir: Path | None = None  # Envoy's files, if apart from keys and log
    roots: str | None = None  # CA bundle for providers, as Envoy finds it; none: this system's
    health_listen: tuple[str, int] | None = None  # host and port for probes that reach no Unix socket
    workers: int = 1  # processes of this kind that share an Envoy
    worker: int = 1  # which of them this one is

    @property
    def processor_socket(self) -> Path:
        return self._own("extproc.sock")

    @property
    def management_socket(self) -> Path:
        return self._own(MANAGEMENT_SOCKET)

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / ADMIN_SOCKET

    @property
    def ready_file(self) -> Path:
        return self._own(READY_FILE)

    @property
    def all_management_socket(self) -> Path:
        """Where probes ask: one processor is asked itself, of several whoever keeps them running."""
        return self.run_dir / MANAGEMENT_SOCKET

    @property
    def all_ready_file(self) -> Path:
        """Is there once all workers serve."""
        return self.run_dir / READY_FILE

    @property
    def each_worker(self) -> tuple[Settings, ...]:
        """The same for every worker."""
        return tuple(replace(self, worker=number) for number in range(1, self.workers + 1))

    def _own(self, name: str) -> Path:
        path = self.run_dir / name
        return path if self.workers == 1 else path.with_stem(f"{path.stem}-{self.worker}")

    @property
    def envoy_dir(self) -> Path:
        return self.shared_dir or self.state_dir / "envoy"

    @property
    def parts_dir(self) -> Path:
        """What each worker wants Envoy to know."""
        return self.envoy_dir / "workers"

    @property
    def log_dir(self) -> Path:
        """What one process keeps of the log; commands look in the first worker's."""
        return self.state_dir / ("log" if self.worker == 1 else f"log-{self.worker}")

    @property
    def signed_dir(self) -> Path | None:
        """Where the last signed checkpoint is kept, if not with the log's data."""
        if self.checkpoint_dir is None or self.worker == 1:
            return self.checkpoint_dir
        return self.checkpoint_dir / f"worker-{self.worker}"

"""What a processor is told when it is started: where it finds and leaves things."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

ADMIN_SOCKET: Final = "envoy-admin.sock"
MANAGEMENT_SOCKET: Final = "management.sock"
READY_FILE: Final = "processor.ready"
"""Names in the directory of sockets."""


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

    @property
    def processor_socket(self) -> Path:
        return self.run_dir / "extproc.sock"

    @property
    def management_socket(self) -> Path:
        return self.run_dir / MANAGEMENT_SOCKET

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / ADMIN_SOCKET

    @property
    def ready_file(self) -> Path:
        return self.run_dir / READY_FILE

    @property
    def envoy_dir(self) -> Path:
        return self.shared_dir or self.state_dir / "envoy"

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "log"

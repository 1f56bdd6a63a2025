"""Where Envoy listens, where its files are, and what else a rendering depends on besides the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any as Json

from sovereign_ext.config.ingress import Ingress


@dataclass(frozen=True, slots=True)
class Edge:
    """A listener for clients that are not just this machine's user; what it limits is in ``Ingress``.

    ``access_log`` is a path, or ``None`` for standard output. ``workload`` is the SPIFFE id of everybody who can
    connect. ``public_port`` is the port that clients see where a balancer maps it, for the offer of HTTP/3.
    """

    access_log: str | None = None
    workload: str | None = None
    public_port: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """``directory`` holds the rendered files, ``config_directory`` is what paths in the configuration are relative to.

    Both are absolute, since Envoy may run elsewhere; sockets are absolute paths of at most 104 bytes, one of each kind
    for every worker.
    """

    directory: Path
    config_directory: Path
    processor_sockets: tuple[str, ...]
    management_sockets: tuple[str, ...]
    admin_socket: str
    listen_host: str
    listen_port: int
    max_request_bytes: int
    ingress: Ingress = field(default_factory=Ingress)
    message_timeout: timedelta = timedelta(seconds=10)  # Envoy's patience with one message to the processor
    transcoder: dict[str, Json] = field(default_factory=dict)  # grpc_json_transcoder settings, proto JSON
    management_routes: tuple[
        tuple[str, str | None, str], ...
    ] = ()  # (HTTP method, exact path, else RE2 regex)
    roots: str = ""  # CA bundle for providers that have none of their own
    edge: Edge | None = None  # none: the listener of `sovereign up`
    streamed: frozenset[str] = frozenset()  # the regexes of those whose answers take as long as they take
    older: bool = False  # for an Envoy before 1.40, to which a call's list of clusters cannot be told

    @property
    def bootstrap_file(self) -> Path:
        return self.directory / "bootstrap.yaml"

    @property
    def listeners_file(self) -> Path:
        return self.directory / "listeners.yaml"

    @property
    def workers(self) -> int:
        return len(self.processor_sockets)

    @property
    def clusters_file(self) -> Path:
        return self.directory / "clusters.yaml"

    @property
    def ingress_routes_file(self) -> Path:
        """Of either kind of Envoy one: the processor keeps both, and need not know which one it has."""
        return self.directory / ("ingress-routes-below-1.40.yaml" if self.older else "ingress-routes.yaml")

    @property
    def egress_routes_file(self) -> Path:
        return self.directory / "egress-routes.yaml"

    @property
    def certificate_file(self) -> Path:
        """Where our certificate is, and below the roots of clients': SDS takes one secret a file."""
        return self.directory / "certificate.yaml"

    @property
    def client_roots_file(self) -> Path:
        return self.directory / "client-roots.yaml"

    @property
    def descriptor_file(self) -> Path:
        """Protobuf descriptors of the management API, for the transcoder."""
        return self.directory / "management.pb"

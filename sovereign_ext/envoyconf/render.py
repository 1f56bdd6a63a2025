"""Configuration in, Envoy's files out: bootstrap, and the file-based xDS resources that Envoy watches.

Each file is written whole and renamed into place, which is what Envoy's watch reacts to. ``version`` travels in
every discovery response, so that Envoy's admin can be asked which one it runs.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any as Json

import yaml
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    Node,
    Pipe,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.bootstrap.internal_listener.v3 import InternalListener
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import clusters, listeners, routes
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.typed import followed, plain

_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


def bootstrap(layout: Layout) -> dict[str, Json]:
    """The static part: admin on a Unix socket, the processor's cluster, and where the rest is found."""
    return plain(
        Bootstrap(
            node=Node(id="sovereign", cluster="sovereign"),
            admin=Admin(address=Address(pipe=Pipe(path=layout.admin_socket, mode=0o600))),
            bootstrap_extensions=[
                TypedExtensionConfig(
                    name="envoy.bootstrap.internal_listener", typed_config=Any.pack(InternalListener())
                )
            ],
            static_resources=BootstrapStaticResources(
                clusters=[
                    clusters.grpc_service(clusters.PROCESSOR_CLUSTER, layout.processor_socket),
                    clusters.grpc_service(clusters.MANAGEMENT_CLUSTER, layout.management_socket),
                    clusters.nowhere(),
                ]
            ),
            dynamic_resources=BootstrapDynamicResources(
                cds_config=followed(layout.clusters_file),
                lds_config=followed(layout.listeners_file),
            ),
        )
    )


def write_static(layout: Layout) -> None:
    """Write what stays as long as the processor runs: the routes of clients, listeners and bootstrap."""
    write_ingress_routes(layout)
    found = [listeners.egress(layout), listeners.ingress(layout)]
    _write(layout.listeners_file, _discovery("1", _LISTENER, found))
    _write(layout.bootstrap_file, bootstrap(layout))


def write_ingress_routes(layout: Layout) -> None:
    """Write what depends on this release's management API: its routes, and its descriptors for the transcoder."""
    descriptors = base64.b64decode(layout.transcoder.get("proto_descriptor_bin", ""))
    _replace(layout.descriptor_file, descriptors)
    _write(layout.ingress_routes_file, _discovery("1", _ROUTES, [routes.ingress(layout)]))


def write_providers(layout: Layout, providers: Iterable[Provider], version: str) -> None:
    """Write clusters and internal routes for these providers."""
    found = list(providers)
    resources = [plain(clusters.provider(item, layout.config_directory)) for item in found]
    resources += [plain(clusters.entry(item)) for item in found]
    table = routes.egress(found)
    _write(layout.clusters_file, _discovery(version, _CLUSTER, resources))
    _write(layout.egress_routes_file, _discovery(version, _ROUTES, [table]))


def _discovery(version: str, kind: str, resources: list[dict[str, Json]]) -> dict[str, Json]:
    return {
        "version_info": version,
        "resources": [{"@type": kind, **resource} for resource in resources],
    }


def _write(path: Path, document: dict[str, Json]) -> None:
    text = yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    _replace(path, text.encode())


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)

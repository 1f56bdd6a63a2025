"""Configuration in, Envoy's files out: bootstrap, and the file-based xDS resources that Envoy watches.

Each file is written whole and renamed into place, which is what Envoy's watch reacts to. ``version`` travels in
every discovery response, so that Envoy's admin can be asked which one it runs.
"""

from __future__ import annotations

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
    ConfigSource,
    Node,
    PathConfigSource,
    Pipe,
    TypedExtensionConfig,
    WatchedDirectory,
)
from envoy_data_plane.envoy.extensions.bootstrap.internal_listener.v3 import InternalListener
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import clusters, listeners, routes
from sovereign_ext.envoyconf.layout import Layout

_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"


def bootstrap(layout: Layout) -> dict[str, Json]:
    """The static part: admin on a Unix socket, the processor's cluster, and where the rest is found."""
    rendered: dict[str, Json] = Bootstrap(
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
            cds_config=_source(layout, layout.clusters_file),
            lds_config=_source(layout, layout.listeners_file),
        ),
    ).to_dict()
    return rendered


def write_static(layout: Layout) -> None:
    """Write what does not depend on the configuration file's content: bootstrap and listeners."""
    found = [listeners.egress(layout), listeners.ingress(layout)]
    _write(layout.listeners_file, _discovery("1", _LISTENER, found))
    _write(layout.bootstrap_file, bootstrap(layout))


def write_providers(layout: Layout, providers: Iterable[Provider], version: str) -> None:
    """Write clusters and internal routes for these providers."""
    found = list(providers)
    resources = [clusters.provider(item, layout.config_directory).to_dict() for item in found]
    resources += [clusters.entry(item).to_dict() for item in found]
    table = routes.egress(found).to_dict()
    _write(layout.clusters_file, _discovery(version, _CLUSTER, resources))
    _write(layout.egress_routes_file, _discovery(version, _ROUTES, [table]))


def _source(layout: Layout, path: Path) -> ConfigSource:
    return ConfigSource(
        path_config_source=PathConfigSource(
            path=str(path), watched_directory=WatchedDirectory(path=str(layout.directory))
        )
    )


def _discovery(version: str, kind: str, resources: list[dict[str, Json]]) -> dict[str, Json]:
    return {
        "versionInfo": version,
        "resources": [{"@type": kind, **resource} for resource in resources],
    }


def _write(path: Path, document: dict[str, Json]) -> None:
    text = yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)

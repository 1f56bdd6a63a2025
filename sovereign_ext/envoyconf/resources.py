"""Envoy's resources as whole documents: the bootstrap, and discovery responses for everything else.

Values in, values out; ``render`` writes them where a processor runs, ``modes`` for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any as Json
from typing import Final

from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
)
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Address, Node, Pipe, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.bootstrap.internal_listener.v3 import InternalListener
from envoy_data_plane.google.protobuf import Any

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import clusters, downstream, listeners, overload, processors, routes
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.typed import followed, plain

CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
LISTENER: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
_ROUTES: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - the name of a type


def bootstrap(layout: Layout, listeners: Sequence[dict[str, Json]] = ()) -> dict[str, Json]:
    """What Envoy is started with: admin on a Unix socket, our own clusters, and where the rest is found.

    ``listeners`` are static; without them Envoy follows the file of listeners.
    """
    document = plain(
        Bootstrap(
            node=Node(id="sovereign", cluster="sovereign"),
            admin=Admin(
                address=Address(pipe=Pipe(path=layout.admin_socket, mode=0o600)),
                ignore_global_conn_limit=True,
            ),
            bootstrap_extensions=[internal_listeners()],
            overload_manager=None if layout.edge is None else overload.manager(layout.ingress.limits),
            static_resources=BootstrapStaticResources(clusters=own_clusters(layout)),
            dynamic_resources=BootstrapDynamicResources(
                cds_config=followed(layout.clusters_file),
                lds_config=None if listeners else followed(layout.listeners_file),
            ),
        )
    )
    if listeners:
        document["static_resources"] = {"listeners": list(listeners), **document["static_resources"]}
    return document


def internal_listeners() -> TypedExtensionConfig:
    """Without it Envoy knows no listener without a port."""
    return TypedExtensionConfig(
        name="envoy.bootstrap.internal_listener", typed_config=Any.pack(InternalListener())
    )


def own_clusters(layout: Layout) -> list[Cluster]:
    """The processor, its management API, the cluster that leads nowhere, and the service of certificates."""
    found = [*processors.clusters(layout), clusters.nowhere()]
    if layout.older:
        found.append(clusters.attempts())
    tls = layout.ingress.tls
    if tls is not None and tls.sds is not None:
        found.append(clusters.grpc_service(downstream.SECRETS_CLUSTER, tls.sds.socket))
    return found


def all_listeners(layout: Layout) -> list[dict[str, Json]]:
    """The internal one, the clients', and the clients' on UDP if there is to be HTTP/3."""
    found = [listeners.egress(layout), listeners.ingress(layout)]
    if layout.edge is not None and layout.ingress.http3 and layout.ingress.tls is not None:
        found.append(listeners.ingress_http3(layout, layout.ingress.tls))
    return found


def provider_clusters(layout: Layout, providers: Sequence[Provider]) -> list[dict[str, Json]]:
    """Two for each provider: the provider, and the element of the walk that leads to it."""
    found = [clusters.provider(item, layout.config_directory, layout.roots) for item in providers]
    entries = () if layout.older else (clusters.entry(item) for item in providers)
    return [plain(each) for each in (*found, *entries)]


def all_clusters(layout: Layout, providers: Sequence[Provider]) -> list[dict[str, Json]]:
    """Our own, then the providers': what an Envoy is given that follows no file of clusters."""
    return [*(plain(each) for each in own_clusters(layout)), *provider_clusters(layout, providers)]


def listener_response(layout: Layout) -> dict[str, Json]:
    return _response("1", LISTENER, all_listeners(layout))


def cluster_response(layout: Layout, providers: Sequence[Provider], version: str) -> dict[str, Json]:
    return _response(version, CLUSTER, provider_clusters(layout, providers))


def ingress_response(layout: Layout, served: Sequence[dict[str, Json]]) -> dict[str, Json]:
    return _response("1", _ROUTES, [routes.ingress(layout, served)])


def egress_response(providers: Sequence[Provider], version: str, workers: int) -> dict[str, Json]:
    return _response(version, _ROUTES, [routes.egress(providers, workers)])


def secret_responses(layout: Layout) -> dict[Path, dict[str, Json]]:
    """By the file that each belongs to; none where certificates come from a service."""
    return {file: _response("1", _SECRET, [each]) for file, each in downstream.secrets(layout).items()}


def _response(version: str, kind: str, found: Iterable[dict[str, Json]]) -> dict[str, Json]:
    """A discovery response. ``version`` is what Envoy's admin then says it runs."""
    return {"version_info": version, "resources": [{"@type": kind, **each} for each in found]}

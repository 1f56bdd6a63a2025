"""What `sovereign envoy render` writes: the same resources as a running processor's, arranged for who runs Envoy.

* ``gateway``, ``sidecar``: one bootstrap with the listeners in it. Providers come from the files that the processor
  keeps, so a new one needs neither a rendering nor a restart.
* ``snippet``: the pieces for a bootstrap that somebody else writes, providers included; nothing is read from files but
  the management API's descriptors.
* ``xds``: the whole set as discovery responses, for a control plane or as files.
* ``istio``, ``envoy-gateway``, ``kgateway``: listeners and clusters as objects of these control planes, and the pod.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any as Json
from typing import Final

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import commented, kgateway, listeners, mesh, notes, resources, routes
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.mode import IN_PODS, Mode
from sovereign_ext.envoyconf.pod import Pod
from sovereign_ext.envoyconf.typed import plain

_VERSION: Final = "1"
_OBJECTS: Final = {
    Mode.ISTIO: mesh.istio,
    Mode.ENVOY_GATEWAY: mesh.envoy_gateway,
    Mode.KGATEWAY: kgateway.objects,
}
_PIECES: Final = (
    "use_remote_address",
    "generate_request_id",
    "always_set_request_id_in_response",
    "normalize_path",
    "stream_idle_timeout",
    "request_timeout",
    "forward_client_cert_details",
    "set_current_client_cert_details",
    "local_reply_config",
    "http_filters",
)
"""Of the connection manager, what the processor relies on; the rest is the business of whoever runs it."""


def documents(
    mode: Mode, layout: Layout, providers: Sequence[Provider], pod: Pod | None = None
) -> dict[str, dict[str, Json]]:
    """File names and what is in them."""
    if pod is not None:
        return _OBJECTS[mode](layout, pod, providers)
    if mode is Mode.SNIPPET:
        return {"snippet.yaml": _snippet(layout, providers)}
    if mode is Mode.XDS:
        return _xds(layout, providers)
    return {f"{mode}.yaml": resources.bootstrap(layout, resources.all_listeners(layout))}


def texts(
    mode: Mode, layout: Layout, providers: Sequence[Provider], pod: Pod | None = None
) -> dict[str, str]:
    """The same as YAML with comments."""
    said = notes.NOTES if pod is None else {**notes.MESH_NOTES, **notes.NOTES}
    return {
        name: commented.dump(document, said, head=_head(mode, name, layout))
        for name, document in documents(mode, layout, providers, pod).items()
    }


def _head(mode: Mode, name: str, layout: Layout) -> str:
    head = notes.HEADS.get(name, notes.XDS_HEAD)
    if mode in IN_PODS:
        head = notes.MESH_HEADS[f"{mode}/{name}"]
    origin = notes.ORIGIN_BELOW if layout.older else notes.ORIGIN
    return f"{head}\n{origin.format(mode=mode)}"


def _snippet(layout: Layout, providers: Sequence[Provider]) -> dict[str, Json]:
    manager: Mapping[str, Json] = plain(listeners.client_manager(layout))
    return {
        "bootstrap_extensions": [plain(resources.internal_listeners())],
        "http_connection_manager": {name: manager[name] for name in _PIECES if name in manager},
        "virtual_host": routes.host(layout, [routes.walk(layout)]),
        "management_routes": routes.management(layout),
        "listeners": [listeners.egress(layout, routes.egress(providers, layout.workers))],
        "clusters": resources.all_clusters(layout, providers),
    }


def _xds(layout: Layout, providers: Sequence[Provider]) -> dict[str, dict[str, Json]]:
    return {
        layout.bootstrap_file.name: resources.bootstrap(layout),
        layout.listeners_file.name: resources.listener_response(layout),
        layout.clusters_file.name: resources.cluster_response(layout, providers, _VERSION),
        layout.ingress_routes_file.name: resources.ingress_response(layout, routes.management(layout)),
        layout.egress_routes_file.name: resources.egress_response(providers, _VERSION, layout.workers),
        **{file.name: response for file, response in resources.secret_responses(layout).items()},
    }

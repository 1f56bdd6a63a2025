"""What Istio, Envoy Gateway and kgateway make of the objects of `sovereign envoy render`: an Envoy's bootstrap with our
listeners and clusters in it. None is here; this does with the objects what documentation and source say they do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

_LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
_CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_NODE = {"id": "proxy", "cluster": "mesh"}
_TCP_PROXY = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "stat_prefix": "probe",
    "cluster": "xds_cluster",
}
_ISTIO_EXTENSIONS = [
    {
        "name": "envoy.bootstrap.internal_listener",
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            "value": {"buffer_size_kb": 64},
        },
    }
]
"""In every bootstrap of Istio's."""


def read(directory: Path) -> dict[str, Any]:
    """The objects of a directory, by kind."""
    objects = [yaml.safe_load(file.read_text()) for file in sorted(directory.glob("*.yaml"))]
    return {each["kind"]: each for each in objects}


def delivered(objects: dict[str, Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Listeners, clusters and bootstrap extensions that Envoy gets."""
    if "EnvoyFilter" in objects:
        patches = objects["EnvoyFilter"]["spec"]["configPatches"]
        assert {each["match"]["context"] for each in patches} == {"GATEWAY"}
        assert {each["patch"]["operation"] for each in patches} == {"ADD"}
        kinds = [(each["applyTo"], each["patch"]["value"]) for each in patches]
        return _of("LISTENER", kinds), _of("CLUSTER", kinds), _ISTIO_EXTENSIONS
    if "ConfigMap" in objects:
        ours = yaml.safe_load(objects["ConfigMap"]["data"]["envoy.yaml"])
        assert ours.keys() == {"bootstrap_extensions", "static_resources"}
        return (
            *(ours["static_resources"][each] for each in ("listeners", "clusters")),
            ours["bootstrap_extensions"],
        )
    patches = objects["EnvoyPatchPolicy"]["spec"]["jsonPatches"]
    assert {(each["operation"]["op"], each["operation"]["path"]) for each in patches} == {("add", "")}
    kinds = [(each["type"], each["operation"]["value"]) for each in patches]
    given = objects["EnvoyProxy"]["spec"]["bootstrap"]
    assert given["type"] == "Merge"
    return _of(_LISTENER, kinds), _of(_CLUSTER, kinds), yaml.safe_load(given["value"])["bootstrap_extensions"]


def static(objects: dict[str, Any]) -> dict[str, Any]:
    """One document, for `envoy --mode validate`, which does not look at what comes by xDS."""
    listeners, clusters, extensions = delivered(objects)
    return {
        "node": _NODE,
        "bootstrap_extensions": extensions,
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def dynamic(objects: dict[str, Any], directory: Path) -> Path:
    """Writes files: a bootstrap, and what the control plane delivers as discovery responses. Admin is not where the
    processor would look for it."""
    listeners, clusters, extensions = delivered(objects)
    document: dict[str, Any] = {
        "node": _NODE,
        "admin": {"address": {"pipe": {"path": str(directory / "admin.sock")}}},
        "bootstrap_extensions": extensions,
        "dynamic_resources": {},
    }
    for name, kind, found in (("lds", _LISTENER, listeners), ("cds", _CLUSTER, clusters)):
        response = {"resources": [{"@type": kind, **each} for each in found]}
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(response, sort_keys=False))
        source = {"path_config_source": {"path": str(directory / f"{name}.yaml")}}
        document["dynamic_resources"][f"{name}_config"] = source
    made = directory / "bootstrap.yaml"
    made.write_text(yaml.safe_dump(document, sort_keys=False))
    return made


def beside_kgateway(objects: dict[str, Any], directory: Path) -> list[str]:
    """Envoy's arguments, as kgateway 2.4 makes them: its own, then those of the object. Its bootstrap here has a node,
    admin, a listener and a cluster, and its control plane delivers nothing."""
    args = objects["GatewayParameters"]["spec"]["kube"]["envoyContainer"]["extraArgs"]
    assert args == ["--config-path", "/etc/sovereign-bootstrap/envoy.yaml"]
    ours = directory / "envoy.yaml"
    ours.write_text(objects["ConfigMap"]["data"]["envoy.yaml"])
    document: dict[str, Any] = {
        "node": _NODE,
        "admin": {"address": {"pipe": {"path": str(directory / "admin.sock")}}},
        "layered_runtime": {"layers": [{"name": "admin_layer", "admin_layer": {}}]},
        "static_resources": {
            "listeners": [
                {
                    "name": "readiness_listener",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "filter_chains": [{"filters": [{"name": "probe", "typed_config": _TCP_PROXY}]}],
                }
            ],
            "clusters": [{"name": "xds_cluster", "type": "STATIC"}],
        },
        "dynamic_resources": {},
    }
    for name in ("lds", "cds"):
        (directory / f"{name}.yaml").write_text("resources: []\n")
        source = {"path_config_source": {"path": str(directory / f"{name}.yaml")}}
        document["dynamic_resources"][f"{name}_config"] = source
    return ["--config-yaml", yaml.safe_dump(document), args[0], str(ours)]


def _of(kind: str, found: Sequence[tuple[str, Any]]) -> list[Any]:
    return [value for each, value in found if each == kind]

"""The same listeners and clusters as objects of Istio and of Envoy Gateway, whose proxies take them from their control
plane (networking.istio.io/v1alpha3 EnvoyFilter; gateway.envoyproxy.io/v1alpha1 EnvoyPatchPolicy and EnvoyProxy).

Both add whole listeners and clusters of ours; neither changes one that the control plane makes. Routes are not in here:
Envoy follows the processor's files for them, so a control plane never has to know what only Envoy 1.40 knows
(docs/adr/0026). Deliberately not here: kgateway, whose Envoy takes ours from its command line (``kgateway``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any as Json
from typing import Final

import yaml

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import pod as pods
from sovereign_ext.envoyconf import resources
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.pod import NAME, Pod
from sovereign_ext.envoyconf.typed import plain

_ISTIO_USER: Final = 1337
_GATEWAY_USER: Final = 65532
"""As whom each control plane runs its Envoy."""
_GATEWAY_IMAGE: Final = "docker.io/envoyproxy/envoy:distroless-v1.40.0"
_GATEWAY_API: Final = "gateway.envoyproxy.io/v1alpha1"


def istio(layout: Layout, pod: Pod, providers: Sequence[Provider]) -> dict[str, dict[str, Json]]:
    """A gateway of Istio's with the processor in its pod, by file name."""
    labels = {"app": NAME}
    match = {"context": "GATEWAY"}
    patches = _patches(layout, providers, "CLUSTER", "LISTENER")
    found = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": pods.metadata(pod),
        "spec": {
            "workloadSelector": {"labels": labels},
            "configPatches": [
                {"applyTo": kind, "match": match, "patch": {"operation": "ADD", "value": value}}
                for kind, value in patches
            ],
        },
    }
    return {
        "envoyfilter.yaml": found,
        "deployment.yaml": _istio_deployment(layout, pod, labels),
        "service.yaml": pods.service(layout, pod, labels),
    }


def envoy_gateway(layout: Layout, pod: Pod, providers: Sequence[Provider]) -> dict[str, dict[str, Json]]:
    """A Gateway of Envoy Gateway's with the processor in its pod, by file name."""
    patches = _patches(layout, providers, resources.CLUSTER, resources.LISTENER)
    policy = {
        "apiVersion": _GATEWAY_API,
        "kind": "EnvoyPatchPolicy",
        "metadata": pods.metadata(pod),
        "spec": {
            "targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": NAME},
            "type": "JSONPatch",
            "jsonPatches": [
                {"type": kind, "name": value["name"], "operation": {"op": "add", "path": "", "value": value}}
                for kind, value in patches
            ],
        },
    }
    owner = {
        "gateway.envoyproxy.io/owning-gateway-name": NAME,
        "gateway.envoyproxy.io/owning-gateway-namespace": pod.namespace,
    }
    return {
        "envoypatchpolicy.yaml": policy,
        "envoyproxy.yaml": _envoy_proxy(layout, pod),
        "gateway.yaml": _gateway(pod),
        "service.yaml": pods.service(layout, pod, owner),
    }


def _patches(
    layout: Layout, providers: Sequence[Provider], cluster: str, listener: str
) -> list[tuple[str, dict[str, Json]]]:
    """What is added, each with what the control plane calls its kind. Clusters first, as listeners lead to them."""
    return [
        *((cluster, each) for each in resources.all_clusters(layout, providers)),
        *((listener, each) for each in resources.all_listeners(layout)),
    ]


def _istio_deployment(layout: Layout, pod: Pod, labels: dict[str, str]) -> dict[str, Json]:
    template = {
        "metadata": {
            "labels": labels | {"sidecar.istio.io/inject": "true"},
            "annotations": {
                "inject.istio.io/templates": "gateway",
                "sidecar.istio.io/rewriteAppHTTPProbers": "false",
                "proxy.istio.io/config": "proxyMetadata: {EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true'}",
            },
        },
        "spec": {
            "terminationGracePeriodSeconds": pods.GRACE_S,
            "securityContext": {"fsGroup": _ISTIO_USER},
            "initContainers": [pods.processor(layout, pod, _ISTIO_USER)],
            "containers": [
                {"name": "istio-proxy", "image": "auto", "volumeMounts": pods.envoy_mounts(layout)}
            ],
            "volumes": pods.volumes(layout),
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": pods.metadata(pod),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }


def _envoy_proxy(layout: Layout, pod: Pod) -> dict[str, Json]:
    extension = {"bootstrap_extensions": [plain(resources.internal_listeners())]}
    deployment = {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "pod": {"securityContext": {"fsGroup": _GATEWAY_USER}, "volumes": pods.volumes(layout)},
        "initContainers": [pods.processor(layout, pod, _GATEWAY_USER)],
        "container": _image(layout) | {"volumeMounts": pods.envoy_mounts(layout)},
    }
    return {
        "apiVersion": _GATEWAY_API,
        "kind": "EnvoyProxy",
        "metadata": pods.metadata(pod),
        "spec": {
            "bootstrap": {"type": "Merge", "value": _one_line(extension)},
            "shutdown": {"drainTimeout": f"{pods.DRAIN_S}s"},
            "provider": {"type": "Kubernetes", "kubernetes": {"envoyDeployment": deployment}},
        },
    }


def _image(layout: Layout) -> dict[str, Json]:
    """Envoy Gateway 1.9's own Envoy is older."""
    return {} if layout.older else {"image": _GATEWAY_IMAGE}


def _gateway(pod: Pod) -> dict[str, Json]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": pods.metadata(pod),
        "spec": {
            "gatewayClassName": "eg",
            "infrastructure": {
                "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": NAME}
            },
            "listeners": [{"name": "unused", "protocol": "HTTP", "port": 80}],
        },
    }


def _one_line(document: dict[str, Json]) -> str:
    text: str = yaml.safe_dump(document, default_flow_style=True, sort_keys=False, width=1_000_000)
    return text.strip()

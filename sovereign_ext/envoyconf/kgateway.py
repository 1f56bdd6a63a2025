"""The same listeners and clusters in the Envoy of a Gateway of kgateway's (gateway.kgateway.dev/v1alpha1
GatewayParameters, as of kgateway 2.4).

kgateway starts Envoy with its own bootstrap as ``--config-yaml``, and lets arguments be added. We add a file of a
ConfigMap as ``--config-path``. Envoy puts the two together, one list behind the other: kgateway's listeners and
clusters and what its control plane delivers are there, and ours beside them (docs/adr/0026).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any as Json
from typing import Final

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import commented, notes, resources
from sovereign_ext.envoyconf import pod as pods
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.pod import Pod
from sovereign_ext.envoyconf.typed import plain

_API: Final = "gateway.kgateway.dev/v1alpha1"
_GATEWAY: Final = "sovereign-kgateway"
"""Not just ``sovereign``: kgateway makes a Deployment and a Service of the Gateway's name."""
_USER: Final = 10101
"""As whom kgateway runs Envoy."""
_BOOTSTRAP: Final = "sovereign-bootstrap"
_MOUNT: Final = "/etc/sovereign-bootstrap"
_FILE: Final = "envoy.yaml"
_UNUSED_PORT: Final = 10080


def objects(layout: Layout, pod: Pod, providers: Sequence[Provider]) -> dict[str, dict[str, Json]]:
    """A Gateway with the processor in its pod, by file name."""
    return {
        "configmap.yaml": _config_map(layout, pod, providers),
        "gatewayparameters.yaml": _parameters(layout, pod),
        "gateway.yaml": _gateway(pod),
        "service.yaml": pods.service(layout, pod, {"gateway.networking.k8s.io/gateway-name": _GATEWAY}),
    }


def _config_map(layout: Layout, pod: Pod, providers: Sequence[Provider]) -> dict[str, Json]:
    """What is static has no version and no order: it is all there before the first call, and until the pod ends."""
    ours = {
        "bootstrap_extensions": [plain(resources.internal_listeners())],
        "static_resources": {
            "listeners": resources.all_listeners(layout),
            "clusters": resources.all_clusters(layout, providers),
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": pods.metadata(pod) | {"name": _BOOTSTRAP},
        "data": {_FILE: commented.dump(ours, notes.NOTES)},
    }


def _parameters(layout: Layout, pod: Pod) -> dict[str, Json]:
    mounts = [*pods.envoy_mounts(layout), {"name": _BOOTSTRAP, "mountPath": _MOUNT, "readOnly": True}]
    volumes = [*pods.volumes(layout), {"name": _BOOTSTRAP, "configMap": {"name": _BOOTSTRAP}}]
    return {
        "apiVersion": _API,
        "kind": "GatewayParameters",
        "metadata": pods.metadata(pod),
        "spec": {
            "kube": {
                "deployment": {"replicas": 1, "strategy": {"type": "Recreate"}},
                "envoyContainer": {
                    "extraArgs": ["--config-path", f"{_MOUNT}/{_FILE}"],
                    "extraVolumeMounts": mounts,
                },
                "podTemplate": {
                    "securityContext": {"fsGroup": _USER},
                    "terminationGracePeriodSeconds": pods.GRACE_S,
                    "gracefulShutdown": {"enabled": True, "sleepTimeSeconds": pods.DRAIN_S},
                    "extraVolumes": volumes,
                },
                "deploymentOverlay": {
                    "spec": {"template": {"spec": {"initContainers": [pods.processor(layout, pod, _USER)]}}}
                },
                "service": {"type": "ClusterIP"},
            }
        },
    }


def _gateway(pod: Pod) -> dict[str, Json]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": pods.metadata(pod) | {"name": _GATEWAY},
        "spec": {
            "gatewayClassName": "kgateway",
            "infrastructure": {
                "parametersRef": {
                    "group": "gateway.kgateway.dev",
                    "kind": "GatewayParameters",
                    "name": pods.NAME,
                }
            },
            "listeners": [{"name": "unused", "protocol": "HTTP", "port": _UNUSED_PORT}],
        },
    }

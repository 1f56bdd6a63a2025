"""The pod in which a control plane's Envoy and our processor run side by side: container, volumes, Service.

The processor is a sidecar in Kubernetes' own sense (an init container that stays): it has written what Envoy follows
before Envoy starts, and outlives Envoy's drain. Envoy sees the sockets and files that are meant for it, never keys and
the log. Deliberately not here: several replicas, which need a shared database; the Helm chart has those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any as Json
from typing import Final

from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.settings import READY_FILE

NAME: Final = "sovereign"
CONFIG_MAP: Final = "sovereign-config"
TLS_SECRET: Final = "sovereign-tls"  # noqa: S105 - the name of one
CREDENTIALS_SECRET: Final = "sovereign-credentials"  # noqa: S105 - the name of one
STATE_CLAIM: Final = "sovereign-state"
DRAIN_S: Final = 600
GRACE_S: Final = DRAIN_S + 60
"""For Envoy to let open calls end, and the processor after it."""
_HEALTH_PORT: Final = 9465


@dataclass(frozen=True, slots=True)
class Pod:
    """``image`` has `sovereign` in it. ``state_directory`` is the processor's alone, with its keys and the log.
    ``config_name`` is the name of sovereign.yaml, and the key in its ConfigMap."""

    namespace: str
    image: str
    state_directory: Path
    config_name: str


def metadata(pod: Pod) -> dict[str, Json]:
    return {"name": NAME, "namespace": pod.namespace}


def processor(layout: Layout, pod: Pod, user: int) -> dict[str, Json]:
    """``user`` is that of Envoy's container: both open each other's sockets and files."""
    run = Path(layout.processor_sockets[0]).parent
    return {
        "name": "processor",
        "image": pod.image,
        "restartPolicy": "Always",
        "command": ["sovereign", "processor"],
        "args": [
            f"--config={layout.config_directory / pod.config_name}",
            f"--state-dir={pod.state_directory}",
            f"--run-dir={run}",
            f"--envoy-dir={layout.directory}",
            f"--roots={layout.roots}",
            f"--message-timeout-ms={int(layout.message_timeout.total_seconds() * 1000)}",
            f"--health-listen=0.0.0.0:{_HEALTH_PORT}",
        ],
        "envFrom": [{"secretRef": {"name": CREDENTIALS_SECRET, "optional": True}}],
        "startupProbe": {
            "exec": {"command": ["test", "-e", str(run / READY_FILE)]},
            "periodSeconds": 1,
            "failureThreshold": 300,
        },
        "livenessProbe": _probe("liveness", period_s=10, failures=3),
        "readinessProbe": _probe("readiness", period_s=5, failures=2),
        "securityContext": {
            "runAsUser": user,
            "runAsGroup": user,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": str(layout.config_directory), "readOnly": True},
            {"name": "run", "mountPath": str(run)},
            {"name": "state", "mountPath": str(pod.state_directory)},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the container's own
        ],
    }


def envoy_mounts(layout: Layout) -> list[dict[str, Json]]:
    return [
        {"name": "run", "mountPath": str(Path(layout.processor_sockets[0]).parent)},
        {"name": "envoy-files", "mountPath": str(layout.config_directory), "readOnly": True},
    ]


def volumes(layout: Layout) -> list[dict[str, Json]]:
    """Envoy's view of the configuration has our certificate in it; the processor's has not."""
    seen: list[dict[str, Json]] = [{"configMap": {"name": CONFIG_MAP}}]
    if items := _certificates(layout):
        seen.append({"secret": {"name": TLS_SECRET, "items": items}})
    return [
        {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "config", "configMap": {"name": CONFIG_MAP}},
        {"name": "envoy-files", "projected": {"sources": seen}},
        {"name": "state", "persistentVolumeClaim": {"claimName": STATE_CLAIM}},
    ]


def service(layout: Layout, pod: Pod, selector: dict[str, str]) -> dict[str, Json]:
    secure = layout.ingress.tls is not None
    port = 443 if secure else 80
    ports = [{"name": "https" if secure else "http", "port": port, "targetPort": layout.listen_port}]
    if secure and layout.ingress.http3:
        ports.append({"name": "http3", "protocol": "UDP", "port": port, "targetPort": layout.listen_port})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(pod),
        "spec": {"type": "ClusterIP", "selector": selector, "ports": ports},
    }


def _probe(service: str, *, period_s: int, failures: int) -> dict[str, Json]:
    return {
        "grpc": {"port": _HEALTH_PORT, "service": service},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _certificates(layout: Layout) -> Sequence[dict[str, str]]:
    """Relative files of ``ingress.tls``, each from the Secret's key of its last name."""
    tls = layout.ingress.tls
    files = () if tls is None else (tls.certificate_file, tls.key_file, tls.client_ca_file)
    return [{"key": Path(file).name, "path": file} for file in files if file and not Path(file).is_absolute()]

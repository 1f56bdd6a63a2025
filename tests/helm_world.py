"""The chart as Helm renders it, for a matrix of values; what several tests ask of a rendering."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm/sovereign-router"
HELM = ROOT / "build/helm/helm"
RELEASE, NAMESPACE = "demo", "gateway-ns"

Manifest = dict[str, Any]
Values = dict[str, Any]

ONE_POD: Values = yaml.safe_load((CHART / "examples/one-pod.yaml").read_text("utf-8"))
SEVERAL_PODS: Values = yaml.safe_load((CHART / "examples/several-pods.yaml").read_text("utf-8"))

GATEWAY = "gateway"
"""The component of the pods that serve; others are ``database`` and ``test``."""


def merged(*layers: Values) -> Values:
    """As Helm merges value files: mappings key by key, everything else is replaced."""
    made: Values = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(made.get(key), dict)
            made[key] = merged(made[key], value) if both else value
    return made


SHARED = merged(ONE_POD, SEVERAL_PODS)
BY_ROLE = copy.deepcopy(SHARED)
"""The same with a bucket for which no keys are named."""
del BY_ROLE["storage"]["shared"]["s3"]["secret"]
_PLAIN: Values = {"tls": {"certManager": {"enabled": False}}}
_CLIENT_CA = {"client_ca_file": "/etc/sovereign/tls/ca.crt", "require_client_certificate": True}

MATRIX: dict[str, Values] = {
    "one pod": ONE_POD,
    "several pods": SHARED,
    "plain": merged(ONE_POD, _PLAIN, {"test": {"secret": ""}}),
    "least": {
        "image": {"repository": "registry.example/router"},
        "config": {"version": 1, "origin": "a.example/log"},
    },
    "own certificate, HTTP/3, a balancer": merged(
        ONE_POD,
        _PLAIN,
        {
            "tls": {"secret": "edge-tls"},
            "config": {"ingress": {"http3": True, "tls": {"client_ca_file": "/etc/sovereign/tls/ca.crt"}}},
            "service": {
                "type": "LoadBalancer",
                "port": 8443,
                "annotations": {"balancer.example/idle": "3600"},
            },
        },
    ),
    "clients with certificates": merged(
        ONE_POD,
        {"config": {"ingress": {"tls": _CLIENT_CA}}, "networkPolicy": {"clients": [{"podSelector": {}}]}},
    ),
    "deployment, scaled by calls": merged(
        SHARED,
        {
            "storage": {"persistence": {"enabled": False}, "shared": {"s3": {}}},
            "autoscaling": {"enabled": True, "callsInFlight": 200},
            "migrations": {"upgrade": True},
            "drain": {"longestStreamSeconds": 3600},
        },
    ),
    "on each node": merged(
        SHARED,
        {
            "daemonSet": {"enabled": True},
            "storage": {"persistence": {"enabled": False}},
            "pod": {"tolerations": [{"key": "ml", "operator": "Exists"}]},
        },
    ),
    "everything turned": merged(
        SHARED,
        {
            "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"], "pullPolicy": "Always"},
            "autoscaling": {"enabled": True, "cpuPercent": 60},
            "podDisruptionBudget": {"maxUnavailable": "25%"},
            "topologySpread": {"zones": "DoNotSchedule", "nodes": "none"},
            "networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
            "storage": {
                "persistence": {"storageClass": "fast"},
                "shared": {
                    "valkey": {"caFile": "/run/secrets/providers/valkey.pem"},
                    "s3": {"caFile": "/run/secrets/providers/s3.pem"},
                },
            },
            "secrets": {"env": [{"name": "VAULT_TOKEN", "secret": "vault", "key": "token"}]},
            "processor": {"env": {"HTTPS_PROXY": "http://proxy.example:3128"}, "logLevel": "debug"},
            "serviceAccount": {"annotations": {"cloud.example/role": "router"}},
            "pod": {
                "annotations": {"a.example/b": "c"},
                "labels": {"team": "ml"},
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "ml", "operator": "Exists"}],
                "affinity": {"podAntiAffinity": {}},
                "priorityClassName": "high",
            },
            "test": {"baseUrl": "https://gateway.example"},
            "fullnameOverride": "router",
        },
    ),
    "tiles by the pod's role": merged(
        BY_ROLE,
        {
            "serviceAccount": {
                "name": "router",
                "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"},
            }
        },
    ),
    "switched off": merged(
        ONE_POD,
        {
            "networkPolicy": {"enabled": False},
            "serviceAccount": {"create": False},
            "topologySpread": {"zones": "none", "nodes": "none"},
            "nameOverride": "router",
        },
    ),
}

every_rendering = pytest.mark.parametrize("name", MATRIX)


def helm(*arguments: str, values: Values | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm on the chart, without a cluster and without a home."""
    if not HELM.is_file():
        pytest.skip(f"no {HELM.relative_to(ROOT)}: scripts/setup.sh helm makes it (Go >= 1.26)")
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "values.yaml"
        file.write_text(yaml.safe_dump(values or {}), "utf-8")
        environment = dict.fromkeys(("HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), home)
        command = [HELM, *arguments, "--values", file]
        return subprocess.run(
            command,
            env={"PATH": os.environ["PATH"], **environment},
            cwd=CHART,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def template(values: Values, *options: str) -> subprocess.CompletedProcess[str]:
    """``helm template``, hooks and tests included."""
    return helm("template", RELEASE, ".", "--namespace", NAMESPACE, *options, values=values)


def manifests(values: Values) -> list[Manifest]:
    """Everything that is rendered, in Helm's order. Fails the test if Helm refuses."""
    done = template(values)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@functools.cache
def rendered(name: str) -> list[Manifest]:
    """A rendering of the matrix. Not to be changed."""
    return manifests(MATRIX[name])


def named(found: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in found if each["kind"] == kind]


def one(found: list[Manifest], kind: str, component: str = GATEWAY) -> Manifest:
    """The only one of its kind that belongs to a component."""
    (it,) = (each for each in named(found, kind) if labels(each)["app.kubernetes.io/component"] == component)
    return it


def labels(manifest: Manifest) -> dict[str, str]:
    return dict(manifest["metadata"]["labels"])


def workload(found: list[Manifest]) -> Manifest:
    """The StatefulSet, Deployment or DaemonSet."""
    (it,) = (each for kind in ("StatefulSet", "Deployment", "DaemonSet") for each in named(found, kind))
    return it


def pods(found: list[Manifest]) -> Iterator[tuple[dict[str, str], Manifest]]:
    """Labels and specification of every pod that a rendering leads to."""
    for each in found:
        if each["kind"] == "Pod":
            yield labels(each), each["spec"]
        elif "template" in each.get("spec", {}):
            pod = each["spec"]["template"]
            yield pod["metadata"]["labels"], pod["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def container(found: list[Manifest], name: str) -> Manifest:
    """One of the three that serve."""
    pod = workload(found)["spec"]["template"]["spec"]
    (it,) = (each for each in containers(pod) if each["name"] == name)
    return it


def configuration(found: list[Manifest]) -> str:
    """The text of sovereign.yaml."""
    return str(one(found, "ConfigMap")["data"]["sovereign.yaml"])

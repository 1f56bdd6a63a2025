"""Schemas of Istio's, Envoy Gateway's and kgateway's objects, from the releases themselves, and what they refuse.

Nothing of theirs is checked in. Go's module cache has them after

    go mod download istio.io/api@v1.31.1 github.com/envoyproxy/gateway@v1.9.1 github.com/kgateway-dev/kgateway/v2@v2.4.0

Checked is what a structural schema of Kubernetes says of shape: types, fields that it does not know or that are
missing, enumerations. Not CEL rules, patterns and ranges.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_CRDS = (
    "github.com/envoyproxy/gateway@v1.9.1/charts/gateway-crds-helm/templates/generated/gateway.envoyproxy.io_"
)
_KGATEWAY = "github.com/kgateway-dev/kgateway/v2@v2.4.0/install/helm/kgateway-crds/templates"
_FILES = {
    "EnvoyFilter": (
        "istio.io/api@v1.31.1/kubernetes/customresourcedefinitions.gen.yaml",
        "c0ad59e008658765412badb836e73a523a355e3d792a32ad3c0711a728be5aff",
    ),
    "EnvoyPatchPolicy": (
        f"{_CRDS}envoypatchpolicies.yaml",
        "27f71900c101ec25b3b063d6cb81637314d58c1f3fcb5a7955099a68a6ff2964",
    ),
    "EnvoyProxy": (
        f"{_CRDS}envoyproxies.yaml",
        "f4be2fe226d99f117f8b1bb725e537ff2ded2bb3f77de246c4bda3bd467c4b03",
    ),
    "GatewayParameters": (
        f"{_KGATEWAY}/gateway.kgateway.dev_gatewayparameters.yaml",
        "3f9f649dad92ae3ce85fecdfbc87a91513eadef3a8ef0792f923d5a5a77e218f",
    ),
}
"""Below the module cache, with SHA-256."""
_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


@cache
def crd(kind: str) -> Any:
    """The schema of the ``spec`` of ``kind``, or ``None`` if the module cache does not have it as it was released."""
    name, digest = _FILES[kind]
    modules = (
        os.environ.get("GOMODCACHE") or Path(os.environ.get("GOPATH") or Path.home() / "go") / "pkg" / "mod"
    )
    file = Path(modules) / name
    if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
        return None
    text = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("{{"))
    for found in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if found and found["spec"]["names"]["kind"] == kind:
            return found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    raise AssertionError(f"{kind} is not in {name}")


def refusals(value: Any, schema: dict[str, Any], path: str = "/spec") -> list[str]:
    """Why an API server would refuse ``value``."""
    if schema.get("x-kubernetes-int-or-string"):
        return [] if isinstance(value, int | str) else [f"{path}: neither integer nor string"]
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or (kind != "boolean" and isinstance(value, bool))):
        return [f"{path}: expected {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: {value!r} is none of {schema['enum']}"]
    if isinstance(value, list):
        return [
            said
            for number, each in enumerate(value)
            for said in refusals(each, schema.get("items", {}), f"{path}/{number}")
        ]
    if isinstance(value, dict):
        return _fields(value, schema, path)
    return []


def _fields(value: dict[str, Any], schema: dict[str, Any], path: str) -> list[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    said = [f"{path}/{name}: missing" for name in schema.get("required", ()) if name not in value]
    for name, each in value.items():
        if name in known or isinstance(others, dict):
            said += refusals(each, known.get(name, others), f"{path}/{name}")
        elif not (others or schema.get("x-kubernetes-preserve-unknown-fields")):
            said.append(f"{path}/{name}: unknown")
    return said

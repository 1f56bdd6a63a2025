"""Configuration in, Envoy's files out: what Envoy starts on, and the file-based xDS resources that it watches.

Each file is written whole and renamed into place, which is what Envoy's watch reacts to. ``version`` travels in
every discovery response, so that Envoy's admin can be asked which one it runs.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any as Json

import yaml

from sovereign_ext.config.model import Provider
from sovereign_ext.envoyconf import resources, routes
from sovereign_ext.envoyconf.layout import Layout


def write_static(layout: Layout) -> None:
    """Write what Envoy is started on when it has no configuration of its own."""
    _write(layout.listeners_file, resources.listener_response(layout))
    _write(layout.bootstrap_file, resources.bootstrap(layout))


def write_shared(layout: Layout) -> None:
    """Write what every Envoy needs and this release or the configuration decides: routes and descriptors of the
    management API, and where the certificates are."""
    _replace(layout.descriptor_file, descriptors(layout))
    served = routes.management(layout)
    for each in (layout, replace(layout, older=True)):
        _write(each.ingress_routes_file, resources.ingress_response(each, served))
    for file, response in resources.secret_responses(layout).items():
        _write(file, response)


def write_providers(layout: Layout, providers: Iterable[Provider], version: str) -> None:
    """Write clusters and internal routes for these providers."""
    found = list(providers)
    _write(layout.clusters_file, resources.cluster_response(layout, found, version))
    _write(layout.egress_routes_file, resources.egress_response(found, version, layout.workers))


def version_of(layout: Layout) -> str:
    """The version that ``write_providers`` wrote last."""
    with layout.clusters_file.open(encoding="utf-8") as file:
        return file.readline().removeprefix("version_info: ").strip().strip("'")


def descriptors(layout: Layout) -> bytes:
    """A serialised ``google.protobuf.FileDescriptorSet``."""
    return base64.b64decode(layout.transcoder.get("proto_descriptor_bin", ""))


def _write(path: Path, document: dict[str, Json]) -> None:
    text = yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    _replace(path, text.encode())


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)

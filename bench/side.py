"""What is measured: a side is an address that answers chat calls, and the processes that do the work for it.

Here are the upstream of all sides and bare Envoy: the same binary with as many threads as the gateway's, and nothing
but a route to the same mock. The gateway is in ``gateway``, other gateways are in ``peers``.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.children import Children
from bench.meter import Meter
from sovereign_ext.cli.supervise.probe import free_ports, listens
from sovereign_ext.cli.supervise.stack import envoy_binary

ENVOY, PROCESSOR = "Envoy", "processor"
UPSTREAM_MODEL = "demo-small"  # what the demo's first provider calls its model
START_S = 30.0
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


@dataclass(frozen=True, slots=True)
class Side:
    """Where to send calls, and whose CPU time they cost."""

    name: str
    port: int
    key: str
    model: str
    meters: Mapping[str, Meter]
    expect: str = ""
    """What each answer must contain, so that nobody is measured on answers that miss something."""


class Mock:
    """The upstream of all sides: the gateway's first provider, one ``sovereign mock`` of kind openai."""

    def __init__(self, port: int, meter: Meter) -> None:
        self.port = port
        self.meter = meter

    def fault(self, **fault: Any) -> None:
        """Answer like this from now on; nothing given is the normal answer. See docs/reference/mock.md."""
        self._ask("DELETE", None)
        if fault:
            self._ask("POST", {"scope": {"model": UPSTREAM_MODEL}, "fault": fault})

    def _ask(self, method: str, body: Any) -> None:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}/_mock/fault"
        urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=10).close()


def bare(children: Children, directory: Path, upstream: Mock, concurrency: str) -> Side:
    """Start Envoy alone in front of the mock."""
    port = free_ports(1)[0]
    config = directory / "bare-envoy.json"
    config.write_text(json.dumps(_bare_config(port, upstream.port)))
    argv = [str(envoy_binary()), "-c", str(config), "--concurrency", concurrency]
    argv += ["--disable-hot-restart", "--log-level", "warning"]
    child = children.start("bare Envoy", argv, directory / "bare-envoy.log")
    child.wait_until(lambda: listens(port), "it listened", START_S)
    return Side("bare Envoy", port, "sk-bench", UPSTREAM_MODEL, {ENVOY: Meter(child.pid)})


def _bare_config(port: int, upstream_port: int) -> dict[str, Any]:
    def at(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "0s"}}]
    manager = {
        "@type": _HCM,
        "stat_prefix": "bare",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": at(upstream_port)}}]}]
    cluster = {"name": "mock", "load_assignment": {"cluster_name": "mock", "endpoints": endpoints}}
    listener = {"name": "bare", "address": at(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}

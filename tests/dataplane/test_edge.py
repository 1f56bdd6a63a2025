"""The rendered gateway, booted: OpenAI's SDK over TLS with HTTP/1.1, HTTP/2 and HTTP/3, its limits, its access log."""

from __future__ import annotations

import datetime
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from edge_world import EdgeStack, converse
from openai import OpenAI
from stack import HELLO, SAID, ConfigFile, Process, eventually

from sovereign_ext.cli.supervise.certificates import Identity, make_root, make_server
from sovereign_ext.cli.supervise.leash import Leash
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.cli.supervise.stack import envoy_binary
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

CONNECTIONS = 40
STREAMS = 20


@dataclass
class World:
    """A gateway at the edge, its provider, and who signs its certificates."""

    stack: EdgeStack
    mock: RunningMock
    root: Identity
    directory: Path

    def sdk(self, *, http2: bool = False, url: str | None = None, **options: Any) -> OpenAI:
        client = httpx.Client(http2=http2, http1=not http2, verify=self.stack.trust(), timeout=30)
        base = {"base_url": f"{url or self.stack.url}/v1", "api_key": self.stack.config.key, "max_retries": 0}
        return OpenAI(http_client=client, **(base | options))

    def put_certificate(self, name: str) -> Identity:
        """A new certificate in the place of the old one, as cert-manager would renew it."""
        made = make_server(self.root, name, datetime.datetime.now(datetime.UTC), host="localhost")
        for file, data in (("tls.key", made.key_pem), ("tls.crt", made.certificate_pem)):
            (self.directory / f"{file}.new").write_bytes(data)
            (self.directory / f"{file}.new").replace(self.directory / file)
        return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("edge")
    root = make_root("root", datetime.datetime.now(datetime.UTC))
    (directory / "root.pem").write_bytes(root.certificate_pem)
    config = ConfigFile(
        more={
            "ingress": {
                "tls": {
                    "certificate_file": str(directory / "tls.crt"),
                    "key_file": str(directory / "tls.key"),
                },
                "http3": True,
                "limits": {"connections": CONNECTIONS, "streams_per_connection": STREAMS, "header_kib": 8},
            }
        }
    )
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        config.provider("one", "openai", mock.url)
        config.model("chat", ["one"])
        config.model("embed", ["one"], capabilities=("embeddings",))
        config.model("org/deep", ["one"])
        stack = EdgeStack(config, "gateway", roots=directory / "root.pem")
        made = World(stack, mock, root, directory)
        made.put_certificate("gateway")
        running.enter_context(stack)
        yield made


def work(client: OpenAI) -> None:
    """What every application sees, a model with a slash in its name, and a key that opens nothing."""
    converse(client)
    assert client.models.retrieve("org/deep").id == "org/deep"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-router-nope").models.list()


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_openais_sdk_over_tls(world: World, http2: bool) -> None:
    with world.sdk(http2=http2) as client:
        work(client)
        raw = client.models.with_raw_response.list()
        assert raw.http_response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert raw.headers["alt-svc"] == f'h3=":{world.stack.port}"; ma=86400'


def test_openais_sdk_over_http3(world: World, tmp_path: Path) -> None:
    """Through a second Envoy, which takes plain HTTP and speaks HTTP/3 to the gateway."""
    port = free_ports(1)[0]
    (tmp_path / "client.yaml").write_text(yaml.safe_dump(_http3_client(port, world)))
    before = world.stack.stat("http.ingress.downstream_rq_http3_total")
    leash = Leash()
    leash.hold()
    argv = [
        str(envoy_binary()),
        "-c",
        str(tmp_path / "client.yaml"),
        "--concurrency",
        "1",
        "--disable-hot-restart",
    ]
    speaker = Process("client", [*argv, "--log-level", "warning"], tmp_path / "client.log", {}, leash)
    speaker.start()
    try:
        url = f"http://127.0.0.1:{port}"

        def listens() -> bool:
            assert speaker.running, (tmp_path / "client.log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(listens, "the client Envoy listens")
        with world.sdk(url=url) as client:
            work(client)
    finally:
        speaker.end()
        leash.release()
    assert world.stack.stat("http.ingress.downstream_rq_http3_total") >= before + 6


def _http3_client(port: int, world: World) -> dict[str, Any]:
    tls = "type.googleapis.com/envoy.extensions.transport_sockets"
    http = "type.googleapis.com/envoy.extensions"
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": {
                        "@type": f"{http}.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "client",
                        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                            {"match": {"prefix": "/"}, "route": {"cluster": "gateway", "timeout": "0s"}}
                        ]}]},
                        "http_filters": [
                            {"name": "router", "typed_config": {"@type": f"{http}.filters.http.router.v3.Router"}}
                        ],
                    }}]}],
                }
            ],
            "clusters": [
                {
                    "name": "gateway",
                    "load_assignment": {"cluster_name": "gateway", "endpoints": [{"lb_endpoints": [{"endpoint": {
                        "address": {"socket_address": {"address": "127.0.0.1", "port_value": world.stack.port}}}}]}]},
                    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": f"{http}.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http3_protocol_options": {}},
                    }},
                    "transport_socket": {"name": "envoy.transport_sockets.quic", "typed_config": {
                        "@type": f"{tls}.quic.v3.QuicUpstreamTransport",
                        "upstream_tls_context": {"sni": "localhost", "common_tls_context": {"validation_context": {
                            "trusted_ca": {"filename": str(world.stack.roots)}}}},
                    }},
                }
            ],
        }
    }  # fmt: skip


def test_a_renewed_certificate_is_used_without_a_restart(world: World) -> None:
    """New connections get it; one that is open goes on."""
    stack = world.stack
    assert stack.certificate_name() == "gateway"
    with world.sdk() as client:
        client.models.list()
        world.put_certificate("renewed")
        eventually(lambda: stack.certificate_name() == "renewed", "the new certificate")
        client.models.list()


def test_the_access_log_has_every_call_and_no_secret(world: World) -> None:
    """One JSON object a call; no key, no query, nothing of the prompt or the answer."""
    secret, prompt = "canary-" + "q" * 20, "canary-" + "p" * 20
    with world.sdk() as client:
        made = client.chat.completions.with_raw_response.create(
            model="chat",
            messages=[{"role": "user", "content": prompt}],
            extra_query={"api_key": secret},
            extra_headers={"x-api-key": secret, "cookie": f"session={secret}", "user-agent": secret},
        )
    entry = world.stack.logged(lambda each: each.get("request_id") == made.request_id)
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/v1/chat/completions", 200)
    assert entry["decision_id"] == made.headers["x-sf-decision-id"]
    assert (entry["attempts"], entry["tls"], entry["client"]) == (1, "TLSv1.3", "127.0.0.1")
    text = world.stack.access_log.read_text()
    for hidden in (secret, prompt, world.stack.config.key, SAID):
        assert hidden not in text


def test_the_access_log_has_no_probe(world: World) -> None:
    """Neither one that is answered 200 nor, during a drain, 503; what only looks like one is a call."""
    stack = world.stack
    with stack.client() as client:
        assert client.get("/healthz").status_code == 200
        stack.admin("/healthcheck/fail", "POST")
        try:
            assert client.get("/healthz").status_code == 503
        finally:
            stack.admin("/healthcheck/ok", "POST")
        other = {"x-request-id": "no-probe"}
        assert client.get("/healthz?deep", headers=other).status_code == 404
    entry = stack.logged(lambda each: each.get("path") == "/healthz")
    assert entry["status"] == 404
    assert stack.access_log.read_text().count('"/healthz"') == 1


def test_odd_requests_are_refused_at_the_door(world: World) -> None:
    """Before the processor: too large headers, too many, names with underscores; paths are made one."""
    with world.stack.client(headers={"authorization": f"Bearer {world.stack.config.key}"}) as client:
        large = client.get("/v1/models", headers={"x-large": "x" * 9000})
        assert (large.status_code, large.json()["error"]["code"]) == (431, "headers_too_large")
        many = client.get("/v1/models", headers={f"x-{number}": "1" for number in range(120)})
        assert many.status_code == 431
        assert client.get("/v1/models", headers={"x_under": "1"}).status_code == 400
        assert client.get("/v1/./models").status_code == 200
        assert client.get("/v1//models").status_code == 200
        assert client.get("/v1/models/org%2Fdeep").status_code == 200
        spoofed = client.get(
            "/v1/models", headers={"x-forwarded-for": "203.0.113.9", "x-envoy-max-retries": "9"}
        )
        entry = world.stack.logged(lambda each: each.get("request_id") == spoofed.headers["x-request-id"])
        assert entry["client"] == "127.0.0.1"


def test_connections_beyond_the_limit_are_closed(world: World) -> None:
    """The others are not disturbed, although each call has an internal connection of its own besides."""
    context = world.stack.trust()
    with ExitStack() as held, world.sdk() as client:
        client.models.list()
        refused = 0
        for _ in range(CONNECTIONS + 10):
            plain = held.enter_context(socket.create_connection(("127.0.0.1", world.stack.port), timeout=10))
            try:
                held.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            except OSError:
                refused += 1
        assert refused >= 10
        assert client.chat.completions.create(model="chat", messages=HELLO).choices[0].message.content == SAID
    eventually(lambda: world.stack.stat("http.ingress.downstream_cx_active") <= 1, "connections are let go")
    assert world.stack.stat(f"listener.127.0.0.1_{world.stack.port}.downstream_global_cx_overflow") >= 10


def test_as_many_calls_on_one_connection_as_are_allowed(world: World) -> None:
    """All streams of one HTTP/2 connection at once."""

    def call(client: OpenAI) -> str | None:
        return client.chat.completions.create(model="chat", messages=HELLO).choices[0].message.content

    with world.sdk(http2=True) as client, ThreadPoolExecutor(STREAMS) as pool:
        assert [*pool.map(call, [client] * STREAMS)] == [SAID] * STREAMS


def test_a_slow_client_is_given_up(world: World) -> None:
    """Who does not finish its headers within 10 s is answered 408."""
    context = world.stack.trust()
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", world.stack.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n")
        answer = secured.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
    assert 9 < time.monotonic() - began < 15


def test_it_fails_closed(world: World) -> None:
    """Without the processor nothing passes, also in this rendering; the balancer's probe is Envoy's own."""
    stack, before = world.stack, len(world.mock.requests())
    stack.processor.kill()
    try:
        with stack.client(headers={"authorization": f"Bearer {stack.config.key}"}) as client:
            body = {"model": "chat", "messages": HELLO}
            failed = client.post("/v1/chat/completions", json=body)
            assert (failed.status_code, failed.json()["error"]["code"]) == (500, "gateway_unavailable")
            assert client.get("/healthz").status_code == 200
    finally:
        stack.start_processor()
        stack.wait_serving()
    assert len(world.mock.requests()) == before


def test_a_provider_that_is_added_is_taken_up(world: World) -> None:
    """The rendering names no provider: they come by the files that the processor keeps."""
    stack = world.stack
    assert "provider." not in (stack.rendered / "gateway.yaml").read_text()
    with RunningMock("vllm") as mock:
        stack.config.provider("two", "vllm", mock.url, secret=None)
        stack.config.model("second", ["two"])
        stack.config.write(stack.config_file)
        with world.sdk() as client:

            def answered() -> bool:
                try:
                    made = client.chat.completions.create(model="second", messages=HELLO)
                except openai.APIStatusError:
                    return False
                return made.choices[0].message.content == SAID

            eventually(answered, "an answer of the new provider")

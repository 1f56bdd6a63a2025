"""Certificates from a service: the rendered gateway asks it by name, as it would SPIRE's agent, and follows it."""

from __future__ import annotations

import datetime
import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from edge_world import EdgeStack
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from stack import HELLO, ConfigFile, eventually

from sovereign_ext.cli.supervise.certificates import Identity, make_root, make_server
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

OURS = "spiffe://acme.test/gateway"
DOMAIN = "spiffe://acme.test"
APP = "spiffe://acme.test/ns/prod/sa/app"
_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class Service:
    """``SecretDiscoveryService.StreamSecrets`` on a Unix socket. ``put`` tells everybody who asked."""

    def __init__(self, path: Path) -> None:
        self._secrets: dict[str, Any] = {}
        self._asked: list[tuple[str, queue.Queue[str | None]]] = []
        self._server = grpc.server(ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream,
            discovery_pb2.DiscoveryRequest.FromString,
            discovery_pb2.DiscoveryResponse.SerializeToString,
        )
        name = "envoy.service.secret.v3.SecretDiscoveryService"
        generic = grpc.method_handlers_generic_handler(name, {"StreamSecrets": handler})
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def put(self, secret: Any) -> None:
        self._secrets[secret.name] = secret
        for name, changes in self._asked:
            if name == secret.name:
                changes.put(name)

    def stop(self) -> None:
        for _, changes in self._asked:
            changes.put(None)
        self._server.stop(0).wait()

    def _stream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        name = next(requests).resource_names[0]
        changes: queue.Queue[str | None] = queue.Queue()
        changes.put(name)
        self._asked.append((name, changes))
        version = 0
        while changes.get() is not None:
            version += 1
            response = discovery_pb2.DiscoveryResponse(
                version_info=str(version), nonce=str(version), type_url=_TYPE
            )
            response.resources.add().Pack(self._secrets[name])
            yield response


def _certificate(identity: Identity) -> Any:
    secret = secret_pb2.Secret(name=OURS)
    secret.tls_certificate.certificate_chain.inline_bytes = identity.certificate_pem
    secret.tls_certificate.private_key.inline_bytes = identity.key_pem
    return secret


def test_certificates_by_sds(tmp_path: Path) -> None:
    """Ours, a renewal of it, and the roots by which a workload is known."""
    now = datetime.datetime.now(datetime.UTC)
    root = make_root("root", now)
    (tmp_path / "root.pem").write_bytes(root.certificate_pem)
    app = make_server(root, "app", now, uri=APP)
    (tmp_path / "app.pem").write_bytes(app.certificate_pem + app.key_pem)
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        config = ConfigFile(identities=[APP])
        config.provider("one", "openai", mock.url)
        config.model("chat", ["one"])
        stack = EdgeStack(config, "gateway", roots=tmp_path / "root.pem")
        path = stack.root / "sds.sock"
        sds = {"socket": str(path), "certificate": OURS, "roots": DOMAIN}
        config.more["ingress"] = {"tls": {"sds": sds}}
        service = Service(path)
        running.callback(service.stop)
        service.put(_certificate(make_server(root, "first", now, host="localhost")))
        roots = secret_pb2.Secret(name=DOMAIN)
        roots.validation_context.trusted_ca.inline_bytes = root.certificate_pem
        service.put(roots)
        running.enter_context(stack)
        assert stack.certificate_name() == "first"
        trusting = stack.trust()
        trusting.load_cert_chain(tmp_path / "app.pem")
        with stack.client(verify=trusting) as client:
            answer = client.post("/v1/chat/completions", json={"model": "chat", "messages": HELLO})
        assert answer.status_code == 200, answer.text
        assert stack.rows()[-1].predicate["key"] == APP
        service.put(_certificate(make_server(root, "second", now, host="localhost")))
        eventually(lambda: stack.certificate_name() == "second", "the renewed certificate")

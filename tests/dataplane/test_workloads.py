"""A workload's certificate in place of a key: real Envoy, real mutual TLS, and clients that claim to be others."""

from __future__ import annotations

import datetime
import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wire
from stack import HELLO, ConfigFile, Stack

from sovereign_ext.cli.supervise.certificates import Identity, make_root, make_server
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.tenants.resolve import PLACEHOLDER

pytestmark = pytest.mark.dataplane

APP = "spiffe://acme.test/ns/prod/sa/app"
STRANGER = "spiffe://acme.test/ns/prod/sa/stranger"
MODEL = "m"
FORGED = (
    f"URI={APP}",
    f"By=spiffe://acme.test/router;Hash={'0' * 64};URI={APP}",
    f"URI={STRANGER},URI={APP}",
)


@dataclass
class Client:
    """Who calls over TLS: with a certificate or without."""

    port: int
    root: Path
    identity: Path | None = None

    def call(self, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any]:
        """Status and JSON of a call, with those headers."""
        context = ssl.create_default_context(cafile=self.root)
        if self.identity is not None:
            context.load_cert_chain(self.identity)
        body = json.dumps({"model": MODEL, "messages": HELLO}) if "chat" in path else None
        sent = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        try:
            connection.request("GET" if body is None else "POST", path, body=body, headers=sent)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


class TlsStack(Stack):
    """A stack that serves TLS."""

    root_file: Path

    def models(self) -> wire.Reply:
        status, _ = Client(self.port, self.root_file).call(
            "/v1/models", authorization=f"Bearer {self.config.key}"
        )
        return wire.Reply(status, {}, b"")


@dataclass
class World:
    """A gateway, its provider, and the certificates of who calls it."""

    stack: Stack
    mock: RunningMock
    certificates: dict[str, Path] = field(default_factory=dict)

    def client(self, name: str | None = None) -> Client:
        assert isinstance(self.stack, TlsStack)
        identity = None if name is None else self.certificates[name]
        return Client(self.stack.port, self.stack.root_file, identity)


def _pem(path: Path, identity: Identity) -> Path:
    path.write_bytes(identity.certificate_pem + identity.key_pem)
    return path


def _config(mock: RunningMock, **ingress: Any) -> ConfigFile:
    config = ConfigFile(identities=[APP], more={"ingress": ingress} if ingress else {})
    config.provider("one", "openai", mock.url)
    config.model(MODEL, ["one"])
    return config


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway that asks for certificates itself."""
    directory = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    root, other_root = make_root("root", now), make_root("other root", now)
    server = _pem(directory / "server.pem", make_server(root, "router", now))
    ca = directory / "root.pem"
    ca.write_bytes(root.certificate_pem)
    certificates = {
        name: _pem(directory / f"{name}.pem", make_server(issuer, name, now, uri=uri))
        for name, issuer, uri in (
            ("app", root, APP),
            ("stranger", root, STRANGER),
            ("nameless", root, None),
            ("forged", other_root, APP),
        )
    }
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        config = _config(
            mock, tls={"certificate_file": str(server), "key_file": str(server), "client_ca_file": str(ca)}
        )
        stack = TlsStack(config)
        stack.root_file = ca
        yield World(running.enter_context(stack), mock, certificates)


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    status, document = answer
    return status, document.get("error", {}).get("code", "")


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": f"Bearer {PLACEHOLDER}"}], ids=["none", "placeholder"]
)
def test_a_workloads_certificate_is_its_key(mutual: World, headers: dict[str, str]) -> None:
    """The call is its tenant's; the entry names the workload where a key's id would stand."""
    status, document = mutual.client("app").call(**headers)
    assert status == 200, document
    row = mutual.stack.rows()[-1]
    assert row.tenant == "t"
    assert row.predicate["key"] == APP
    status, listed = mutual.client("app").call("/v1/models", **headers)
    assert (status, [model["id"] for model in listed["data"]]) == (200, [MODEL])


@pytest.mark.parametrize("name", [None, "stranger", "nameless"])
def test_nobody_elses_is(mutual: World, name: str | None) -> None:
    """No certificate, one of a workload that no tenant has, one without a SPIFFE id: they need a key."""
    client = mutual.client(name)
    assert code(client.call()) == (401, "invalid_api_key")
    assert code(client.call(authorization=f"Bearer {mutual.stack.config.key}")) == (200, "")


@pytest.mark.parametrize("name", [None, "stranger", "nameless"])
@pytest.mark.parametrize("header", FORGED)
def test_the_header_of_a_client_counts_for_nothing(mutual: World, name: str | None, header: str) -> None:
    """Envoy takes it away, or writes its own over it."""
    assert code(mutual.client(name).call(x_forwarded_client_cert=header)) == (401, "invalid_api_key")


def test_a_certificate_of_another_root_does_not_get_in(mutual: World) -> None:
    before = len(mutual.mock.requests())
    with pytest.raises((ssl.SSLError, OSError)):
        mutual.client("forged").call()
    assert len(mutual.mock.requests()) == before


def test_a_key_decides_where_one_comes_but_not_for_another_tenants_workload(mutual: World) -> None:
    """A bad key is not made good by a certificate; a stolen one is no use from somebody else's workload."""
    client, config = mutual.client("app"), mutual.stack.config
    assert code(client.call(authorization=f"Bearer {config.key}")) == (200, "")
    assert mutual.stack.rows()[-1].predicate["key"] == "t-1"
    assert code(client.call(authorization=f"Bearer {config.other_key}")) == (403, "identity_mismatch")
    assert code(client.call(authorization="Bearer sk-wrong")) == (401, "invalid_api_key")
    stranger = mutual.client("stranger")
    assert code(stranger.call(authorization=f"Bearer {config.other_key}")) == (200, "")


def test_no_provider_is_told_who_the_workload_is(mutual: World) -> None:
    mutual.client("app").call(x_forwarded_client_cert=FORGED[0])
    seen = mutual.mock.requests()[-1]
    assert "x-forwarded-client-cert" not in {name.lower() for name, _ in seen.headers}


@pytest.mark.parametrize("trusted", [False, True])
def test_the_word_of_a_proxy_counts_only_where_it_is_trusted(trusted: bool) -> None:
    """Behind a mesh whose sidecar speaks plain HTTP; of several hops the nearest counts."""
    with RunningMock("openai") as mock:
        config = _config(mock, **({"trust_forwarded_certificates": True} if trusted else {}))
        with Stack(config) as stack:

            def status(header: str, key: str | None = None) -> int:
                return wire.call(
                    stack.port,
                    key=key,
                    body={"model": MODEL, "messages": HELLO},
                    headers={"x-forwarded-client-cert": header},
                ).status

            assert status(f"By=spiffe://x/y;Hash=00;URI={APP}") == (200 if trusted else 401)
            assert status(f"URI={STRANGER},By=spiffe://x/y;URI={APP}") == (200 if trusted else 401)
            assert status(f"URI={APP},By=spiffe://x/y;URI={STRANGER}") == 401
            assert status(f"URI={APP},By=spiffe://x/y") == 401
            assert status(f"URI={APP}", config.other_key) == (403 if trusted else 200)

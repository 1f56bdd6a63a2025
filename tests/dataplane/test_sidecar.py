"""The rendered sidecar, and the pieces in somebody's own Envoy or a mesh's, booted: OpenAI's SDK on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psutil
import pytest
import wire
from edge_world import EdgeStack, converse
from openai import OpenAI
from stack import ConfigFile

from sovereign_ext.envoyconf.mode import IN_PODS
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.tenants.resolve import PLACEHOLDER

pytestmark = pytest.mark.dataplane

APP = "spiffe://acme.test/ns/prod/sa/app"
STRANGER = "spiffe://acme.test/ns/prod/sa/stranger"
FOOTPRINT_MIB = 120
"""Of Envoy, after a few calls. What was measured is in docs/deploy/sidecar.md."""


@dataclass
class World:
    stack: EdgeStack
    mock: RunningMock

    def sdk(self, key: str) -> OpenAI:
        return OpenAI(base_url=f"{self.stack.url}/v1", api_key=key, max_retries=0)


def _config(mock: RunningMock, **ingress: object) -> ConfigFile:
    config = ConfigFile(identities=[APP], more={"ingress": ingress} if ingress else {})
    config.provider("one", "openai", mock.url)
    config.model("chat", ["one"])
    config.model("embed", ["one"], capabilities=("embeddings",))
    return config


@pytest.fixture(scope="module")
def sidecar() -> Iterator[World]:
    """Beside one application."""
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        config = _config(mock, trust_forwarded_certificates=True, limits={"heap_mib": 128})
        stack = EdgeStack(config, "sidecar", "--workload", APP)
        yield World(running.enter_context(stack), mock)


@pytest.fixture(scope="module", params=["snippet", "xds", "istio", "envoy-gateway", "kgateway"])
def own(request: pytest.FixtureRequest) -> Iterator[World]:
    """An Envoy that somebody configures: with the pieces, with the files of discovery responses, or as the control
    plane of a mesh does with the objects."""
    with ExitStack() as running:
        mock = running.enter_context(RunningMock("openai"))
        image = ("--image", "sovereign:test") if request.param in IN_PODS else ()
        stack = EdgeStack(_config(mock), request.param, *image)
        if request.param == "xds":
            stack.shared = stack.rendered  # as the control plane's files; the processor keeps the same ones
            stack.processor._argv[-1] = str(stack.rendered)
        yield World(running.enter_context(stack), mock)


def test_the_application_needs_no_key(sidecar: World) -> None:
    """Its tenant is that of its SPIFFE id, which the entry names."""
    with sidecar.sdk(PLACEHOLDER) as client:
        converse(client)
    row = sidecar.stack.rows()[-1]
    assert (row.tenant, row.predicate["key"]) == ("t", APP)


@pytest.mark.parametrize("header", [f"URI={STRANGER}", f"By=x;URI={STRANGER}", "nonsense"])
def test_it_cannot_say_that_it_is_another(sidecar: World, header: str) -> None:
    """What it sends as the header of a mesh is overwritten; no provider is told who it is."""
    reply = sidecar.stack.chat("chat", headers={"x-forwarded-client-cert": header})
    assert reply.status == 200
    assert sidecar.stack.row_of(reply).tenant == "t"
    assert "x-forwarded-client-cert" not in {name.lower() for name, _ in sidecar.mock.requests()[-1].headers}
    other = wire.call(sidecar.stack.port, "/v1/models", key=sidecar.stack.config.other_key, method="GET")
    assert (other.status, other.error["code"]) == (403, "identity_mismatch")


def test_calls_to_the_providers_own_name_are_taken_too(sidecar: World) -> None:
    """A mesh that redirects api.openai.com to this port leaves the host as the application wrote it."""
    reply = sidecar.stack.chat("chat", headers={"host": "api.openai.com"})
    assert reply.status == 200
    sent = {name.lower(): value for name, value in sidecar.mock.requests()[-1].headers}
    assert sent["host"].startswith("127.0.0.1")


def test_its_footprint_is_small(sidecar: World) -> None:
    assert psutil.Process(sidecar.stack.envoy.pid).memory_info().rss < FOOTPRINT_MIB * 1024 * 1024


def test_it_listens_on_loopback_only(sidecar: World) -> None:
    ports = psutil.Process(sidecar.stack.envoy.pid).net_connections("inet")
    assert {each.laddr for each in ports if each.status == psutil.CONN_LISTEN} == {
        ("127.0.0.1", sidecar.stack.port)
    }


def test_an_envoy_of_ones_own(own: World) -> None:
    """Calls of models, receipts, and in the bootstrap with the pieces its owner's own page."""
    with own.sdk(own.stack.config.key) as client:
        converse(client)
    reply = own.stack.chat("chat")
    receipt = wire.call(
        own.stack.port, reply.attestation["receipt_url"], key=own.stack.config.key, method="GET"
    )
    assert receipt.status == 200
    assert own.stack.chat("chat", headers={"x-forwarded-client-cert": f"URI={STRANGER}"}).status == 200
    if own.stack.mode == "snippet":
        page = wire.call(own.stack.port, "/mine", method="GET")
        assert (page.status, page.body) == (200, b"mine")

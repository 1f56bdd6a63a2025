"""Pins and SPIFFE ids on real Envoy with real TLS: who is not the pinned one is never sent a byte."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from stack import ConfigFile, Gateway, Stack, eventually

from sovereign_ext.cli.supervise.certificates import Identity, make_root, make_server
from sovereign_ext.mock.thread import RunningMock

pytestmark = pytest.mark.dataplane

SPIFFE = "spiffe://hospital.example/inference"
ANSWERS = {"right-pin", "one-of-two-pins", "right-spiffe", "pin-and-spiffe"}
REFUSED = {"wrong-pin", "wrong-spiffe", "right-pin-wrong-root", "pin-of-the-root", "no-spiffe-in-it"}


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    root, other_root = make_root("root", now), make_root("other root", now)
    named, plain = make_server(root, "a", now, uri=SPIFFE), make_server(root, "b", now)
    roots = {name: _file(directory / name, each) for name, each in (("root", root), ("other", other_root))}
    other = make_server(root, "c", now)
    config = ConfigFile()
    with ExitStack() as running:
        mocks = {
            name: running.enter_context(RunningMock("openai", tls=_context(directory / name, each)))
            for name, each in (("named", named), ("plain", plain))
        }
        known: dict[str, tuple[str, str, dict[str, object]]] = {
            "right-pin": ("plain", "root", {"spki_pins": [plain.spki_pin]}),
            "one-of-two-pins": ("plain", "root", {"spki_pins": [other.spki_pin, plain.spki_pin]}),
            "right-spiffe": ("named", "root", {"spiffe_id": SPIFFE}),
            "pin-and-spiffe": ("named", "root", {"spiffe_id": SPIFFE, "spki_pins": [named.spki_pin]}),
            "wrong-pin": ("plain", "root", {"spki_pins": [other.spki_pin]}),
            "wrong-spiffe": ("named", "root", {"spiffe_id": SPIFFE + "/other"}),
            "no-spiffe-in-it": ("plain", "root", {"spiffe_id": SPIFFE}),
            "right-pin-wrong-root": ("plain", "other", {"spki_pins": [plain.spki_pin]}),
            "pin-of-the-root": ("plain", "root", {"spki_pins": [root.spki_pin]}),
        }
        for name, (mock, ca, tls) in known.items():
            config.provider(name, "openai", mocks[mock].url, tls=tls, tls_ca_file=roots[ca])
            config.model(name, [name])
        yield Gateway(running.enter_context(Stack(config)), mocks)


def _file(path: Path, identity: Identity) -> str:
    path.write_bytes(identity.certificate_pem)
    return str(path)


def _context(path: Path, identity: Identity) -> ssl.SSLContext:
    path.write_bytes(identity.key_pem + identity.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_the_pinned_one_answers(identities: Gateway, name: str, stream: bool) -> None:
    """One matching pin of several is enough; a SPIFFE id stands in for the host's name."""
    reply = identities.stack.chat(name, stream=stream)
    assert reply.status == 200
    assert identities.stack.row_of(reply).outcomes == ["ok"]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_anybody_else_is_sent_nothing(identities: Gateway, name: str) -> None:
    """The handshake fails before the request leaves Envoy."""
    before = {mock: len(each.requests()) for mock, each in identities.mocks.items()}
    reply = identities.stack.chat(name)
    assert (reply.status, reply.error["code"]) == (502, "provider_unreachable")
    assert identities.stack.row_of(reply).outcomes == ["tls_failure"]
    assert {mock: len(each.requests()) for mock, each in identities.mocks.items()} == before


def test_roots_are_found_beside_the_configuration_file(identities: Gateway) -> None:
    """A relative path is relative to sovereign.yaml, wherever Envoy and the processor run."""
    stack = identities.stack
    trusted = next(each["tls_ca_file"] for each in stack.config.providers if each["id"] == "right-pin")
    directory = stack.config_file.parent / "roots"
    directory.mkdir()
    (directory / "beside.pem").write_bytes(Path(trusted).read_bytes())
    assert not Path("roots/beside.pem").exists()
    stack.config.provider(
        "beside", "openai", identities.mocks["plain"].url, secret=None, tls_ca_file="roots/beside.pem"
    )
    stack.config.model("beside", ["beside"])
    stack.config.write(stack.config_file)
    eventually(lambda: stack.chat("beside").status == 200, "an answer from behind the root")

"""What Envoy is told of the services: complete descriptors, exact paths."""

from __future__ import annotations

import re

import pytest
from envoy.extensions.filters.http.grpc_json_transcoder.v3 import transcoder_pb2
from google.api import http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, json_format

from sovereign_ext.management import descriptor


def test_descriptor_set_stands_alone_and_in_order() -> None:
    """An empty pool takes the files one by one: each comes after all that it imports."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor.descriptor_set()).file
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()
    for file in files:
        assert set(file.dependency) <= known
        known.add(file.name)
        pool.AddSerializedFile(file.SerializeToString())
    for name in descriptor.services:
        assert pool.FindServiceByName(name).full_name == name
    assert pool.FindMessageTypeByName("google.rpc.RetryInfo")


def test_descriptor_set_is_the_same_every_time() -> None:
    """Rendering a configuration twice gives the same bytes, so reloads see no change where there is none."""
    assert descriptor.descriptor_set() == descriptor.descriptor_set()


def test_every_method_has_a_path_and_every_path_a_method() -> None:
    """No method of the transcoded services is unreachable over HTTP."""
    methods = {method.full_name for service in descriptor.SERVICES for method in service.methods}
    assert {route.grpc_method for route in descriptor.routes()} == methods
    assert methods >= descriptor.PUBLIC


def test_public_paths_are_the_logs_and_the_description() -> None:
    """Only what any auditor may read, and what the API is, is open without a key."""
    assert {route.template for route in descriptor.routes() if route.public} == {
        "/checkpoint",
        "/api/v2/checkpoint",
        "/tile/{path=**}",
        "/api/v2/tile/{path=**}",
        "/sf/v1/trusted_root",
        "/sf/v1/log_keys",
        "/sf/v1/openapi.json",
    }


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/sf/v1/receipts/12", "/sf/v1/{name=receipts/*}"),
        ("/sf/v1/receipts/a%2Fb", "/sf/v1/{name=receipts/*}"),
        ("/sf/v1/providers", "/sf/v1/providers"),
        ("/sf/v1/providers/mayo", "/sf/v1/{name=providers/*}"),
        ("/sf/v1/log", "/sf/v1/log"),
        ("/sf/v1/trusted_root", "/sf/v1/trusted_root"),
        ("/checkpoint", "/checkpoint"),
        ("/tile/0/x001/234.p/5", "/tile/{path=**}"),
        ("/api/v2/tile/entries/000", "/api/v2/tile/{path=**}"),
        ("/sf/v1/receipts/", None),
        ("/sf/v1/receipts/1/2", None),
        ("/sf/v1/logs", None),
        ("/sf/v1/", None),
        ("/sf/v1/trustedXroot", None),
        ("/checkpoint/", None),
        ("/x/checkpoint", None),
        ("/tile/", None),
        ("/api/v1/tile/0/000", None),
        ("/v1/chat/completions", None),
        ("/sovereign.log.v1.LogService/GetLog", None),
    ],
)
def test_a_path_belongs_to_one_route_or_to_none(path: str, template: str | None) -> None:
    """The expressions for Envoy pick exactly the paths of the templates, for what is read."""
    reading = [route for route in descriptor.routes() if route.http_method == "GET"]
    matching = [route.template for route in reading if re.fullmatch(route.regex, path)]
    assert matching == ([template] if template else [])
    assert [route.path for route in reading if route.path == path] in ([], [template])


def test_paths_without_variables_need_no_expression() -> None:
    """Envoy finds a literal path faster than an expression."""
    for route in descriptor.routes():
        assert (route.path is None) is ("*" in route.template)
        assert route.path is None or re.fullmatch(route.regex, route.path)


def test_rules_that_cannot_be_rendered_are_refused() -> None:
    """A rule without a standard method would give a route that nothing answers."""
    with pytest.raises(ValueError, match="custom"):
        descriptor._verb(http_pb2.HttpRule(custom=http_pb2.CustomHttpPattern(kind="LIST", path="/x")))


def test_transcoder_is_what_envoy_accepts() -> None:
    """Every field exists in Envoy's own contract, with a value of the right type."""
    config = json_format.ParseDict(descriptor.transcoder(), transcoder_pb2.GrpcJsonTranscoder())
    assert config.proto_descriptor_bin == descriptor.descriptor_set()
    assert tuple(config.services) == descriptor.services
    assert config.convert_grpc_status
    assert config.max_response_body_size.value > 256 * (2 + 0xFFFF)

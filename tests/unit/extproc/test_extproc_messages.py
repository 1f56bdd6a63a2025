"""ext_proc messages: what is read from Envoy, what is taken from a request, what a failure is called."""

from __future__ import annotations

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from sovereign_ext.envoyconf.names import METADATA, PLAN_METADATA, WALK_HEADER
from sovereign_ext.exchange.steps import Head
from sovereign_ext.extproc import messages
from sovereign_ext.extproc.unreachable import explain
from sovereign_ext.providers.base import UpstreamRequest

PRESENT = {
    ":path": "/v1/chat/completions",
    ":authority": "gateway",
    "authorization": "Bearer sk-client",
    "x-request-id": "id",
    "x-sf-target": "entry",
    "x-forwarded-proto": "http",
    "content-type": "application/json",
    "cookie": "a=b",
}


def headers(*pairs: tuple[str, bytes]) -> pb.HttpHeaders:
    message = pb.HttpHeaders()
    for name, value in pairs:
        message.headers.headers.add(key=name, raw_value=value)
    return message


def test_equal_headers_make_a_list():
    """RFC 9110 5.3: none of several headers of one name is overlooked; any byte is a character."""
    found = messages.headers_of(headers(("x-sf-policy", b"a"), ("b", b"\xff"), ("x-sf-policy", b"c")))
    assert found == {"x-sf-policy": "a, c", "b": "\xff"}


def test_attributes():
    """An attribute that Envoy did not send is not there, and none of another filter is."""
    message = pb.ProcessingRequest()
    assert messages.attributes_of(message) == {}
    message.attributes["another"].update({"x": "y"})
    assert messages.attributes_of(message) == {}
    message.attributes["envoy.filters.http.ext_proc"].update({"response.code_details": "via_upstream"})
    assert messages.attributes_of(message) == {"response.code_details": "via_upstream"}


def test_an_accepted_request_keeps_little():
    """The client's key and cookies go no further than the processor; routing pseudo-headers stay."""
    reply = messages.accept_exchange("dec-1", PRESENT)
    removed = set(reply.request_headers.response.header_mutation.remove_headers)
    assert removed >= {"authorization", "cookie", "x-sf-target"}
    assert not any(name.startswith(":") for name in removed)
    assert reply.dynamic_metadata[METADATA]["decision_id"] == "dec-1"


def test_an_attempt_starts_from_nothing():
    """Everything present is removed, the provider's headers are set, and the body is exactly the adapter's."""
    upstream = UpstreamRequest("/v1/x", "api.example", (("authorization", "Bearer sk-own"),), b"{}")
    common = messages.send_attempt(upstream, PRESENT).request_headers.response
    assert common.body_mutation.body == b"{}"
    assert {"authorization", "cookie", "x-request-id"} <= set(common.header_mutation.remove_headers)
    given = {each.header.key: each.header.raw_value for each in common.header_mutation.set_headers}
    assert given == {":path": b"/v1/x", ":authority": b"api.example", "authorization": b"Bearer sk-own"}
    assert not common.clear_route_cache


def test_an_older_envoy_is_told_the_target():
    """It looks for a route again with the header that it has not written, whatever the adapter says."""
    upstream = UpstreamRequest("/v1/x", "api.example", (("x-sf-target", "provider.spoofed"),), b"{}")
    common = messages.send_attempt(upstream, {}, target="provider.a.1").request_headers.response
    assert common.clear_route_cache
    given = {each.header.key: each.header.raw_value for each in common.header_mutation.set_headers}
    assert given["x-sf-target"] == b"provider.a.1"


@pytest.mark.parametrize("size", [1, 3])
def test_the_walk_has_one_element_more(size: int):
    """The last cluster stands twice: whoever arrives there the second time answers for the whole walk."""
    clusters = tuple(f"entry.{number}" for number in range(size))
    reply = messages.plan_exchange(clusters, "json", 5000)
    groups = reply.dynamic_metadata[PLAN_METADATA]["priority_groups"]
    named = [group["clusters"][0]["cluster_name"] for group in groups]
    assert named == [*clusters, clusters[-1]]
    given = {
        each.header.key: each.header.raw_value
        for each in reply.request_body.response.header_mutation.set_headers
    }
    assert given["x-envoy-max-retries"] == str(size).encode()
    assert reply.request_body.response.clear_route_cache
    assert reply.request_body.response.body_mutation.clear_body


def test_nothing_of_the_providers_head_is_left():
    """Response headers are ours alone."""
    present = {
        ":status": "200",
        "server": "x",
        "set-cookie": "a",
        "openai-organization": "ours",
        "content-length": "5",
    }
    mutation = messages.release_head(Head(200, (("content-type", "a/b"),)), present).response_headers.response
    assert set(mutation.header_mutation.remove_headers) == set(present) - {":status"}


def test_a_walk_is_marked():
    """Ending an attempt carries the mark that Envoy goes on for, a status that it retries, and no body."""
    answer = messages.walk().immediate_response
    assert answer.status.code == 503
    assert {each.header.key: each.header.raw_value for each in answer.headers.set_headers} == {
        WALK_HEADER: b"1"
    }
    assert not answer.body


@pytest.mark.parametrize(
    ("details", "reason", "outcome", "status"),
    [
        ("upstream_per_try_timeout", "", "first_byte_timeout", 504),
        ("response_timeout", "", "first_byte_timeout", 504),
        ("upstream_max_stream_duration_reached", "", "total_timeout", 504),
        ("upstream_reset_before_response_started{connection_timeout}", "", "connect_timeout", 502),
        (
            "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|1:CERTIFICATE_VERIFY_FAILED}",
            "TLS_error:|1:CERTIFICATE_VERIFY_FAILED",
            "tls_failure",
            502,
        ),
        (
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            "delayed connect error: Connection refused",
            "connect_failure",
            502,
        ),
        ("no_healthy_upstream", "", "connect_failure", 502),
        ("upstream_reset_before_response_started{protocol_error}", "", "protocol_error", 502),
        ("upstream_reset_before_response_started{connection_termination}", "", "reset", 502),
        ("upstream_reset_before_response_started{remote_reset}", "", "reset", 502),
        ("something_new", "", "no_answer", 502),
    ],
)
def test_failures_have_names(details: str, reason: str, outcome: str, status: int):
    """Envoy's details become a reason code; none of its text reaches the client."""
    found, error = explain(details, reason)
    assert (found, error.status, error.retry) == (outcome, status, True)
    assert "upstream" not in error.message
    assert "refused" not in error.message

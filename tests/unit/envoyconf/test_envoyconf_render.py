"""Envoy's configuration: what it says, and that Envoy itself accepts it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from golden_world import walk

from sovereign_ext.cli.supervise.stack import envoy_binary
from sovereign_ext.config.model import Provider, ProviderKind, Timeouts
from sovereign_ext.envoyconf import clusters, listeners, render, routes
from sovereign_ext.envoyconf.layout import Layout
from sovereign_ext.envoyconf.names import (
    MODE_HEADER,
    TARGET_HEADER,
    WALK_HEADER,
    entry_cluster,
    led_to,
    provider_cluster,
)
from sovereign_ext.envoyconf.typed import plain
from sovereign_ext.management import descriptor

PLAIN = Provider(id="plain", kind=ProviderKind.OLLAMA, endpoint="http://127.0.0.1:11434")
NAMED = Provider(id="named", kind=ProviderKind.OPENAI, endpoint="https://api.openai.example/v1")
NUMERIC = Provider(id="numeric", kind=ProviderKind.VLLM, endpoint="https://10.0.0.7:8443/v1")
SIX = Provider(id="six", kind=ProviderKind.MOCK, endpoint="http://[::1]:8080/v1")
ALL = (PLAIN, NAMED, NUMERIC, SIX)
ROOTS = "/etc/ssl/bundle.pem"
PROVIDERS = pytest.mark.parametrize("provider", ALL, ids=lambda each: each.id)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(
        directory=tmp_path / "envoy",
        config_directory=tmp_path,
        processor_sockets=("/run/x/extproc.sock",),
        management_sockets=("/run/x/management.sock",),
        admin_socket="/run/x/admin.sock",
        listen_host="127.0.0.1",
        listen_port=8080,
        max_request_bytes=1_000_000,
        transcoder=descriptor.transcoder(),
        roots=clusters.system_roots(),
    )


def test_envoy_accepts_it(layout: Layout):
    """`envoy --mode validate` on what was written, with every kind of endpoint."""
    render.write_providers(layout, ALL, "1")
    render.write_shared(layout)
    render.write_static(layout)
    done = subprocess.run(
        [str(envoy_binary()), "--mode", "validate", "-c", str(layout.bootstrap_file), "--log-level", "warning"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_files_are_private_and_whole(layout: Layout):
    """Files are written aside and renamed, carry their version, and hold no credential."""
    render.write_providers(layout, ALL, "7")
    assert yaml.safe_load(layout.clusters_file.read_text())["version_info"] == "7"
    assert layout.directory.stat().st_mode & 0o077 == 0
    assert not list(layout.directory.glob("*.tmp"))


@PROVIDERS
def test_clusters(provider: Provider):
    """A provider's cluster reaches its host and port, with TLS and the right name where the scheme says so."""
    made = plain(clusters.provider(provider, Path("/etc/sovereign"), ROOTS))
    address = walk(made)
    (socket,) = [each["socket_address"] for each in address if "socket_address" in each]
    assert (socket["address"], socket["port_value"]) == {
        "plain": ("127.0.0.1", 11434),
        "named": ("api.openai.example", 443),
        "numeric": ("10.0.0.7", 8443),
        "six": ("::1", 8080),
    }[provider.id]
    secure = provider.endpoint.startswith("https")
    assert ("transport_socket" in made) == secure
    if secure:
        text = str(made)
        assert "match_typed_subject_alt_names" in text
        assert "trusted_ca" in text


@pytest.mark.parametrize(
    ("named", "read"),
    [
        ("roots/corp.pem", "/etc/sovereign/roots/corp.pem"),
        ("../corp.pem", "/etc/sovereign/../corp.pem"),
        ("/etc/ssl/corp.pem", "/etc/ssl/corp.pem"),
        (None, ROOTS),
    ],
)
def test_roots_are_relative_to_the_configuration_file(named: str | None, read: str):
    """As all its paths are, and not to where Envoy happens to run; an absolute path stays as it is."""
    provider = NAMED.model_copy(update={"tls_ca_file": named})
    made = plain(clusters.provider(provider, Path("/etc/sovereign"), ROOTS))
    contexts = [each["validation_context"] for each in walk(made) if "validation_context" in each]
    assert [each["trusted_ca"] for each in contexts] == [{"filename": read}]


def test_a_changed_provider_is_another_cluster():
    """Streams on the old one finish undisturbed; both names lead to each other."""
    changed = PLAIN.model_copy(update={"timeouts": Timeouts(connect_ms=1)})
    assert provider_cluster(PLAIN) != provider_cluster(changed)
    assert provider_cluster(PLAIN) == provider_cluster(PLAIN.model_copy())
    for provider in (PLAIN, changed):
        assert entry_cluster(provider) != provider_cluster(provider)
        assert led_to(entry_cluster(provider)) == provider_cluster(provider)


def test_two_routes_for_each_provider():
    """Streams have the first-byte limit, whole answers the total; the internal headers end there."""
    slow = NAMED.model_copy(update={"timeouts": Timeouts(first_byte_ms=1500, total_ms=9000)})
    default = PLAIN
    table = routes.egress([slow, default])
    limits = {
        route["name"].rpartition(".")[::2]: route["route"]["retry_policy"]["per_try_timeout"]
        for route in table["virtual_hosts"][0]["routes"]
    }
    assert limits == {
        (provider_cluster(slow), "stream"): "1.500s",
        (provider_cluster(slow), "json"): "1.500s",
        (provider_cluster(default), "stream"): "60s",
        (provider_cluster(default), "json"): "600s",
    }
    assert set(table["request_headers_to_remove"]) >= {TARGET_HEADER, MODE_HEADER}
    for route in table["virtual_hosts"][0]["routes"]:
        assert {each["name"] for each in route["match"]["headers"]} == {TARGET_HEADER, MODE_HEADER}


def test_the_walk(layout: Layout):
    """Nothing leaves by a route that the processor has not planned, and retries need its own header."""
    (host,) = routes.ingress(layout, [])["virtual_hosts"]
    found = host["routes"][-1]
    assert found["match"] == {"prefix": "/"}
    plugin = found["route"]["inline_cluster_specifier_plugin"]["extension"]["typed_config"]
    assert plugin["priority_groups"][0]["clusters"][0]["cluster_name"] == clusters.UNPLANNED_CLUSTER
    assert clusters.nowhere().load_assignment.endpoints == []
    assert found["route"]["retry_policy"].get("num_retries", 0) == 0
    assert WALK_HEADER in str(found["route"]["retry_policy"])


def test_it_fails_closed(layout: Layout):
    """Both filters refuse to let anything pass without the processor."""
    for listener in (listeners.ingress(layout), listeners.egress(layout)):
        processors = [each for each in walk(listener) if "processing_mode" in each]
        assert processors
        assert not any(each.get("failure_mode_allow") for each in processors)


@pytest.mark.parametrize("status", [400, 408, 413, 426, 431, 501, 504])
def test_local_replies(layout: Layout, status: int):
    """What Envoy answers by itself is an OpenAI error; the caller's faults are not retried."""
    manager = listeners.ingress(layout)["filter_chains"][0]["filters"][0]["typed_config"]
    mappers = manager["local_reply_config"]["mappers"]
    (mapper,) = [each for each in mappers if f"sovereign.reply.{status}'" in str(each["filter"])]
    error = mapper["body_format_override"]["json_format"]["error"]
    assert set(error) == {"message", "type", "param", "code"}
    retry = {each["header"]["key"]: each["header"]["value"] for each in mapper["headers_to_add"]}[
        "x-should-retry"
    ]
    assert retry == ("true" if status >= 500 and status != 501 else "false")
    assert (error["type"] == "server_error") == (retry == "true")
    assert "filter" in mappers[-1]
    assert "status_code_filter" not in mappers[-1]["filter"]

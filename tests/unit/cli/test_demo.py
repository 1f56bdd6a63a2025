"""The demo's files: accepted by the configuration, keys minted once, ports kept while they are free."""

from __future__ import annotations

import socket
import stat
import subprocess

import pytest

from sovereign_ext.cli.supervise import demo, layout, sealed
from sovereign_ext.config.load import load
from sovereign_ext.config.model import Capability
from sovereign_ext.errors import StartError
from sovereign_ext.tenants.keys import checksum_ok, hash_key

pytestmark = pytest.mark.services


@pytest.fixture
def places(tmp_path):
    layout.prepare_root(tmp_path)
    return layout.Layout(tmp_path, tmp_path / "run")


def test_the_configuration_is_valid(places):
    """The file that `sovereign up` makes passes the loader that the processor and `sovereign check` use."""
    made = demo.prepare(places, 8080)
    config = load(places.config).config
    assert {provider.id: provider.kind.value for provider in config.providers} == {
        **demo.PROVIDERS,
        sealed.PROVIDER: "mock",
    }
    assert all(f":{made.ports[provider.id]}" in provider.endpoint for provider in config.providers), (
        "each provider is its own mock"
    )


def test_every_model_can_fall_back(places):
    """Each model has a second provider that the default policy allows, so that fallback can be watched."""
    demo.prepare(places, 8080)
    config = load(places.config).config
    default = next(policy for policy in config.policies if policy.id == "default")
    allowed = {
        name for entry in default.providers for name in ((entry,) if isinstance(entry, str) else entry)
    }
    for model in config.models:
        if model.id == sealed.MODEL:
            continue  # shows the contrary: a policy that nobody else satisfies
        serving = {each.provider for each in config.deployments if each.model == model.id} & allowed
        assert len(serving) >= 2, model.id
    embeds = {each.model for each in config.deployments if Capability.EMBEDDINGS in each.capabilities}
    assert embeds == {"demo/embed", "text-embedding-3-small"}


def test_the_file_holds_hashes_of_the_keys(places):
    """demo.env opens what sovereign.yaml names; the keys themselves are in demo.env only, for the owner
    only.
    """
    made = demo.prepare(places, 8080)
    config = load(places.config).config
    assert config.tenants[0].keys[0].hash == hash_key(made.tenant_key.reveal())
    assert config.admins[0].keys[0].hash == hash_key(made.admin_key.reveal())
    assert checksum_ok(made.tenant_key.reveal())
    assert "sk-" not in places.config.read_text()
    for path in (places.env_file, places.config):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_demo_env_can_be_sourced(places):
    """By any POSIX shell."""
    made = demo.prepare(places, 18080)
    shown = subprocess.run(
        ["/bin/sh", "-c", f'. "{places.env_file}"; printf %s "$SF_BASE_URL $SF_API_KEY $SF_ADMIN_KEY"'],
        capture_output=True,
        text=True,
        check=True,
    )
    keys = f"{made.tenant_key.reveal()} {made.admin_key.reveal()}"
    assert shown.stdout == f"http://127.0.0.1:18080/v1 {keys}"


def test_a_second_start_keeps_keys_and_ports(places):
    """Only the base URL follows the port asked for."""
    first = demo.prepare(places, 8080)
    config = places.config.read_text()
    second = demo.prepare(places, 8081)
    assert (second.tenant_key, second.admin_key) == (first.tenant_key, first.admin_key)
    assert second.ports == first.ports
    assert places.config.read_text() == config
    assert (first.first_start, second.first_start) == (True, False)
    assert "SF_BASE_URL=http://127.0.0.1:8081/v1\n" in places.env_file.read_text()


@pytest.mark.parametrize("name", ["cloud-a", "laptop", "mayo-internal", "verifier", "mirror"])
def test_a_taken_mock_port_is_replaced_alone(places, name):
    """The user's other changes to the file stay, and so do the other endpoints."""
    first = demo.prepare(places, 8080)
    places.config.write_text(places.config.read_text() + "# mine\n")
    with socket.create_server(("127.0.0.1", first.ports[name])):
        second = demo.prepare(places, 8080)
    changed = {each for each in demo.SERVERS if first.ports[each] != second.ports[each]}
    assert changed == {name}
    assert places.config.read_text().endswith("# mine\n")
    for provider in load(places.config).config.providers:
        assert f":{second.ports[provider.id]}" in provider.endpoint
    assert demo.prepare(places, 8080).ports == second.ports


def test_lost_keys_are_named(places):
    """Hashes do not give keys back; the line says what to do."""
    demo.prepare(places, 8080)
    places.env_file.unlink()
    with pytest.raises(StartError, match=r"demo\.env: No such file .* move that file away to begin anew"):
        demo.prepare(places, 8080)
    places.env_file.write_text("SF_API_KEY=x\n")
    with pytest.raises(StartError, match="has no line SF_ADMIN_KEY="):
        demo.prepare(places, 8080)


def test_a_configuration_of_ones_own_starts_no_mocks(places):
    """Without our list of ports no mock is started; damaged lists count as none."""
    demo.prepare(places, 8080)
    places.ports_file.write_text("[]")
    assert demo.prepare(places, 8080).ports == {}

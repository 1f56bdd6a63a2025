"""Workers that share an Envoy give it what any of them needs, whoever writes last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sovereign_ext.config.load import load
from sovereign_ext.config.model import Provider, ProviderKind
from sovereign_ext.envoyconf.names import provider_cluster
from sovereign_ext.envoyfiles import EnvoyFiles
from sovereign_ext.settings import Settings


def provider(name: str) -> Provider:
    return Provider(id=name, kind=ProviderKind.OPENAI, endpoint=f"https://{name}.example/v1")


A, B, C = provider("a"), provider("b"), provider("c")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "sovereign.yaml"
    file.write_text("version: 1\norigin: sovereign.test/log\npolicies: [{id: p}]\n")
    return Settings(file, tmp_path / "state", tmp_path / "run", "127.0.0.1", 8080, workers=2)


def workers(settings: Settings) -> list[EnvoyFiles]:
    config = load(settings.config_file).config
    return [EnvoyFiles(each, config) for each in settings.each_worker]


def given(settings: Settings) -> list[str]:
    """Clusters of providers that Envoy is given, and the routes to them agree."""
    clusters, routes = (
        yaml.safe_load((settings.envoy_dir / name).read_text())
        for name in ("clusters.yaml", "egress-routes.yaml")
    )
    assert clusters["version_info"] == routes["version_info"]
    found = [each["name"] for each in clusters["resources"] if each["name"].startswith("provider.")]
    (table,) = routes["resources"]
    targets = {each["route"]["cluster"] for each in table["virtual_hosts"][0]["routes"]}
    assert targets == set(found)
    return found


def names(*providers: Provider) -> list[str]:
    return [provider_cluster(each) for each in providers]


def test_what_one_still_needs_stays(settings: Settings) -> None:
    """A provider goes when the last worker has let go of it."""
    first, second = workers(settings)
    first.begin([A])
    second.begin([A])
    assert given(settings) == names(A)
    first.give([A, B])
    assert sorted(given(settings)) == sorted(names(A, B))
    first.give([B])
    assert sorted(given(settings)) == sorted(names(A, B))
    second.give([A, B])
    second.give([B])
    assert given(settings) == names(B)


def test_one_that_comes_back_forgets_what_it_needed(settings: Settings) -> None:
    first, second = workers(settings)
    first.begin([A])
    second.begin([A, C])
    workers(settings)[1].begin([A])
    assert given(settings) == names(A)


def test_one_process_keeps_no_parts(settings: Settings) -> None:
    (alone,) = workers(replace(settings, workers=1))
    alone.begin([A])
    assert given(settings) == names(A)
    assert not settings.parts_dir.exists()


def test_the_first_writes_what_envoy_starts_on(settings: Settings) -> None:
    first, second = workers(settings)
    second.begin([A])
    assert not (settings.envoy_dir / "bootstrap.yaml").exists()
    first.begin([A])
    bootstrap = yaml.safe_load((settings.envoy_dir / "bootstrap.yaml").read_text())
    found = {each["name"] for each in bootstrap["static_resources"]["clusters"]}
    assert {"processor", "processor.1", "processor.2"} <= found


def test_each_has_places_of_its_own(settings: Settings) -> None:
    """One process has those that everybody knows."""
    one, two = settings.each_worker
    kept = ("processor_socket", "management_socket", "ready_file", "log_dir", "signed_dir")
    with_memory = [replace(each, checkpoint_dir=settings.state_dir / "memory") for each in (one, two)]
    for name in kept:
        assert getattr(with_memory[0], name) != getattr(with_memory[1], name), name
    alone = replace(settings, workers=1)
    assert alone.management_socket == settings.all_management_socket
    assert alone.ready_file == settings.all_ready_file

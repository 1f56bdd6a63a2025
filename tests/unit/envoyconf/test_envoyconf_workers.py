"""What Envoy is told of several workers: new calls to any that serves, attempts to the one that has the call."""

from __future__ import annotations

from typing import Any

import pytest
from golden_world import ENVOY, read

from sovereign_ext.cli.main import main as sovereign
from sovereign_ext.config.model import Provider, ProviderKind
from sovereign_ext.envoyconf import routes

PROVIDERS = [
    Provider(id=name, kind=ProviderKind.OPENAI, endpoint=f"https://{name}.example/v1") for name in ("a", "b")
]


def clusters(name: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in read(ENVOY / name)["static_resources"]["clusters"]}


def sockets(cluster: dict[str, Any]) -> list[str]:
    (locality,) = cluster["load_assignment"]["endpoints"]
    return [each["endpoint"]["address"]["pipe"]["path"] for each in locality["lb_endpoints"]]


def test_new_calls_go_to_one_that_serves() -> None:
    """And nobody is asked who does not, also if nobody does."""
    found = clusters("workers/gateway.yaml")
    for name, file in (("processor", "extproc"), ("management", "management")):
        assert sockets(found[name]) == [f"/run/sovereign/{file}-{number}.sock" for number in (1, 2)]
        assert found[name]["lb_policy"] == "LEAST_REQUEST"
        assert found[name]["health_checks"][0]["grpc_health_check"] == {}
        assert found[name]["common_lb_config"] == {"healthy_panic_threshold": {}}


def test_attempts_are_never_kept_from_their_worker() -> None:
    """Its own cluster has it alone, and does not look at its health."""
    found = clusters("workers/gateway.yaml")
    for number in (1, 2):
        cluster = found[f"processor.{number}"]
        assert sockets(cluster) == [f"/run/sovereign/extproc-{number}.sock"]
        assert "health_checks" not in cluster


def test_one_process_is_not_looked_at() -> None:
    """It would only be asked for nothing: there is no other."""
    found = clusters("gateway.yaml")
    assert not any("health_checks" in each for each in found.values())
    assert not any(name.startswith("processor.") for name in found)


@pytest.mark.parametrize("workers", [1, 3])
def test_routes_of_attempts(workers: int) -> None:
    """Two for each provider and worker; each says whom to show the attempt, where there is a choice."""
    table = routes.egress(PROVIDERS, workers)
    found = table["virtual_hosts"][0]["routes"]
    assert len(found) == 2 * len(PROVIDERS) * workers
    assert len({route["name"] for route in found}) == len(found)
    for route in found:
        headers = {each["name"]: each["string_match"]["exact"] for each in route["match"]["headers"]}
        if workers == 1:
            assert "x-sf-worker" not in headers
            assert "typed_per_filter_config" not in route
            continue
        service = route["typed_per_filter_config"][routes.EXT_PROC]["overrides"]["grpc_service"]
        assert service["envoy_grpc"]["cluster_name"] == f"processor.{headers['x-sf-worker']}"
        assert service["initial_metadata"] == [{"key": "sf-phase", "value": "attempt"}]
    assert ("x-sf-worker" in table["request_headers_to_remove"]) is (workers > 1)


@pytest.mark.parametrize("number", ["0", "33", "two", "-1", "1.5"])
def test_a_number_that_is_none(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sovereign(
            ["envoy", "render", "--mode", "gateway", "--config", "x", "--out", "-", "--workers", number]
        )
    assert "expected 1 to 32" in capsys.readouterr().err


def test_pods_have_replicas_instead(capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ENVOY / "example" / "mesh.yaml")
    argv = ["envoy", "render", "--mode", "istio", "--config", config, "--image", "x", "--out", "-"]
    assert sovereign([*argv, "--workers", "2"]) == 1
    assert "more pods instead" in capsys.readouterr().err

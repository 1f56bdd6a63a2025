"""`sovereign envoy render --below-1.40`: nothing in it that only Envoy 1.40 knows, and an older one accepts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from golden_world import ENVOY, PLACES, Machine
from older_envoys import VERSIONS, older_envoy
from own_envoy import own_bootstrap

from sovereign_ext.cli.main import main as sovereign
from sovereign_ext.envoyconf.mode import IN_PODS, Mode

EXAMPLE = ENVOY / "example" / "gateway.yaml"
ONLY_1_40 = ("priority_group", "refresh_cluster_on_retry", "entry.", "v1.40")


def render(out: Path, mode: str) -> dict[str, str]:
    """The files by name."""
    image = ("--image", "registry.example/router:1") if mode in IN_PODS else ()
    argv = ("envoy", "render", "--below-1.40", "--mode", mode, "--config", str(EXAMPLE), "--out", str(out))
    assert sovereign([*argv, *PLACES, *image]) == 0
    return {file.name: file.read_text() for file in out.glob("*.yaml")}


@pytest.mark.parametrize("mode", [each.value for each in Mode])
def test_what_only_1_40_has_is_not_there(tmp_path: Path, mode: str):
    """In its place is one cluster that each attempt goes to, and the file of routes that lead there."""
    files = render(tmp_path, mode)
    for name, text in files.items():
        assert not [each for each in ONLY_1_40 if each in text], name
    everything = "\n".join(files.values())
    assert "server_listener_name: egress, endpoint_id: attempts" in everything
    assert ("ingress-routes-below-1.40.yaml" in everything) == (mode != "snippet")
    assert "`sovereign envoy render --below-1.40" in everything
    assert "For every attempt of every call" in everything or mode in ("istio", "envoy-gateway")


def test_every_retry_goes_to_the_same_cluster(tmp_path: Path):
    """Retried is the same as with Envoy 1.40."""
    snippets: list[Any] = [
        yaml.safe_load(render(tmp_path, "snippet")["snippet.yaml"]),
        yaml.safe_load((ENVOY / "snippet" / "snippet.yaml").read_text()),
    ]
    older, newer = (snippet["virtual_host"]["routes"][-1]["route"] for snippet in snippets)
    assert older.pop("cluster") == "attempts"
    del newer["inline_cluster_specifier_plugin"], newer["retry_policy"]["refresh_cluster_on_retry"]
    assert older == newer


@pytest.mark.services
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("mode", ["gateway", "snippet"])
def test_an_older_envoy_accepts_it(tmp_path: Path, version: str, mode: str):
    (tmp_path / "rendered").mkdir()
    text = render(tmp_path / "rendered", mode)[f"{mode}.yaml"]
    if mode == "snippet":
        text = yaml.safe_dump(own_bootstrap(yaml.safe_load(text)), sort_keys=False)
    done = Machine(tmp_path).validate(text, older_envoy(version))
    assert done.returncode == 0, done.stderr[-2000:]


def test_workers_need_1_40(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    argv = [
        "envoy",
        "render",
        "--below-1.40",
        "--workers",
        "2",
        "--mode",
        "gateway",
        "--config",
        str(EXAMPLE),
    ]
    assert sovereign([*argv, "--out", str(tmp_path)]) == 1
    assert "--workers needs Envoy 1.40" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

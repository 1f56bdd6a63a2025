"""docs/deploy/kubernetes.md, as far as it goes without a cluster: its steps are run, and what they make is rendered."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helm_world import ROOT, configuration, manifests, merged, named, one

from sovereign_ext.config.load import decode
from sovereign_ext.tenants.keys import hash_key

pytestmark = pytest.mark.services

PAGE = (ROOT / "docs/deploy/kubernetes.md").read_text("utf-8")
STEPS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LOCAL = [step for step in STEPS if not re.search(r"\b(kubectl|helm|curl)\b", step)]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory in which the steps before the first one with a cluster were run."""
    assert len(LOCAL) == 4
    program = tmp_path / "bin" / "sovereign"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m sovereign_ext.cli.main "$@"\n', "utf-8")
    program.chmod(0o755)
    environ = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    script = "set -eu\n" + "\n".join(LOCAL)
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path


def test_the_steps_make_values_that_are_installed_with_the_key_in_them(made: Path) -> None:
    """The hash of the key that step 3 printed is in the pod's sovereign.yaml; the key is nowhere."""
    layers = [
        yaml.safe_load((made / name).read_text("utf-8")) for name in ("config.values.yaml", "values.yaml")
    ]
    found = manifests(merged(*layers))
    config = decode(configuration(found).encode(), "sovereign.yaml").config
    key = (made / "clinic.key").read_text("utf-8").strip()
    assert [each.hash for each in config.tenants[0].keys] == [hash_key(key)]
    assert key not in yaml.safe_dump_all(found)
    assert config.ingress.tls is not None
    assert one(found, "Pod", "test")
    assert "PRIVATE KEY" in (made / "tls.key").read_text("utf-8")


def test_the_page_installs_what_its_steps_make() -> None:
    """Files of the command, and names of Secrets in the steps and in the values."""
    (install,) = (step for step in STEPS if "helm install" in step)
    assert set(re.findall(r"-f (\S+)", install)) == {"config.values.yaml", "values.yaml"}
    (secrets,) = (step for step in STEPS if "create secret" in step)
    (text,) = re.findall(r"cat > values.yaml <<'YAML'\n(.*?)YAML", PAGE, re.DOTALL)
    values = yaml.safe_load(text)
    wanted = {values["tls"]["secret"], values["test"]["secret"], values["secrets"]["files"][0]["secret"]}
    assert set(re.findall(r"create secret generic (\S+)", secrets)) == wanted


def test_the_values_for_several_pods_are_enough(made: Path) -> None:
    (several,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    layers = [(made / name).read_text("utf-8") for name in ("config.values.yaml", "values.yaml")]
    found = manifests(merged(*map(yaml.safe_load, (*layers, several))))
    config = decode(configuration(found).encode(), "sovereign.yaml").config
    assert config.storage.tiles is not None
    assert config.storage.tiles.directory == "/var/lib/sovereign-shared/tiles"
    assert len(named(found, "PodDisruptionBudget")) == 1

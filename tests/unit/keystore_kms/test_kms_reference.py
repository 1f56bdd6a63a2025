"""docs/reference/kms.md says what the configuration has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from sovereign_ext.config import keystore_kms as config
from sovereign_ext.config.load import parse

PAGE = (Path(__file__).parents[3] / "docs/reference/kms.md").read_text(encoding="utf-8")

SECTIONS: dict[str, type[BaseModel]] = {
    "## Fields of every service": config.Service,
    "## AWS Secrets Manager": config.AwsSecretsManager,
    "## AWS KMS": config.AwsKms,
    "## Google Secret Manager": config.GcpSecretManager,
    "## Google Cloud KMS": config.GcpKms,
    "## Vault and OpenBao": config.VaultKv,
    "### approle": config.AppRole,
    "## Vault's transit engine": config.VaultTransit,
}
SHARED = {"## AWS KMS": config.AwsService, "## Google Cloud KMS": config.GcpService}
SHARED |= {"## Vault's transit engine": config.VaultService}


def rows(heading: str) -> dict[str, str]:
    """Field → default, of the section's first table with fields."""
    section = re.split(r"\n##+ ", PAGE.split(f"\n{heading}\n", 1)[1], maxsplit=1)[0]
    table = section.split("| field |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {name.strip("`"): default for name, _, default, _ in cells}


def test_the_example_is_valid() -> None:
    """Readers copy it."""
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    keystore = parse(f"version: 1\n{example}").keystore
    assert [service.kind for service in keystore.kms] == [
        "vault-kv",
        "aws-secrets-manager",
        "gcp-secret-manager",
    ]


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_is_described_with_its_default(heading: str) -> None:
    declared = SECTIONS[heading]
    of_every_service = set(config.Service.model_fields) if heading != "## Fields of every service" else set()
    elsewhere = set(SHARED[heading].model_fields) if heading in SHARED else set()
    described = rows(heading)
    assert set(described) == set(declared.model_fields) - of_every_service - elsewhere
    for name, default in described.items():
        info = declared.model_fields[name]
        if info.is_required():
            assert default == "required", name
        elif isinstance(info.default, int | str):
            assert default.startswith(f"`{info.default}`"), name


@pytest.mark.parametrize("heading", SHARED)
def test_fields_that_are_described_elsewhere_are_named(heading: str) -> None:
    section = PAGE.split(f"\n{heading}\n", 1)[1].split("| field |", 1)[0]
    own = set(SHARED[heading].model_fields) - set(config.Service.model_fields)
    assert own <= set(re.findall(r"`([a-z_]+)`", section))

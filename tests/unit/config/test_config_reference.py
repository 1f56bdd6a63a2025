"""The reference page says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from sovereign_ext.config import findings, ingress, keystore, media, model, oidc, storage, tenancy, trust
from sovereign_ext.config.load import parse

PAGE = (Path(__file__).parents[3] / "docs/reference/sovereign-yaml.md").read_text(encoding="utf-8")

SECTIONS: dict[str, type[BaseModel]] = {
    "## Top level": model.Config,
    "## limits": model.Limits,
    "## ingress": ingress.Ingress,
    "### ingress.tls": ingress.IngressTls,
    "### ingress.tls.sds": ingress.SecretService,
    "### ingress.limits": ingress.IngressLimits,
    "## keys": tenancy.KeyRules,
    "## media": media.Media,
    "## tenants": model.Tenant,
    "### rate limits": tenancy.RateLimit,
    "### spend caps": tenancy.SpendCap,
    "## admins": model.Admin,
    "### oidc": oidc.Oidc,
    "### oidc issuers": oidc.Issuer,
    "### oidc grants": oidc.Grant,
    "### keys": model.Key,
    "## policies": model.Policy,
    "## models": model.Model,
    "## providers": model.Provider,
    "### timeouts": model.Timeouts,
    "### evidence": trust.Evidence,
    "## deployments": model.Deployment,
    "## trust": model.Trust,
    "### signatories": trust.Witness,
    "## keystore": keystore.KeystoreConfig,
    "### keystore.local": keystore.LocalKeys,
    "## storage": storage.Storage,
    "### storage.tiles.s3": storage.S3,
    "## log": trust.Log,
    "### mirrors": trust.Mirror,
    "### anchors": trust.Anchor,
    "## findings": findings.Findings,
    "### webhooks": findings.Webhook,
}


def rows(heading: str) -> dict[str, dict[str, str]]:
    """The section's table: field (several share a row at times) → column → cell."""
    section = PAGE.split(f"\n{heading}\n", 1)[1]
    section = re.split(r"\n##+ ", section, maxsplit=1)[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line] for line in table]
    return {
        name: dict(zip(head, line, strict=True))
        for line in body
        for name in re.findall(r"`([a-z0-9_.]+)`", line[0])
    }


def test_the_example_is_a_valid_file() -> None:
    """Readers copy it."""
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = parse(example)
    assert len(config.deployments) == 3


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_is_described_with_its_default(heading: str) -> None:
    """A field or default that changes in the code has to change here."""
    described = rows(heading)
    names = {name.partition(".")[0] for name in described}
    declared = SECTIONS[heading]
    assert names == set(declared.model_fields)
    for name, info in declared.model_fields.items():
        row = described.get(name)
        if row is None:
            continue  # described by its parts
        default = row["default"]
        if info.is_required():
            assert default == "required", name
        elif isinstance(info.default, int | str):
            written = str(info.default).lower() if isinstance(info.default, bool) else info.default
            assert default.startswith(f"`{written}`"), name


def test_defaults_of_nested_fields_are_right() -> None:
    """Those the table names with a dot."""
    described = rows("## policies")
    assert described["fallback.enabled"]["default"] == "`true`"
    assert described["fallback.max_attempts"]["default"] == f"`{model.Fallback().max_attempts}`"


def test_every_choice_is_named() -> None:
    """Tiers, kinds and capabilities."""
    for choices, heading, field in (
        (trust.Tier, "## policies", "required_tier"),
        (model.Audit, "## policies", "audit"),
        (trust.DigestBasis, "## models", "digest_basis"),
        (trust.EvidenceKind, "### evidence", "kind"),
        (trust.AnchorKind, "### anchors", "kind"),
        (model.ProviderKind, "## providers", "kind"),
        (model.Capability, "## deployments", "capabilities"),
    ):
        meaning = rows(heading)[field]["meaning"]
        assert set(choices) <= set(re.findall(r"`([a-z0-9_-]+)`", meaning))

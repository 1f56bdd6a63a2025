"""The configuration of key services: what may be written, and that no two pairs share a secret."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sovereign_ext.config.keystore_kms import (
    AwsSecretsManager,
    GcpSecretManager,
    SecretService,
    VaultKv,
    VaultTransit,
    WrapService,
    secret_name,
)
from sovereign_ext.config.trust import IDENTIFIER_PATTERN
from sovereign_ext.keystore.http import Surroundings
from sovereign_ext.keystore.kms.registry import SOURCES, WRAPS, build_source, build_wrap

SECRETS: TypeAdapter[Any] = TypeAdapter(SecretService)
WRAPPERS: TypeAdapter[Any] = TypeAdapter(WrapService)
GCP_KEY = "projects/acme/locations/eu/keyRings/r/cryptoKeys/k"

SMALLEST: dict[str, dict[str, Any]] = {
    "aws-secrets-manager": {"region": "eu-central-1"},
    "gcp-secret-manager": {"project": "acme-prod"},
    "vault-kv": {"endpoint": "https://vault.example:8200"},
    "aws-kms": {"region": "us-gov-west-1", "key": "alias/router"},
    "gcp-kms": {"key": GCP_KEY},
    "vault-transit": {"endpoint": "http://127.0.0.1:8200/", "key": "router"},
}

identifiers = st.from_regex(IDENTIFIER_PATTERN.replace("$", r"\Z"), fullmatch=True).filter(
    lambda text: len(text) < 20
)


@pytest.mark.parametrize("kind", [*SOURCES, *WRAPS])
def test_every_back_end_is_built_from_its_kind_and_connects_to_nothing(kind: str) -> None:
    """The contract of the registry: a line there is a kind of the configuration and an object that says so."""
    adapter, build = (SECRETS, build_source) if kind in SOURCES else (WRAPPERS, build_wrap)
    built = build(adapter.validate_python({"kind": kind, **SMALLEST[kind]}), Surroundings({}))
    assert built.name == kind
    assert hasattr(built, "find" if kind in SOURCES else "unwrap")


def test_every_kind_of_the_configuration_has_its_line() -> None:
    kinds = {
        one.model_fields["kind"].annotation.__args__[0]
        for union in (SecretService, WrapService)
        for one in union.__origin__.__args__
    }
    assert kinds == {*SOURCES, *WRAPS}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("vault-kv", {"endpoint": "http://vault.internal:8200"}),  # in the clear over a network
        ("vault-kv", {"endpoint": "https://user:pass@vault"}),
        ("vault-kv", {"endpoint": "https://vault?x"}),
        ("vault-kv", {"token_env": "A", "token_file": "b"}),
        ("vault-kv", {"mount": "../sys"}),
        ("vault-kv", {"template": "{tenant}-{provider}"}),
        ("vault-kv", {"template": "{tenant}/x"}),
        ("vault-kv", {"template": "{tenant}/{provider}/{tenant}"}),
        ("vault-kv", {"template": "{tenant}/{provider}?version=1"}),
        ("aws-secrets-manager", {"region": "eu-central-1.evil.example/"}),
        ("aws-secrets-manager", {"endpoint": "http://10.0.0.1"}),
        ("gcp-secret-manager", {"template": "sovereign/{tenant}/{provider}"}),
        ("gcp-secret-manager", {"template": "{tenant}_{provider}"}),
        ("gcp-secret-manager", {"project": "a/b"}),
        ("gcp-secret-manager", {"token_url": "http://tokens.example"}),
        ("gcp-kms", {"key": "projects/acme/../../x"}),
        ("aws-kms", {"key": ""}),
        ("vault-transit", {"key": "a/b"}),
        ("vault-transit", {"unknown": 1}),
    ],
)
def test_what_would_be_unsafe_or_meaningless_is_refused(kind: str, change: dict[str, Any]) -> None:
    adapter = SECRETS if kind in SOURCES else WRAPPERS
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": kind, **SMALLEST[kind], **change})


def test_a_slash_at_the_end_of_an_endpoint_is_dropped() -> None:
    assert VaultTransit(kind="vault-transit", **SMALLEST["vault-transit"]).endpoint == "http://127.0.0.1:8200"


TEMPLATES = [
    AwsSecretsManager(kind="aws-secrets-manager", region="eu-central-1").template,
    VaultKv(kind="vault-kv", endpoint="https://v").template,
    GcpSecretManager(kind="gcp-secret-manager", project="acme-prod").template,
    "x-{provider}=A-{tenant}-y",
]


@given(st.sampled_from(TEMPLATES), *[st.none() | identifiers, identifiers] * 2)
def test_two_pairs_never_share_a_name(
    template: str, tenant: str | None, provider: str, other_tenant: str | None, other_provider: str
) -> None:
    """One tenant's key must not be found for another, whatever they are called; nor once dots are written DOT."""
    one = secret_name(template, tenant, provider)
    other = secret_name(template, other_tenant, other_provider)
    same = (tenant, provider) == (other_tenant, other_provider)
    assert (one == other) is same
    assert (one.replace(".", "DOT") == other.replace(".", "DOT")) is same


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "*", "a b", "ä", "a\n"])
def test_what_is_no_id_never_becomes_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        secret_name("s/{tenant}/{provider}", name, "p")
    with pytest.raises(ValueError, match="not an id"):
        secret_name("s/{tenant}/{provider}", None, name)

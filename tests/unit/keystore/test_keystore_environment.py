"""The names of variables that hold provider keys."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sovereign_ext.config.model import ENV_PATTERN
from sovereign_ext.config.trust import IDENTIFIER_PATTERN
from sovereign_ext.errors import ConfigError
from sovereign_ext.keystore.base import SHARED, CredentialUnavailableError
from sovereign_ext.keystore.environment import EnvironmentKeys, pair_of, strays, variable

IDS = st.from_regex(IDENTIFIER_PATTERN, fullmatch=True) | st.text("ax-_.2e", min_size=1, max_size=8).filter(
    lambda text: re.fullmatch(IDENTIFIER_PATTERN, text) is not None
)
TENANTS = IDS | st.just(SHARED)


@given(TENANTS, IDS)
def test_a_name_leads_back_to_its_pair(tenant: str, provider: str) -> None:
    """So no two pairs share one; and it is a name that every shell takes, in upper case."""
    name = variable(tenant, provider)
    assert pair_of(name) == (tenant, provider)
    assert re.fullmatch(ENV_PATTERN, name)
    assert name == name.upper()


@given(st.from_regex(r"SOVEREIGN_KEY__[A-Z0-9_X2DEF]{0,24}", fullmatch=True))
def test_what_is_read_as_a_pair_has_ids_that_can_be(name: str) -> None:
    """Any text: a pair of ids, or none at all."""
    pair = pair_of(name)
    if pair is not None:
        assert pair[0] == SHARED or re.fullmatch(IDENTIFIER_PATTERN, pair[0])
        assert re.fullmatch(IDENTIFIER_PATTERN, pair[1])


@pytest.mark.parametrize(
    ("tenant", "provider", "name"),
    [
        ("acme", "cloud-a", "SOVEREIGN_KEY__ACME__CLOUD_A"),
        ("*", "cloud-a", "SOVEREIGN_KEY__CLOUD_A"),
        ("a.b", "gpu_1", "SOVEREIGN_KEY__A_X2EB__GPU_X5F1"),
        ("a--b", "p", "SOVEREIGN_KEY__A_X2D_X2DB__P"),
        ("a-x", "p", "SOVEREIGN_KEY__A_X2DX__P"),
    ],
)
def test_the_documented_examples(tenant: str, provider: str, name: str) -> None:
    """As docs/reference/keystore.md has them."""
    assert variable(tenant, provider) == name


def test_found_by_pair_without_space_around() -> None:
    """The tenant's and the shared one are two; what is not there is not there."""
    keys = EnvironmentKeys(
        {"SOVEREIGN_KEY__ACME__P": " sk-own\n", "SOVEREIGN_KEY__P": "sk-all", "PATH": "/bin"}
    )
    found = {tenant: asyncio.run(keys.find(tenant, "p")) for tenant in ("acme", SHARED, "mayo")}
    assert {tenant: None if secret is None else secret.reveal() for tenant, secret in found.items()} == {
        "acme": "sk-own", SHARED: "sk-all", "mayo": None,
    }  # fmt: skip


def test_an_empty_variable_is_a_fault() -> None:
    """Most likely a template that was not filled in: nobody else's key is used instead."""
    with pytest.raises(CredentialUnavailableError, match="SOVEREIGN_KEY__ACME__P is empty") as caught:
        asyncio.run(EnvironmentKeys({"SOVEREIGN_KEY__ACME__P": " "}).find("acme", "p"))
    assert caught.value.reason == "damaged"


def test_two_variables_for_one_pair_are_refused() -> None:
    """Nobody could say which one counts; both are named, their values are not."""
    both = {"SOVEREIGN_KEY__CLOUD_A": "sk-one", "SOVEREIGN_KEY__CLOUD_X2DA": "sk-two"}
    with pytest.raises(ConfigError, match="SOVEREIGN_KEY__CLOUD_A and SOVEREIGN_KEY__CLOUD_X2DA") as caught:
        EnvironmentKeys(both)
    assert "sk-" not in str(caught.value)


def test_slips_of_the_pen_are_named() -> None:
    """Lower case, a third part, an id that ends in a dash; not what others call their variables."""
    names = ["SOVEREIGN_KEY__acme", "SOVEREIGN_KEY__A__B__C", "SOVEREIGN_KEY__A_", "SOVEREIGN_KEY_X", "HOME"]
    assert strays(names) == ("SOVEREIGN_KEY__A_", "SOVEREIGN_KEY__A__B__C", "SOVEREIGN_KEY__acme")

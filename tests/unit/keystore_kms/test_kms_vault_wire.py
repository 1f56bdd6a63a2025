"""Vault's wire where a real server does not do as it is told: odd answers, failures, overload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kms_world import CANARY, Clock, Script, around, damaged_at_most, refusal, run

from sovereign_ext.config.keystore_kms import VaultKv, VaultTransit
from sovereign_ext.keystore.http import TRIES
from sovereign_ext.keystore.kms.vault import VaultKvSource, VaultTransitWrap
from sovereign_ext.secret import Secret

TOKEN = {"VAULT_TOKEN": CANARY}
URL = "https://vault.example:8200/behind"
FOREVER = httpx.Response(200, json={"data": {"ttl": 0, "renewable": False}})
FOUND = httpx.Response(200, json={"data": {"data": {"value": "sk"}, "metadata": {}}})


def kv(
    script: Script, environ: dict[str, str] | None = None, clock: Clock | None = None, **more: Any
) -> VaultKvSource:
    config = VaultKv(kind="vault-kv", endpoint=URL, **more)
    return VaultKvSource.from_config(
        config, around(TOKEN if environ is None else environ, script, clock or Clock())
    )


def transit(script: Script) -> VaultTransitWrap:
    config = VaultTransit(kind="vault-transit", endpoint=URL, key="k")
    return VaultTransitWrap.from_config(config, around(TOKEN, script, Clock()))


def test_the_request_names_path_token_and_namespace() -> None:
    script = Script(FOREVER, FOUND)
    assert run(kv(script, namespace="team/a", mount="kv/llm").find("acme", "east")) == Secret("sk")
    request = script.requests[1]
    assert str(request.url) == f"{URL}/v1/kv/llm/data/sovereign/acme/east"
    told = {name: request.headers[name] for name in ("x-vault-token", "x-vault-namespace", "x-vault-request")}
    assert told == {"x-vault-token": CANARY, "x-vault-namespace": "team/a", "x-vault-request": "true"}


@pytest.mark.parametrize(
    ("status", "reason", "tries"),
    [
        (400, "denied", 1),
        (403, "denied", 1),
        (
            307,
            "denied",
            1,
        ),  # a standby's word where the leader is: the token goes there only by configuration
        (412, "unreachable", TRIES),
        (429, "throttled", TRIES),
        (472, "unreachable", TRIES),
        (500, "unreachable", TRIES),
        (503, "unreachable", TRIES),
    ],
)
def test_what_a_status_means(status: int, reason: str, tries: int) -> None:
    answer = httpx.Response(status, headers={"location": "https://evil.example"}, json={"errors": [CANARY]})
    script = Script(FOREVER, answer)
    assert run(refusal(kv(script).find("acme", "east"))).reason == reason
    assert len(script.requests) == 1 + tries


def test_what_was_throttled_is_found_at_last() -> None:
    script = Script(FOREVER, httpx.Response(429), httpx.Response(503), FOUND)
    assert run(kv(script).find("acme", "east")) == Secret("sk")


def test_a_token_that_may_not_look_at_itself_is_used_as_it_is() -> None:
    script = Script(httpx.Response(403), FOUND)
    assert run(kv(script).find("acme", "east")) == Secret("sk")


def test_a_renewal_that_fails_for_a_while_leaves_the_old_token_in_use() -> None:
    """The server is overloaded at two thirds of the lease: nothing is lost yet."""
    leased = httpx.Response(200, json={"data": {"ttl": 3_600, "renewable": True}})
    script = Script(leased, FOUND, *[httpx.Response(503)] * TRIES, FOUND)
    clock = Clock()

    async def scenario() -> None:
        source = kv(script, clock=clock)
        assert await source.find("acme", "east") == Secret("sk")
        clock.now_s += 2_500
        assert await source.find("acme", "east") == Secret("sk")

    run(scenario())
    assert script.requests[2].url.path.endswith("/auth/token/renew-self")


def test_a_login_that_answers_without_a_token_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "secret-id"
    file.write_text(CANARY)
    role = {"role_id": "r", "secret_id_file": str(file)}
    for body in ({"auth": {"client_token": ""}}, {"auth": None}, {}, []):
        script = Script(httpx.Response(200, json=body))
        assert run(refusal(kv(script, {}, approle=role).find("acme", "east"))).reason == "damaged"
    assert json.loads(script.requests[0].content) == {"role_id": "r", "secret_id": CANARY}
    assert str(script.requests[0].url) == f"{URL}/v1/auth/approle/login"


@pytest.mark.services
@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["data", "value", "ciphertext", "plaintext", "x"]), inner)
    ).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_answer_raises_anything_else(body: bytes) -> None:
    async def scenario() -> None:
        odd = httpx.Response(200, content=body)
        await damaged_at_most(kv(Script(FOREVER, odd)).find("a", "p"))
        await damaged_at_most(kv(Script(FOREVER, odd), field=None).find("a", "p"))
        await damaged_at_most(kv(Script(odd)).find("a", "p"))
        await damaged_at_most(transit(Script(FOREVER, odd)).wrap(b"x"))
        await damaged_at_most(transit(Script(FOREVER, odd)).unwrap(b"vault:v1:eA=="))

    run(scenario())


@pytest.mark.parametrize(
    "ciphertext", ["", "vault:v1:", "vault:vx:eA==", "eA==", "vault:v1:eA==\n", "vault:v1:%"]
)
def test_a_ciphertext_of_another_format_is_not_taken_over(ciphertext: str) -> None:
    script = Script(FOREVER, httpx.Response(200, json={"data": {"ciphertext": ciphertext}}))
    assert run(refusal(transit(script).wrap(b"x"))).reason == "damaged"

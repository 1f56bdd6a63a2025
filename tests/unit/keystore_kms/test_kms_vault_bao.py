"""The Vault back ends against a real OpenBao: KV, transit, policies, namespaces, AppRole, leases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kms_world import CANARY, Bao, Clock, around, bao, missing, refusal, run

from sovereign_ext.config.keystore_kms import VaultKv, VaultTransit
from sovereign_ext.keystore.kms.vault import VaultKvSource, VaultTransitWrap
from sovereign_ext.secret import Secret

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with bao(tmp_path_factory.mktemp("bao")) as running:
        running.ask("POST", "sys/mounts/transit", {"type": "transit"})
        running.ask("POST", "sys/auth/approle", {"type": "approle"})
        running.policy("reader", ("secret/data/sovereign/*", "read"))
        running.policy("wrapper", ("transit/encrypt/router", "update"), ("transit/decrypt/router", "update"))
        yield running


def kv(server: Bao, environ: dict[str, str] | None = None, clock: Any = None, **more: Any) -> VaultKvSource:
    config = VaultKv(kind="vault-kv", endpoint=server.url, **more)
    own = {"VAULT_TOKEN": Bao.ROOT} if environ is None else environ
    return VaultKvSource.from_config(config, around(own, clock=clock or Clock()))


def transit(server: Bao, token: str = Bao.ROOT, **more: Any) -> VaultTransitWrap:
    config = VaultTransit(kind="vault-transit", endpoint=server.url, **{"key": "router", **more})
    return VaultTransitWrap.from_config(config, around({"BAO_TOKEN": token}, clock=Clock()))


async def found(source: VaultKvSource, tenant: str, provider: str) -> Secret | None:
    try:
        return await source.find(tenant, provider)
    finally:
        await source.aclose()


def put(server: Bao, name: str, data: dict[str, Any], **more: Any) -> None:
    server.ask("POST", f"secret/data/sovereign/{name}", {"data": data}, **more)


def test_a_key_is_found_missing_rotated_and_deleted(server: Bao) -> None:
    assert run(found(kv(server), "acme", "rotating")) is None
    put(server, "acme/rotating", {"value": "one\n"})
    assert run(found(kv(server), "acme", "rotating")) == Secret("one")
    put(server, "acme/rotating", {"value": "two"})
    assert run(found(kv(server), "acme", "rotating")) == Secret("two")
    assert run(found(kv(server), "other", "rotating")) is None
    server.ask("DELETE", "secret/data/sovereign/acme/rotating")
    assert run(found(kv(server), "acme", "rotating")) is None


def test_shared_field_object_and_what_lacks_the_field(server: Bao) -> None:
    put(server, "SHARED/east", {"value": "shared"})
    put(server, "acme/bedrock", {"access_key_id": "A", "secret_access_key": "ß"})
    assert run(found(kv(server), "*", "east")) == Secret("shared")
    assert run(found(kv(server, field="access_key_id"), "acme", "bedrock")) == Secret("A")
    whole = run(found(kv(server, field=None), "acme", "bedrock"))
    assert whole is not None
    assert json.loads(whole.reveal()) == {"access_key_id": "A", "secret_access_key": "ß"}
    assert run(refusal(found(kv(server), "acme", "bedrock"))).reason == "damaged"


def test_a_token_that_may_not_or_is_none_is_denied(server: Bao) -> None:
    put(server, "acme/guarded", {"value": CANARY})

    reader = server.token("reader")
    assert run(found(kv(server, {"VAULT_TOKEN": reader}), "acme", "guarded")) == Secret(CANARY)
    for token in (server.token("wrapper"), CANARY):
        assert run(refusal(found(kv(server, {"VAULT_TOKEN": token}), "acme", "guarded"))).reason == "denied"
    assert "VAULT_TOKEN" in run(missing(found(kv(server, {}), "acme", "guarded")))
    assert "MY_TOKEN" in run(missing(found(kv(server, {}, token_env="MY_TOKEN"), "acme", "guarded")))


def test_a_token_file_is_read_again(server: Bao, tmp_path: Path) -> None:
    """An agent writes it anew; the old one has been revoked."""
    put(server, "acme/filed", {"value": "v"})
    file = tmp_path / "token"
    first, second = server.token("reader"), server.token("reader")
    file.write_text(first + "\n")

    async def scenario() -> None:
        source = kv(server, {}, token_file=str(file))
        assert await source.find("acme", "filed") == Secret("v")
        server.ask("POST", "auth/token/revoke", {"token": first})
        assert (await refusal(source.find("acme", "filed"))).reason == "denied"
        file.write_text(second)
        assert await source.find("acme", "filed") == Secret("v")
        await source.aclose()

    run(scenario())


def test_a_namespace_has_its_own_tokens_and_keys(server: Bao) -> None:
    server.ask("POST", "sys/namespaces/team")
    server.ask("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}}, namespace="team")
    server.policy("reader", ("secret/data/sovereign/*", "read"), namespace="team")
    put(server, "acme/spaced", {"value": "of the team"}, namespace="team")
    put(server, "acme/spaced", {"value": "of the root"})
    token = server.token("reader", namespace="team")
    assert run(found(kv(server, {"VAULT_TOKEN": token}, namespace="team"), "acme", "spaced")) == Secret(
        "of the team"
    )
    assert run(refusal(found(kv(server, {"VAULT_TOKEN": token}), "acme", "spaced"))).reason == "denied"
    assert run(found(kv(server), "acme", "spaced")) == Secret("of the root")


# -- AppRole -----------------------------------------------------------------------------------------------------


def approle(server: Bao, directory: Path, name: str, **role: Any) -> dict[str, str]:
    """A role with a secret id in a file."""
    server.ask("POST", f"auth/approle/role/{name}", {"token_policies": ["reader"], **role})
    role_id = server.ask("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
    secret_id = server.ask("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]
    file = directory / name
    file.write_text(secret_id + "\n")
    return {"role_id": role_id, "secret_id_file": str(file)}


def logins(server: Bao) -> int:
    """Tokens that AppRole has given out and that hold."""
    accessors = server.ask("LIST", "auth/token/accessors")["data"]["keys"]
    looked = [
        server.ask("POST", "auth/token/lookup-accessor", {"accessor": one})["data"] for one in accessors
    ]
    return sum(one["path"] == "auth/approle/login" for one in looked)


def test_an_approle_logs_in_once_renews_and_logs_in_again_when_its_token_is_gone(
    server: Bao, tmp_path: Path
) -> None:
    put(server, "acme/roled", {"value": "v"})
    role = approle(server, tmp_path, "router", token_ttl="1h", token_max_ttl="24h")

    async def scenario() -> None:
        clock = Clock()
        source = kv(server, {}, clock, approle=role)
        for _ in range(3):
            assert await source.find("acme", "roled") == Secret("v")
        assert logins(server) == 1
        clock.now_s += 2_500  # two thirds of the lease are over: it is renewed, and no other login is made
        assert await source.find("acme", "roled") == Secret("v")
        assert logins(server) == 1
        server.ask("POST", "sys/leases/revoke-prefix/auth/approle/login")
        assert logins(server) == 0
        assert await source.find("acme", "roled") == Secret("v")  # refused, logged in, asked again
        assert logins(server) == 1
        clock.now_s += 4_000  # by our clock the lease is over
        assert await source.find("acme", "roled") == Secret("v")
        assert logins(server) == 2
        await source.aclose()

    run(scenario())


def test_a_role_that_may_not_read_is_denied_after_one_more_login(server: Bao, tmp_path: Path) -> None:
    role = approle(server, tmp_path, "blind", token_policies=["wrapper"])
    before = logins(server)
    assert run(refusal(found(kv(server, {}, approle=role), "acme", "roled"))).reason == "denied"
    assert logins(server) == before + 2


def test_a_secret_id_that_is_none_is_denied_and_told_as_login(server: Bao, tmp_path: Path) -> None:
    role = approle(server, tmp_path, "forged")
    Path(role["secret_id_file"]).write_text(CANARY)
    error = run(refusal(found(kv(server, {}, approle=role), "acme", "roled")))
    assert (error.reason, "AppRole login" in str(error)) == ("denied", True)


def test_a_rotated_secret_id_is_read_for_the_next_login(server: Bao, tmp_path: Path) -> None:
    put(server, "acme/roled", {"value": "v"})
    role = approle(server, tmp_path, "rotated", secret_id_num_uses=1)

    async def scenario() -> None:
        clock = Clock()
        source = kv(server, {}, clock, approle=role)
        assert await source.find("acme", "roled") == Secret("v")
        clock.now_s += 40 * 86_400  # beyond any lease
        assert (await refusal(source.find("acme", "roled"))).reason == "denied"  # used up
        fresh = server.ask("POST", "auth/approle/role/rotated/secret-id")["data"]["secret_id"]
        Path(role["secret_id_file"]).write_text(fresh)
        assert await source.find("acme", "roled") == Secret("v")
        await source.aclose()

    run(scenario())


def test_a_token_of_the_environment_is_renewed_within_its_period(server: Bao) -> None:
    """A periodic token lives for as long as somebody renews it."""
    put(server, "acme/periodic", {"value": "v"})
    token = server.token("reader", period="1h", no_default_policy=False)
    before = server.ask("POST", "auth/token/lookup", {"token": token})["data"]

    async def scenario() -> None:
        clock = Clock()
        source = kv(server, {"VAULT_TOKEN": token}, clock)
        assert await source.find("acme", "periodic") == Secret("v")
        clock.now_s += 2_500
        assert await source.find("acme", "periodic") == Secret("v")
        await source.aclose()

    run(scenario())
    after = server.ask("POST", "auth/token/lookup", {"token": token})["data"]
    assert "last_renewal" not in before
    assert after["last_renewal"]


# -- transit -----------------------------------------------------------------------------------------------------


def test_transit_unwraps_what_it_wrapped_by_older_keys_too_and_nothing_else(server: Bao) -> None:
    server.ask("POST", "transit/keys/router")
    server.ask("POST", "transit/keys/other")
    token = server.token("wrapper")
    master = bytes(range(32))

    async def scenario() -> None:
        wrap = transit(server, token)
        first = await wrap.wrap(master)
        assert first.startswith(b"vault:v1:")
        server.ask("POST", "transit/keys/router/rotate")
        second = await wrap.wrap(master)
        assert second.startswith(b"vault:v2:")
        assert [await wrap.unwrap(one) for one in (first, second)] == [master, master]
        for wrong in (first[:-6] + b"AAAA==", b"vault:v9:" + first[9:], b"junk", b"\xff", b"vault:v1:", b""):
            assert (await refusal(wrap.unwrap(wrong))).reason == "damaged"
        assert (await refusal(transit(server, key="other").unwrap(first))).reason == "damaged"
        assert (await refusal(transit(server, token, key="other").unwrap(first))).reason == "denied"
        assert (await refusal(transit(server, key="absent").unwrap(first))).reason == "missing"
        server.ask("POST", "transit/keys/router/config", {"min_decryption_version": 2})
        assert (await refusal(wrap.unwrap(first))).reason == "damaged"
        await wrap.aclose()

    run(scenario())


def test_a_sealed_server_is_unreachable_and_answers_again_when_it_is_not(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with bao(tmp_path_factory.mktemp("sealed")) as own:
        put(own, "acme/east", {"value": "v"})
        own.ask("PUT", "sys/seal")
        assert run(refusal(found(kv(own), "acme", "east"))).reason == "unreachable"

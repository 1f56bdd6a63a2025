"""Provider keys go in, are used, and never come out."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import grpc
import pytest
from management_world import World, run

from sovereign_ext.keystore.base import SHARED

pytestmark = pytest.mark.services

OK = grpc.StatusCode.OK
SECRET = "sk-provider-secret-0123456789"
NAMES = {"acme": "tenants/acme/providerKeys/alpha", SHARED: "providerKeys/alpha"}


async def put(world: World, name: str, secret: str = SECRET, key: str = "admin", **more: Any) -> Any:
    return await world.call("ProviderKeyService.SetProviderKey", key=key, name=name, secret=secret, **more)


async def used(world: World, tenant: str) -> str | None:
    """What a call of the tenant's would use."""
    assert world.stored_keys is not None
    found = await world.stored_keys.find(tenant, "alpha")
    return None if found is None else found.reveal()


@pytest.mark.parametrize("tenant", NAMES)
def test_set_rotate_delete(tmp_path: Path, tenant: str) -> None:
    """Each is a change with an entry; the same key again is none."""

    async def scenario(world: World) -> None:
        name = NAMES[tenant]
        first = (await put(world, name)).message
        assert (first.name, first.version, len(first.fingerprint)) == (name, 1, 12)
        assert await used(world, tenant) == SECRET
        size = world.log.status().size
        assert (await put(world, name)).message == first
        assert (await put(world, name, "other", validate_only=True)).message.version == 2
        assert world.log.status().size == size
        second = (await put(world, name, "other", etag=first.etag)).message
        assert (second.version, second.create_time) == (2, first.create_time)
        assert second.fingerprint != first.fingerprint
        assert await used(world, tenant) == "other"
        assert (await put(world, name, "third", etag=first.etag)).code is grpc.StatusCode.ABORTED
        shown = await world.call("ProviderKeyService.GetProviderKey", key="admin", name=name)
        assert shown.message == second
        parent = "" if tenant == SHARED else f"tenants/{tenant}"
        listed = await world.call("ProviderKeyService.ListProviderKeys", key="admin", parent=parent)
        assert list(listed.message.provider_keys) == [second]
        gone = await world.call("ProviderKeyService.DeleteProviderKey", key="admin", name=name)
        assert gone.code is OK
        assert await used(world, tenant) is None
        again = (await put(world, name)).message
        assert again.fingerprint == first.fingerprint

    run(tmp_path, scenario)


def test_it_is_nowhere_in_the_clear(tmp_path: Path) -> None:
    """Not in any file of the log or database, not in receipts, not in answers."""

    async def scenario(world: World) -> None:
        made = await put(world, NAMES["acme"])
        receipt = await world.log.receipt(int(made.message.etag), None, 20)
        assert SECRET not in json.dumps(receipt)
        assert SECRET not in str(made)
        database = sqlite3.connect(tmp_path / "log" / "log.db")
        assert SECRET not in "\n".join(database.iterdump())
        database.close()
        for file in (tmp_path / "log").rglob("*"):
            assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file

    run(tmp_path, scenario)


def test_who_may(tmp_path: Path) -> None:
    """A tenant admin its own tenant's; others' and the shared ones are as if they were not there."""

    async def scenario(world: World) -> None:
        assert (await put(world, NAMES["acme"], key="acme-admin")).code is OK
        for name in (NAMES["acme"], NAMES[SHARED], "tenants/nobody/providerKeys/alpha"):
            answer = await put(world, name, key="globex-admin")
            assert (answer.code, answer.text) == (grpc.StatusCode.NOT_FOUND, "there is no such provider key")
        for key in ("acme", "auditor", "acme-auditor"):
            assert (await put(world, NAMES["acme"], key=key)).code is grpc.StatusCode.PERMISSION_DENIED

    run(tmp_path, scenario)


def test_who_is_bound_to_a_tenant_learns_of_no_provider_that_it_does_not_see(tmp_path: Path) -> None:
    """To set a key for one is answered as for one that does not exist."""

    async def scenario(world: World) -> None:
        hidden, absent = [
            await put(world, f"tenants/acme/providerKeys/{provider}", key="acme-admin", validate_only=True)
            for provider in ("gamma", "nope")
        ]
        assert hidden.code is grpc.StatusCode.NOT_FOUND
        assert hidden.status == absent.status
        assert (await put(world, "tenants/acme/providerKeys/gamma")).code is OK

    run(tmp_path, scenario)


def test_two_who_set_a_key_at_once_have_both_set_it(tmp_path: Path) -> None:
    """Setting is no creation: who did not name a revision does not hear of one."""

    async def scenario(world: World) -> None:
        answers = await asyncio.gather(
            *(put(world, NAMES["acme"], secret=f"{SECRET}-{number}") for number in range(4))
        )
        assert {answer.code for answer in answers} == {OK}, [answer.text for answer in answers]
        assert sorted(answer.message.version for answer in answers) == [1, 2, 3, 4]
        assert len({answer.message.etag for answer in answers}) == 4

    run(tmp_path, scenario)


@pytest.mark.parametrize("document", ["{}", '{"fingerprint": 1, "version": "x"}', "[]"])
def test_a_damaged_key_is_shown_and_deleted(tmp_path: Path, document: str) -> None:
    """As its refusal advises; and the others are still listed."""

    async def scenario(world: World) -> None:
        assert (await put(world, NAMES["acme"])).code is OK
        with world.log.resources._engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE resources SET document = ? WHERE kind = 'provider_key'", (document,)
            )
        assert "delete it first" in (await put(world, NAMES["acme"])).text
        listed = await world.call("ProviderKeyService.ListProviderKeys", key="admin", parent="tenants/acme")
        assert [each.name for each in listed.message.provider_keys] == [NAMES["acme"]]
        gone = await world.call("ProviderKeyService.DeleteProviderKey", key="admin", name=NAMES["acme"])
        assert gone.code is OK, gone.text

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("name", "secret", "code", "text"),
    [
        ("tenants/*/providerKeys/alpha", SECRET, grpc.StatusCode.INVALID_ARGUMENT, "expected"),
        ("providerKeys/nope", SECRET, grpc.StatusCode.NOT_FOUND, "no such provider"),
        ("tenants/nope/providerKeys/alpha", SECRET, grpc.StatusCode.NOT_FOUND, "no such tenant"),
        ("keys/alpha", SECRET, grpc.StatusCode.INVALID_ARGUMENT, "expected"),
        ("providerKeys/alpha", " ", grpc.StatusCode.INVALID_ARGUMENT, "required"),
        ("providerKeys/alpha", SECRET + "\n", grpc.StatusCode.INVALID_ARGUMENT, "space around"),
        ("providerKeys/alpha", "x" * 65_537, grpc.StatusCode.INVALID_ARGUMENT, "longer"),
    ],
)
def test_refusals(tmp_path: Path, name: str, secret: str, code: grpc.StatusCode, text: str) -> None:
    """Each says what was expected, and nothing of the key."""

    async def scenario(world: World) -> None:
        answer = await put(world, name, secret)
        assert answer.code is code
        assert text in answer.text
        assert secret.strip()[:20] not in str(answer) or not secret.strip()

    run(tmp_path, scenario)

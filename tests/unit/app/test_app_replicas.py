"""Routers that share a database act as one: real PostgreSQL, real Valkey or Redis, three real processors without Envoy.

What one of them changes holds at the others within a second, also right after the database was away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from services import PostgresDatabase, Valkey

from sovereign_ext._gen.sovereign.management.v1 import keys_pb2, tenants_pb2
from sovereign_ext.app import Processor
from sovereign_ext.errors import ConfigError, LogUnavailable
from sovereign_ext.settings import Settings
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint
from sovereign_ext.tlog.service import EntryDraft

pytestmark = pytest.mark.services

PATIENCE_S = 30.0
WITHIN_S = 3.0
"""How soon a change or a revocation holds everywhere: a second, and what three routers on a loaded machine add."""

ADMIN = mint(KeyKind.ADMIN, bytes(32)).reveal()
TEXT = f"""
version: 1
origin: sovereign.test/replicas
storage:
  database: {{url_env: DB}}
  shared: {{url_file: valkey.url}}
  tiles: {{directory: tiles}}
  log_keys_dir: keys
  key_hash: {{env: KEY_HASH}}
admins:
  - id: root
    keys: [{{id: one, hash: '{hash_key(ADMIN)}'}}]
policies: [{{id: standard}}]
"""


class Router:
    """One processor and what it is asked as an admin."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    async def ask(self, method: str, request: Any, answer: Any) -> Any:
        """Call a method of the management API on this router's own socket."""
        socket = self.processor._settings.management_socket
        async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
            call = channel.unary_unary(
                f"/sovereign.management.v1.{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )
            return await call(request, metadata=(("authorization", f"Bearer {ADMIN}"),), timeout=PATIENCE_S)

    async def make_tenant(self, name: str) -> None:
        tenant = tenants_pb2.Tenant(policies=["standard"], default_policy="standard")
        request = tenants_pb2.CreateTenantRequest(tenant_id=name, tenant=tenant)
        await self.ask("TenantService/CreateTenant", request, tenants_pb2.Tenant)

    async def make_key(self, tenant: str, key: str) -> str:
        """The key's secret."""
        request = keys_pb2.CreateKeyRequest(parent=f"tenants/{tenant}", key_id=key, key=keys_pb2.Key())
        return str((await self.ask("KeyService/CreateKey", request, keys_pb2.Key)).secret)

    async def revoke(self, tenant: str, key: str) -> None:
        request = keys_pb2.RevokeKeyRequest(name=f"tenants/{tenant}/keys/{key}")
        await self.ask("KeyService/RevokeKey", request, keys_pb2.Key)

    def opens(self, secret: str) -> bool:
        """Whether calls with this key come in here, as every call asks."""
        grant = self.processor._directory.grant(secret)
        return grant is not None and grant.revoked_at > time.time()

    async def append(self, number: int) -> int:
        draft = EntryDraft(
            "outcome", "t", f"d{id(self)}-{number}", b'{"predicate":{}}', b'{"version":1,"items":[]}'
        )
        return (await self.processor._transparency.append(draft)).index


@asynccontextmanager
async def routers(
    tmp_path: Path, database: PostgresDatabase, valkey: Valkey, count: int
) -> AsyncIterator[list[Router]]:
    (tmp_path / "sovereign.yaml").write_text(TEXT)
    (tmp_path / "valkey.url").write_text(valkey.url)
    environ = {"DB": database.url, "KEY_HASH": "k" * 32}
    async with AsyncExitStack() as stack:
        made = []
        for number in range(count):
            place = tmp_path / f"router{number}"
            (place / "run").mkdir(parents=True)
            settings = Settings(
                tmp_path / "sovereign.yaml", place / "state", place / "run", "127.0.0.1", 8080
            )
            made.append(Processor(settings, environ))
        # At once, on an empty database: one of them makes the tables, the keys and the log.
        await asyncio.gather(*(processor.start() for processor in made))
        stack.push_async_callback(lambda: asyncio.gather(*(processor.stop() for processor in made)))
        yield [Router(processor) for processor in made]


async def soon(true: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


def knows(router: Router, tenant: str) -> bool:
    return router.processor._directory.tenant(tenant) is not None


def opens(found: list[Router], secret: str, *, everywhere: bool) -> bool:
    """Whether all of them say so."""
    return {router.opens(secret) for router in found} == {everywhere}


def play(
    tmp_path: Path,
    postgres: PostgresDatabase,
    valkey: Valkey,
    scene: Callable[[list[Router]], Awaitable[None]],
) -> None:
    async def run() -> None:
        async with routers(tmp_path, postgres, valkey, 3) as found:
            await scene(found)

    asyncio.run(run())


def test_what_one_changes_holds_everywhere(
    tmp_path: Path, postgres: PostgresDatabase, valkey: Valkey
) -> None:
    """Tenants and keys are made here, used there and revoked by a third, each within a second."""

    async def scene(found: list[Router]) -> None:
        await found[0].make_tenant("acme")
        for turn in range(3):
            maker, revoker = found[turn], found[turn - 1]
            await soon(partial(knows, maker, "acme"))
            secret = await maker.make_key("acme", f"key{turn}")
            assert maker.opens(secret), "the answer came after it was in use here"
            await soon(partial(opens, found, secret, everywhere=True))
            await revoker.revoke("acme", f"key{turn}")
            assert not revoker.opens(secret)
            await soon(partial(opens, found, secret, everywhere=False))

    play(tmp_path, postgres, valkey, scene)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_the_database_goes_and_comes_back(
    how: str, tmp_path: Path, postgres: PostgresDatabase, valkey: Valkey
) -> None:
    """What is known goes on being used; changes are refused as our own fault; afterwards all is as before."""

    async def scene(found: list[Router]) -> None:
        a, b, c = found
        await a.make_tenant("acme")
        await soon(lambda: all(knows(router, "acme") for router in found))
        secret = await a.make_key("acme", "key")
        await soon(lambda: opens(found, secret, everywhere=True))
        await asyncio.to_thread(getattr(postgres, how))
        assert opens(found, secret, everywhere=True)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await b.revoke("acme", "key")
        assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
        assert postgres.server.password not in str(refused.value)
        with pytest.raises(LogUnavailable):
            await b.append(1)
        await soon(lambda: not any(r.processor._transparency.status().healthy for r in found), PATIENCE_S)
        await asyncio.to_thread(postgres.start)
        await soon(lambda: all(r.processor._transparency.status().healthy for r in found), PATIENCE_S)
        await c.revoke("acme", "key")
        await soon(lambda: opens(found, secret, everywhere=False), PATIENCE_S)

    play(tmp_path, postgres, valkey, scene)


def test_all_of_them_append_to_one_log(tmp_path: Path, postgres: PostgresDatabase, valkey: Valkey) -> None:
    """Indices are contiguous, every one of them gets its receipt from each router, and one of three leads."""

    async def scene(found: list[Router]) -> None:
        places = await asyncio.gather(*(router.append(n) for n in range(20) for router in found))
        assert sorted(places) == list(range(min(places), min(places) + 60))
        for router in found:
            receipt = await router.processor._transparency.receipt(max(places), None, PATIENCE_S)
            assert receipt["log"]["origin"] == "sovereign.test/replicas"
        assert [router.processor._transparency.leads for router in found].count(True) == 1

    play(tmp_path, postgres, valkey, scene)


def test_a_start_without_what_it_needs_is_refused(
    tmp_path: Path, postgres: PostgresDatabase, valkey: Valkey
) -> None:
    """In one line, without the URL: no variable, no server, an old schema, other keys.

    A ready file that was left by one that was killed does not stay: somebody waits for it.
    """
    (tmp_path / "sovereign.yaml").write_text(TEXT)
    (tmp_path / "valkey.url").write_text(valkey.url)
    environ = {"DB": postgres.url, "KEY_HASH": "k" * 32}

    async def refusal(kind: type[Exception], **changed: str) -> str:
        (tmp_path / "run").mkdir(exist_ok=True)
        settings = Settings(
            tmp_path / "sovereign.yaml", tmp_path / "state", tmp_path / "run", "127.0.0.1", 8080
        )
        settings.ready_file.write_text("1\n")
        with pytest.raises(kind) as refused:
            await Processor(settings, {**environ, **changed}).start()
        assert not settings.ready_file.exists()
        said = str(refused.value)
        assert "\n" not in said
        assert postgres.server.password not in said
        return said

    async def run() -> None:
        assert "environment variable DB is not set" in await refusal(ConfigError, DB="")
        postgres.stop()
        await refusal(LogUnavailable)
        postgres.start()
        postgres.execute("CREATE TABLE alembic_version (version_num text)")
        postgres.execute("INSERT INTO alembic_version VALUES ('0003')")
        postgres.execute(f"GRANT ALL ON alembic_version TO {postgres.server.role}")
        assert "run `sovereign db upgrade`" in await refusal(LogUnavailable)

    asyncio.run(run())

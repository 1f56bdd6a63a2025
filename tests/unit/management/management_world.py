"""A small gateway without a data plane: real configuration, routing health and log behind the services."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.message import Message
from google.rpc import status_pb2

from sovereign_ext._gen.grpc.health.v1 import health_pb2
from sovereign_ext.anchor.service import AnchorStatus
from sovereign_ext.config.load import Loaded, decode
from sovereign_ext.config.model import Config
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.effective import Effective
from sovereign_ext.enrolment import Enrolment
from sovereign_ext.errors import ConfigError, LogUnavailable
from sovereign_ext.evidence.service import EvidenceStatus
from sovereign_ext.extproc.embedded import EmbeddedLedger
from sovereign_ext.extproc.journal import Journal
from sovereign_ext.keystore.database import DatabaseKeys, StoredKeys
from sovereign_ext.keystore.masterkey import KeyFromEnvironment
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.management.descriptor import SERVICES
from sovereign_ext.management.oidc import Tokens
from sovereign_ext.management.server import Deps, add_services
from sovereign_ext.observing import Observing, Parts
from sovereign_ext.policy.evaluate import routable
from sovereign_ext.registry.build import build
from sovereign_ext.routing.health import Health
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keyhash import KeyHash, KeyHashes
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint
from sovereign_ext.tlog.service import EntryDraft, LogPaths, TransparencyLog
from sovereign_ext.webhook.service import WebhookStatus

ORIGIN = "log.test.example/a"
FAULTS = (ConfigError("expected a number", file="sovereign.yaml", line=7, field="version"),)
T = TypeVar("T")

MASTER_KEY = "5a" * 32
HASHES = KeyHashes(KeyHash(b"secret of these tests" * 2))
KEYS = {
    name: mint(kind, bytes([number]) * 32).reveal()
    for number, (name, kind) in enumerate(
        {
            "acme": KeyKind.TENANT,
            "globex": KeyKind.TENANT,
            "expired": KeyKind.TENANT,
            "revoked": KeyKind.TENANT,
            "unknown": KeyKind.TENANT,
            "admin": KeyKind.ADMIN,
            "old-admin": KeyKind.ADMIN,
            "acme-admin": KeyKind.ADMIN,
            "globex-admin": KeyKind.ADMIN,
            "auditor": KeyKind.ADMIN,
            "acme-auditor": KeyKind.ADMIN,
            "stray-admin": KeyKind.ADMIN,
        }.items(),
        start=1,
    )
}


def _key(name: str, **times: str) -> dict[str, str]:
    return {"id": name, "hash": hash_key(KEYS[name]), **times}


CONFIG = Config.model_validate(
    {
        "version": 1,
        "origin": ORIGIN,
        "admins": [
            {"id": "ops", "keys": [_key("admin"), _key("old-admin", revoked_at="2020-01-01T00:00:00Z")]},
            *(
                {"id": name, "keys": [_key(name)], "role": role, **({"tenant": tenant} if tenant else {})}
                for name, role, tenant in (
                    ("acme-admin", "tenant_admin", "acme"),
                    ("globex-admin", "tenant_admin", "globex"),
                    ("auditor", "auditor", None),
                    ("acme-auditor", "auditor", "acme"),
                    ("stray-admin", "tenant_admin", "gone"),
                )
            ),
        ],
        "tenants": [
            {
                "id": "acme",
                "keys": [
                    _key("acme"),
                    _key("expired", expires_at="2020-01-01T00:00:00Z"),
                    _key("revoked", revoked_at="2020-01-01T00:00:00Z"),
                ],
                "policies": ["alpha-only", "beta-only"],
                "default_policy": "alpha-only",
            },
            {"id": "globex", "keys": [_key("globex")], "policies": ["any"], "default_policy": "any"},
        ],
        "policies": [
            {"id": "alpha-only", "providers": ["alpha"]},
            {"id": "beta-only", "providers": ["beta"]},
            {"id": "any"},
        ],
        "models": [{"id": "org/small"}, {"id": "org/large"}],
        "providers": [
            {"id": name, "kind": "mock", "endpoint": f"http://{name}.internal:9000/v1"}
            for name in ("gamma", "alpha", "beta")
        ],
        "deployments": [
            {"id": "alpha-small", "model": "org/small", "provider": "alpha", "upstream_model": "s-1"},
            {"id": "alpha-large", "model": "org/large", "provider": "alpha", "upstream_model": "l-1"},
            {"id": "beta-small", "model": "org/small", "provider": "beta", "upstream_model": "s-2"},
            {"id": "gamma-small", "model": "org/small", "provider": "gamma", "upstream_model": "s-3"},
        ],
    }
)


@dataclass(frozen=True)
class Answer:
    """How a call ended: a message, or a status with its packed details."""

    code: grpc.StatusCode
    message: Any
    text: str
    status: status_pb2.Status
    headers: dict[str, Any]


@dataclass
class World:
    """Everything behind the services. ``now`` and ``draining`` may be set by a test."""

    snapshot: Snapshot
    directory: Directory
    health: Health
    log: TransparencyLog
    paths: LogPaths
    server: grpc.aio.Server
    socket: str
    now: float
    tokens: Tokens
    monotonic: float = 1000.0
    draining: bool = False
    anchors: tuple[AnchorStatus, ...] | LogUnavailable = ()
    webhooks: tuple[WebhookStatus, ...] | LogUnavailable = ()
    evidence: tuple[EvidenceStatus, ...] = ()
    channel: grpc.aio.Channel | None = None
    key_use: KeyUse | None = None
    ledger: Any = None
    stored_keys: DatabaseKeys | None = None
    enrolment: Enrolment = field(init=False)
    deps: Deps = field(init=False)

    @property
    def loaded(self) -> Loaded:
        """The configuration as a file would have it."""
        text = self.snapshot.config.model_dump_json(exclude_defaults=True, exclude_none=True)
        document = {"version": 1, **json.loads(text)}
        return decode(json.dumps(document).encode(), "sovereign.yaml")

    def prepare(self, loaded: Loaded) -> Snapshot:
        """What taking it up wants; checked as the processor does."""
        registry = build(loaded.config, loaded.documents, self.now)
        names = frozenset(loaded.stored.documents)
        version = self.snapshot.version + 1
        return Snapshot.from_config(
            loaded.config,
            version=version,
            digest=loaded.digest,
            routable=routable,
            trust=registry,
            stored=names,
        )

    async def take_up(self, snapshot: Snapshot) -> bool:
        """Use it."""
        self.snapshot = snapshot
        self.health.follow(snapshot)
        self.directory.follow(snapshot.config)
        return True

    async def call(
        self,
        method: str,
        *,
        key: str | None = None,
        timeout: float | None = 20,
        why: str | None = None,
        request: Message | None = None,
        **fields: Any,
    ) -> Answer:
        """Calls ``Service.Method`` with the named key (``KEYS``) or a literal one.

        ``request`` is for those that have fields with the names of these parameters.
        """
        service_name, method_name = method.split(".")
        services = [*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"]]
        service = next(each for each in services if each.name == service_name)
        contract = service.methods_by_name[method_name]
        if request is not None and request.DESCRIPTOR.full_name != contract.input_type.full_name:
            fields["request"], request = request, None
        if request is None:
            request = message_factory.GetMessageClass(contract.input_type)(**fields)
        metadata = () if key is None else (("authorization", f"Bearer {KEYS.get(key, key)}"),)
        if why is not None:
            metadata = (*metadata, ("x-sf-reason", why))
        assert self.channel is not None
        call = self.channel.unary_unary(f"/{service.full_name}/{method_name}")(
            request.SerializeToString(), metadata=metadata, timeout=timeout
        )
        code = await call.code()
        reply: Message | None = None
        if code is grpc.StatusCode.OK:
            reply = message_factory.GetMessageClass(contract.output_type).FromString(await call)
        trailers = dict(await call.trailing_metadata())
        packed = trailers.pop("grpc-status-details-bin", b"")
        headers = {**dict(await call.initial_metadata()), **trailers}
        return Answer(code, reply, await call.details() or "", status_pb2.Status.FromString(packed), headers)

    async def anchored(self) -> tuple[AnchorStatus, ...]:
        if isinstance(self.anchors, LogUnavailable):
            raise self.anchors
        return self.anchors

    async def told(self) -> tuple[WebhookStatus, ...]:
        if isinstance(self.webhooks, LogUnavailable):
            raise self.webhooks
        return self.webhooks

    async def append(self, tenant: str, decision_id: str) -> int:
        """One entry of a tenant; its index, once it is under a checkpoint."""
        statement = b'{"_type":"https://in-toto.io/Statement/v1","predicate":{"decision_id":"%s"}}'
        draft = EntryDraft("outcome", tenant, decision_id, statement % decision_id.encode(), b'{"items":[]}')
        placed = await self.log.append(draft)
        await self.log.receipt(placed.index, None, 20)
        return placed.index


@asynccontextmanager
async def world(directory: Path, config: Config = CONFIG) -> AsyncIterator[World]:
    """Opens the log in ``directory`` and serves on a Unix socket there, until the block ends."""
    log = await TransparencyLog.open(
        directory / "log", ORIGIN, clock=lambda: int(time.time() * 1000), publish_interval_s=0.01
    )
    server = grpc.aio.server()
    snapshot = Snapshot.from_config(config, version=1, digest="sha256:test", routable=routable)
    health = Health()
    health.follow(snapshot)
    paths = LogPaths.of(directory / "log")
    here = World(
        snapshot,
        Directory.of(config, HASHES),
        health,
        log,
        paths,
        server,
        f"{directory}/s",
        time.time(),
        Tokens(lambda: here.now),
    )
    stored_keys = StoredKeys()
    log.on_change(lambda: stored_keys.load(log.resources) and None)
    masters = [KeyFromEnvironment("MASTER_KEY", {"MASTER_KEY": MASTER_KEY})]
    here.stored_keys = DatabaseKeys(stored_keys, masters)
    effective = Effective(here.loaded, log.resources, here.prepare, here.take_up)
    log.on_change(effective.notice)
    key_use = here.key_use = KeyUse(log.resources)
    here.ledger = EmbeddedLedger(log.usage, Journal(directory / "reservations.jsonl"))
    enrolment = here.enrolment = Enrolment(here.directory, log.resources)
    log.on_change(enrolment.changed)
    observing = Observing(lambda: here.snapshot)
    parts = Parts(log, health, lambda: len(FAULTS), lambda: 0, lambda: None, lambda: here.draining)
    await observing.start(parts, None)
    following = [asyncio.create_task(each) for each in (effective.run(), enrolment.run())]
    here.deps = Deps(
        faults=lambda: FAULTS,
        snapshot=lambda: here.snapshot,
        directory=here.directory,
        tokens=here.tokens,
        now=lambda: here.now,
        monotonic=lambda: here.monotonic,
        health=health,
        log=log,
        paths=paths,
        draining=lambda: here.draining,
        evidence=lambda: here.evidence,
        anchors=here.anchored,
        webhooks=here.told,
        random=os.urandom,
        effective=effective,
        sealing=lambda: DatabaseKeys(stored_keys, masters),
        key_hashes=HASHES,
        applied=enrolment.applied,
        key_use=key_use,
        ledger=here.ledger,
        exposition=observing.exposition,
    )
    add_services(server, here.deps)
    server.add_insecure_port(f"unix:{here.socket}")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{here.socket}") as channel:
            here.channel = channel
            yield here
    finally:
        for task in following:
            task.cancel()
        await server.stop(None)
        here.ledger.close()
        await log.close()


def run(directory: Path, scenario: Callable[[World], Awaitable[T]]) -> T:
    """Runs a scenario in a world of its own."""

    async def all_of_it() -> T:
        async with world(directory) as here:
            return await asyncio.wait_for(scenario(here), 50)

    return asyncio.run(all_of_it())

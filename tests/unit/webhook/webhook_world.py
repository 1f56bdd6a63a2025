"""What the tests of webhooks share: entries of findings, a follower on a database, a clock, a receiver in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine

from sovereign_ext.attest.entry import EntrySealer
from sovereign_ext.attest.facts import FindingFacts, FoundFact
from sovereign_ext.attest.keys import spki
from sovereign_ext.attest.statement import finding_statement
from sovereign_ext.config.findings import Findings
from sovereign_ext.config.storage import SecretSource
from sovereign_ext.errors import ConfigError
from sovereign_ext.pauses import Pauses
from sovereign_ext.secret import Secret
from sovereign_ext.storage.entries import EntryStore, Row
from sovereign_ext.storage.webhooks import FindingEntry, WebhookRow, WebhookStore
from sovereign_ext.tlog.service import EntryDraft
from sovereign_ext.webhook.client import Answer, Result
from sovereign_ext.webhook.event import Event, finding_event
from sovereign_ext.webhook.follower import Edges, Follower, target_of
from sovereign_ext.webhook.hook import Hook, hooks

ORIGIN = "sovereign.test/webhooks"
NOW_MS = 1_795_000_000_000
HOUR_MS = 3_600_000
SECRET = "whsec_" + "A" * 43 + "="
TAKEN = Answer(Result.TAKEN)
_serial = count()
_key = ec.generate_private_key(ec.SECP256R1())
_sealer = EntrySealer(_key, spki(_key), "hint")


def facts(
    *kinds: str, tenant: str = "t", places: int | None = None, pointer: str = "/messages/0"
) -> FindingFacts:
    """What an entry says: one place of each of ``kinds``, of ``places`` in all."""
    found = tuple(FoundFact(kind, 1, pointer, 40, 1, f"{number:064x}") for number, kind in enumerate(kinds))
    return FindingFacts(
        decision_id=f"d{next(_serial)}",
        tenant=tenant,
        key="t-1",
        policy="default",
        policy_digest=bytes(32),
        action="redacted",
        count=len(found) if places is None else places,
        found=found,
        found_ms=NOW_MS,
        client_request=b"c" * 32,
    )


def draft(*kinds: str, tenant: str = "t") -> EntryDraft:
    """An entry to append to a whole log."""
    said = facts(*(kinds or ("github-token",)), tenant=tenant)
    return EntryDraft(
        "finding", tenant, said.decision_id, finding_statement(said), b'{"version":1,"items":[]}'
    )


def entry(said: FindingFacts, index: int = 7, time_ms: int = NOW_MS) -> FindingEntry:
    sealed = _sealer.seal(finding_statement(said))
    return FindingEntry(index, said.tenant, time_ms, sealed.leaf_hash, sealed.envelope)


def event(said: FindingFacts, *kinds: str, index: int = 7, webhook: str = "siem") -> Event | None:
    return finding_event(entry(said, index), ORIGIN, webhook, kinds)


def read_secret(source: SecretSource, field: str) -> Secret:
    if source.env == "NONE":
        raise ConfigError("environment variable NONE is not set", field=f"{field}.env")
    return Secret(SECRET)


def hook(**changes: Any) -> Hook:
    """A receiver of the configuration."""
    said: dict[str, Any] = {"id": "siem", "url": "https://siem.test/hook", "secrets": [{"env": "SECRET"}]}
    findings = Findings.model_validate({"webhooks": [{**said, **changes}]})
    (found,) = hooks(findings, {}.__getitem__, lambda source, field: Secret(SECRET))
    return found


class Box:
    """A receiver in memory. ``answers`` are given in turn, then everything is taken."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.before: Callable[[], None] = lambda: None

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]

    @property
    def indices(self) -> list[int]:
        return [json.loads(body)["data"]["index"] for _, body in self.got]

    async def post(self, headers: dict[str, str], body: bytes) -> Answer:
        self.got.append((headers, body))
        self.before()
        return self.answers.pop(0) if self.answers else TAKEN

    async def close(self) -> None:
        pass


@dataclass
class World:
    """A database with entries, and followers on it. ``size`` of the entries are published, all by default."""

    engine: Engine
    now_ms: int = NOW_MS
    leads: bool = True
    hidden: int = 0
    entries: EntryStore = field(init=False)
    store: WebhookStore = field(init=False)
    size: int = 0

    def __post_init__(self) -> None:
        self.entries, self.store = EntryStore(self.engine), WebhookStore(self.engine)
        self.entries.create_head(ORIGIN)

    def add(
        self, *kinds: str, tenant: str = "t", kind: str = "finding", envelope: bytes | None = None
    ) -> int:
        """An entry of now; its index."""
        said = facts(*(kinds or ("github-token",)), tenant=tenant)
        sealed = _sealer.seal(finding_statement(said))
        row = Row(
            kind,
            tenant,
            said.decision_id,
            self.now_ms,
            sealed.body,
            sealed.leaf_hash,
            sealed.envelope if envelope is None else envelope,
            b"{}",
        )
        index = self.entries.append([row])
        self.size = index + 1
        return index

    def follower(self, of: Hook | None = None, start: int = 0) -> Follower:
        """One that begins at ``start`` unless it is there."""
        of = of or hook()
        self.store.begin(of.webhook.id, target_of(of.webhook.url), start)
        edges = Edges(
            origin=ORIGIN,
            published=lambda: self.size - self.hidden,
            leads=lambda: self.leads,
            read_secret=read_secret,
            clock=lambda: self.now_ms,
            random=lambda: 0.0,
            connect=lambda _: Box(),
            pauses=Pauses(1, 600),
        )
        return Follower(of, self.store, edges)

    def row(self, id_: str = "siem") -> WebhookRow:
        row = self.store.get(id_)
        assert row is not None
        return row


def steps(follower: Follower, box: Box, number: int = 1) -> list[float]:
    """The pauses that so many steps ask for."""

    async def play() -> list[float]:
        return [await follower.step(box) for _ in range(number)]

    return asyncio.run(play())

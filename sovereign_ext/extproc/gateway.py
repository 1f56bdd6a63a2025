"""What both kinds of stream share: the collaborators, the exchanges in flight, and writing a call down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sovereign_ext.attest.attestation import Attestations
from sovereign_ext.attest.facts import CallFacts, DecisionFacts, Digests, FindingFacts
from sovereign_ext.attest.statement import decision_statement, finding_statement, opening
from sovereign_ext.config.model import Policy, ProviderKind
from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.envoyconf.names import entry_cluster
from sovereign_ext.errors import LogError, ServiceError
from sovereign_ext.exchange.exchange import Exchange
from sovereign_ext.exchange.leaks import DONE, Fingerprint, scan
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.extproc.entries import outcome_draft
from sovereign_ext.extproc.screening import Screening
from sovereign_ext.keystore.base import Keystore
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.media.fetch import MediaFetcher
from sovereign_ext.metering.findings import FINDING_KIND, finding_rows
from sovereign_ext.providers.base import Adapter
from sovereign_ext.routing.health import Health
from sovereign_ext.scanner.effort import Effort
from sovereign_ext.scanner.scan import Scan
from sovereign_ext.telemetry.facts import Appended, CallEnded, Scanned, Tell, nobody
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.ledger import NOTHING_USED, Demand, Ledger, Verdict
from sovereign_ext.tenants.memory import MemoryLedger
from sovereign_ext.tlog.service import EntryDraft, Sequenced, TransparencyLog

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Gateway:
    """Wired by ``app``. ``clock`` gives the moment, ``random`` that many random bytes; ``tell`` hears what happens."""

    snapshot: Callable[[], Snapshot]
    directory: Directory
    health: Health
    log: TransparencyLog
    attestations: Attestations
    keystore: Keystore
    media: MediaFetcher
    adapters: Mapping[ProviderKind, Adapter]
    clock: Callable[[], Moment]
    random: Callable[[int], bytes]
    management_methods: Callable[[str], frozenset[str]]
    key_use: KeyUse
    fingerprint: Fingerprint
    patience: timedelta = timedelta(seconds=10)  # of Envoy with the processor
    exchanges: dict[str, Exchange] = field(default_factory=dict)  # in flight, by decision id
    ledger: Ledger = field(default_factory=MemoryLedger)
    screening: Screening = field(default_factory=Screening)
    tell: Tell = nobody
    worker: int | None = None  # which of several that share an Envoy, from 1
    _limited: set[str] = field(default_factory=set)  # calls in flight that the ledger was asked for
    _entries: tuple[int, Mapping[str, str]] = field(default=(0, {}))
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def settle(self, exchange: Exchange, facts: CallFacts) -> tuple[bytes, int]:
        """Make the call's entry durable; its attestation as JSON and its index.

        Raises ``ServiceError`` 503 ``log_unavailable`` if it could not be made durable. Once begun, the append
        goes on although the stream that asked is cancelled: the call happened, so it is written down.
        """
        predicate, draft = outcome_draft(facts, exchange.key, self.log)
        durable = False
        try:
            place = await self._append(draft)
            durable = True
        finally:
            self._give_back(facts.decision_id, exchange)
            self.tell(CallEnded(facts, durable))
        return self.attestations.of_predicate(predicate, place), place.index

    async def record_decision(self, exchange: Exchange, facts: DecisionFacts) -> int:
        """Make the entry of a decision durable, under a policy with strict audit; its index.

        To be awaited before anything is sent to a provider. Raises ``ServiceError`` 503 ``log_unavailable``.
        """
        digests = Digests(client_request=facts.client_request)
        return await self._append_ahead(exchange, facts, "decision", decision_statement(facts), digests)

    async def record_findings(self, exchange: Exchange, facts: FindingFacts) -> None:
        """Make the entry of what was found in a request durable; the outcome will name it.

        To be awaited before anything is answered or sent. Raises ``ServiceError`` 503 ``log_unavailable``.
        """
        digests = Digests(client_request=facts.client_request, redacted_request=facts.redacted_request)
        index = await self._append_ahead(exchange, facts, FINDING_KIND, finding_statement(facts), digests)
        exchange.finding_index, exchange.findings = index, facts.count

    def scan(self, exchange: Exchange, policy: Policy, body: bytes, effort: Effort) -> Scan:
        """What ``policy`` looks for in ``body``."""
        began = time.perf_counter()
        return self._scanned(exchange, policy, body, scan(policy, body, effort), began)

    async def scan_aside(self, exchange: Exchange, policy: Policy, body: bytes, effort: Effort) -> Scan:
        """The same, on another thread, in its turn. Raises ``CalledOff``."""
        began = time.perf_counter()
        found = await self.screening.scan(exchange.identity.tenant.id, policy, body, effort)
        return self._scanned(exchange, policy, body, found, began)

    def _scanned(self, exchange: Exchange, policy: Policy, body: bytes, found: Scan, began: float) -> Scan:
        kinds = [each.kind for each in found.findings]
        action, took = DONE[policy.redaction.action], time.perf_counter() - began
        self.tell(Scanned(exchange.identity.tenant.id, policy.id, action, len(body), took, kinds))
        return found

    def admit(self, exchange: Exchange, demand: Demand) -> Verdict | Awaitable[Verdict]:
        """Ask the ledger; what it takes is given back when the call is settled, and only then."""
        self._limited.add(exchange.decision_id)
        return self.ledger.admit(demand, self.clock().wall_ms)

    def admitted_too_late(self, exchange: Exchange) -> None:
        """The call was settled before the ledger had answered: what it has taken since is given back."""
        self.ledger.settle(exchange.decision_id, NOTHING_USED, self.clock().wall_ms)

    def _give_back(self, call: str, exchange: Exchange) -> None:
        """Once, when the entry is durable or could not be made so."""
        if call in self._limited:
            self._limited.discard(call)
            self.ledger.settle(call, exchange.used, self.clock().wall_ms)

    def settle_later(self, exchange: Exchange, facts: CallFacts) -> None:
        """Write down a call that nobody waits for any more."""
        self.spawn(self._settle_quietly(exchange, facts))

    def entry_clusters(self, snapshot: Snapshot) -> Mapping[str, str]:
        """The entry cluster of each provider id; made once per configuration."""
        version, names = self._entries
        if version != snapshot.version:
            names = {provider.id: entry_cluster(provider) for provider in snapshot.config.providers}
            self._entries = (snapshot.version, names)
        return names

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self) -> None:
        """Wait for what was spawned."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _append_ahead(
        self,
        exchange: Exchange,
        facts: DecisionFacts | FindingFacts,
        kind: str,
        statement: bytes,
        digests: Digests,
    ) -> int:
        """An entry of a call that comes before its outcome; its index."""
        secret = opening(exchange.key, digests)
        found = finding_rows(facts) if isinstance(facts, FindingFacts) else ()
        draft = EntryDraft(kind, facts.tenant, facts.decision_id, statement, secret, findings=found)
        return (await self._append(draft)).index

    async def _append(self, draft: EntryDraft) -> Sequenced:
        began, durable = time.perf_counter(), False
        try:
            placed = await self.log.append(draft)
            durable = True
        except Exception as error:
            # Whatever it was, the entry is not known to be durable: that is all the caller may rely on.
            if isinstance(error, LogError):
                _log.error("%s entry of %s is not durable: %s", draft.kind, draft.decision_id, error)
            else:
                _log.exception("%s entry of %s is not durable", draft.kind, draft.decision_id)
            raise ServiceError(
                503, "The transparency log cannot take the call's entry, so there is no answer.",
                code="log_unavailable",
            ) from None  # fmt: skip
        finally:
            self.tell(Appended(draft.kind, time.perf_counter() - began, durable))
        return placed

    async def _settle_quietly(self, exchange: Exchange, facts: CallFacts) -> None:
        try:
            await self.settle(exchange, facts)
        except ServiceError:
            return  # logged above; there is no client to tell

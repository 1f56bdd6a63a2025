"""What the management services work on. Values and promises only; ``app`` fills it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sovereign_ext.config.snapshot import Snapshot
from sovereign_ext.effective import Effective
from sovereign_ext.errors import ConfigError
from sovereign_ext.exchange.moment import Moment
from sovereign_ext.keystore.database import DatabaseKeys
from sovereign_ext.keyuse import KeyUse
from sovereign_ext.management.changes import ChangeLog, Changes
from sovereign_ext.management.log import AnchorStatus, OpenLog, WebhookStatus
from sovereign_ext.management.oidc import Tokens
from sovereign_ext.management.providers import EvidenceStatus
from sovereign_ext.management.receipts import ReceiptSource
from sovereign_ext.routing.health import Health
from sovereign_ext.shared.service import SharedStatus
from sovereign_ext.storage.audit import AuditStore
from sovereign_ext.storage.findings import FindingStore
from sovereign_ext.storage.resources import ResourceStore
from sovereign_ext.storage.usage import UsageStore
from sovereign_ext.tenants.directory import Directory
from sovereign_ext.tenants.keyhash import KeyHashes
from sovereign_ext.tenants.ledger import Standings
from sovereign_ext.tlog.integrator import Published
from sovereign_ext.tlog.service import LogPaths


class Log(OpenLog, ReceiptSource, ChangeLog, Protocol):
    """All that the services want of the log; ``tlog.service.TransparencyLog`` is one."""

    @property
    def resources(self) -> ResourceStore:
        """What was changed through it."""

    @property
    def usage(self) -> UsageStore:
        """What tenants used."""

    @property
    def audit(self) -> AuditStore:
        """Its entries, without their openings."""

    @property
    def findings(self) -> FindingStore:
        """What its finding entries tell of."""

    def published(self) -> Published:
        """Its newest checkpoint, without blocking."""


@dataclass(frozen=True, slots=True)
class Deps:
    """What the services work on.

    ``snapshot`` gives the configuration in use, ``directory`` knows tenants, operators and their keys, ``tokens``
    checks those of OpenID Connect, ``faults`` is what is wrong with a newer file; ``now`` is Unix seconds,
    ``monotonic`` the clock of ``health``, in seconds. ``paths`` is where ``log`` keeps its files. ``draining`` is true
    once the process is shutting down, so that health says NOT_SERVING while calls in flight are finished. ``evidence``
    is how it stands with each provider that has any, ``anchors`` with each external log, ``webhooks`` with each
    receiver of findings; both raise ``LogError``. ``random`` gives so many unguessable bytes; ``effective`` is the
    configuration of file and database, and what may become of it. ``key_hashes`` are the secrets behind what is kept of
    keys; ``applied`` waits until calls here go by a revision of a key, for a second at most. ``key_use`` is told of
    every key that somebody shows. ``ledger`` is what calls are admitted by. ``shared`` is how it stands with the store
    that routers count in, ``None`` without one. ``sealing`` seals provider keys, ``exposition`` is what a scraper of
    metrics is given.
    """

    snapshot: Callable[[], Snapshot]
    directory: Directory
    tokens: Tokens
    now: Callable[[], float]
    monotonic: Callable[[], float]
    faults: Callable[[], tuple[ConfigError, ...]]
    health: Health
    log: Log
    paths: LogPaths
    draining: Callable[[], bool]
    evidence: Callable[[], Sequence[EvidenceStatus]]
    anchors: Callable[[], Awaitable[Sequence[AnchorStatus]]]
    webhooks: Callable[[], Awaitable[Sequence[WebhookStatus]]]
    random: Callable[[int], bytes]
    effective: Effective[Any]
    sealing: Callable[[], DatabaseKeys]
    key_hashes: KeyHashes
    applied: Callable[[int], Awaitable[object]]
    key_use: KeyUse
    ledger: Standings
    exposition: Callable[[], Awaitable[bytes]]
    shared: Callable[[], SharedStatus | None] = lambda: None

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return int(self.now() * 1000)

    def moment(self) -> Moment:
        """Both clocks at once."""
        return Moment(self.monotonic(), self.now_ms())

    def changes(self) -> Changes:
        """How resources are changed."""
        return Changes(self.log, self.now_ms, self.random)

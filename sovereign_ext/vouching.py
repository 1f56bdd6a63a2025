"""Everything around a configuration's trust that lives as long as the process: registry, evidence, and who watches
the log: witnesses, mirrors, anchors.

``registry`` and ``prepare`` say whether a configuration can be used; ``keep`` makes durable what entries will refer
to, before any entry can; ``follow`` sets what runs in the background to it. In this order, at start and at each
reload. The first two may take seconds and run in any thread, the others belong to the event loop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from sovereign_ext.anchor.service import Anchors, AnchorStatus
from sovereign_ext.anchor.target import Target, targets
from sovereign_ext.attest.documents import POLICY
from sovereign_ext.canonical import canonical_json
from sovereign_ext.config.load import Loaded
from sovereign_ext.config.snapshot import Snapshot, policy_document
from sovereign_ext.errors import ConfigError, LogUnavailable
from sovereign_ext.evidence.follower import Edges
from sovereign_ext.evidence.service import EvidenceService
from sovereign_ext.registry.build import build
from sovereign_ext.registry.registry import Registry
from sovereign_ext.roots import read_roots
from sovereign_ext.storage.anchors import AnchorStore
from sovereign_ext.storage.documents import Document
from sovereign_ext.tlog.service import TransparencyLog
from sovereign_ext.tlog.witnesses import WitnessSet, witness_set


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a configuration says beside its snapshot, read and checked."""

    files: dict[str, bytes]
    witnesses: WitnessSet | None
    anchors: tuple[Target, ...]


class Vouching:
    """``log`` gives the open log, ``connect`` an engine on its database; without a log only ``registry`` and
    ``prepare`` work."""

    def __init__(self, log: Callable[[], TransparencyLog], file: str, connect: Callable[[], Engine]) -> None:
        self._log = log
        self._file = file
        self._connect = connect
        self._engine: Engine | None = None
        self._anchors: Anchors | None = None
        self.evidence = EvidenceService(Edges(keep=self._keep_evidence))

    def registry(self, loaded: Loaded) -> Registry:
        """The registry of a configuration. Raises ``ConfigError``."""
        return build(
            loaded.config, loaded.documents, time.time(), evidence=self.evidence.board, file=self._file
        )

    def prepare(self, loaded: Loaded) -> Prepared:
        """Check what is not the snapshot's. Raises ``ConfigError``; nothing has changed then."""
        files = loaded.files

        def read(path: str) -> bytes:
            if path not in files:
                raise ConfigError(f"{path} was not loaded", file=self._file)
            return files[path]

        for at, provider in enumerate(loaded.config.providers):
            if provider.evidence is not None:
                read_roots(provider.evidence.ca_path, read, f"providers[{at}].evidence.ca_file")
        settings = loaded.config.log
        asked = bool(settings.mirrors) or settings.policy_file is not None
        witnesses = witness_set(settings, read) if asked else None
        return Prepared(files, witnesses, targets(settings.anchors, read))

    async def keep(self, snapshot: Snapshot) -> None:
        """Make policies and signed documents durable. Raises ``LogUnavailable``."""
        documents = [
            Document(POLICY, canonical_json(policy_document(policy))) for policy in snapshot.config.policies
        ]
        if isinstance(snapshot.trust, Registry):
            documents += [Document(each.kind, each.body) for each in snapshot.trust.documents.values()]
        await self._log().keep(documents)

    async def follow(self, loaded: Loaded, prepared: Prepared) -> None:
        """Set evidence, witnesses and anchors to the configuration. Raises ``LogError``."""
        self.evidence.follow(loaded.config, prepared.files)
        await self._log().follow(prepared.witnesses)
        try:
            if self._anchors is None:
                self._anchors = await asyncio.to_thread(self._open_anchors, self._log())
            await self._anchors.follow(prepared.anchors)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot read the anchors: {type(error).__name__}") from None

    async def anchors(self) -> tuple[AnchorStatus, ...]:
        """How it goes with each anchor. Raises ``LogUnavailable``."""
        if self._anchors is None:
            return ()
        try:
            return await asyncio.to_thread(self._anchors.statuses)
        except SQLAlchemyError as error:
            raise LogUnavailable(f"cannot read the anchors: {type(error).__name__}") from None

    async def stop(self) -> None:
        """End what runs in the background. The log is the caller's to close, afterwards."""
        await self.evidence.stop()
        if self._anchors is not None:
            await self._anchors.close()
        if self._engine is not None:
            await asyncio.to_thread(self._engine.dispose)

    def _open_anchors(self, log: TransparencyLog) -> Anchors:
        self._engine = self._connect()
        anchors = Anchors(
            AnchorStore(self._engine),
            published=log.published,
            sign=log.artefact,
            clock=lambda: time.time_ns() // 1_000_000,
            random=random.random,
            leads=lambda: log.leads,
        )
        log.anchored_by(anchors.covering)
        log.observe(lambda _: anchors.notice())
        return anchors

    async def _keep_evidence(self, kind: str, body: bytes) -> None:
        await self._log().keep([Document(kind, body)])

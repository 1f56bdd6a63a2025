"""Evidence for a whole configuration: one follower for each provider that has any, in step with every reload.

A provider whose settings did not change is not disturbed. One whose settings changed loses what was verified by the
old ones at once; the answer at hand is verified again by the new ones before anything is fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from sovereign_ext.config.model import Config
from sovereign_ext.config.trust import EvidenceKind
from sovereign_ext.errors import EvidenceRefused
from sovereign_ext.evidence.board import EvidenceBoard
from sovereign_ext.evidence.follower import Edges, Follower, Target
from sovereign_ext.registry.appraisal import NO_EVIDENCE, appraise


@dataclass(frozen=True, slots=True)
class EvidenceStatus:
    """What an operator may know of a provider's evidence. Times are Unix seconds.

    ``reason`` is empty when the evidence suffices now, else the code of why it does not. ``error`` is what went
    wrong at the last look, which may be long before the evidence at hand ends.
    """

    provider: str
    kind: EvidenceKind
    reason: str
    measurement: str
    document: str
    issued_at_s: int | None
    expires_at_s: int | None
    checked_at_s: float | None
    error: str


class EvidenceService:
    """Fills ``board``. ``follow`` may be called before ``start`` and after each reload; it never waits.

    Belongs to one event loop.
    """

    def __init__(self, edges: Edges) -> None:
        self.board = EvidenceBoard()
        self.board.missed = self._missed
        self._edges = edges
        self._followers: dict[str, Follower] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._running = False

    def follow(self, config: Config, documents: Mapping[str, bytes]) -> None:
        """Follow the providers of ``config`` that have evidence, and no others.

        ``documents`` has the content of every file that the configuration names, by its path as written there.
        """
        targets = targets_of(config, documents)
        before = self._followers
        self._followers, begun = {}, []
        for provider, target in targets.items():
            old = before.get(provider)
            if old is not None and old.target == target:
                self._followers[provider] = before.pop(provider)
                continue
            follower = Follower(target, self.board, self._edges, None if old is None else old.held)
            self._followers[provider] = follower
            begun.append(follower)
        for old in before.values():
            self._end(old)
        for follower in begun:
            if self._running:
                follower.start()

    async def start(self) -> None:
        """Begin to fetch. Doing it twice is once."""
        if self._running:
            return
        self._running = True
        for follower in self._followers.values():
            follower.start()

    async def stop(self) -> None:
        """End every task and wait until all have ended. Can be started again."""
        self._running = False
        await asyncio.gather(*(follower.stop() for follower in self._followers.values()), *self._ending)

    async def ready(self, timeout_s: float) -> bool:
        """Wait until each provider had evidence that suffices once, but not longer than ``timeout_s``."""
        waits = [follower.ready.wait() for follower in self._followers.values()]
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*waits)
        except TimeoutError:
            return False
        return True

    def status(self) -> tuple[EvidenceStatus, ...]:
        """One line for each provider with evidence, in the order of the configuration."""
        return tuple(self._status(follower.target) for follower in self._followers.values())

    def _status(self, target: Target) -> EvidenceStatus:
        entry = self.board.entry(target.provider)
        evidence = entry.evidence
        reason = entry.reason or NO_EVIDENCE
        if evidence is not None:
            try:
                appraise(evidence, target.config.measurements, self._edges.clock())
                reason = ""
            except EvidenceRefused as refused:
                reason = refused.reason
        return EvidenceStatus(
            provider=target.provider,
            kind=target.config.kind,
            reason=reason,
            measurement="" if evidence is None else evidence.measurement,
            document="" if evidence is None else evidence.document,
            issued_at_s=None if evidence is None else evidence.issued_at_s,
            expires_at_s=None if evidence is None else evidence.expires_at_s,
            checked_at_s=entry.checked_at_s,
            error=entry.error,
        )

    def _end(self, follower: Follower) -> None:
        follower.cancel()
        self.board.drop(follower.target.provider)
        if self._running:
            ending = asyncio.create_task(follower.stop())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    def _missed(self) -> None:
        for follower in self._followers.values():
            follower.missed()


def targets_of(config: Config, documents: Mapping[str, bytes]) -> dict[str, Target]:
    """The providers with evidence and what following each takes, by provider id, in the order of the file."""
    found = {}
    for provider in config.providers:
        evidence = provider.evidence
        if evidence is None:
            continue
        anchor = evidence.jwks_path if evidence.kind is EvidenceKind.EAT else evidence.root_path
        found[provider.id] = Target(
            provider=provider.id,
            endpoint=provider.endpoint,
            config=evidence,
            clock_skew_s=config.trust.clock_skew_s,
            anchor=None if anchor is None else documents[anchor],
            roots=None if evidence.ca_path is None else documents[evidence.ca_path],
        )
    return found

"""Keeps the evidence of one provider fresh: asks, verifies, stores, posts, and comes back before it ends.

What is posted has been stored first, so that an entry of the log can refer to it. A verifier that cannot be reached
costs nothing until the evidence at hand ends by itself; authenticated evidence that does not suffice counts at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeVar

from sovereign_ext.attest.documents import EVIDENCE
from sovereign_ext.config.trust import Evidence, EvidenceKind
from sovereign_ext.errors import ConfigError, EvidenceRefused, SovereignError, VerificationError
from sovereign_ext.evidence.board import EvidenceBoard
from sovereign_ext.evidence.fetch import Answer, VerifierClient
from sovereign_ext.evidence.peer import Shown, observe
from sovereign_ext.registry.appraisal import NO_EVIDENCE, Expected, appraise
from sovereign_ext.registry.eat import verify_token
from sovereign_ext.registry.evidence import VerifiedEvidence
from sovereign_ext.registry.jose import KeySet, read_key_set
from sovereign_ext.registry.nitro import read_root, verify_document

_log = logging.getLogger(__name__)

_Anchor = TypeVar("_Anchor")

NONCE_BYTES: Final = 32
KEY_SET_LIFE_S: Final = 3600.0
LOOK_GAP_S: Final = 5.0
"""Between two looks at an endpoint's certificate, however often unknown ones are asked about."""

_SOONEST_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 60.0

Keep = Callable[[str, bytes], Awaitable[None]]
"""Make a document durable: its kind (``attest.documents``) and its bytes. Raises ``SovereignError`` if it cannot."""


@dataclass(frozen=True, slots=True)
class Target:
    """One provider whose evidence is followed, with the content of the files that its configuration names."""

    provider: str
    endpoint: str
    config: Evidence
    clock_skew_s: int
    anchor: bytes | None  # of jwks_file (eat) or root_file (nitro); None with jwks_url
    roots: bytes | None  # of ca_file


@dataclass(frozen=True, slots=True)
class Edges:
    """The world as a follower meets it. ``clock`` gives Unix seconds."""

    keep: Keep
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[int], bytes] = os.urandom
    client: Callable[[Evidence, bytes | None], VerifierClient] = VerifierClient
    observe: Callable[[str], Awaitable[Shown | None]] = observe


class Follower:
    """Two tasks for one provider: its evidence, and its endpoint's certificate. ``start`` it, then ``stop``.

    ``held`` is the last answer that was verified: whoever follows the same provider by other rules may begin with
    it.
    """

    def __init__(
        self, target: Target, board: EvidenceBoard, edges: Edges, held: Answer | None = None
    ) -> None:
        self.target = target
        self.held = held
        self.ready = asyncio.Event()
        self._board = board
        self._edges = edges
        self._keys: tuple[KeySet, float] | None = None  # and when they were fetched
        self._failures = 0
        self._missed = asyncio.Event()
        self._posted = False
        self._looked = False
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Begin. Needs a running event loop."""
        self._tasks = tuple(
            asyncio.create_task(work, name=f"evidence {name} {self.target.provider}")
            for name, work in (("of", self._follow_evidence()), ("peer", self._follow_peer()))
        )

    def cancel(self) -> None:
        """End both tasks: from now on nothing is posted any more."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """End both tasks and wait until they have ended."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def missed(self) -> None:
        """Somebody asked about a certificate that nobody has seen."""
        self._missed.set()

    # -- evidence --------------------------------------------------------------------------------------------------

    async def _follow_evidence(self) -> None:
        try:
            # In a thread: reading the system's roots takes tens of milliseconds, in which no call would go on.
            client = await asyncio.to_thread(self._edges.client, self.target.config, self.target.roots)
        except ConfigError as error:
            self._fault(EvidenceRefused(NO_EVIDENCE, f"ca_file: {error.reason}"))
            return
        async with aclosing(client):
            if self.held is not None:
                await self._attempt(client, self.held)
            while True:
                await self._attempt(client)
                await self._edges.sleep(self._pause())

    async def _attempt(self, client: VerifierClient, answer: Answer | None = None) -> None:
        """One look, with the outcome on the board whatever happens."""
        held = answer is not None
        try:
            answer = answer or await client.evidence(self._edges.random(NONCE_BYTES))
            evidence = await self._verify(client, answer)
            await self._edges.keep(EVIDENCE, answer.document)
            now_s = self._edges.clock()
            self.held = answer
            self._board.post(self.target.provider, evidence, now_s)
            appraise(evidence, self.target.config.measurements, now_s)
            self._failures = 0
            self._posted = True
            self._note_ready()
        except EvidenceRefused as refused:
            self._failures += 0 if held else 1
            self._fault(refused)
        except SovereignError as error:
            self._failures += 1
            self._fault(EvidenceRefused(NO_EVIDENCE, f"evidence could not be stored: {error}"))
        except Exception:
            # A fault of ours must not end the task: evidence would silently lapse for good.
            _log.exception("looking for evidence of %s", self.target.provider)
            self._failures += 1
            self._fault(EvidenceRefused(NO_EVIDENCE, "an internal error; the processor's log has it"))

    async def _verify(self, client: VerifierClient, answer: Answer) -> VerifiedEvidence:
        config = self.target.config
        if config.kind is EvidenceKind.NITRO:
            root = self._read(read_root)
            return verify_document(answer.document, root, self._expected(answer))
        if config.jwks_url is None:
            return verify_token(answer.document, self._read(read_key_set), self._expected(answer))
        began = self._edges.clock()
        keys = await self._fetched_keys(client, began - KEY_SET_LIFE_S)
        try:
            return verify_token(answer.document, keys, self._expected(answer))
        except EvidenceRefused as refused:
            if refused.reason != NO_EVIDENCE:
                raise
        # Perhaps the issuer has new keys: ask, unless that was just done, and judge by them.
        keys = await self._fetched_keys(client, began)
        return verify_token(answer.document, keys, self._expected(answer))

    async def _fetched_keys(self, client: VerifierClient, since_s: float) -> KeySet:
        if self._keys is None or self._keys[1] < since_s:
            fetched_s = self._edges.clock()
            data = await client.key_set()
            try:
                self._keys = read_key_set(data), fetched_s
            except VerificationError as error:
                raise EvidenceRefused(NO_EVIDENCE, f"jwks_url: {error}") from None
        return self._keys[0]

    def _read(self, reader: Callable[[bytes], _Anchor]) -> _Anchor:
        try:
            return reader(self.target.anchor or b"")
        except VerificationError as error:
            raise EvidenceRefused(NO_EVIDENCE, str(error)) from None

    def _expected(self, answer: Answer) -> Expected:
        return Expected(self.target.config, self._edges.clock(), self.target.clock_skew_s, nonce=answer.nonce)

    def _fault(self, refused: EvidenceRefused) -> None:
        # Once for each kind of trouble: the text may count seconds.
        known = self._board.entry(self.target.provider).reason == refused.reason
        level = logging.DEBUG if known else logging.WARNING
        _log.log(level, "evidence of %s: %s (%s)", self.target.provider, refused, refused.reason)
        self._board.fault(self.target.provider, refused.reason, str(refused), self._edges.clock())

    def _pause(self) -> float:
        """Seconds until the next look: never later than asked for, spread so that providers do not go together."""
        spread = int.from_bytes(self._edges.random(2)) / 65536
        refresh_s = self.target.config.refresh_s
        if self._failures:
            backoff_s: float = min(2 ** min(self._failures - 1, 10), refresh_s, _LONGEST_BACKOFF_S)
            return backoff_s * (0.5 + spread / 2)
        evidence = self._board.current(self.target.provider)
        left_s = 0.0 if evidence is None else evidence.expires_at_s - self._edges.clock()
        return max(_SOONEST_S, min(refresh_s, left_s / 2)) * (0.8 + spread / 5)

    # -- peer ------------------------------------------------------------------------------------------------------

    async def _follow_peer(self) -> None:
        """Look at the endpoint now, as often as evidence is refreshed, and when a certificate was unknown."""
        while True:
            self._missed.clear()
            try:
                shown = await self._edges.observe(self.target.endpoint)
            except (OSError, ValueError) as error:
                _log.info("certificate of %s: %s", self.target.provider, error or type(error).__name__)
            else:
                if shown is not None:
                    self._board.learn(shown.certificate, shown.pin)
            self._looked = True
            self._note_ready()
            await self._edges.sleep(LOOK_GAP_S)
            waits = {
                asyncio.ensure_future(self._missed.wait()),
                asyncio.ensure_future(self._edges.sleep(self.target.config.refresh_s)),
            }
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiting in waits:
                    waiting.cancel()

    def _note_ready(self) -> None:
        if self._posted and self._looked:
            self.ready.set()

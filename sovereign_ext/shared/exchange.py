"""Tells the other routers, twice a second, what this one saw of each deployment, and takes note of what they saw.

One script does both over a bounded stream in the shared store; its ids are the server's time, which gives an entry its
age. The hot path reads ``routing.health``'s memory and waits for nothing here. While the store is out of reach a
router knows what it sees itself; what it would have told then is not told later, being too old to matter soon.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sovereign_ext.routing.health import Health
from sovereign_ext.routing.sharing import Seen
from sovereign_ext.routing.window import BINS
from sovereign_ext.shared import layout
from sovereign_ext.shared.client import Client
from sovereign_ext.shared.rounds import Rounds
from sovereign_ext.shared.scripts import HEALTH
from sovereign_ext.shared.wire import Part

EVERY_S: Final = 0.5
SPAN_MS: Final = 60_000
"""What is older is in nobody's window."""

KEPT: Final = 4_096
"""Entries: a minute of 34 busy routers."""

READ_AT_ONCE: Final = 512
DEPLOYMENTS_AT_ONCE: Final = 512
LATE_S: Final = 2 * EVERY_S
"""How much longer than the router that opened a circuit the others wait: it probes, and tells them how that went."""

_SPREAD: Final = 8  # further steps of an eighth of a second, so that as a rule one of those is the first


class HealthExchange:
    """``monotonic`` is the clock of ``health``."""

    def __init__(
        self,
        client: Client,
        router: str,
        health: Health,
        monotonic: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
    ) -> None:
        self._client = client
        self._router = router
        self._health = health
        self._monotonic = monotonic
        self._late_s = LATE_S + int(router, 16) % _SPREAD / 8
        self._read = ""
        self._rounds = Rounds(client, every_s, "exchanging health", self.round)

    def start(self) -> None:
        """Begin."""
        self._health.share()
        self._rounds.start()

    async def stop(self) -> None:
        """End."""
        await self._rounds.stop()

    async def round(self) -> None:
        """Tell and hear once. Raises ``ServiceError`` when the store cannot be reached."""
        seen = self._health.take(self._monotonic())[:DEPLOYMENTS_AT_ONCE]
        saw = msgspec.json.encode(seen) if seen else b""
        more = True
        while more:
            arguments: list[Part] = [self._router, saw, self._read, SPAN_MS, KEPT, READ_AT_ONCE]
            now_ms, entries = await self._client.run(HEALTH, [layout.HEALTH], arguments, slow=True)
            now = self._monotonic()
            for entry, fields in entries:
                self._merge(entry.decode(), fields, int(now_ms), now)
            saw, more = b"", len(entries) == READ_AT_ONCE
        if self._read and int(self._read.split("-")[0]) > int(now_ms):
            self._read = f"{int(now_ms)}-0"  # another server, whose clock is behind: its entries are news

    def _merge(self, entry: str, fields: list[Any], now_ms: int, now: float) -> None:
        self._read = entry
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        if found.get(b"router") == self._router.encode():
            return
        try:
            seen = msgspec.json.decode(found.get(b"saw", b"[]"), type=tuple[Seen, ...])
        except msgspec.DecodeError:
            return  # a router of another version; its numbers are missing, nothing else
        age_s = (now_ms - int(entry.split("-", maxsplit=1)[0])) / 1000
        self._health.merge([each for each in seen if _sound(each)], now, age_s, self._late_s)


def _sound(seen: Seen) -> bool:
    counts = (seen.successes, seen.failures, seen.streak, *(count for _, count in seen.latencies))
    return min(counts) >= 0 and all(0 <= index < BINS for index, _ in seen.latencies)

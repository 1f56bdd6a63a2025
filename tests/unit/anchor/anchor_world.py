"""What the tests of anchoring share: keys, artefacts, a client for a test server, a log that is anchored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rekor_server import Rekor

from sovereign_ext.anchor.client import RekorClient
from sovereign_ext.anchor.service import Anchors
from sovereign_ext.anchor.target import Target
from sovereign_ext.attest import dsse
from sovereign_ext.attest.keys import spki
from sovereign_ext.attest.rekor import V1, V2, Artefact, RekorEntry, RekorKey
from sovereign_ext.pauses import Pauses
from sovereign_ext.storage.anchors import AnchorStore
from sovereign_ext.storage.engine import open_sqlite
from sovereign_ext.tlog.service import EntryDraft, LogPaths, TransparencyLog

ORIGIN = "sovereign.local/log"
KINDS = [(V1, "p256"), (V1, "ed25519"), (V2, "ed25519"), (V2, "p256")]
NOW_MS = 1_767_225_600_000
QUICK = Pauses(0.01, 0.05)
SIGNER = ec.generate_private_key(ec.SECP256R1())


@cache
def private_key(kind: str, number: int = 0) -> Any:
    """A key of type ``p256`` or ``ed25519``; the same for the same arguments."""
    return Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())


def artefact(data: bytes = b"a checkpoint\n") -> Artefact:
    """Signed anew at every call: ECDSA is randomised."""
    return Artefact(data, dsse.sign(SIGNER, data), spki(SIGNER))


def target(rekor: Rekor, kind: str, **changes: Any) -> Target:
    """The configuration of an anchor in ``rekor``."""
    settings = {"id": "ext", "every_s": 3600, "key": RekorKey(rekor.spki), **changes}
    return Target(kind=kind, url=rekor.url, **settings)


def submit(rekor: Rekor, kind: str, what: Artefact, *, timeout_s: float = 10, **changes: Any) -> RekorEntry:
    """One submission by a client of its own."""

    async def scenario() -> RekorEntry:
        client = RekorClient(target(rekor, kind, **changes), timeout_s=timeout_s)
        try:
            return await client.submit(what)
        finally:
            await client.close()

    return asyncio.run(scenario())


async def briefly(pause_s: float) -> None:
    """Sleep as the service does while the tests move its clock by hours."""
    await asyncio.sleep(min(pause_s, 0.005))


@asynccontextmanager
async def anchored_log(
    state: Path,
    *targets: Target,
    clock: Callable[[], int] = lambda: NOW_MS,
    pauses: Pauses = QUICK,
    entries: int = 0,
    **options: Any,
) -> AsyncIterator[tuple[TransparencyLog, Anchors]]:
    """A log of at least ``entries`` and its anchors as the gateway puts them together, both closed at the end."""
    log = await TransparencyLog.open(state, ORIGIN, clock=lambda: NOW_MS, publish_interval_s=0.01)
    if entries:
        await fill(log, entries)
    engine = open_sqlite(LogPaths.of(state).database)
    anchors = Anchors(
        AnchorStore(engine),
        published=log.published,
        sign=log.artefact,
        clock=clock,
        random=lambda: 0.5,
        pauses=pauses,
        sleep=briefly,
        **options,
    )
    log.anchored_by(anchors.covering)
    log.observe(lambda _: anchors.notice())
    try:
        await anchors.follow(targets)
        yield log, anchors
    finally:
        await anchors.close()
        engine.dispose()
        await log.close()


async def fill(log: TransparencyLog, number: int) -> None:
    """Append ``number`` entries and wait until a checkpoint covers them."""
    for at in range(log.status().size, log.status().size + number):
        statement = b'{"_type":"https://in-toto.io/Statement/v1","n":%d}' % at
        await log.append(EntryDraft("outcome", "t1", f"d{at}", statement, b'{"version":1,"items":[]}'))
    await log.receipt(log.status().size - 1, None, 10)


async def until(condition: Callable[[], Any], timeout_s: float = 20) -> Any:
    """Wait for ``condition()`` to be true, looking every few milliseconds; gives its value."""
    async with asyncio.timeout(timeout_s):
        while not (value := await asyncio.to_thread(condition)):
            await asyncio.sleep(0.005)
        return value

"""What the tests of evidence share: certificates, a provider with evidence, a clock to set, and naps to end.

Nothing here sleeps: a follower that goes to sleep is woken by the test.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sovereign_ext.config.model import Config, Provider
from sovereign_ext.config.trust import Evidence
from sovereign_ext.errors import CallerError
from sovereign_ext.evidence.follower import Edges
from sovereign_ext.evidence.service import EvidenceService
from sovereign_ext.mock.reply import Call, Reply
from sovereign_ext.mock.verifier import ISSUER, MEASUREMENT
from sovereign_ext.mock.verifier_thread import RunningVerifier

PATIENCE_S = 20.0
PROVIDER = "mayo-internal"


@dataclass(frozen=True)
class Identity:
    """A key and its self-signed certificate for this host, as PEM."""

    certificate: bytes
    key: bytes

    def server(self, directory: Path) -> ssl.SSLContext:
        """TLS that shows it."""
        chain = directory / "chain.pem"
        chain.write_bytes(self.certificate + self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def identity() -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(made.public_bytes(Encoding.PEM), pem)


def evidence(verifier: RunningVerifier, **fields: Any) -> Evidence:
    known = {"url": verifier.attest_url, "jwks_file": "jwks.json", "issuer": ISSUER, "refresh_s": 60}
    return Evidence(**(known | {"measurements": (MEASUREMENT,)} | fields))


def config(*all_evidence: Evidence, endpoint: str = "http://127.0.0.1:9/v1") -> Config:
    """One provider for each; ``PROVIDER``, then ``provider-1`` and so on."""
    providers = tuple(
        Provider(id=f"provider-{index}" if index else PROVIDER, kind="vllm", endpoint=endpoint, evidence=one)
        for index, one in enumerate(all_evidence)
    )
    return Config(version=1, providers=providers)


@dataclass
class Clock:
    """Ours; the verifier's is the real one."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Naps:
    """``asyncio.sleep`` for followers of evidence. Those who wait for certificates sleep until the end."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[tuple[float, asyncio.Future[None]]] = asyncio.Queue()
        self.gaps = 0
        self._now: asyncio.Future[None] | None = None

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        name = "" if task is None else task.get_name()
        if name.startswith("evidence peer"):
            self.gaps += 1
            return
        if name.startswith("evidence of"):
            await self.begun.put((seconds, future))
        await future

    async def next(self) -> float:
        """Wait until a follower has done its work and sleeps; returns for how long it wants to."""
        seconds, self._now = await asyncio.wait_for(self.begun.get(), PATIENCE_S)
        return seconds

    async def again(self) -> float:
        """Wake it, and wait until it sleeps again."""
        assert self._now is not None
        self._now.set_result(None)
        return await self.next()


@dataclass
class World:
    """A service under test with everything around it."""

    service: EvidenceService
    clock: Clock
    naps: Naps
    kept: list[tuple[str, bytes]]
    edges: Edges
    spread: list[int] = field(default_factory=lambda: [0])

    @property
    def status(self) -> Any:
        return self.service.status()[0]

    @property
    def board(self) -> Any:
        return self.service.board

    @property
    def now(self) -> Any:
        return self.service.board.current(PROVIDER)


@asynccontextmanager
async def world(settings: Config, documents: dict[str, bytes], **edges: Any) -> AsyncIterator[World]:
    """A service that follows ``settings`` from the start. Nothing may be left running at the end."""
    before = asyncio.all_tasks()
    clock, naps, kept, spread = Clock(), Naps(), [], [0]

    async def keep(kind: str, body: bytes) -> None:
        kept.append((kind, body))

    def random(size: int) -> bytes:
        """Unlike each other, but for the spread of pauses."""
        spread.append(spread[-1] + 1)
        return bytes(size) if size == 2 else spread[-1].to_bytes(size)

    known = Edges(**({"keep": keep, "clock": clock, "sleep": naps.sleep, "random": random} | edges))
    service = EvidenceService(known)
    service.follow(settings, documents)
    await service.start()
    try:
        yield World(service, clock, naps, kept, known, spread)
    finally:
        await service.stop()
        assert asyncio.all_tasks() == before


class Served:
    """A wire that answers every GET with ``make(target)``, and refuses to be posted to."""

    kind = "served"
    default_models: tuple[str, ...] = ()

    def __init__(self, make: Any, content_type: str = "application/octet-stream") -> None:
        self._make = make
        self._type = content_type

    def read(self, request: Any) -> Any:
        if request.method != "GET":
            raise CallerError(405, "expected GET")
        return Call("get", "", {"target": request.target})

    def answer(self, call: Any, shape: Any, identity: Any) -> Reply:
        return Reply(body=self._make(call.body["target"]), content_type=self._type)

    def failure(self, failure: Any, identity: Any, call: Any) -> Reply:
        return Reply(status=failure.status, body=b"{}")

    def failure_event(self, failure: Any, identity: Any, call: Any) -> Any:
        raise NotImplementedError

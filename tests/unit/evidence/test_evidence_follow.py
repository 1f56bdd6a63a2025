"""One provider's evidence over time: fetched, stored, posted, renewed, and never worse than it was for no reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import nitro_world
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from evidence_world import PATIENCE_S, PROVIDER, Identity, Served, config, evidence, identity, world

from sovereign_ext.config.trust import Evidence
from sovereign_ext.errors import LogUnavailable
from sovereign_ext.evidence.fetch import VerifierClient
from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.mock.verifier import KEYS_PATH, MEASUREMENT, Verifier
from sovereign_ext.mock.verifier_thread import RunningVerifier
from sovereign_ext.mock.verifier_token import Signer

KEY_SET = "jwks.json"


@pytest.fixture(scope="module")
def channel() -> Identity:
    return identity()


@pytest.fixture
def verifier(channel: Identity) -> Iterator[RunningVerifier]:
    with RunningVerifier(Verifier(channel.certificate)) as running:
        yield running


def asked(verifier: RunningVerifier, path: str = "/attest") -> int:
    return sum(request.target == path for request in verifier.requests())


def documents(verifier: RunningVerifier) -> dict[str, bytes]:
    return {KEY_SET: verifier.verifier.jwks}


def test_the_first_evidence(verifier: RunningVerifier) -> None:
    """Stored under the digest that it is posted with; the status says what it is."""

    async def run() -> None:
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            assert await here.service.ready(PATIENCE_S)
            ((kind, body),) = here.kept
            assert (kind, "sha256:" + sha256(body).hexdigest()) == ("evidence", here.now.document)
            assert here.now.bound_spki == verifier.verifier.channel.pin
            assert here.now.measurement == MEASUREMENT
            status = here.status
            assert (status.provider, status.kind, status.reason, status.error) == (PROVIDER, "eat", "", "")
            assert (status.document, status.expires_at_s) == (here.now.document, here.now.expires_at_s)
            assert status.expires_at_s - status.issued_at_s == 300

    asyncio.run(run())


def test_evidence_is_stored_before_anybody_can_refer_to_it(verifier: RunningVerifier) -> None:
    """And what cannot be stored is not posted."""
    seen: list[Any] = []

    async def run() -> None:
        async def keep(kind: str, body: bytes) -> None:
            seen.append(here.now)
            if len(seen) == 1:
                raise LogUnavailable("disk full")

        async with world(config(evidence(verifier)), documents(verifier), keep=keep) as here:
            await here.naps.next()
            assert here.now is None
            assert here.status.reason == "no_evidence"
            assert "could not be stored: disk full" in here.status.error
            await here.naps.again()
            assert seen == [None, None]
            assert here.now is not None

    asyncio.run(run())


@pytest.mark.parametrize(
    ("behaviour", "reason", "message"),
    [
        ({"expired": True}, "evidence_expired", "evidence expired"),
        ({"future_s": 120}, "no_evidence", "from now"),
        ({"wrong_nonce": True}, "no_evidence", "nonce"),
        ({"wrong_issuer": True}, "no_evidence", "expected 'urn:sovereign:mock-verifier'"),
        ({"foreign_signature": True}, "no_evidence", "signature does not match"),
        ({"alg_none": True}, "no_evidence", "signed with 'none'"),
        ({"down": True}, "no_evidence", "answered 503"),
    ],
    ids=str,
)
def test_what_cannot_be_believed_changes_nothing(
    verifier: RunningVerifier, behaviour: dict[str, Any], reason: str, message: str
) -> None:
    """Alone it is no evidence. After good evidence it is a warning, until that ends by its own time."""

    async def run() -> None:
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            await here.naps.next()
            good = here.now
            verifier.behave(**behaviour)
            await here.naps.again()
            assert here.now == good
            assert (here.status.reason, message in here.status.error) == ("", True)
            here.clock.ahead_s = 300
            assert here.status.reason == "evidence_expired"
            verifier.behave()
            here.clock.ahead_s = 0
            await here.naps.again()
            assert (here.now.document != good.document, here.status.error) == (True, "")
        verifier.behave(**behaviour)
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            await here.naps.next()
            assert here.now is None
            assert (here.status.reason, message in here.status.error) == (reason, True)
            assert not here.kept

    asyncio.run(run())


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"debug": True}, "evidence_debug"),
        ({"measurement": "00" * 32}, "evidence_measurement"),
        ({"unbound": True}, "evidence_unbound"),
    ],
    ids=str,
)
def test_what_is_believed_counts_at_once(
    verifier: RunningVerifier, behaviour: dict[str, Any], reason: str
) -> None:
    """The verifier's newest word replaces a better one, which has not ended."""

    async def run() -> None:
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            await here.naps.next()
            good = here.now
            verifier.behave(**behaviour)
            assert await here.naps.again() <= 1  # looks again soon
            assert here.now.document != good.document
            assert here.status.reason == reason
            assert len(here.kept) == 2
            verifier.behave()
            await here.naps.again()
            assert here.status.reason == ""

    asyncio.run(run())


def test_a_key_that_nobody_has_is_reported_as_it_is(verifier: RunningVerifier) -> None:
    """Whether it is the answering connection's is not judged here."""

    async def run() -> None:
        verifier.behave(other_key=True)
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            await here.naps.next()
            assert here.status.reason == ""
            assert here.now.bound_spki not in (None, verifier.verifier.channel.pin)

    asyncio.run(run())


@pytest.mark.parametrize("binding", ["jwk", "x5t#S256", "spki"])
def test_every_form_of_binding(verifier: RunningVerifier, binding: str) -> None:
    async def run() -> None:
        verifier.behave(binding=binding)
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            await here.naps.next()
            channel = verifier.verifier.channel
            wanted = (None, channel.certificate) if binding == "x5t#S256" else (channel.pin, None)
            assert (here.now.bound_spki, here.now.bound_certificate) == wanted

    asyncio.run(run())


# -- pace ----------------------------------------------------------------------------------------------------------


def test_every_look_has_a_nonce_of_its_own(verifier: RunningVerifier) -> None:
    async def run() -> None:
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            await here.naps.next()
            for _ in range(3):
                await here.naps.again()

    asyncio.run(run())
    bodies = [request.body for request in verifier.requests() if request.target == "/attest"]
    assert len(bodies) == len(set(bodies)) == 4


@pytest.mark.parametrize(
    ("lifetime", "refresh", "spread", "nap"),
    [
        (300, 60, 0, 48),  # a fifth earlier than asked for
        (300, 60, 0xFFFF, 60),  # never later
        (300, 200, 0xFFFF, 150),  # half of what is left
        (10, 60, 0xFFFF, 5),
    ],
)
def test_evidence_is_renewed_before_it_ends(
    verifier: RunningVerifier, lifetime: int, refresh: int, spread: int, nap: float
) -> None:
    """As often as asked for, sooner for short lives, and not all providers at once."""

    async def run() -> None:
        verifier.behave(lifetime_s=lifetime)
        settings = config(evidence(verifier, refresh_s=refresh))
        count = iter(range(1000))

        def random(size: int) -> bytes:
            return spread.to_bytes(2) if size == 2 else next(count).to_bytes(size)

        async with world(settings, documents(verifier), random=random) as here:
            assert nap - 1.5 <= await here.naps.next() <= nap
            assert here.now.expires_at_s - here.now.issued_at_s == lifetime

    asyncio.run(run())


def test_the_shortest_life_is_not_renewed_without_a_pause(verifier: RunningVerifier) -> None:
    """The service's clock stands still: such evidence would otherwise end while it is fetched, now and then."""

    async def run() -> None:
        verifier.behave(lifetime_s=1)
        began = time.time()
        settings = config(evidence(verifier, refresh_s=60))
        edges = {"clock": lambda: began, "random": lambda size: b"\xff" * size}
        async with world(settings, documents(verifier), **edges) as here:
            assert 0.99 < await here.naps.next() < 10
            assert here.now.expires_at_s - here.now.issued_at_s == 1

    asyncio.run(run())


def test_failures_are_repeated_ever_more_slowly(verifier: RunningVerifier) -> None:
    """Doubling up to a minute, and no slower than evidence is refreshed; one success starts anew."""

    async def run() -> None:
        verifier.behave(down=True)
        async with world(config(evidence(verifier, refresh_s=200)), documents(verifier)) as here:
            naps = [await here.naps.next()] + [await here.naps.again() for _ in range(8)]
            assert naps == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
            verifier.behave()
            assert await here.naps.again() > 100
            verifier.behave(down=True)
            assert await here.naps.again() == 0.5
        async with world(config(evidence(verifier, refresh_s=3)), documents(verifier)) as here:
            naps = [await here.naps.next()] + [await here.naps.again() for _ in range(4)]
            assert naps == [0.5, 1, 1.5, 1.5, 1.5]

    asyncio.run(run())


def test_unfavourable_evidence_is_looked_at_again_ever_more_slowly(verifier: RunningVerifier) -> None:
    async def run() -> None:
        verifier.behave(debug=True)
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            naps = [await here.naps.next()] + [await here.naps.again() for _ in range(3)]
            assert naps == [0.5, 1, 2, 4]

    asyncio.run(run())


def test_a_fault_of_ours_does_not_end_the_following(
    verifier: RunningVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, reported without details, and tried again."""

    class Broken(VerifierClient):
        async def evidence(self, nonce: bytes) -> Any:
            if nonce[-1] < 2:
                raise ZeroDivisionError("private detail")
            return await super().evidence(nonce)

    async def run() -> None:
        async with world(config(evidence(verifier)), documents(verifier), client=Broken) as here:
            await here.naps.next()
            assert here.status.error == "an internal error; the processor's log has it"
            while here.now is None:
                await here.naps.again()

    asyncio.run(run())
    assert "private detail" in caplog.text


# -- key sets ------------------------------------------------------------------------------------------------------


def by_url(verifier: RunningVerifier, **fields: Any) -> Evidence:
    return evidence(verifier, **({"jwks_file": None, "jwks_url": verifier.jwks_url} | fields))


def test_keys_by_url_are_fetched_once_and_again_when_the_issuer_has_new_ones(
    verifier: RunningVerifier,
) -> None:
    async def run() -> None:
        async with world(config(by_url(verifier)), {}) as here:
            await here.naps.next()
            await here.naps.again()
            assert asked(verifier, KEYS_PATH) == 1
            verifier.verifier.signer = Signer()
            await here.naps.again()
            assert asked(verifier, KEYS_PATH) == 2
            assert (here.status.reason, here.status.error) == ("", "")
            verifier.behave(foreign_signature=True)
            for count in (3, 4, 5):
                await here.naps.again()  # at most once for each look
                assert asked(verifier, KEYS_PATH) == count
            verifier.behave()
            here.clock.ahead_s = 3700  # keys are not used for longer than an hour
            await here.naps.again()
            assert asked(verifier, KEYS_PATH) == 6

    asyncio.run(run())


def test_key_sets_that_cannot_be_used(verifier: RunningVerifier) -> None:
    """By file or by URL: each with its own message."""

    async def error(settings: Evidence, files: dict[str, bytes]) -> str:
        async with world(config(settings), files) as here:
            await here.naps.next()
            assert here.now is None
            message: str = here.status.error
            return message

    async def run() -> None:
        assert "strict JSON" in await error(evidence(verifier), {KEY_SET: b"{"})
        assert "no key" in await error(evidence(verifier), {KEY_SET: b'{"keys":[]}'})
        verifier.fault(Fault(body="{}"), path=KEYS_PATH)
        assert "jwks_url: key set has no list of keys" in await error(by_url(verifier), {})
        verifier.fault(Fault(status=500), path=KEYS_PATH)
        assert "answered 500" in await error(by_url(verifier), {})

    asyncio.run(run())


# -- nitro ---------------------------------------------------------------------------------------------------------


def test_documents_of_nitro_enclaves() -> None:
    """GET with the nonce in hex; CBOR comes back. Verified to the root that the configuration names."""
    ahead_s = nitro_world.NOW - time.time()

    def document(target: str) -> bytes:
        (nonce,) = parse_qs(urlsplit(target).query)["nonce"]
        return nitro_world.document(nonce=bytes.fromhex(nonce))

    async def run(url: str) -> None:
        settings = config(replace_url(nitro_world.config(), url + "/evidence?enclave=1"))
        root = nitro_world.ROOT.public_bytes(Encoding.PEM)
        clock = lambda: time.time() + ahead_s  # noqa: E731
        async with world(settings, {"r": root}, clock=clock) as here:
            await here.naps.next()
            assert (here.status.reason, here.status.error) == ("", "")
            assert (here.now.kind, here.now.debug) == ("nitro", False)
        stranger = nitro_world.certificate("other", "other").public_bytes(Encoding.PEM)
        for broken, message in ((stranger, "does not chain"), (b"", "not a PEM certificate")):
            async with world(settings, {"r": broken}, clock=clock) as here:
                await here.naps.next()
                assert (here.status.reason, message in here.status.error) == ("no_evidence", True)

    with RunningMock("served", wire=Served(document)) as server:
        asyncio.run(run(server.url))


def replace_url(settings: Evidence, url: str) -> Evidence:
    return settings.model_copy(update={"url": url})


def test_the_status_of_a_provider_that_was_never_looked_at(verifier: RunningVerifier) -> None:
    """Before the first answer there is no evidence, and no error either."""

    async def run() -> None:
        verifier.fault(Fault(delay_ms=60_000), path="/attest")
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            assert not await here.service.ready(0.05)
            assert here.status == replace(here.status, reason="no_evidence", error="", checked_at_s=None)

    asyncio.run(run())

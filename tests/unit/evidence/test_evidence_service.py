"""Evidence of a whole configuration: start, reloads, stop; certificates of endpoints; nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from evidence_world import PATIENCE_S, PROVIDER, Identity, config, evidence, identity, world

from sovereign_ext.config.model import Config
from sovereign_ext.evidence import follower, peer
from sovereign_ext.evidence.board import EvidenceBoard
from sovereign_ext.evidence.peer import Shown, observe, read_certificate
from sovereign_ext.mock.faults import Fault
from sovereign_ext.mock.server import MockServer
from sovereign_ext.mock.verifier import Verifier
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


def documents(verifier: RunningVerifier) -> dict[str, bytes]:
    return {KEY_SET: verifier.verifier.jwks}


def asked(verifier: RunningVerifier) -> int:
    return sum(request.target == "/attest" for request in verifier.requests())


# -- reloads -------------------------------------------------------------------------------------------------------


def test_a_reload_that_changes_nothing_here_disturbs_nobody(verifier: RunningVerifier) -> None:
    async def run() -> None:
        settings = config(evidence(verifier))
        async with world(settings, documents(verifier)) as here:
            await here.naps.next()
            good, tasks = here.now, asyncio.all_tasks()
            here.service.follow(
                settings.model_copy(update={"origin": "other.example/log"}), documents(verifier)
            )
            assert here.now is good
            assert asyncio.all_tasks() == tasks
            await here.naps.again()
            assert asked(verifier) == 2

    asyncio.run(run())


def test_new_rules_judge_the_answer_at_hand(verifier: RunningVerifier) -> None:
    """At once and without the verifier, which may be down; what the new rules refuse is gone."""

    async def run() -> None:
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            await here.naps.next()
            good = here.now
            verifier.behave(down=True)
            here.service.follow(config(evidence(verifier, refresh_s=30)), documents(verifier))
            assert here.now is None  # until it has been judged
            await here.naps.next()
            assert here.now == good
            here.service.follow(config(evidence(verifier, measurements=("00",))), documents(verifier))
            await here.naps.next()
            assert here.status.reason == "evidence_measurement"
            here.service.follow(config(evidence(verifier)), {KEY_SET: Verifier(identity().certificate).jwks})
            await here.naps.next()
            assert here.now is None
            assert here.status.reason == "no_evidence"

    asyncio.run(run())


def test_what_was_verified_by_old_rules_is_never_posted_after_a_reload(verifier: RunningVerifier) -> None:
    """Also when it was just being stored."""

    async def run() -> None:
        storing, go_on = asyncio.Event(), asyncio.Event()

        async def keep(kind: str, body: bytes) -> None:
            storing.set()
            await go_on.wait()

        async with world(config(evidence(verifier)), documents(verifier), keep=keep) as here:
            await asyncio.wait_for(storing.wait(), PATIENCE_S)
            go_on.set()
            here.service.follow(config(evidence(verifier, issuer="another")), documents(verifier))
            await here.naps.next()
            assert here.now is None
            assert "expected 'another'" in here.status.error

    asyncio.run(run())


def test_providers_come_and_go(verifier: RunningVerifier) -> None:
    """A provider that is gone has no evidence; the others go on; the status is in the file's order."""

    async def run() -> None:
        one = evidence(verifier)
        async with world(config(one), documents(verifier)) as here:
            await here.naps.next()
            here.service.follow(config(one, one, one), documents(verifier))
            await here.naps.next()
            await here.naps.next()
            assert [status.provider for status in here.service.status()] == [
                PROVIDER,
                "provider-1",
                "provider-2",
            ]
            assert all(here.board.current(status.provider) for status in here.service.status())
            good = here.now
            here.service.follow(config(one), documents(verifier))
            assert (here.now, here.board.current("provider-1")) == (good, None)
            here.service.follow(Config(version=1), {})
            assert (here.service.status(), here.now) == ((), None)
            here.service.follow(config(one), documents(verifier))
            await here.naps.next()
            assert here.status.reason == ""

    asyncio.run(run())


def test_many_reloads_leave_no_task_behind(verifier: RunningVerifier) -> None:
    """Two for each provider, and those that end."""

    async def run() -> None:
        before = len(asyncio.all_tasks())
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            for refresh in range(1, 100):
                here.service.follow(config(evidence(verifier, refresh_s=refresh)), documents(verifier))
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)
            await here.naps.next()
            assert await here.service.ready(PATIENCE_S)
            # Two tasks of the service, and the two waits of the one for certificates.
            assert len(asyncio.all_tasks()) - before <= 4

    asyncio.run(run())


def test_start_and_stop_can_be_repeated(verifier: RunningVerifier) -> None:
    """Stopped, nothing is fetched; a configuration may come while it is stopped."""

    async def run() -> None:
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            await here.service.start()
            await here.naps.next()
            await here.service.stop()
            await here.service.stop()
            count = asked(verifier)
            here.service.follow(config(evidence(verifier, refresh_s=30)), documents(verifier))
            assert asked(verifier) == count
            await here.service.start()
            await here.naps.next()
            assert here.status.reason == ""

    asyncio.run(run())


def test_start_up_waits_for_the_first_evidence_but_not_for_ever(verifier: RunningVerifier) -> None:
    async def run() -> None:
        verifier.behave(down=True)
        async with world(config(evidence(verifier)), documents(verifier)) as here:
            assert not await here.service.ready(0.05)
            verifier.behave(debug=True)
            await here.naps.next()
            await here.naps.again()
            assert not await here.service.ready(0.05)
            verifier.behave()
            await here.naps.again()
            assert await here.service.ready(PATIENCE_S)
        async with world(Config(version=1), {}) as here:
            assert await here.service.ready(0.05)

    asyncio.run(run())


def test_two_providers_do_not_wait_for_each_other(verifier: RunningVerifier, channel: Identity) -> None:
    """One verifier hangs, the other's evidence is there."""

    async def run(hanging: RunningVerifier) -> None:
        hanging.fault(Fault(delay_ms=60_000), path="/attest")
        async with world(config(evidence(hanging), evidence(verifier)), documents(verifier)) as here:
            await here.naps.next()
            assert (here.now, here.board.current("provider-1") is None) == (None, False)

    with RunningVerifier(Verifier(channel.certificate)) as hanging:
        asyncio.run(run(hanging))


# -- TLS of the verifier -------------------------------------------------------------------------------------------


def test_a_verifier_behind_tls(channel: Identity, tmp_path: Path) -> None:
    """Its certificate is checked against ca_file, or the system's roots."""
    tls = channel.server(tmp_path)

    async def error(settings: Any, files: dict[str, bytes]) -> str:
        async with world(config(settings), files) as here:
            await here.naps.next()
            message: str = here.status.error
            return message

    async def run(verifier: RunningVerifier) -> None:
        known = {**documents(verifier), "ca.pem": channel.certificate, "other.pem": identity().certificate}
        by_url = {"jwks_file": None, "jwks_url": verifier.jwks_url, "ca_file": "ca.pem"}
        assert verifier.url.startswith("https://")
        assert await error(evidence(verifier, ca_file="ca.pem"), known) == ""
        assert await error(evidence(verifier, **by_url), known) == ""
        assert "CERTIFICATE_VERIFY_FAILED" in await error(evidence(verifier), known)
        assert "CERTIFICATE_VERIFY_FAILED" in await error(evidence(verifier, ca_file="other.pem"), known)

    with RunningVerifier(Verifier(channel.certificate), tls=tls) as verifier:
        asyncio.run(run(verifier))


@pytest.mark.parametrize(
    "roots", [b"", b"x", b"\xff", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"]
)
def test_roots_that_are_none(verifier: RunningVerifier, roots: bytes) -> None:
    """Reported; nothing is asked."""

    async def run() -> None:
        settings = config(evidence(verifier, ca_file="ca.pem"))
        async with world(settings, documents(verifier) | {"ca.pem": roots}) as here:
            async with asyncio.timeout(PATIENCE_S):
                while not here.status.error:
                    await asyncio.sleep(0)
            assert here.status.error == "ca_file: holds no PEM certificate"

    asyncio.run(run())
    assert asked(verifier) == 0


# -- certificates of endpoints -------------------------------------------------------------------------------------


def digest_of(pem: bytes) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()


def test_the_key_in_an_endpoint_s_certificate(channel: Identity, tmp_path: Path) -> None:
    """Learned over real TLS, whoever signed the certificate."""

    async def run() -> None:
        async with MockServer("vllm", tls=channel.server(tmp_path)) as server:
            shown = await observe(server.url + "/v1")
            assert shown == Shown(digest_of(channel.certificate), Verifier(channel.certificate).channel.pin)
        assert await observe("http://127.0.0.1:9/v1") is None
        with pytest.raises(OSError):
            await observe(server.url)

    asyncio.run(run())


def test_an_endpoint_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look is bounded in time, and a server that speaks no TLS is an error."""
    monkeypatch.setattr(peer, "TIMEOUT_S", 0.05)

    async def run() -> None:
        async def silent(reader: Any, writer: Any) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            await observe(f"https://127.0.0.1:{port}/v1")
        server.close()
        await server.wait_closed()
        async with MockServer("vllm") as plain:
            with pytest.raises(OSError):
                await observe(plain.url.replace("http:", "https:"))

    asyncio.run(run())


def test_bytes_that_are_no_certificate() -> None:
    for broken in (b"", b"x", b"0\x82"):
        with pytest.raises(ValueError):
            read_certificate(broken)


def test_an_unknown_certificate_is_looked_for(verifier: RunningVerifier) -> None:
    """A miss answers at once and has the endpoint looked at again; a rotated certificate is found so."""
    shown = [Shown("aa" * 32, "pin-a"), Shown("bb" * 32, "pin-b")]
    looked: list[str] = []

    async def run() -> None:
        seen = asyncio.Event()

        async def look(endpoint: str) -> Shown | None:
            looked.append(endpoint)
            seen.set()
            return shown[min(len(looked) - 1, 1)]

        settings = config(evidence(verifier), endpoint="https://provider.example/v1")
        async with world(settings, documents(verifier), observe=look) as here:
            assert await here.service.ready(PATIENCE_S)
            assert here.board.spki_of("aa" * 32) == "pin-a"
            for _ in range(10):
                await asyncio.sleep(0)
            assert looked == ["https://provider.example/v1"]  # a hit causes nothing
            seen.clear()
            assert here.board.spki_of("bb" * 32) is None
            await asyncio.wait_for(seen.wait(), PATIENCE_S)
            await asyncio.sleep(0)
            assert here.board.spki_of("bb" * 32) == "pin-b"
            assert here.board.spki_of("aa" * 32) == "pin-a"
            assert here.naps.gaps >= 2  # each look is followed by its gap, so misses cannot be a storm
            assert follower.LOOK_GAP_S >= 1

    asyncio.run(run())


def test_an_endpoint_that_cannot_be_reached_is_no_error_of_evidence(verifier: RunningVerifier) -> None:
    async def run() -> None:
        async def look(endpoint: str) -> Shown | None:
            raise ConnectionRefusedError

        async with world(config(evidence(verifier)), documents(verifier), observe=look) as here:
            assert await here.service.ready(PATIENCE_S)
            assert here.status.error == ""

    asyncio.run(run())


# -- board ---------------------------------------------------------------------------------------------------------


def test_the_board_forgets_old_certificates() -> None:
    """Its memory is bounded; what was learned again lately stays."""
    board = EvidenceBoard()
    for number in range(4096):
        board.learn(str(number), "pin")
    board.learn("0", "pin")
    board.learn("new", "pin")
    assert (board.spki_of("0"), board.spki_of("1"), board.spki_of("new")) == ("pin", None, "pin")


def test_an_empty_board() -> None:
    board = EvidenceBoard()
    board.drop("nobody")
    assert (board.current("nobody"), board.entry("nobody").reason) == (None, "")
    assert board.spki_of("00") is None


def test_certificates_are_named_as_envoy_names_them(channel: Identity) -> None:
    """Lower-case hex over the DER, as the attribute of the answering peer has it."""
    made = x509.load_pem_x509_certificate(channel.certificate)
    der = ssl.PEM_cert_to_DER_cert(channel.certificate.decode())
    assert (
        read_certificate(der).certificate == hashlib.sha256(der).hexdigest() == digest_of(channel.certificate)
    )
    assert made.fingerprint(made.signature_hash_algorithm).hex() == digest_of(channel.certificate)  # type: ignore[arg-type]


def test_a_signer_file_is_made_once(tmp_path: Path) -> None:
    """Private to its owner, and the same key at the next start."""
    path = tmp_path / "verifier.pem"
    assert Signer.from_file(path).kid == Signer.from_file(path).kid
    assert path.stat().st_mode & 0o777 == 0o600

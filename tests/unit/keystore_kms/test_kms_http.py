"""The way to a service: bounds, tries, what is told of a failure. Real sockets where httpx is in question."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kms_world import CANARY, Naps, Script, outbound, refusal, run

from sovereign_ext.errors import ConfigError
from sovereign_ext.keystore.http import MAX_ANSWER_BYTES, TRIES, Answer, Outbound, TransientError

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(peer: Peer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server of which every connection is given to ``peer``."""
    open_ones: list[asyncio.StreamWriter] = []

    async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await peer(reader, writer)

    server = await asyncio.start_server(held, "127.0.0.1", 0, ssl=tls)
    async with server:
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            for _ in range(10):
                await asyncio.sleep(
                    0
                )  # a connection that was given up just now has its callbacks yet to come
            for writer in open_ones:
                writer.close()
                with suppress(ConnectionError, ssl.SSLError):
                    await writer.wait_closed()


def answering(*head: bytes, body: bytes = b"", endless: bool = False) -> Peer:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        try:
            while endless:
                writer.write(b"x" * 65_536)
                await writer.drain()
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    return peer


async def one(peer: Peer, *, timeout_s: float = 20.0) -> object:
    async with listening(peer) as place:
        way = Outbound("the service", timeout_s=timeout_s, sleep=Naps())
        try:
            return await way.ask(lambda: way.send("GET", f"http://{place}/{CANARY}", (("x-key", CANARY),)))
        finally:
            await way.aclose()


def test_an_answer_is_read_whole() -> None:
    answer = run(one(answering(b"HTTP/1.1 418 Odd", b"content-length: 2", body=b"hi")))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (418, b"hi")
    assert "hi" not in repr(answer)


def test_an_answer_without_end_is_refused_at_the_limit() -> None:
    """It says no length, so only reading finds out."""
    error = run(refusal(one(answering(b"HTTP/1.1 200 OK", b"connection: close", endless=True))))
    assert error.reason == "damaged"
    assert str(MAX_ANSWER_BYTES) in str(error)


def test_a_compressed_answer_is_refused() -> None:
    """A small one could be a large secret, or none."""
    head = (b"HTTP/1.1 200 OK", b"content-encoding: gzip", b"content-length: 1")
    assert run(refusal(one(answering(*head, body=b"x")))).reason == "damaged"


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    """Or a token would go wherever the answer says."""
    visited: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visited.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async def scenario() -> object:
        async with listening(elsewhere) as place:
            head = (b"HTTP/1.1 307 Away", b"location: http://" + place.encode(), b"content-length: 0")
            return await one(answering(*head))

    answer = run(scenario())
    assert isinstance(answer, Answer)
    assert answer.status == 307
    assert not visited


def test_no_log_shows_what_is_sent_or_received(caplog: pytest.LogCaptureFixture) -> None:
    """httpx and httpcore log requests and answers; at their most talkative they name neither bodies nor our headers."""
    caplog.set_level(logging.DEBUG)

    async def scenario() -> None:
        head = (b"HTTP/1.1 200 OK", b"content-length: %d" % len(CANARY))
        async with listening(answering(*head, body=CANARY.encode())) as place:
            way = Outbound("the service")
            headers = (("authorization", f"Bearer {CANARY}"), ("x-vault-token", CANARY))
            await way.send("POST", f"http://{place}/", headers, CANARY.encode())
            await way.aclose()

    run(scenario())
    assert "POST" in caplog.text
    assert CANARY not in caplog.text


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    error = run(refusal(one(silent, timeout_s=0.2)))
    assert error.reason == "timeout"


@pytest.mark.parametrize(
    "broken", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", b"\x00\xff\r\n\r\n"]
)
def test_a_connection_that_breaks_is_unreachable(broken: bytes) -> None:
    """Before the answer, within it, or with something that is no HTTP."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(broken)
        writer.close()

    assert run(refusal(one(peer))).reason == "unreachable"


def test_nobody_there_is_unreachable() -> None:
    async def scenario() -> None:
        async with listening(answering(b"")) as place:
            pass  # closed again: nobody listens there now
        way = Outbound("the service", sleep=Naps())
        error = await refusal(way.ask(lambda: way.send("GET", f"http://{place}/")))
        assert (error.reason, str(error)) == ("unreachable", "the service cannot be reached: ConnectError")
        await way.aclose()

    run(scenario())


def test_a_certificate_of_nobody_we_know_is_refused_and_ca_file_makes_it_known(tmp_path: Path) -> None:
    """TLS is verified, by default with the system's roots."""
    certificate = self_signed(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)

    async def scenario(ca_file: str | None) -> int:
        async with listening(answering(b"HTTP/1.1 204 No", b"content-length: 0"), server) as place:
            way = Outbound("the service", ca_file=ca_file, sleep=Naps())
            try:
                port = place.rpartition(":")[2]
                return (await way.ask(lambda: way.send("GET", f"https://localhost:{port}/"))).status
            finally:
                await way.aclose()

    assert run(refusal(scenario(None))).reason == "unreachable"
    assert run(scenario(str(tmp_path / "root.pem"))) == 204


def self_signed(directory: Path) -> Path:
    """``chain.pem`` with key and certificate for localhost, ``root.pem`` with the certificate alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    (directory / "root.pem").write_bytes(certificate)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "chain.pem").write_bytes(private + certificate)
    return directory / "chain.pem"


@pytest.mark.parametrize("text", [None, "", "nonsense", "ä"])
def test_roots_that_are_none_are_an_error_of_the_configuration(tmp_path: Path, text: str | None) -> None:
    """An empty file must not mean the system's roots."""
    file = tmp_path / "roots.pem"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"roots\.pem"):
        Outbound("the service", ca_file=str(file))


# -- tries -------------------------------------------------------------------------------------------------------


def failing(times: int, error: Exception) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    tried: list[int] = []

    async def attempt() -> str:
        tried.append(1)
        if len(tried) <= times:
            raise error
        return "done"

    return attempt, tried


def test_what_may_pass_is_tried_again_with_growing_pauses() -> None:
    naps = Naps()
    attempt, tried = failing(TRIES - 1, TransientError("throttled", "busy"))
    assert run(outbound(Script(httpx.Response(200)), naps).ask(attempt)) == "done"
    assert len(tried) == TRIES
    assert naps.seconds == [0.2, 0.4, 0.8]


def test_the_last_failure_is_told_when_there_are_no_more_tries() -> None:
    attempt, tried = failing(99, TransientError("throttled", "busy"))
    assert run(refusal(outbound(Script(httpx.Response(200))).ask(attempt))).reason == "throttled"
    assert len(tried) == TRIES


def test_what_the_service_wants_is_waited_for() -> None:
    naps = Naps()
    attempt, _ = failing(1, TransientError("throttled", "busy", after_s=3.0))
    assert run(outbound(Script(httpx.Response(200)), naps).ask(attempt)) == "done"
    assert naps.seconds == [3.0]


def test_nobody_waits_longer_than_there_is_time() -> None:
    """A call waits for this: an hour of Retry-After is an answer, not a pause."""
    naps = Naps()
    attempt, tried = failing(99, TransientError("throttled", "busy", after_s=3_600.0))
    assert run(refusal(outbound(Script(httpx.Response(200)), naps).ask(attempt))).reason == "throttled"
    assert (len(tried), naps.seconds) == (1, [])


def test_what_cannot_pass_is_not_tried_again() -> None:
    way = outbound(Script(httpx.Response(200)))
    attempt, tried = failing(99, way.damaged("odd"))
    assert run(refusal(way.ask(attempt))).reason == "damaged"
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("", None), ("soon", None), ("²", None), ("9" * 9, None)]
)
def test_retry_after_is_read_as_seconds(value: str, seconds: float | None) -> None:
    headers = httpx.Headers([(b"retry-after", value.encode())])
    assert Answer(429, headers, b"").retry_after_s == seconds


def test_a_client_that_was_given_is_left_open() -> None:
    async def scenario() -> bool:
        script = Script(httpx.Response(200))
        async with script.client as http:
            await Outbound("the service", http=http).aclose()
            return http.is_closed

    assert run(scenario()) is False

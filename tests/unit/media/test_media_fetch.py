"""Pictures are fetched from a real TLS server, and from nowhere else than the address that was checked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sovereign_ext.cli.supervise.certificates import make_root, make_server
from sovereign_ext.config.media import Media
from sovereign_ext.errors import CallerError, ServiceError
from sovereign_ext.media.fetch import MediaFetcher
from sovereign_ext.openai.conversation import Image

HOST = "pictures.example"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
ON = Media(fetch=True)
ROOT = make_root("test", datetime.now(UTC))
SERVER = make_server(ROOT, "pictures", datetime.now(UTC), host=HOST)


def reply(body: bytes = PNG, *, status: str = "200 OK", **headers: str) -> bytes:
    """A whole response; a header that is empty is left out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {"content-type": "image/png", "content-length": str(len(body)), "connection": "close", **named}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in given.items() if value), "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class World:
    """A server at ``port`` of loopback that answers with ``answer``; what it was asked; who was resolved."""

    port: int
    answer: bytes
    asked: list[bytes] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)  # server names of the handshakes
    addresses: tuple[str, ...] = ("127.0.0.1",)
    failure: Exception | None = None
    hold: asyncio.Event | None = None

    async def resolve(self, host: str) -> tuple[str, ...]:
        self.resolved.append(host)
        if self.failure is not None:
            raise self.failure
        return self.addresses

    def fetcher(self, **changed: Any) -> MediaFetcher:
        context = ssl.create_default_context(cadata=ROOT.certificate_pem.decode())
        given: dict[str, Any] = {
            "resolve": self.resolve,
            "public": {"127.0.0.1", "127.0.0.2"}.__contains__,
            "port": self.port,
        }
        return MediaFetcher(context, **given | changed)

    def image(self, path: str = "/a.png", host: str = HOST) -> Image:
        return Image("messages[0].content[0].image_url.url", url=f"https://{host}:{self.port}{path}")


@asynccontextmanager
async def world(directory: Path, answer: bytes) -> AsyncIterator[World]:
    chain = directory / "chain.pem"
    chain.write_bytes(SERVER.certificate_pem + SERVER.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    made = World(0, answer)
    context.sni_callback = lambda _, name, __: made.names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            made.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(made.answer)
            await writer.drain()
            if made.hold is not None:
                await made.hold.wait()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        if made.hold is not None:
            made.hold.set()
        server.close()
        await server.wait_closed()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    def of(scenario: Callable[[World], Awaitable[None]], answer: bytes = reply()) -> None:
        async def inner() -> None:
            async with world(tmp_path, answer) as made:
                await scenario(made)

        asyncio.run(inner())

    return of


Run = Callable[..., None]


async def refused(fetcher: MediaFetcher, image: Image, settings: Media = ON) -> CallerError:
    with pytest.raises(CallerError) as caught:
        await fetcher.fetch([image], settings)
    assert (caught.value.status, caught.value.param) == (400, image.param)
    return caught.value


def test_a_picture(run: Run) -> None:
    """By the name that was resolved once, at the address that was checked; nothing of ours goes along."""

    async def scenario(made: World) -> None:
        image = made.image("/a.png?size=1#part")
        fetched = await made.fetcher().fetch([image, made.image("/a.png?size=1#part")], ON)
        assert fetched == {image.url: PNG}
        assert made.resolved == [HOST]
        assert made.names == [HOST]
        (asked,) = made.asked
        lines = asked.decode().split("\r\n")
        assert lines[0] == "GET /a.png?size=1 HTTP/1.1"
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        assert headers["host"] == f"{HOST}:{made.port}"
        assert headers["accept-encoding"] == "identity"
        assert not headers.keys() & {"authorization", "cookie", "proxy-authorization", "referer"}

    run(scenario)


def test_off_by_default(run: Run) -> None:
    """The caller learns what would have to be set; nobody is asked, not even the resolver."""

    async def scenario(made: World) -> None:
        error = await refused(made.fetcher(), made.image(), Media())
        assert error.code == "unsupported_value"
        assert "media.fetch" in error.message
        assert made.resolved == made.asked == []

    run(scenario)


@pytest.mark.parametrize(
    "addresses", [("10.0.0.1",), ("127.0.0.1", "169.254.169.254"), ("::1",), (), ("127.0.0.3",)]
)
def test_addresses_of_our_own_are_not_asked(run: Run, addresses: tuple[str, ...]) -> None:
    """Nor is a host that has one of them beside a public one."""

    async def scenario(made: World) -> None:
        made.addresses = addresses
        error = await refused(made.fetcher(), made.image())
        assert error.message.endswith("its host could not be reached.")
        assert made.asked == []

    run(scenario)


def test_the_guard_itself_refuses_loopback(run: Run) -> None:
    """Without the tests' stand-in, by name, by address and by a number that the resolver takes for one."""

    async def scenario(made: World) -> None:
        real = MediaFetcher(ssl.create_default_context(), port=made.port)
        for host in (
            "localhost",
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "127.0.0.1.",
        ):
            error = await refused(real, made.image(host=host))
            assert error.message.endswith("its host could not be reached."), host
        assert made.asked == []

    run(scenario)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pass@pictures.example/a.png",
        "https://user@pictures.example/a.png",
        "https://pictures.example:22/a.png",
        "https:///a.png",
        "https://pictures.example:99999/a.png",
        "https://exa mple/a.png",
        "https://[::1/a.png",
        "https://" + "ä" * 300 + "/",
    ],
)
def test_odd_urls(run: Run, url: str) -> None:
    """Credentials, other ports and what is no URL: refused before anything is resolved."""

    async def scenario(made: World) -> None:
        fetcher = made.fetcher(port=443)
        error = await refused(fetcher, Image("p", url=url))
        assert error.code == "invalid_image_url"
        assert made.resolved == []

    run(scenario)


@pytest.mark.parametrize(
    ("hosts", "allowed"),
    [
        ((), True),
        ((HOST,), True),
        (("*.example",), True),
        (("example",), False),
        (("*.pictures.example",), False),
        (("other.example",), False),
    ],
)
def test_allowed_hosts(run: Run, hosts: tuple[str, ...], allowed: bool) -> None:
    async def scenario(made: World) -> None:
        settings = Media(fetch=True, hosts=hosts)
        if allowed:
            assert await made.fetcher().fetch([made.image()], settings)
            assert await made.fetcher().fetch([made.image(host=HOST.upper())], settings)
        else:
            assert "not among those" in (await refused(made.fetcher(), made.image(), settings)).message
            assert made.resolved == []

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(status="302 Found", location="https://other.example/"), "302"),
        (reply(status="404 Not Found"), "404"),
        (reply(status="206 Partial Content"), "206"),
        (reply(content_type="text/html"), "not an image"),
        (reply(content_type=""), "not an image"),
        (reply(content_encoding="gzip"), "compressed"),
        (reply(content_length="999999999"), "too large"),
        (reply(bytes(5000)), "too large"),
        (reply(bytes(5000), content_length=""), "too large"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 500\r\n\r\nshort", "reached"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "reached"),
        (b"", "reached"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_answers(run: Run, answer: bytes, reason: str) -> None:
    """Anything but a whole, plain 200 of a bounded size is the caller's 400."""

    async def scenario(made: World) -> None:
        settings = Media(fetch=True, max_bytes=4096)
        error = await refused(made.fetcher(), made.image(), settings)
        assert error.code == "invalid_image_url"
        assert reason in error.message
        assert len(made.asked) == 1

    run(scenario, answer)


def test_the_size_is_that_of_all_together(run: Run) -> None:
    async def scenario(made: World) -> None:
        images = [made.image(f"/{n}") for n in range(3)]
        settings = Media(fetch=True, max_bytes=1200)
        assert len(await made.fetcher().fetch(images[:2], settings)) == 2
        with pytest.raises(CallerError, match="too large together"):
            await made.fetcher().fetch(images, settings)

    run(scenario, reply(bytes(500)))


def test_the_time_is_bounded(run: Run) -> None:
    """A host that never ends its answer."""

    async def scenario(made: World) -> None:
        made.hold = asyncio.Event()
        error = await refused(made.fetcher(), made.image(), Media(fetch=True, timeout_ms=200))
        assert "time" in error.message

    run(scenario, reply(b"x", content_length="50"))


def test_a_certificate_of_another_name(run: Run) -> None:
    """The name in the URL is what the certificate must have, although an address was asked."""

    async def scenario(made: World) -> None:
        error = await refused(made.fetcher(), made.image(host="other.example"))
        assert error.message.endswith("its host could not be reached.")
        assert made.asked == []

    run(scenario)


def test_the_next_address_is_tried(run: Run) -> None:
    """Where one does not answer; all of them were checked."""

    async def scenario(made: World) -> None:
        made.addresses = ("127.0.0.2", "127.0.0.1")  # nobody listens at the first
        assert await made.fetcher().fetch([made.image()], ON)

    run(scenario)


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_NODATA])
def test_an_unknown_name_is_the_callers_fault(run: Run, number: int) -> None:
    async def scenario(made: World) -> None:
        made.failure = socket.gaierror(number, "x")
        assert (await refused(made.fetcher(), made.image())).message.endswith("could not be reached.")

    run(scenario)


@pytest.mark.parametrize("number", [socket.EAI_AGAIN, socket.EAI_FAIL])
def test_a_resolver_that_fails_is_ours(run: Run, number: int) -> None:
    async def scenario(made: World) -> None:
        made.failure = socket.gaierror(number, "x")
        with pytest.raises(ServiceError) as caught:
            await made.fetcher().fetch([made.image()], ON)
        assert (caught.value.status, caught.value.code) == (503, "media_unavailable")

    run(scenario)


def test_proxies_of_the_environment_are_ignored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def scenario(made: World) -> None:
        assert await made.fetcher().fetch([made.image()], ON)

    run(scenario)

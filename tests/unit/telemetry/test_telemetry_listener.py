"""The listener for scrapers without a key: what it answers, and where it listens by default."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from sovereign_ext.telemetry.listener import Listener, parse_listen


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("pod-1.example:80", ("pod-1.example", 80)),
    ],
)
def test_an_address(text: str, found: tuple[str, int]) -> None:
    """A port by itself is on loopback."""
    assert parse_listen(text) == found


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":9464", "1:2:3", "[:::]:1", "70000", "h:99999", "unix:/x", "a b:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        parse_listen(text)


def served(
    expose: Callable[[], Awaitable[bytes]], scenario: Callable[[httpx.AsyncClient], Awaitable[None]]
) -> None:
    async def run() -> None:
        listener = Listener(expose, "text/plain; version=0.0.4")
        port = await listener.start("127.0.0.1", 0)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                await scenario(client)
        finally:
            await listener.close()

    asyncio.run(run())


@pytest.mark.services
def test_only_the_metrics_are_there() -> None:
    """Their text with its type, once per connection; nothing else, and nothing but reading."""

    async def expose() -> bytes:
        return b"x 1\n"

    async def scenario(client: httpx.AsyncClient) -> None:
        reply = await client.get("/metrics?name=x")
        assert (reply.status_code, reply.content) == (200, b"x 1\n")
        assert reply.headers["content-type"] == "text/plain; version=0.0.4"
        assert reply.headers["connection"] == "close"
        assert (await client.head("/metrics")).status_code == 200
        assert (await client.get("/")).status_code == 404
        assert (await client.delete("/metrics")).status_code == 405
        assert (await client.post("/metrics", content=b"x")).status_code == 413

    served(expose, scenario)


@pytest.mark.services
def test_a_failure_is_logged_and_told_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    async def expose() -> bytes:
        raise RuntimeError("something inside")

    async def scenario(client: httpx.AsyncClient) -> None:
        reply = await client.get("/metrics")
        assert reply.status_code == 500
        assert "inside" not in reply.text
        assert (await client.get("/")).status_code == 404

    served(expose, scenario)
    assert "metrics cannot be told" in caplog.text

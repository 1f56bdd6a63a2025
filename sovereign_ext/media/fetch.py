"""Fetches the pictures that a request names by URL, without being turned against our own network (SSRF, CWE-918).

1. https on its own port, no credentials in the URL, a host that the configuration allows.
2. The name is resolved here, and every address it has must be public (``addresses``).
3. The connection goes to one of the very addresses that were checked; the certificate is checked for the name.
4. One GET without cookies, proxies or redirects; 200, ``image/*``, uncompressed, within the limits of size and time.

What a stranger's URL makes us see is not for the stranger to know: all failures before there is an answer have the same
words. What the bytes are is for the adapter to say, which must know it for its wire.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import httpx

from sovereign_ext.config.media import Media
from sovereign_ext.errors import CallerError, ServiceError
from sovereign_ext.media.addresses import is_public
from sovereign_ext.openai.conversation import Image

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""The addresses of a host, best first. Raises ``socket.gaierror``."""

_AT_ONCE: Final = 8
"""Attempts whose pictures are fetched at the same time, so that they do not fill the memory together."""

_ADDRESSES: Final = 3  # of a host, tried in turn
_PIECE: Final = 64 * 1024  # bytes
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}")  # a name in ASCII, or an address
_UNKNOWN: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


async def resolve(host: str) -> tuple[str, ...]:
    """By the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class MediaFetcher:
    """Belongs to one event loop. ``context`` is the TLS of its connections; ``port`` the only one that is asked."""

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        resolve: Resolve = resolve,
        public: Callable[[str], bool] = is_public,
        port: int = 443,
    ) -> None:
        self._context = context
        self._resolve = resolve
        self._public = public
        self._port = port
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, images: Iterable[Image], settings: Media) -> Mapping[str, bytes]:
        """The bytes behind the URL of each image, by URL.

        Raises ``CallerError`` 400 that names the image's place where it cannot be had or must not be fetched,
        ``ServiceError`` 503 where our resolver fails.
        """
        fetched: dict[str, bytes] = {}
        room, at = settings.max_bytes, ""
        try:
            async with asyncio.timeout(settings.timeout_ms / 1000), self._turns:
                for image in images:
                    at = image.param
                    if image.url not in fetched:
                        fetched[image.url] = await self._one(image, settings, room)
                        room -= len(fetched[image.url])
        except TimeoutError:
            raise _failed(at, "the time for it is up") from None
        return fetched

    async def _one(self, image: Image, settings: Media, room: int) -> bytes:
        if not settings.fetch:
            raise CallerError(
                400,
                "This model's provider takes images as data URLs only, and the gateway is not set to fetch them "
                "(media.fetch).",
                param=image.param,
                code="unsupported_value",
            )
        url = self._checked(image, settings)
        host = url.raw_host.decode("ascii")
        for address in await self._addresses(host, image.param):
            try:
                return await self._get(url, address, image.param, room, settings.timeout_ms / 1000)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError):
                break
        raise _unreachable(image.param)

    def _checked(self, image: Image, settings: Media) -> httpx.URL:
        try:
            url = httpx.URL(image.url)
        except httpx.InvalidURL:
            raise _failed(image.param, "it is no URL") from None
        host = url.raw_host.decode("ascii")
        if not _HOST.fullmatch(host):
            raise _failed(image.param, "it names no host")
        if url.scheme != "https" or url.userinfo or (url.port or 443) != self._port:
            raise _failed(image.param, "only https URLs without a port and without credentials are fetched")
        if not settings.allows(host):
            raise _failed(image.param, "its host is not among those that the gateway fetches from")
        return url

    async def _addresses(self, host: str, param: str) -> tuple[str, ...]:
        try:
            addresses = await self._resolve(host)
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, UnicodeError) or error.errno in _UNKNOWN:
                raise _unreachable(param) from None
            raise ServiceError(
                503, "The gateway cannot resolve names of hosts at the moment.", code="media_unavailable"
            ) from None
        if not addresses or not all(map(self._public, addresses)):
            raise _unreachable(param)
        return addresses[:_ADDRESSES]

    async def _get(self, url: httpx.URL, address: str, param: str, room: int, timeout_s: float) -> bytes:
        async with (
            # A client for each: it keeps cookies and connections. The whole time is bounded by ``fetch``.
            httpx.AsyncClient(verify=self._context, trust_env=False, timeout=timeout_s) as client,
            client.stream(
                "GET",
                url.copy_with(host=address),
                headers={
                    "host": url.netloc.decode("ascii"),
                    "accept": "image/*",
                    "accept-encoding": "identity",
                },
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
                follow_redirects=False,
            ) as response,
        ):
            _check(response, param, room)
            body = bytearray()
            async for piece in response.aiter_raw(_PIECE):
                body += piece
                if len(body) > room:
                    raise _too_large(param)
            return bytes(body)


def _check(response: httpx.Response, param: str, room: int) -> None:
    if response.status_code != 200:
        raise _failed(param, f"its host answered {response.status_code}; redirects are not followed")
    if not response.headers.get("content-type", "").lower().startswith("image/"):
        raise _failed(param, "it is not an image")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _failed(param, "its host sent it compressed")
    length = response.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > room:
        raise _too_large(param)


def _unreachable(param: str) -> CallerError:
    return _failed(param, "its host could not be reached")


def _too_large(param: str) -> CallerError:
    return _failed(param, "the images of the request are too large together")


def _failed(param: str, reason: str) -> CallerError:
    return CallerError(
        400, f"The image at '{param}' could not be fetched: {reason}.", param=param, code="invalid_image_url"
    )

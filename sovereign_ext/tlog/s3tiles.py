"""Tiles in an S3-compatible object store: a ``TileStore`` of few requests, signed by our own ``sigv4``.

GET, PUT, DELETE, HEAD and ListObjectsV2 of the Amazon S3 API. An object is there whole or not at all, and a read after
a write sees it. The checkpoint is replaced conditionally (``If-Match`` with the ETag that was read, ``If-None-Match``
for the first): a writer that was overtaken cannot put an older one in the place of a newer. The store must know these
conditions (Amazon S3, MinIO, Ceph, R2 and others do); ``probe`` asks before anything is written. Each request is tried
again after an error that may pass, and with new signing keys if those it had are not accepted any more; repeating is
harmless. Keys of objects are the prefix and C2SP paths, so nothing in
them needs to be encoded. No multipart, no presigned URLs.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Final
from urllib.parse import quote, urlsplit

import httpx

from sovereign_ext.credentials import AwsKeys
from sovereign_ext.errors import LeaseLost, LogCorrupt, LogUnavailable, VerificationError
from sovereign_ext.sigv4 import sign
from sovereign_ext.tlog.checkpoint import parse_checkpoint
from sovereign_ext.tlog.note import parse_note
from sovereign_ext.tlog.s3keys import KEYS_REFUSED, KeySource
from sovereign_ext.tlog.tiles import Tile
from sovereign_ext.tlog.tilestore import CHECKPOINT

TRIES: Final = 4
FIRST_PAUSE_S: Final = 0.1
TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 17 << 20  # the largest bundle, 256 entries of 64 KiB, and something
CACHED_TILES: Final = 512  # of 8 KiB
AT_ONCE: Final = 8
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_KEY: Final = re.compile(rb"<Key>([A-Za-z0-9._/-]+)</Key>")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where tiles are: ``endpoint`` is a URL without a path, ``prefix`` empty or ended by a slash.

    ``path_style`` puts the bucket into the path instead of the host name. ``tls`` trusts other roots than the system's.
    """

    endpoint: str
    bucket: str
    region: str
    keys: KeySource = field(repr=False)
    prefix: str = ""
    path_style: bool = True
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes


class S3Tiles:
    """The public files of one log in ``bucket``. Any thread may call it. Raises ``OSError``; its text names the request
    and the status, and no key."""

    conditional = True

    def __init__(
        self,
        bucket: Bucket,
        *,
        now_s: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bucket = bucket
        self._now_s = now_s
        self._sleep = sleep
        parts = urlsplit(bucket.endpoint)
        host = parts.netloc if bucket.path_style else f"{bucket.bucket}.{parts.netloc}"
        self._base = f"{parts.scheme}://{host}"
        self._root = f"/{bucket.bucket}/" if bucket.path_style else "/"
        self._host = _without_default_port(parts.scheme, host)
        verify: ssl.SSLContext | bool = True if bucket.tls is None else bucket.tls
        limits = httpx.Limits(max_connections=2 * AT_ONCE, max_keepalive_connections=AT_ONCE)
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=verify, limits=limits)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3")
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._caching = threading.Lock()
        self._showing = threading.Lock()
        self._etag: str | None = None  # of the checkpoint that we showed last

    def probe(self) -> None:
        """Whether the store can be used. Raises ``LogUnavailable`` with the reason."""
        path = f"probe-{os.urandom(8).hex()}"  # of its own: others may look, and tidy up, at the same time
        try:
            self._put(path, b"probe", {})
            refused = self._put(path, b"other", {"if-none-match": "*"}).status
            self._call("DELETE", path)
        except OSError as error:
            raise LogUnavailable(f"the bucket for the log's tiles cannot be used: {error}") from None
        if refused != 412:
            raise LogUnavailable("the bucket's store does not know conditional writes (If-None-Match)")

    def read(self, path: str) -> bytes | None:
        with self._caching:
            if path in self._cache:
                self._cache.move_to_end(path)
                return self._cache[path]
        answer = self._get(path)
        if answer is None:
            return None
        if path.startswith("tile/") and not path.startswith("tile/entries/") and ".p/" not in path:
            with self._caching:  # it will never change
                self._cache[path] = answer.body
                if len(self._cache) > CACHED_TILES:
                    self._cache.popitem(last=False)
        return answer.body

    def write(self, files: Iterable[tuple[str, bytes]]) -> None:
        for answer in self._threads.map(lambda file: self._put(file[0], file[1], {}), files):
            assert answer.status == 200

    def show(self, note: bytes, size: int, check: Callable[[], None]) -> None:
        with self._showing:
            for _ in range(TRIES):
                check()
                condition = {"if-none-match": "*"} if self._etag is None else {"if-match": self._etag}
                answer = self._put(CHECKPOINT, note, condition)
                if answer.status == 200:
                    self._etag = answer.headers.get("etag")
                    return
                # 412, 409 or, if it was removed under us, 404: somebody else wrote, or we did and did not learn of it.
                found = self._get(CHECKPOINT)
                self._etag = None if found is None else found.headers.get("etag")
                if found is not None and found.body == note:
                    return
                if found is not None and _size(found.body) > size:
                    raise LeaseLost("a newer checkpoint is shown: another process integrates this log")
            raise OSError("PUT checkpoint: it was changed again and again")

    def drop_partial(self, full: Iterable[Tile]) -> None:
        list(self._threads.map(self._drop, full))

    def shown_ns(self) -> int | None:
        answer = self._call("HEAD", CHECKPOINT, expect=(200, 404))
        modified = answer.headers.get("last-modified")
        if answer.status == 404 or modified is None:
            return None
        try:
            return int(parsedate_to_datetime(modified).timestamp()) * 1_000_000_000
        except ValueError:
            return None

    def close(self) -> None:
        self._threads.shutdown()
        self._http.close()
        self._bucket.keys.close()

    def _drop(self, tile: Tile) -> None:
        prefix = f"{self._bucket.prefix}{tile.path}.p/"
        try:
            answer = self._request("GET", self._root, f"list-type=2&prefix={quote(prefix, safe='')}", b"", {})
            for key in _KEY.findall(answer.body) if answer.status == 200 else ():
                name = key.decode()
                if name.startswith(prefix):
                    self._call("DELETE", name.removeprefix(self._bucket.prefix), expect=(200, 204, 404))
        except OSError:
            pass  # superfluous but not wrong

    def _get(self, path: str) -> _Answer | None:
        answer = self._call("GET", path, expect=(200, 404))
        return None if answer.status == 404 else answer

    def _put(self, path: str, data: bytes, condition: dict[str, str]) -> _Answer:
        expect = (200, 404, 409, 412) if condition else (200,)
        return self._call("PUT", path, data, condition, expect)

    def _call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        expect: tuple[int, ...] = (200, 204),
    ) -> _Answer:
        answer = self._request(method, f"{self._root}{self._bucket.prefix}{path}", "", body, headers or {})
        if answer.status not in expect:
            raise OSError(f"{method} {path}: status {answer.status} {_code(answer.body)}".rstrip())
        return answer

    def _request(self, method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> _Answer:
        source = self._bucket.keys
        keys = source.keys()
        answer = self._tried(method, path, query, body, headers, keys)
        if answer.status in (400, 403) and _code(answer.body) in KEYS_REFUSED:
            source.refused(keys)
            fresh = source.keys()
            if fresh != keys:
                return self._tried(method, path, query, body, headers, fresh)
        return answer

    def _tried(  # noqa: PLR0917 - a request, in the order it has on the wire
        self, method: str, path: str, query: str, body: bytes, headers: dict[str, str], keys: AwsKeys
    ) -> _Answer:
        for attempt in range(TRIES):
            try:
                answer = self._once(method, path, query, body, headers, keys)
                reason = f"status {answer.status}"
                if answer.status not in _PASSING:
                    return answer
            except httpx.HTTPError as error:
                reason = type(error).__name__
            if attempt < TRIES - 1:
                self._sleep(FIRST_PAUSE_S * 2**attempt)
        raise OSError(f"{method} {path}: {reason}")

    def _once(  # noqa: PLR0917 - as above
        self, method: str, path: str, query: str, body: bytes, headers: dict[str, str], keys: AwsKeys
    ) -> _Answer:
        digest = sha256(body)
        given = [("x-amz-content-sha256", digest.hexdigest()), *headers.items()]
        if method == "PUT":
            given.append(("content-type", "application/octet-stream"))
            # A bucket with Object Lock takes nothing without a checksum; others check it, or do not know it.
            given.append(("x-amz-sdk-checksum-algorithm", "SHA256"))
            given.append(("x-amz-checksum-sha256", b64encode(digest.digest()).decode()))
        signed = sign(
            method,
            self._host,
            path,
            query,
            given,
            body,
            keys,
            region=self._bucket.region,
            service="s3",
            now_s=self._now_s(),
        )
        url = f"{self._base}{path}" + (f"?{query}" if query else "")
        content = body if method == "PUT" else None
        with self._http.stream(method, url, headers=[*given, *signed], content=content) as response:
            parts, size = [], 0
            for part in response.iter_bytes():
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise OSError(f"{method} {path}: the answer is longer than {MAX_ANSWER_BYTES} bytes")
                parts.append(part)
            return _Answer(response.status_code, response.headers, b"".join(parts))


def _size(note: bytes) -> int:
    try:
        return parse_checkpoint(parse_note(note).text).size
    except VerificationError as error:
        raise LogCorrupt(f"what is shown as checkpoint is none: {error}") from None


def _code(body: bytes) -> str:
    found = re.search(rb"<Code>([A-Za-z]{1,64})</Code>", body[:4096])
    return found[1].decode() if found else ""


def _without_default_port(scheme: str, host: str) -> str:
    default = {"http": ":80", "https": ":443"}[scheme]
    return host.removesuffix(default)

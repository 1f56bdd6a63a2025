"""Submits a checkpoint to an external Rekor over HTTP and gives back its entry, verified.

Version 2: ``POST /api/v2/log/entries``, which answers when the entry is included (Rekor's clients should wait 20 s
or more); version 1: ``POST /api/v1/log/entries``. Both say 409 to an entry that they hold already. It is then looked
up: in version 1 where ``Location`` points, in version 2 by building its inclusion proof from the log's tiles, which
are read below the same URL (C2SP tlog-tiles). A duplicate that cannot be proven is an error that asks for another
signature, which makes another entry.

Nothing is believed before ``attest.rekor.verify`` has passed. Redirects, cookies and proxies of the environment are
not followed, answers are read up to a limit. When to try again is for ``service`` to say.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import httpx

from sovereign_ext.anchor.target import Target
from sovereign_ext.attest import rekor, rekor_json
from sovereign_ext.attest.rekor import Artefact, InclusionProof, RekorEntry
from sovereign_ext.errors import AnchorFailed, LogCorrupt, VerificationError
from sovereign_ext.roots import tls_context
from sovereign_ext.tlog.hashing import HASH_SIZE
from sovereign_ext.tlog.proof import inclusion_proof
from sovereign_ext.tlog.tiles import Tile, node_reader

TIMEOUT_S: Final = 30.0
"""For one submission with all that belongs to it; Rekor v2 may take 20 s."""

MAX_ANSWER_BYTES: Final = 1 << 20
_MAX_TILES: Final = 64
_MAX_RETRY_AFTER_S: Final = 86_400
_LOCATION: Final = re.compile(r"(?:https?://[^/]+)?(/api/v1/log/entries/[0-9a-f]{64}(?:[0-9a-f]{16})?)")
_SUBMIT: Final = {rekor.V1: "/api/v1/log/entries", rekor.V2: "/api/v2/log/entries"}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes


class RekorClient:
    """Speaks to one Rekor. ``close`` it at the end."""

    def __init__(self, target: Target, *, timeout_s: float = TIMEOUT_S) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            timeout=timeout_s,
            trust_env=False,
            verify=tls_context(target.roots),
            headers={"accept": "application/json", "user-agent": "sovereign-router"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(self, artefact: Artefact) -> RekorEntry:
        """The Rekor's entry of ``artefact``, new or existing. Raises ``AnchorFailed``."""
        try:
            async with asyncio.timeout(self._timeout_s):
                entry = await self._submit(artefact)
                rekor.verify(entry, artefact, self._target.key, self._target.origin)
                return entry
        except TimeoutError:
            raise AnchorFailed(f"no complete answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise AnchorFailed(f"{type(error).__name__}: {error}") from None
        except VerificationError as error:
            raise AnchorFailed(f"answer refused: {error}") from None

    async def _submit(self, artefact: Artefact) -> RekorEntry:
        kind = self._target.kind
        answer = await self._call("POST", _SUBMIT[kind], rekor.request(kind, artefact))
        if answer.status in (HTTPStatus.OK, HTTPStatus.CREATED):
            return rekor_json.parse_answer(kind, answer.body)
        if answer.status == HTTPStatus.CONFLICT:
            try:
                return await self._existing(artefact, answer)
            except (AnchorFailed, VerificationError) as error:
                raise AnchorFailed(f"a duplicate, but: {error}", sign_anew=True) from None
        raise _refused(answer)

    async def _existing(self, artefact: Artefact, answer: _Answer) -> RekorEntry:
        """The entry that the Rekor holds already, verified."""
        if self._target.kind == rekor.V1:
            location = _LOCATION.fullmatch(answer.headers.get("location", ""))
            if location is None:
                raise AnchorFailed("the answer does not say where the existing entry is")
            entry = rekor_json.parse_answer(rekor.V1, await self._get(location[1]))
        else:
            index = answer.headers.get("x-log-index", "")
            if not index.isascii() or not index.isdigit() or len(index) > 19:
                raise AnchorFailed("the answer does not name the existing index")
            entry = await self._prove(artefact, int(index))
        rekor.verify(entry, artefact, self._target.key, self._target.origin)
        return entry

    async def _prove(self, artefact: Artefact, index: int) -> RekorEntry:
        """The entry of ``artefact`` at ``index``, with an inclusion proof out of the log's tiles."""
        target = self._target
        note = await self._get("/api/v2/checkpoint")
        checkpoint, name = rekor.open_rekor_checkpoint(target.kind, note, target.key, target.origin)
        if index >= checkpoint.size:
            raise AnchorFailed(f"index {index} is named, the tree has size {checkpoint.size}")
        hashes = await self._path(index, checkpoint.size)
        proof = InclusionProof(index, checkpoint.size, checkpoint.root, hashes, note)
        log_id = target.key.log_id(target.kind, name)
        return RekorEntry(target.kind, index, log_id, 0, rekor.body(target.kind, artefact), None, proof)

    async def _path(self, index: int, size: int) -> tuple[bytes, ...]:
        """The audit path; tiles are fetched as the computation asks for them."""
        tiles: dict[Tile, bytes] = {}
        while len(tiles) < _MAX_TILES:
            try:
                return tuple(inclusion_proof(index, size, node_reader(size, tiles.__getitem__)))
            except KeyError as missing:
                tile: Tile = missing.args[0]
                tiles[tile] = await self._tile(tile)
            except LogCorrupt as error:
                raise AnchorFailed(f"the Rekor's tiles: {error}") from None
        raise AnchorFailed(f"a proof for index {index} of {size} takes too many tiles")

    async def _tile(self, tile: Tile) -> bytes:
        try:
            data = await self._get(f"/api/v2/{tile.path}")
        except AnchorFailed:
            if tile == tile.full:
                raise
            # A partial tile may go away once the full one exists, which begins with the same bytes.
            data = await self._get(f"/api/v2/{tile.full.path}")
        return data[: tile.width * HASH_SIZE]

    async def _get(self, path: str) -> bytes:
        answer = await self._call("GET", path)
        if answer.status != HTTPStatus.OK:
            raise AnchorFailed(f"GET {path} was answered with {answer.status}")
        return answer.body

    async def _call(self, method: str, path: str, document: Any = None) -> _Answer:
        url = self._target.url.rstrip("/") + path
        async with self._http.stream(method, url, json=document) as response:
            parts, size = [], 0
            async for part in response.aiter_bytes():
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    raise AnchorFailed(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
                parts.append(part)
            return _Answer(response.status_code, response.headers, b"".join(parts))


def _refused(answer: _Answer) -> AnchorFailed:
    said = "".join(c if c.isprintable() else " " for c in answer.body[:200].decode(errors="replace")).strip()
    after = answer.headers.get("retry-after", "")
    seconds = int(after) if after.isascii() and after.isdigit() and len(after) < 6 else None
    return AnchorFailed(
        f"the Rekor answered with {answer.status}{f': {said}' if said else ''}",
        retry_after_s=None if seconds is None else min(seconds, _MAX_RETRY_AFTER_S),
    )

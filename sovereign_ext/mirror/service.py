"""The mirror: its logs, its HTTP paths, its start and its end.

::

    POST /add-checkpoint          C2SP tlog-witness; cosigned as NAME/witness
    GET  /<hash>/checkpoint       C2SP tlog-mirror; the log's checkpoint, cosigned as NAME. <hash> is the SHA-256 of
    GET  /<hash>/tile/…           the origin in hex
    GET  /                        what is witnessed and mirrored, as JSON

State directory: ``keys/``, ``mirror.lock``, and for each log ``logs/<hash>/`` with ``head`` (the checkpoint cosigned
last as a witness), ``copy/`` (tiles and mirror checkpoint) and ``forks/`` (evidence).
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sovereign_ext.errors import ConfigError, LogCorrupt, LogError, LogUnavailable, VerificationError
from sovereign_ext.mirror.copy import LogCopy
from sovereign_ext.mirror.follow import Follower
from sovereign_ext.mirror.http import HttpServer, Request, Response
from sovereign_ext.mirror.identity import Identity, load_identity
from sovereign_ext.mirror.witness import WitnessedLog
from sovereign_ext.tlog.addcheckpoint import MAX_REQUEST_BYTES, parse_add_checkpoint
from sovereign_ext.tlog.checkpoint import origin_hash, parse_checkpoint
from sovereign_ext.tlog.files import Lease
from sovereign_ext.tlog.note import parse_note
from sovereign_ext.tlog.policyfile import PolicyLog
from sovereign_ext.tlog.reader import CHECKPOINT

POLL_S: Final = 2.0

_MUTABLE: Final = (("cache-control", "no-cache"),)
_IMMUTABLE: Final = (("cache-control", "public, max-age=604800, immutable"),)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Mirrored:
    """One log: as witness, as mirror, and who fetches it (``None`` where no URL was given)."""

    witnessed: WitnessedLog
    copy: LogCopy
    follower: Follower | None


class Mirror:
    """An open mirror. Made by ``open``; belongs to one event loop."""

    def __init__(self, identity: Identity, logs: dict[str, _Mirrored], lease: Lease) -> None:
        self.identity = identity
        self._logs = logs
        self._by_hash = {origin_hash(origin): log for origin, log in logs.items()}
        self._lease = lease
        self._server = HttpServer(self._answer, max_body=MAX_REQUEST_BYTES)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        name: str | None,
        logs: Iterable[PolicyLog],
        *,
        now_s: Callable[[], int],
        poll_s: float = POLL_S,
    ) -> Mirror:
        """Take up the state in ``state_dir``. Raises ``ConfigError``, ``LogCorrupt``, ``LogUnavailable``."""
        identity = load_identity(state_dir, name)
        try:
            lease = Lease(state_dir / "mirror.lock")
        except OSError as error:
            raise LogUnavailable(f"cannot use the state directory: {error}") from error
        try:
            opened: dict[str, _Mirrored] = {}
            for log in logs:
                if log.key.name in opened:
                    raise ConfigError(f"log {log.key.name} is given twice")
                opened[log.key.name] = _open_log(identity, log, state_dir, now_s, poll_s)
            return cls(identity, opened, lease)
        except BaseException as error:
            lease.release()
            if isinstance(error, OSError):
                raise LogUnavailable(f"cannot read the mirror's state: {error}") from error
            raise

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen and follow; gives the port. Raises ``OSError``."""
        port = await self._server.start(host, port, tls)
        for log in self._logs.values():
            if log.follower is not None:
                log.follower.start()
        return port

    async def close(self) -> None:
        """End everything in order; what was accepted is durable already."""
        await self._server.close()
        followers = [log.follower for log in self._logs.values() if log.follower is not None]
        ended = await asyncio.gather(*(asyncio.to_thread(follower.close) for follower in followers))
        if all(ended):
            self._lease.release()  # otherwise the end of the process gives it back

    async def _answer(self, request: Request) -> Response:
        try:
            if request.path == "/add-checkpoint":
                if request.method != "POST":
                    return Response(405, b"use POST\n", headers=(("allow", "POST"),))
                return await asyncio.to_thread(self._add, request.body)
            if request.method not in ("GET", "HEAD"):
                return Response(405, b"use GET\n", headers=(("allow", "GET, HEAD"),))
            if request.path == "/":
                return Response(200, self._status(), "application/json", _MUTABLE)
            return await asyncio.to_thread(self._read, request.path)
        except Exception as error:  # the peer learns nothing of our disk
            reason = str(error) if isinstance(error, LogError) else type(error).__name__
            _logger.error("%s %s: %s", request.method, request.path[:100], reason)
            return Response(500, b"the mirror cannot answer now\n")

    def _add(self, body: bytes) -> Response:
        try:
            request = parse_add_checkpoint(body)
            origin = parse_checkpoint(parse_note(request.note).text).origin
        except VerificationError as error:
            return Response(400, f"{error}\n".encode())
        log = self._logs.get(origin)
        if log is None:
            return Response(404, b"this log is not witnessed here\n")
        verdict = log.witnessed.add(request)
        if verdict.status == 200 and log.follower is not None:
            log.follower.poke()
        return Response(verdict.status, verdict.body, verdict.content_type)

    def _read(self, path: str) -> Response:
        prefix, _, name = path.removeprefix("/").partition("/")
        log = self._by_hash.get(prefix)
        try:
            data = None if log is None else log.copy.get(name)
        except LogCorrupt:
            data = None  # a file beyond the mirror checkpoint, half written by a run that ended
        if data is None:
            return Response(404, b"not found\n", headers=_MUTABLE)
        if name == CHECKPOINT:
            return Response(200, data, headers=_MUTABLE)
        return Response(200, data, "application/octet-stream", _IMMUTABLE)

    def _status(self) -> bytes:
        logs = [
            {
                "origin": origin,
                "path": f"/{origin_hash(origin)}",
                "witnessed_size": log.witnessed.head.checkpoint.size,
                "mirrored_size": log.copy.checkpoint.size,
                "follows": log.follower is not None,
                "forks": log.witnessed.evidence.count(),
                "last_error": None if log.follower is None else log.follower.last_error,
            }
            for origin, log in self._logs.items()
        ]
        keys = {"witness": self.identity.witness.key.encode(), "mirror": self.identity.mirror.key.encode()}
        return json.dumps({"name": self.identity.name, "keys": keys, "logs": logs}, indent=1).encode() + b"\n"


def _open_log(
    identity: Identity, log: PolicyLog, state_dir: Path, now_s: Callable[[], int], poll_s: float
) -> _Mirrored:
    directory = state_dir / "logs" / origin_hash(log.key.name)
    copy = LogCopy(log.key, identity.mirror, directory / "copy", now_s=now_s)
    witnessed = WitnessedLog(log.key, identity.witness, directory, now_s=now_s, root_at=copy.root_at)
    if copy.checkpoint.size > witnessed.head.checkpoint.size:
        raise LogCorrupt(
            f"log {log.key.name} is mirrored to size {copy.checkpoint.size}, "
            f"but witnessed only to {witnessed.head.checkpoint.size}: was the state restored from a backup?"
        )
    follower = None if log.url is None else Follower(witnessed, copy, log.url, poll_s)
    return _Mirrored(witnessed, copy, follower)

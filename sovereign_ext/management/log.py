"""The log's reads: ``sovereign.log.v1.LogService``.

Checkpoint, tiles, trusted root and keys are files that the log publishes; they go out byte for byte and
without a key. Which paths are tiles, and that none leads out of the directory, is the reader's promise. The
caching headers are those that C2SP tlog-tiles asks for: tiles never change, a checkpoint soon does.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from google.api import httpbody_pb2
from google.protobuf import timestamp_pb2

from sovereign_ext._gen.sovereign.log.v1 import log_pb2
from sovereign_ext.attest.trusted_root import LOG_KEYS, TRUSTED_ROOT
from sovereign_ext.errors import CallerError, LogError, ServiceError
from sovereign_ext.management.auth import Caller
from sovereign_ext.management.rpc import Call, Methods, Reply
from sovereign_ext.management.timestamps import timestamp
from sovereign_ext.storage.webhooks import WebhookRow
from sovereign_ext.tlog.files import read_file
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.service import LogPaths, LogStatus, MirrorAck, WitnessStatus

_log = logging.getLogger(__name__)
StatusT = TypeVar("StatusT")

TEXT: Final = "text/plain; charset=utf-8"
BINARY: Final = "application/octet-stream"
JSON: Final = "application/json"
MAX_PATH_CHARS: Final = 64  # a tile of level 0 at index 2^55, the last there can be, takes 37
FOREVER: Final = ("cache-control", "public, max-age=31536000, immutable")
NEVER: Final = ("cache-control", "no-store")


class OpenLog(Protocol):
    """The log, as far as its state goes (``tlog.service.TransparencyLog``)."""

    @property
    def origin(self) -> str:
        """First line of its checkpoints."""

    @property
    def log_id(self) -> bytes:
        """The 32 bytes behind the checkpoint key's id."""

    @property
    def reader(self) -> LogReader:
        """The published files."""

    def status(self) -> LogStatus:
        """Sizes and health, without blocking."""

    def witnesses(self) -> tuple[WitnessStatus, ...]:
        """How it goes with each who is asked to cosign."""

    def acks(self) -> tuple[MirrorAck, ...]:
        """The last word of each mirror."""


class AnchorStatus(Protocol):
    """An external log (``anchor.service.AnchorStatus``): sizes are 0 when there is none, times Unix milliseconds."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def anchored_size(self) -> int: ...
    @property
    def anchored_ms(self) -> int | None: ...
    @property
    def queued(self) -> int: ...
    @property
    def last_error(self) -> str | None: ...


class WebhookStatus(Protocol):
    """A receiver of findings (``webhook.service.WebhookStatus``)."""

    @property
    def row(self) -> WebhookRow: ...
    @property
    def waiting(self) -> int: ...


_ROLES: Final = {
    "sole": log_pb2.Log.Role.SOLE,
    "leader": log_pb2.Log.Role.LEADER,
    "follower": log_pb2.Log.Role.FOLLOWER,
}


@dataclass(frozen=True, slots=True)
class LogReads:
    """The service. ``paths`` is where the log publishes; ``anchors`` and ``webhooks`` raise ``LogError``."""

    log: OpenLog
    paths: LogPaths
    anchors: Callable[[], Awaitable[Sequence[AnchorStatus]]]
    webhooks: Callable[[], Awaitable[Sequence[WebhookStatus]]]

    async def get_log(self, request: log_pb2.GetLogRequest, call: Call) -> Reply:
        """The state of the log, for anybody with a key."""
        caller = call.caller
        status = self.log.status()
        log = log_pb2.Log(
            name="log",
            origin=self.log.origin,
            log_id=base64.b64encode(self.log.log_id).decode(),
            size=status.size,
            published_size=status.published_size,
            checkpoint_time=await asyncio.to_thread(_shown, self.log.reader),
            healthy=status.healthy,
            role=_ROLES[status.role],
            leader=status.leader if caller.is_admin else "",
            cosigners=[
                log_pb2.Cosigner(
                    name=each.name,
                    size=each.size,
                    time=_seconds(each.time_s),
                    last_error=each.last_error if caller.is_admin else None,
                )
                for each in self.log.witnesses()
            ],
            mirrors=[
                log_pb2.Mirror(name=each.name, size=each.size, time=_seconds(each.time_s))
                for each in self.log.acks()
            ],
            anchors=[_anchor(each, caller) for each in await _told("anchors", self.anchors)],
            webhooks=[_webhook(each) for each in await _told("webhooks", self.webhooks)]
            if caller.is_admin
            else [],
        )
        return Reply(log, (NEVER,))

    async def get_trusted_root(self, request: log_pb2.GetTrustedRootRequest, call: Call) -> Reply:
        """``trusted_root.json``."""
        return _published(JSON, await asyncio.to_thread(read_file, self.paths.public / TRUSTED_ROOT))

    async def get_log_keys(self, request: log_pb2.GetLogKeysRequest, call: Call) -> Reply:
        """``log-keys.json``: what a Sigstore trusted root has no place for."""
        return _published(JSON, await asyncio.to_thread(read_file, self.paths.public / LOG_KEYS))

    async def get_checkpoint(self, request: log_pb2.GetCheckpointRequest, call: Call) -> Reply:
        """The newest checkpoint."""
        return _published(TEXT, await asyncio.to_thread(self.log.reader.checkpoint))

    async def get_tile(self, request: log_pb2.GetTileRequest, call: Call) -> Reply:
        """A tile. A path that is not a tile's and a tile that is not there (yet) are both absent."""
        tile = None
        if len(request.path) <= MAX_PATH_CHARS:
            tile = await asyncio.to_thread(self.log.reader.get, f"tile/{request.path}")
        if tile is None:
            raise CallerError(404, "there is no such tile", code="tile_not_found")
        return Reply(httpbody_pb2.HttpBody(content_type=BINARY, data=tile), (FOREVER,))

    def methods(self) -> Methods:
        """The methods by their names in the contract."""
        return {
            "GetLog": self.get_log,
            "GetTrustedRoot": self.get_trusted_root,
            "GetLogKeys": self.get_log_keys,
            "GetCheckpoint": self.get_checkpoint,
            "GetTile": self.get_tile,
        }


def _published(content_type: str, data: bytes | None) -> Reply:
    if data is None:
        raise ServiceError(503, "nothing is published yet", code="not_published", retry_after_s=1)
    return Reply(httpbody_pb2.HttpBody(content_type=content_type, data=data), (NEVER,))


async def _told(what: str, ask: Callable[[], Awaitable[Sequence[StatusT]]]) -> Sequence[StatusT]:
    """How each of them stands; none of them while that cannot be said."""
    try:
        return await ask()
    except LogError as error:
        # The state of a log is asked for above all when its database has trouble: the rest is still told.
        _log.warning("the %s are left out of the log's state: %s", what, error)
        return ()


def _anchor(status: AnchorStatus, caller: Caller) -> log_pb2.Anchor:
    return log_pb2.Anchor(
        id=status.id,
        kind=status.kind,
        size=status.anchored_size,
        time=None if status.anchored_ms is None else timestamp(status.anchored_ms),
        queued=status.queued,
        last_error=status.last_error if caller.is_admin else None,
    )


def _webhook(status: WebhookStatus) -> log_pb2.Webhook:
    row = status.row
    return log_pb2.Webhook(
        id=row.id,
        next_index=row.next,
        waiting=status.waiting,
        delivered=row.delivered,
        given_up=row.given_up,
        delivered_time=None if row.delivered_ms is None else timestamp(row.delivered_ms),
        attempts=row.attempts,
        failing_since=None if row.failing_ms is None else timestamp(row.failing_ms),
        retry_time=timestamp(row.retry_ms) if row.retry_ms else None,
        last_error=row.last_error,
        gone_time=None if row.gone_ms is None else timestamp(row.gone_ms),
    )


def _seconds(time_s: int) -> timestamp_pb2.Timestamp | None:
    return timestamp_pb2.Timestamp(seconds=time_s) if time_s else None


def _shown(reader: LogReader) -> timestamp_pb2.Timestamp | None:
    try:
        nanoseconds = reader.checkpoint_ns()
    except OSError as error:
        _log.warning("when the checkpoint was published is left out of the log's state: %s", error)
        return None
    return None if nanoseconds is None else timestamp(nanoseconds // 1_000_000)

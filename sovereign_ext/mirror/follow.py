"""Follows one log by its tiles: sees newer checkpoints, has them judged like submitted ones, fetches the entries.

https://c2sp.org/tlog-tiles, as a client. On a thread of its own, since all of it waits for a network or a disk. A
published checkpoint takes the same way as one that is sent to us (``WitnessedLog.add``), with a proof made from the
log's tiles, so there is one set of rules. While a log submits its checkpoints itself it is not polled.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import httpx

from sovereign_ext.errors import LogCorrupt, LogUnavailable, SovereignError, VerificationError
from sovereign_ext.mirror.copy import LogCopy
from sovereign_ext.mirror.witness import WitnessedLog
from sovereign_ext.tlog.addcheckpoint import AddCheckpoint
from sovereign_ext.tlog.checkpoint import open_checkpoint
from sovereign_ext.tlog.note import MAX_NOTE_BYTES
from sovereign_ext.tlog.proof import consistency_proof
from sovereign_ext.tlog.reader import CHECKPOINT, cut_tile
from sovereign_ext.tlog.tiles import MAX_ENTRY_BYTES, TILE_WIDTH, Tile, node_reader

TIMEOUT_S: Final = 10.0
MAX_TILE_BYTES: Final = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
STOP_S: Final = 2.0
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 60.0

_logger = logging.getLogger(__name__)


class Follower:
    """Keeps ``copy`` up with ``witnessed`` from the log at ``url``, looking for news every ``poll_s`` seconds."""

    def __init__(self, witnessed: WitnessedLog, copy: LogCopy, url: str, poll_s: float) -> None:
        self._witnessed = witnessed
        self._copy = copy
        self._url = url.rstrip("/")
        self._poll_s = poll_s
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
        self._condition = threading.Condition()
        self._poked = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="mirror-follower", daemon=True)
        self.last_error: str | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def poke(self) -> None:
        """A checkpoint was accepted: fetch its entries now. May be called from any thread."""
        with self._condition:
            self._poked = True
            self._condition.notify()

    def close(self) -> bool:
        """Stop; whether it has ended. It has not when a log keeps it waiting, but it writes nothing any more then."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join(STOP_S)
        if ended := not self._thread.is_alive():
            self._http.close()
        return ended

    def step(self, *, poll: bool) -> None:
        """Look for a newer checkpoint if ``poll``, then fetch what is missing. Raises ``SovereignError``."""
        if poll:
            self._look()
        self._copy.extend(self._witnessed.head, self._tile)

    def _run(self) -> None:
        pause, poll_at = FIRST_PAUSE_S, time.monotonic()
        while not self._stopping:
            poll = time.monotonic() >= poll_at
            try:
                self.step(poll=poll)
            except SovereignError as error:
                self._failed(f"{error}")
                wait, pause = pause, min(2 * pause, LONGEST_PAUSE_S)
                poll_at = time.monotonic()
            except Exception as error:  # whatever the log sent: this thread must not end unnoticed
                self._failed(f"{type(error).__name__}: {error}")
                wait, pause = pause, min(2 * pause, LONGEST_PAUSE_S)
                poll_at = time.monotonic()
            else:
                self.last_error, pause, wait = None, FIRST_PAUSE_S, self._poll_s
                poll_at = time.monotonic() + self._poll_s
            with self._condition:
                if not self._stopping and not self._poked:
                    self._condition.wait(wait)
                self._poked = False

    def _failed(self, reason: str) -> None:
        if reason != self.last_error and not self._stopping:
            _logger.warning("log %s at %s: %s", self._witnessed.log.name, self._url, reason)
        self.last_error = reason

    def _look(self) -> None:
        note = self._get(CHECKPOINT, MAX_NOTE_BYTES)
        if note is None:
            raise LogUnavailable("the log has no checkpoint")
        log, head = self._witnessed.log, self._witnessed.head
        checkpoint, _ = open_checkpoint(note, log.name, [log])
        if head.note and checkpoint == head.checkpoint:
            return
        old, proof = head.checkpoint.size, list[bytes]()
        if checkpoint.size > old:
            proof = consistency_proof(old, checkpoint.size, node_reader(checkpoint.size, self._tile))
        verdict = self._witnessed.add(AddCheckpoint(min(old, checkpoint.size), tuple(proof), note))
        if verdict.status == 409 and checkpoint.size < self._witnessed.head.checkpoint.size == old:
            raise VerificationError(f"the log shows size {checkpoint.size}, it had signed {old} before")
        if verdict.status == 409 and self._witnessed.head.checkpoint.size != old:
            return  # it was submitted while we looked
        if verdict.status != 200:
            raise VerificationError(f"the log's checkpoint was refused: {verdict.body.decode().strip()}")

    def _tile(self, tile: Tile) -> bytes:
        if self._stopping:
            raise LogUnavailable("the mirror is stopping")
        for name in dict.fromkeys((tile, tile.full)):
            data = self._get(name.path, MAX_TILE_BYTES)
            if data is not None and (cut := cut_tile(tile, data)) is not None:
                return cut
        raise LogCorrupt(f"the log has no {tile.path}")

    def _get(self, path: str, most: int) -> bytes | None:
        """What the log has at ``path``; ``None`` for 404. Raises ``LogUnavailable``."""
        try:
            with self._http.stream("GET", f"{self._url}/{path}") as response:
                if response.status_code in (404, 410):
                    return None
                if response.status_code != 200:
                    raise LogUnavailable(f"{path}: HTTP status {response.status_code}")
                data = bytearray()
                for piece in response.iter_bytes():
                    data += piece
                    if len(data) > most:
                        raise LogUnavailable(f"{path} is longer than {most} bytes")
                    if self._stopping:
                        raise LogUnavailable("the mirror is stopping")
                return bytes(data)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise LogUnavailable(f"the log cannot be read: {type(error).__name__}") from None

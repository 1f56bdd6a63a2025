"""Keeps what a log should not have signed: the two notes of a fork, on disk, for whoever asks later.

``fork``: two checkpoints signed by the log of which one cannot be true if the other is; this is proof by itself.
``suspect``: a checkpoint signed by the log for which no valid consistency proof was shown; it may also be a bad
proof by somebody else. Both are bounded, because whoever has such notes can send them again and again; a note is
kept once.
"""

from __future__ import annotations

import json
import logging
from hashlib import sha256
from pathlib import Path
from typing import Final

from sovereign_ext.errors import LogUnavailable
from sovereign_ext.tlog.files import write_files

MOST: Final = {"fork": 1000, "suspect": 100}
"""How many pieces of each kind are kept for a log."""

_logger = logging.getLogger(__name__)


class Evidence:
    """Evidence about one log, in ``directory``. Calls must not overlap."""

    def __init__(self, directory: Path, origin: str) -> None:
        self._directory = directory
        self._origin = origin

    def fork(self, held: bytes, shown: bytes, reason: str, time_s: int) -> None:
        """Keep the checkpoint we ``held`` and the one we were ``shown``. Raises ``LogUnavailable``."""
        self._keep("fork", held, shown, reason, time_s)

    def suspect(self, held: bytes, shown: bytes, reason: str, time_s: int) -> None:
        """Keep a checkpoint that we could not connect with the one we held. Raises ``LogUnavailable``."""
        self._keep("suspect", held, shown, reason, time_s)

    def count(self, kind: str = "fork") -> int:
        """How many pieces of a kind there are."""
        return len(list(self._directory.glob(f"{kind}-*.json")))

    def _keep(self, kind: str, held: bytes, shown: bytes, reason: str, time_s: int) -> None:
        name = f"{kind}-{sha256(shown).hexdigest()[:32]}.json"
        if (self._directory / name).exists() or self.count(kind) >= MOST[kind]:
            return
        _logger.error("log %s: %s: %s", self._origin, kind, reason)
        content = {
            "kind": kind,
            "origin": self._origin,
            "reason": reason,
            "time": time_s,
            "held": held.decode(),
            "shown": shown.decode(),
        }
        try:
            write_files(self._directory, [(name, json.dumps(content, indent=1).encode() + b"\n")])
        except OSError as error:
            raise LogUnavailable(f"cannot keep evidence of a fork: {error}") from error
